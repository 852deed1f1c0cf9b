//! This project's verifier.

use bpftime_abi::{Capabilities, MapType};
use bpftime_isa::helper;
use bpftime_verifier::{Options, verify};

use crate::corpus::Subject;
use crate::measure::{Measured, measure};

/// The rules for privileged programs, with every helper and map type on offer, as the kernel has.
pub(crate) fn options() -> Options {
    let helpers = helper::PROTOS
        .iter()
        .fold(Capabilities::NONE, |all, proto| all.with_helper(proto.id));
    let all = MapType::ALL
        .iter()
        .fold(helpers, |all, map_type| all.with_map_type(*map_type));
    Options::new(all)
}

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
