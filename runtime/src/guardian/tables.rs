//! Map handles as the target's programs need them.

use bpftime_abi::MapType;
use bpftime_maps::{Geometry, MapRef, PerfRing};

/// The bytes of a map's handle for the target, with the target's addresses.
///
/// `rings` is the address of the table of output rings, and how many it has. Nothing if the
/// geometry is not valid.
pub fn handle_bytes(
    geometry: Geometry,
    control: u64,
    data: u64,
    rings: Option<(u64, u32)>,
) -> Option<Vec<u8>> {
    // SAFETY: the handle is used here only to be copied; the target uses it with its own
    // mappings at these addresses.
    let mut handle = unsafe { MapRef::init(geometry, control as *mut u8, data as *mut u8) }.ok()?;
    if let Some((address, count)) = rings {
        // SAFETY: as above; the table is mapped in the target as long as the handle.
        unsafe { handle.set_perf_rings(address as *const PerfRing, count) };
    }
    let start = (&raw const handle).cast::<u8>();
    // SAFETY: a `MapRef` is plain data without padding (its documentation says so), so all of
    // its bytes are initialised, and it lives until the copy is made.
    Some(unsafe { std::slice::from_raw_parts(start, size_of::<MapRef>()) }.to_vec())
}

/// What a handle's [`MapRef::values_base`] will be.
pub fn values_base(geometry: &Geometry, data: u64) -> u64 {
    match geometry.map_type {
        MapType::Array | MapType::PerCpuArray => data,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_base_agrees_with_the_handle() {
        for map_type in [MapType::Array, MapType::Hash, MapType::PerCpuArray] {
            let geometry = Geometry {
                map_type,
                key_size: 4,
                value_size: 8,
                max_entries: 4,
                flags: 0,
                cpus: 2,
                seed: 0,
            };
            let data = 0x1000 as *mut u8;
            // SAFETY: nothing is done with the handle but asking for its own fields.
            let handle = unsafe { MapRef::init(geometry, 0x2000 as *mut u8, data) }.unwrap();
            assert_eq!(handle.values_base(), values_base(&geometry, 0x1000));
        }
    }
}
