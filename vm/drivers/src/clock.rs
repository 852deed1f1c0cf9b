//! CPU time of this thread, which does not count what others take of a shared machine.

use nix::time::{ClockId, clock_gettime};

/// CPU time of this thread in nanoseconds.
pub fn cpu_nanos() -> u64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(0, |time| {
        time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
    })
}

/// The result of work and the CPU time that it took, in nanoseconds.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let start = cpu_nanos();
    let result = work();
    (result, cpu_nanos() - start)
}

/// The median, the lower one of two; NaN of nothing.
pub fn median(series: &[f64]) -> f64 {
    let mut sorted = series.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len().saturating_sub(1) / 2;
    sorted.get(middle).copied().unwrap_or(f64::NAN)
}
