//! What lives on the program's stack but belongs to the kernel: iterators, dynptrs, flags.
//!
//! Each is written with bytes of its own, and known only while these are in place: whoever writes
//! over it, or moves it, has it no more.

use bpftime_isa::kfunc::{DYNPTR_SIZE, Element, IterKind};

use super::memory::Kind;
use super::world::World;

/// Elements that an iterator gives.
const ELEMENTS: u64 = 6;
/// Numbers that `bpf_iter_num` goes through at most (kernel `BPF_MAX_LOOPS`).
const MAX_LOOPS: i64 = 1 << 23;
const ERROR: u64 = 22u64.wrapping_neg();

/// Something on the stack.
#[derive(Clone, Copy, Debug)]
pub(super) enum Part {
    Iterator {
        kind: IterKind,
        next: u64,
        end: u64,
        element: u64,
    },
    Dynptr(Dynptr),
    /// Interrupts were disabled so many times with this one.
    Flag(u32),
}

/// A window on memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dynptr {
    /// First byte of what it is about, 0 if it is about a packet; `None`: nothing.
    pub(super) base: Option<u64>,
    pub(super) offset: u64,
    pub(super) size: u64,
    pub(super) read_only: bool,
    /// Number of the record that is to be given back.
    pub(super) record: Option<u64>,
}

