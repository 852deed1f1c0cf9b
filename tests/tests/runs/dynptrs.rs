//! Helpers on dynptrs.

use bpftime_vm::interp::machine::Called;

use super::helpers::Call;
use super::memory::Kind;
use super::parts::Dynptr;
use super::world::World;

pub(super) const FROM_MEM: u32 = 197;
pub(super) const RESERVE_DYNPTR: u32 = 198;
pub(super) const SUBMIT_DYNPTR: u32 = 199;
pub(super) const DISCARD_DYNPTR: u32 = 200;
pub(super) const DYNPTR_READ: u32 = 201;
pub(super) const DYNPTR_WRITE: u32 = 202;
pub(super) const DYNPTR_DATA: u32 = 203;

impl World<'_> {
    pub(super) fn dynptr_helper(
        &mut self,
        number: u32,
        values: [u64; 5],
        call: &Call,
    ) -> Result<Called, &'static str> {
        const ERROR: u64 = 22u64.wrapping_neg();
        let value = |value| Ok(Called::Result(Some(value)));
        match number {
            FROM_MEM => {
                let dynptr = Dynptr {
                    base: Some(values[0]),
                    offset: 0,
                    size: call.size,
                    read_only: false,
                    record: None,
                };
                value(self.new_dynptr(values[3], dynptr)?)
            }
            RESERVE_DYNPTR => {
                let size = values[1] & 0xffff_ffff;
                let bytes = self.random_bytes(size.min(1 << 16) as usize);
                let base = self.memory.add(Kind::Other, true, bytes);
                self.serial += 1;
                let record = self.serial;
                self.records.insert(record);
                let dynptr = Dynptr {
                    base: (size <= 1 << 16).then_some(base),
                    offset: 0,
                    size,
                    read_only: false,
                    record: Some(record),
                };
                value(self.new_dynptr(values[3], dynptr)?)
            }
            SUBMIT_DYNPTR | DISCARD_DYNPTR => {
                self.release_dynptr(values[0])?;
                Ok(Called::Result(None))
            }
            DYNPTR_READ => {
                let dynptr = self.dynptr(values[2])?;
                let Some(bytes) = self.dynptr_bytes(&dynptr, values[3], values[1]) else {
                    return value(ERROR);
                };
                if let Some(place) = self.memory.bytes(values[0], values[1], true) {
                    place.copy_from_slice(&bytes);
                }
                value(0)
            }
            DYNPTR_WRITE => {
                let dynptr = self.dynptr(values[0])?;
                let bytes = self.dynptr_bytes(&dynptr, values[1], values[3]);
                if bytes.is_none() || dynptr.read_only {
                    return value(ERROR);
                }
                match dynptr.base {
                    // The packet may have to be put into one piece for it.
                    Some(0) => self.move_packet(),
                    Some(base) => {
                        let at = base + dynptr.offset + (values[1] & 0xffff_ffff);
                        let from = self.memory.bytes(values[2], values[3], false);
                        let from = from.map(|bytes| bytes.to_vec());
                        let to = self.memory.bytes(at, values[3], true);
                        if let (Some(from), Some(to)) = (from, to) {
                            to.copy_from_slice(&from);
                        }
                    }
                    None => {}
                }
                value(0)
            }
            _ => {
                let dynptr = self.dynptr(values[0])?;
                if dynptr.base == Some(0) {
                    return value(0);
                }
                value(self.slice(&dynptr, values[1], (0, values[2]), true))
            }
        }
    }
}
