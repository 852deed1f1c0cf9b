//! This project's verifier.

use bpftime_verifier::{Options, verify};

use crate::corpus::Subject;
use crate::measure::measure;
use crate::report::Measured;

/// Verdict, time and memory.
pub(crate) fn judge(subject: &Subject, options: &Options, rounds: usize) -> Measured {
    let (verdict, micros, bytes) = measure(rounds, || verify(subject.program.clone(), options));
    Measured {
        accepted: verdict.is_ok(),
        micros,
        bytes: Some(bytes),
        states: verdict
            .ok()
            .map(|verified| verified.facts().cost.peak_states as u64),
    }
}
