//! Time and memory of one verdict.

use nix::time::{ClockId, clock_gettime};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// CPU time of this thread in microseconds.
fn cpu_micros() -> f64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(0.0, |time| {
        time.tv_sec() as f64 * 1e6 + time.tv_nsec() as f64 / 1e3
    })
}

/// Runs the work `rounds` times: its last result, the median of its CPU times in microseconds, and
/// the most bytes that it held at once.
pub(crate) fn measure<T>(rounds: usize, mut work: impl FnMut() -> T) -> (T, f64, u64) {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let mut times = Vec::with_capacity(rounds);
    let mut once = || {
        let start = cpu_micros();
        let result = work();
        times.push(cpu_micros() - start);
        result
    };
    for _ in 1..rounds {
        drop(once());
    }
    let result = once();
    let bytes = ALLOCATOR.peak_usage().saturating_sub(before) as u64;
    (result, median(&times), bytes)
}

/// The median, the lower one of two; NaN of nothing.
pub(crate) fn median(series: &[f64]) -> f64 {
    quantile(series, 0.5)
}

/// The value below which the given share of a series is; NaN of nothing.
pub(crate) fn quantile(series: &[f64], share: f64) -> f64 {
    let mut sorted = series.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len().saturating_sub(1) as f64 * share) as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}
