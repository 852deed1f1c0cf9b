//! What the verdicts of the benchmarks depend on.

use bpftime_abi::{Capabilities, MapType};
use bpftime_isa::helper;
use bpftime_verifier::Options;

/// The rules for privileged programs, with every helper and map type on offer, as the kernel has.
pub(crate) fn all() -> Options {
    let helpers = helper::PROTOS
        .iter()
        .fold(Capabilities::NONE, |all, proto| all.with_helper(proto.id));
    let all = MapType::ALL
        .iter()
        .fold(helpers, |all, map_type| all.with_map_type(*map_type));
    Options::new(all)
}
