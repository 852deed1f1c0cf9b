//! `BPF_MAP_CREATE`.

use std::sync::Arc;

use bpftime_abi::map_type::create_flags::BPF_F_ZERO_SEED;
use bpftime_abi::{Errno, MapType};
use bpftime_maps::Geometry;

use super::{Answer, Attr, Request};
use crate::broker::map::{Description, Map};
use crate::broker::objects::{Btf, Object};

/// End of the last field that the command has (`excl_prog_hash_size`, Linux 6.18).
const END: usize = 92;

/// `BPF_MAP_CREATE`.
pub fn create(request: &Request<'_>, attr: &Attr) -> Answer {
    attr.check_end(END)?;
    // Maps of network devices, of kernel structures, and exclusive ones.
    let (ifindex, vmlinux_type) = (attr.u32(44), attr.u32(60));
    if ifindex != 0 || vmlinux_type != 0 || attr.u64(80) != 0 || attr.u32(88) != 0 {
        return Err(Errno::EINVAL);
    }
    let map_type = MapType::from_u32(attr.u32(0)).ok_or(Errno::EINVAL)?;
    let name = attr.object_name(28)?;
    let (key_type, value_type) = (attr.u32(52), attr.u32(56));
    let btf = if key_type != 0 || value_type != 0 {
        Some(btf_of(request, attr.i32(48))?)
    } else {
        None
    };
    let flags = attr.u32(16);
    let broker = &request.session.broker;
    let geometry = Geometry {
        map_type,
        key_size: attr.u32(4),
        value_size: attr.u32(8),
        max_entries: attr.u32(12),
        flags,
        cpus: broker.cpus,
        seed: if flags & BPF_F_ZERO_SEED != 0 {
            0
        } else {
            broker.random()
        },
    };
    if !Geometry::is_implemented(map_type) && map_type != MapType::Unspec {
        let kind = map_type.name();
        request.session.say(&format!(
            "map {name:?}: maps of type {kind} are not implemented"
        ));
    }
    geometry.validate()?;
    let description = Description {
        name,
        btf,
        key_type,
        value_type,
        extra: attr.u64(64),
    };
    let map = broker
        .registry
        .maps
        .insert(|id| Map::new(id, geometry, description))?;
    request.handle(Object::Map(map))
}

/// The type information behind a descriptor.
pub fn btf_of(request: &Request<'_>, fd: i32) -> Result<Arc<Btf>, Errno> {
    match request.object(fd)? {
        Object::Btf(btf) => Ok(btf),
        _ => Err(Errno::EINVAL),
    }
}
