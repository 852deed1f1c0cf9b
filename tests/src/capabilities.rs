//! What environments offer.

use bpftime_abi::{Capabilities, MapType};
use bpftime_isa::helper;

/// All helpers and map types that there are: what the kernel could offer.
pub fn kernel() -> Capabilities {
    let helpers = helper::PROTOS
        .iter()
        .fold(Capabilities::NONE, |all, proto| all.with_helper(proto.id));
    MapType::ALL
        .iter()
        .fold(helpers, |all, map_type| all.with_map_type(*map_type))
}
