//! Elements of maps, many at a time.

use std::sync::Arc;

use bpftime_abi::{Errno, MapType};

use super::map_elem::{check_readable, check_writable, map_of};
use super::{Answer, Attr, Request};
use crate::broker::map::Map;
use crate::notify::listener::Reply;

/// Offsets of the fields.
mod field {
    pub(super) const IN_BATCH: usize = 0;
    pub(super) const OUT_BATCH: usize = 8;
    pub(super) const KEYS: usize = 16;
    pub(super) const VALUES: usize = 24;
    pub(super) const COUNT: usize = 32;
    pub(super) const MAP_FD: usize = 36;
    pub(super) const ELEM_FLAGS: usize = 40;
    pub(super) const FLAGS: usize = 48;
    pub(super) const END: usize = 56;
}

/// A batch request; `attr_address` is where the tool's own attr lies, to which the number of
/// elements done is written.
struct Batch {
    map: Arc<Map>,
    count: u32,
    keys: u64,
    values: u64,
}

impl Batch {
    fn new(request: &Request<'_>, attr: &Attr) -> Result<Self, Errno> {
        attr.check_end(field::END)?;
        let map = map_of(request, attr.i32(field::MAP_FD))?;
        if attr.u64(field::FLAGS) != 0 {
            return Err(Errno::EINVAL);
        }
        let kind = map.geometry().map_type;
        let known = matches!(
            kind,
            MapType::Hash | MapType::PerCpuHash | MapType::Array | MapType::PerCpuArray
        );
        if !known {
            return Err(Errno::ENOTSUPP);
        }
        Ok(Self {
            map,
            count: attr.u32(field::COUNT),
            keys: attr.u64(field::KEYS),
            values: attr.u64(field::VALUES),
        })
    }

    fn key_address(&self, index: u32) -> u64 {
        self.keys
            .wrapping_add(u64::from(index) * u64::from(self.map.geometry().key_size))
    }

    fn value_address(&self, index: u32) -> u64 {
        let size = self.map.geometry().user_value_size() as u64;
        self.values.wrapping_add(u64::from(index) * size)
    }

    fn is_hash(&self) -> bool {
        matches!(
            self.map.geometry().map_type,
            MapType::Hash | MapType::PerCpuHash
        )
    }

    /// Tells the tool how many elements were done.
    fn report(&self, request: &Request<'_>, done: u32) -> Result<(), Errno> {
        let attr = request.call.args[1];
        request
            .call
            .write(attr.wrapping_add(field::COUNT as u64), &done.to_le_bytes())
    }
}

/// `BPF_MAP_LOOKUP_BATCH`.
pub fn lookup(request: &Request<'_>, attr: &Attr) -> Answer {
    let batch = Batch::new(request, attr)?;
    read(request, attr, &batch, false)
}

/// `BPF_MAP_LOOKUP_AND_DELETE_BATCH`.
pub fn lookup_and_delete(request: &Request<'_>, attr: &Attr) -> Answer {
    let batch = Batch::new(request, attr)?;
    check_writable(&batch.map)?;
    if !batch.is_hash() {
        return Err(Errno::ENOTSUPP);
    }
    read(request, attr, &batch, true)
}

fn read(request: &Request<'_>, attr: &Attr, batch: &Batch, delete: bool) -> Answer {
    check_readable(&batch.map)?;
    if attr.u64(field::ELEM_FLAGS) != 0 {
        return Err(Errno::EINVAL);
    }
    if batch.count == 0 {
        return Ok(Reply::Value(0));
    }
    batch.report(request, 0)?;
    let mut last = match attr.u64(field::IN_BATCH) {
        0 => None,
        address => {
            let mut cursor = [0; 4];
            request.call.read(address, &mut cursor)?;
            // Elements that were read were also deleted, so the rest is read from the start.
            if delete {
                None
            } else if batch.is_hash() {
                batch.map.cursors().recall(u32::from_le_bytes(cursor))
            } else {
                Some(cursor.to_vec())
            }
        }
    };
    let mut done = 0;
    let mut ended = false;
    while done < batch.count {
        let to = batch.value_address(done);
        let element = batch.map.next_element(last.as_deref(), |key| {
            if delete {
                let value = batch.map.lookup_and_delete(key)?;
                return request.call.write(to, &value);
            }
            batch.map.lookup_pieces(key, |offset, piece| {
                request.call.write(to.wrapping_add(offset), piece)
            })
        });
        let (next, ()) = match element {
            Err(Errno::ENOENT) => {
                ended = true;
                break;
            }
            other => other?,
        };
        request.call.write(batch.key_address(done), &next)?;
        done += 1;
        last = if delete { None } else { Some(next) };
    }
    if !ended && batch.map.next_key(last.as_deref()) == Err(Errno::ENOENT) {
        ended = true;
    }
    let cursor = match (&last, batch.is_hash()) {
        (Some(key), false) => key.first_chunk().copied().unwrap_or_default(),
        (Some(key), true) if !ended => batch.map.cursors().remember(key.clone()).to_le_bytes(),
        _ => done.to_le_bytes(),
    };
    request.call.write(attr.u64(field::OUT_BATCH), &cursor)?;
    batch.report(request, done)?;
    if ended {
        Err(Errno::ENOENT)
    } else {
        Ok(Reply::Value(0))
    }
}

/// `BPF_MAP_UPDATE_BATCH`.
pub fn update(request: &Request<'_>, attr: &Attr) -> Answer {
    let batch = Batch::new(request, attr)?;
    check_writable(&batch.map)?;
    let flags = attr.u64(field::ELEM_FLAGS);
    let key_size = batch.map.geometry().key_size as usize;
    each(request, &batch, |index| {
        let key = request.call.read_vec(batch.key_address(index), key_size)?;
        let from = batch.value_address(index);
        batch.map.update_pieces(&key, flags, |offset, piece| {
            request.call.read(from.wrapping_add(offset), piece)
        })
    })
}

/// `BPF_MAP_DELETE_BATCH`.
pub fn delete(request: &Request<'_>, attr: &Attr) -> Answer {
    let batch = Batch::new(request, attr)?;
    check_writable(&batch.map)?;
    if attr.u64(field::ELEM_FLAGS) != 0 {
        return Err(Errno::EINVAL);
    }
    let key_size = batch.map.geometry().key_size as usize;
    each(request, &batch, |index| {
        let key = request.call.read_vec(batch.key_address(index), key_size)?;
        batch.map.delete(&key)
    })
}

/// Does an operation for each index until one fails, and reports how many succeeded.
fn each(
    request: &Request<'_>,
    batch: &Batch,
    operation: impl Fn(u32) -> Result<(), Errno>,
) -> Answer {
    let mut result = Ok(Reply::Value(0));
    let mut done = 0;
    while done < batch.count {
        if let Err(errno) = operation(done) {
            result = Err(errno);
            break;
        }
        done += 1;
    }
    batch.report(request, done)?;
    result
}
