//! Made-up memory: regions far apart, at addresses that are never used again.
//!
//! An access outside all regions is refused, so a pointer that was valid once, or that is some
//! bytes off, is found out.

use std::collections::BTreeMap;

use bpftime_isa::Size;

/// What a region is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Stack,
    Context,
    Packet,
    MapValue,
    /// A ring buffer record, an acquired object: it has to be given back.
    Acquired,
    /// An object of the kernel's; `of`: the object that it is valid with.
    Object {
        of: u64,
    },
    /// A key that a callback is given, and the like.
    Other,
}

#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) kind: Kind,
    pub(crate) writable: bool,
    pub(crate) bytes: Vec<u8>,
}

/// Bytes between regions. Offsets that are wrong by less do not reach another region.
const GAP: u64 = 1 << 20;
/// Packets are below 4 GiB, as their addresses have to fit 32 bits in a context.
const LOW: u64 = 1 << 24;
const HIGH: u64 = 0x7f00_0000_0000;
/// Map handles and functions: addresses without memory.
const HANDLES: u64 = 0x5500_0000_0000;

#[derive(Clone, Debug)]
pub(crate) struct Memory {
    regions: BTreeMap<u64, Region>,
    low: u64,
    high: u64,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            regions: BTreeMap::new(),
            low: LOW,
            high: HIGH,
        }
    }

    /// Adds a region anywhere; its address.
    pub(crate) fn add(&mut self, kind: Kind, writable: bool, bytes: Vec<u8>) -> u64 {
        let next = if kind == Kind::Packet {
            &mut self.low
        } else {
            &mut self.high
        };
        let base = *next;
        *next = (base + bytes.len() as u64 + GAP).next_multiple_of(4096);
        let region = Region {
            kind,
            writable,
            bytes,
        };
        self.regions.insert(base, region);
        base
    }

    /// Whether packets can still be moved.
    pub(crate) fn has_room(&self) -> bool {
        self.low < 0xf000_0000
    }

    /// Takes a region away, and the objects that are valid with it.
    pub(crate) fn remove(&mut self, base: u64) {
        self.regions.remove(&base);
        self.regions
            .retain(|_, region| region.kind != Kind::Object { of: base });
    }

    /// The region that begins at the address.
    pub(crate) fn at(&self, base: u64) -> Option<&Region> {
        self.regions.get(&base)
    }

    pub(crate) fn at_mut(&mut self, base: u64) -> Option<&mut Region> {
        self.regions.get_mut(&base)
    }

    /// How many regions are of the kind.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        let same = |region: &&Region| region.kind == kind;
        self.regions.values().filter(same).count()
    }

    /// The bytes of an access, if all lie in one region that allows it.
    pub(crate) fn bytes(&mut self, address: u64, len: u64, write: bool) -> Option<&mut [u8]> {
        let (base, region) = self.regions.range_mut(..=address).next_back()?;
        let start = address - base;
        let end = start.checked_add(len)?;
        if end > region.bytes.len() as u64 || (write && !region.writable) {
            return None;
        }
        region.bytes.get_mut(start as usize..end as usize)
    }

    /// Whether the address is in a region or near one.
    pub(crate) fn is_near(&self, address: u64) -> bool {
        let before = self.regions.range(..=address).next_back();
        let after = self.regions.range(address..).next();
        before.is_some_and(|(base, region)| address - base < region.bytes.len() as u64 + GAP)
            || after.is_some_and(|(base, _)| base - address < GAP)
    }

    /// What is there, for a message.
    pub(crate) fn describe(&self, address: u64) -> String {
        match self.regions.range(..=address).next_back() {
            Some((base, region)) => format!(
                "{:?} + {} of {} bytes",
                region.kind,
                address - base,
                region.bytes.len()
            ),
            None => "nothing".to_owned(),
        }
    }

    pub(crate) fn load(&mut self, address: u64, size: Size) -> Option<u64> {
        let mut wide = [0; 8];
        let bytes = self.bytes(address, size.bytes().into(), false)?;
        wide[..bytes.len()].copy_from_slice(bytes);
        Some(u64::from_le_bytes(wide))
    }

    pub(crate) fn store(&mut self, address: u64, size: Size, value: u64) -> Option<()> {
        let bytes = self.bytes(address, size.bytes().into(), true)?;
        bytes.copy_from_slice(&value.to_le_bytes()[..bytes.len()]);
        Some(())
    }
}

/// The address that stands for a map, or a function.
pub(crate) fn handle(number: u64) -> u64 {
    HANDLES + number * 4096
}

/// What [`handle`] was made of.
pub(crate) fn number_of(handle: u64) -> Option<u64> {
    let offset = handle.checked_sub(HANDLES)?;
    (offset % 4096 == 0 && offset < 1 << 40).then_some(offset / 4096)
}
