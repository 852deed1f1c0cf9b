//! Medians, and what machine they were taken on.

use serde::Serialize;

/// Minimum, median and maximum of a series.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Summary {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

/// Summarises a series; all NaN for an empty one.
pub(crate) fn summary(series: &[f64]) -> Summary {
    let mut sorted = series.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    let middle = sorted.len() / 2;
    let median = if sorted.len().is_multiple_of(2) && middle > 0 {
        f64::midpoint(at(middle - 1), at(middle))
    } else {
        at(middle)
    };
    Summary {
        min: at(0),
        median,
        max: at(sorted.len().saturating_sub(1)),
    }
}

/// The processor's name as the kernel gives it.
pub(crate) fn processor() -> String {
    std::fs::read_to_string("/proc/cpuinfo")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or_else(
            || "unknown processor".to_owned(),
            |(_, name)| name.to_owned(),
        )
}