impl World<'_> {
    fn mark(serial: u64, word: u64) -> u64 {
        0x9a27_0000_0000_0000 | serial << 8 | word
    }

    /// Puts a part where the program says.
    pub(super) fn put_part(
        &mut self,
        address: u64,
        size: u32,
        part: Part,
    ) -> Result<(), &'static str> {
        if !address.is_multiple_of(8) {
            return Err("not aligned");
        }
        if !matches!(self.memory.around(address), Some((_, it)) if it.kind == Kind::Stack || it.kind == Kind::Other)
        {
            return Err("not on the stack");
        }
        self.serial += 1;
        let serial = self.serial;
        let Some(bytes) = self.memory.bytes(address, size.into(), true) else {
            return Err("not memory to write");
        };
        for (word, bytes) in (0..).zip(bytes.chunks_exact_mut(8)) {
            bytes.copy_from_slice(&Self::mark(serial, word).to_le_bytes());
        }
        self.parts.insert(address, (serial, size, part));
        Ok(())
    }

    /// The part at the address, if nobody wrote over it.
    pub(super) fn part(&mut self, address: u64) -> Result<Part, &'static str> {
        let Some((serial, size, part)) = self.parts.get(&address).copied() else {
            return Err("nothing was made there");
        };
        let Some(bytes) = self.memory.bytes(address, size.into(), false) else {
            return Err("not memory");
        };
        let whole = (0..)
            .zip(bytes.chunks_exact(8))
            .all(|(word, bytes)| bytes == Self::mark(serial, word).to_le_bytes());
        whole.then_some(part).ok_or("it was overwritten")
    }

    /// Changes the part at the address, which stays what it is.
    pub(super) fn change_part(&mut self, address: u64, part: Part) {
        if let Some((_, _, old)) = self.parts.get_mut(&address) {
            *old = part;
        }
    }

    /// Iterators that were not destroyed.
    pub(super) fn iterators(&self) -> usize {
        let parts = self.parts.values();
        parts
            .filter(|(_, _, part)| matches!(part, Part::Iterator { .. }))
            .count()
    }

    /// Makes an iterator; what its function returns.
    pub(super) fn new_iterator(
        &mut self,
        kind: IterKind,
        values: [u64; 5],
    ) -> Result<u64, &'static str> {
        let (mut next, mut end) = (0, self.tape.below(ELEMENTS));
        let mut result = 0;
        if kind == IterKind::Num {
            let (from, to) = (values[1] as i32, values[2] as i32);
            let count = i64::from(to) - i64::from(from);
            (next, end) = (from as i64 as u64, to as i64 as u64);
            if !(0..=MAX_LOOPS).contains(&count) {
                (next, end, result) = (0, 0, ERROR);
            }
        } else if self.tape.below(8) == 0 {
            (end, result) = (0, ERROR);
        }
        let part = Part::Iterator {
            kind,
            next,
            end,
            element: 0,
        };
        self.put_part(values[0], kind.size(), part)?;
        Ok(result)
    }

    /// The next element, or null.
    pub(super) fn next_element(
        &mut self,
        address: u64,
        wanted: IterKind,
    ) -> Result<u64, &'static str> {
        let (next, end, element) = match self.part(address)? {
            Part::Iterator {
                kind,
                next,
                end,
                element,
            } if kind == wanted => (next, end, element),
            _ => return Err("not such an iterator"),
        };
        // What RCU keeps stays, and numbers are in the iterator itself.
        if matches!(wanted.element(), Element::Struct(_)) {
            self.memory.remove(element);
        }
        let (mut given, mut following, mut element) = (0, next, element);
        if next != end {
            following = next.wrapping_add(1);
            given = match wanted.element() {
                Element::Bytes(size) => {
                    let number = if wanted == IterKind::Num {
                        next
                    } else {
                        self.tape.below(512)
                    };
                    let bytes = number.to_le_bytes()[..size as usize].to_vec();
                    match self.memory.at_mut(element) {
                        Some(region) => {
                            region.bytes = bytes;
                            element
                        }
                        None => self.memory.add(Kind::Other, false, bytes),
                    }
                }
                Element::Struct(name) | Element::Rcu(name) => {
                    let type_id = self.types.and_then(|types| types.structure(name));
                    let address = self.structure(type_id.unwrap_or(0), 0);
                    let kept = matches!(wanted.element(), Element::Rcu(_));
                    if let Some(region) = self.memory.at_mut(address).filter(|_| kept) {
                        region.rcu = true;
                    }
                    address
                }
            };
            element = given;
        }
        let part = Part::Iterator {
            kind: wanted,
            next: following,
            end,
            element,
        };
        self.change_part(address, part);
        Ok(given)
    }

    /// Ends an iterator.
    pub(super) fn destroy_iterator(
        &mut self,
        address: u64,
        wanted: IterKind,
    ) -> Result<(), &'static str> {
        match self.part(address)? {
            Part::Iterator { kind, element, .. } if kind == wanted => {
                self.memory.remove(element);
                self.parts.remove(&address);
                Ok(())
            }
            _ => Err("not such an iterator"),
        }
    }

    /// The dynptr at the address.
    pub(super) fn dynptr(&mut self, address: u64) -> Result<Dynptr, &'static str> {
        match self.part(address)? {
            Part::Dynptr(dynptr) => Ok(dynptr),
            _ => Err("not a dynptr"),
        }
    }

    /// Makes a dynptr, unless it goes wrong: then one about nothing. What its function returns.
    pub(super) fn new_dynptr(&mut self, address: u64, dynptr: Dynptr) -> Result<u64, &'static str> {
        let fails = dynptr.base.is_none() || self.tape.below(8) == 0;
        let made = Dynptr {
            base: dynptr.base.filter(|_| !fails),
            size: if fails { 0 } else { dynptr.size },
            ..dynptr
        };
        if let (true, Some(base), Some(_)) = (fails, dynptr.base, dynptr.record) {
            self.memory.remove(base);
        }
        self.put_part(address, DYNPTR_SIZE, Part::Dynptr(made))?;
        Ok(if fails { ERROR } else { 0 })
    }

    /// Gives back the record that a dynptr is about; all that are about it are gone.
    pub(super) fn release_dynptr(&mut self, address: u64) -> Result<(), &'static str> {
        let dynptr = self.dynptr(address)?;
        let Some(record) = dynptr.record.filter(|it| self.records.remove(it)) else {
            return Err("no record that is to be given back");
        };
        if let Some(base) = dynptr.base {
            self.memory.remove(base);
        }
        self.parts.retain(|_, (_, _, part)| {
            !matches!(part, Part::Dynptr(Dynptr { record: Some(it), .. }) if *it == record)
        });
        Ok(())
    }

    /// Bytes that a dynptr is about, if it has so many there.
    pub(super) fn dynptr_bytes(
        &mut self,
        dynptr: &Dynptr,
        offset: u64,
        len: u64,
    ) -> Option<Vec<u8>> {
        let end = (offset & 0xffff_ffff).checked_add(len)?;
        if end > dynptr.size {
            return None;
        }
        let at = dynptr.offset + (offset & 0xffff_ffff);
        match dynptr.base? {
            0 => {
                let packet = self.packet_bytes();
                let bytes = packet.get(at as usize..(at + len) as usize);
                match bytes.map(<[u8]>::to_vec) {
                    Some(bytes) => Some(bytes),
                    // There are skbs whose packet this world does not have.
                    None if packet.is_empty() => Some(self.random_bytes(len as usize)),
                    None => None,
                }
            }
            base => {
                let bytes = self.memory.bytes(base + at, len, false)?;
                Some(bytes.to_vec())
            }
        }
    }

    /// Memory of a dynptr that the program may use, or null; `buffer`: what may be used instead, if
    /// not 0.
    pub(super) fn slice(
        &mut self,
        dynptr: &Dynptr,
        offset: u64,
        (buffer, len): (u64, u64),
        writable: bool,
    ) -> u64 {
        if writable && dynptr.read_only {
            return 0;
        }
        let Some(bytes) = self.dynptr_bytes(dynptr, offset, len) else {
            return 0;
        };
        let of = match dynptr.base {
            // Bytes of the packet that are in one piece, or are not.
            Some(0) if self.packet_at() == 0 || self.tape.below(3) == 0 => {
                match self.memory.bytes(buffer, len, true) {
                    Some(place) if buffer != 0 => place.copy_from_slice(&bytes),
                    _ => return 0,
                }
                return buffer;
            }
            Some(0) => self.packet_at(),
            Some(base) => base,
            None => return 0,
        };
        self.memory.add(Kind::Slice { of }, writable, bytes)
    }
}
