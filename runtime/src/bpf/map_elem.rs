//! Elements of maps, one at a time: lookup, update, delete, iteration; `BPF_MAP_FREEZE`.

use std::sync::Arc;

use bpftime_abi::map_type::create_flags::{BPF_F_RDONLY, BPF_F_WRONLY};
use bpftime_abi::map_type::update_flags::BPF_F_LOCK;
use bpftime_abi::{Errno, MapType};

use super::{Answer, Attr, Request};
use crate::broker::map::Map;
use crate::broker::objects::Object;
use crate::notify::listener::Reply;

/// The map behind a descriptor; `EINVAL` for other objects of ours.
pub fn map_of(request: &Request<'_>, fd: i32) -> Result<Arc<Map>, Errno> {
    match request.object(fd)? {
        Object::Map(map) => Ok(map),
        _ => Err(Errno::EINVAL),
    }
}

/// `EPERM` if the tool created the map for writing only.
pub fn check_readable(map: &Map) -> Result<(), Errno> {
    if map.geometry().flags & BPF_F_WRONLY != 0 {
        Err(Errno::EPERM)
    } else {
        Ok(())
    }
}

/// `EPERM` if the tool created the map for reading only, or froze it.
pub fn check_writable(map: &Map) -> Result<(), Errno> {
    if map.geometry().flags & BPF_F_RDONLY != 0 || map.is_frozen() {
        return Err(Errno::EPERM);
    }
    Ok(())
}

/// `EINVAL` for flags other than `BPF_F_LOCK`, and for that one too: no value has a lock.
fn check_lookup_flags(flags: u64) -> Result<(), Errno> {
    if flags & !BPF_F_LOCK != 0 || flags & BPF_F_LOCK != 0 {
        Err(Errno::EINVAL)
    } else {
        Ok(())
    }
}

fn read_key(request: &Request<'_>, map: &Map, address: u64) -> Result<Vec<u8>, Errno> {
    let size = map.geometry().key_size as usize;
    if size == 0 && address != 0 {
        return Err(Errno::EINVAL);
    }
    request.call.read_vec(address, size)
}

/// `BPF_MAP_LOOKUP_ELEM`.
pub fn lookup(request: &Request<'_>, attr: &Attr) -> Answer {
    attr.check_end(32)?;
    check_lookup_flags(attr.u64(24))?;
    let map = map_of(request, attr.i32(0))?;
    check_readable(&map)?;
    let key = read_key(request, &map, attr.u64(8))?;
    let to = attr.u64(16);
    map.lookup_pieces(&key, |offset, piece| {
        request.call.write(to.wrapping_add(offset), piece)
    })?;
    Ok(Reply::Value(0))
}

/// `BPF_MAP_UPDATE_ELEM`.
pub fn update(request: &Request<'_>, attr: &Attr) -> Answer {
    attr.check_end(32)?;
    let map = map_of(request, attr.i32(0))?;
    check_writable(&map)?;
    let flags = attr.u64(24);
    if flags & BPF_F_LOCK != 0 {
        return Err(Errno::EINVAL);
    }
    let key = read_key(request, &map, attr.u64(8))?;
    let from = attr.u64(16);
    if map.geometry().map_type == MapType::PerfEventArray {
        let value = request
            .call
            .read_vec(from, map.geometry().user_value_size())?;
        return super::perf::store_ring(request, &map, &key, &value);
    }
    map.update_pieces(&key, flags, |offset, piece| {
        request.call.read(from.wrapping_add(offset), piece)
    })?;
    Ok(Reply::Value(0))
}

/// `BPF_MAP_DELETE_ELEM`.
pub fn delete(request: &Request<'_>, attr: &Attr) -> Answer {
    attr.check_end(16)?;
    let map = map_of(request, attr.i32(0))?;
    check_writable(&map)?;
    let key = read_key(request, &map, attr.u64(8))?;
    if map.geometry().map_type == MapType::PerfEventArray {
        return super::perf::remove_ring(request, &map, &key);
    }
    map.delete(&key)?;
    Ok(Reply::Value(0))
}

/// `BPF_MAP_GET_NEXT_KEY`.
pub fn next_key(request: &Request<'_>, attr: &Attr) -> Answer {
    attr.check_end(24)?;
    let map = map_of(request, attr.i32(0))?;
    check_readable(&map)?;
    let key = match attr.u64(8) {
        0 => None,
        address => Some(read_key(request, &map, address)?),
    };
    let next = map.next_key(key.as_deref())?;
    request.call.write(attr.u64(16), &next)?;
    Ok(Reply::Value(0))
}

/// `BPF_MAP_LOOKUP_AND_DELETE_ELEM`.
pub fn lookup_and_delete(request: &Request<'_>, attr: &Attr) -> Answer {
    attr.check_end(32)?;
    check_lookup_flags(attr.u64(24))?;
    let map = map_of(request, attr.i32(0))?;
    check_readable(&map)?;
    check_writable(&map)?;
    let key = read_key(request, &map, attr.u64(8))?;
    let value = map.lookup_and_delete(&key)?;
    request.call.write(attr.u64(16), &value)?;
    Ok(Reply::Value(0))
}

/// `BPF_MAP_FREEZE`.
pub fn freeze(request: &Request<'_>, attr: &Attr) -> Answer {
    attr.check_end(4)?;
    let map = map_of(request, attr.i32(0))?;
    if map.geometry().flags & BPF_F_RDONLY != 0 {
        return Err(Errno::EPERM);
    }
    // Of a map that programs write, the memory cannot be sealed; the tool's mappings are looked
    // at instead.
    let mapped = map.is_mapped_writable_by(request.call.tid);
    request.call.check_valid()?;
    if mapped? {
        return Err(Errno::EBUSY);
    }
    map.freeze()?;
    Ok(Reply::Value(0))
}
