//! Made-up memory: regions far apart, at addresses that are never used again.
//!
//! An access outside all regions is refused, so a pointer that was valid once, or that is some
//! bytes off, is found out.

use std::collections::BTreeMap;
use std::sync::Arc;

use bpftime_isa::{MapField, Size};

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
    /// Memory that a dynptr is about; `of`: the region that it is valid with.
    Slice {
        of: u64,
    },
    /// An object of a structure of the program's.
    Local {
        type_id: u32,
    },
    /// A key that a callback is given, and the like.
    Other,
}

#[derive(Clone, Debug)]
pub(crate) struct Region {
    pub(crate) kind: Kind,
    pub(crate) writable: bool,
    pub(crate) len: u64,
    /// What is in it, empty as long as nobody asked.
    pub(crate) bytes: Vec<u8>,
    /// Parts that programs do not access as they access other memory.
    pub(crate) fields: Arc<[MapField]>,
    /// Number of the structure of the kernel's that it is.
    pub(crate) typed: Option<u32>,
    /// Map whose value it is.
    pub(crate) map: Option<usize>,
    /// References to it that the program has to give back.
    pub(crate) owners: u32,
    /// List or tree that it is in.
    pub(crate) member_of: Option<u64>,
    /// It is there until the RCU section ends.
    pub(crate) rcu: bool,
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
    /// What was there once and is not to be used again: where it began, and its length.
    gone: BTreeMap<u64, u64>,
    low: u64,
    high: u64,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            regions: BTreeMap::new(),
            gone: BTreeMap::new(),
            low: LOW,
            high: HIGH,
        }
    }

    /// Adds a region anywhere; its address.
    pub(crate) fn add(&mut self, kind: Kind, writable: bool, bytes: Vec<u8>) -> u64 {
        let len = bytes.len() as u64;
        self.add_region(kind, writable, len, bytes)
    }

    /// Adds a region of which the first bytes are given; the others are 0.
    pub(crate) fn add_region(
        &mut self,
        kind: Kind,
        writable: bool,
        len: u64,
        bytes: Vec<u8>,
    ) -> u64 {
        let next = if kind == Kind::Packet {
            &mut self.low
        } else {
            &mut self.high
        };
        let base = *next;
        *next = (base + len + GAP).next_multiple_of(4096);
        let region = Region {
            kind,
            writable,
            len,
            bytes,
            fields: [].into(),
            typed: None,
            map: None,
            owners: u32::from(kind == Kind::Acquired),
            member_of: None,
            rcu: false,
        };
        self.regions.insert(base, region);
        base
    }

    /// Whether packets can still be moved.
    pub(crate) fn has_room(&self) -> bool {
        self.low < 0xf000_0000
    }

    /// Takes so many bytes from the start of a region; where it begins then.
    pub(crate) fn shorten(&mut self, base: u64, by: u64) -> u64 {
        let Some(mut region) = self.regions.remove(&base) else {
            return base;
        };
        let by = by.min(region.len);
        region.len -= by;
        region.bytes.drain(..region.bytes.len().min(by as usize));
        self.regions.insert(base + by, region);
        base + by
    }

    /// Takes a region away, and what is valid with it.
    pub(crate) fn remove(&mut self, base: u64) {
        let Some(region) = self.regions.remove(&base) else {
            return;
        };
        self.bury(base, &region);
        if region.kind != Kind::Stack {
            self.remove_all(|region| match region.kind {
                Kind::Object { of } | Kind::Slice { of } => of == base,
                _ => false,
            });
        }
    }

    /// Takes away all regions of which that is true.
    pub(crate) fn remove_all(&mut self, gone: impl Fn(&Region) -> bool) {
        let ends = self.regions.extract_if(.., |_, region| gone(region));
        let ends: Vec<(u64, Region)> = ends.collect();
        for (base, region) in ends {
            self.bury(base, &region);
        }
    }

    /// Programs may read on in structures of the kernel's that are gone, for reads that fault give 0.
    fn bury(&mut self, base: u64, region: &Region) {
        if region.typed.is_none() || !matches!(region.kind, Kind::Object { .. }) {
            self.gone.insert(base, region.len);
        }
    }

    /// Whether something was there that is not to be used again.
    pub(crate) fn is_gone(&self, address: u64) -> bool {
        let before = self.gone.range(..=address).next_back();
        before.is_some_and(|(base, len)| address - base < *len)
    }

    /// The region that begins at the address.
    pub(crate) fn at(&self, base: u64) -> Option<&Region> {
        self.regions.get(&base)
    }

    pub(crate) fn at_mut(&mut self, base: u64) -> Option<&mut Region> {
        self.regions.get_mut(&base)
    }

    /// The region that has the byte, and where it begins.
    pub(crate) fn around(&self, address: u64) -> Option<(u64, &Region)> {
        let (base, region) = self.regions.range(..=address).next_back()?;
        (address - base < region.len.max(1)).then_some((*base, region))
    }

    /// References that have to be given back.
    pub(crate) fn owned(&self) -> u32 {
        self.regions.values().map(|region| region.owners).sum()
    }

    /// The bytes of an access, if all lie in one region that allows it.
    pub(crate) fn bytes(&mut self, address: u64, len: u64, write: bool) -> Option<&mut [u8]> {
        let (base, region) = self.regions.range_mut(..=address).next_back()?;
        let start = address - base;
        let end = start.checked_add(len)?;
        if end > region.len || (write && !region.writable) {
            return None;
        }
        if (region.bytes.len() as u64) < end {
            region.bytes.resize(end as usize, 0);
        }
        region.bytes.get_mut(start as usize..end as usize)
    }

    /// Tells of each region that RCU keeps and nothing else.
    pub(crate) fn note_rcu(&self, mut note: impl FnMut(u64)) {
        for (base, region) in &self.regions {
            if region.rcu && region.owners == 0 {
                note(*base);
            }
        }
    }

    /// Whether the address is in a region or near one, other than structures of the kernel's, of which
    /// programs may read what is beside.
    pub(crate) fn is_near(&self, address: u64) -> bool {
        let before = self.regions.range(..=address).next_back();
        let after = self.regions.range(address..).next();
        let known = |region: &Region| region.typed.is_none();
        before.is_some_and(|(base, region)| known(region) && address - base < region.len + GAP)
            || after.is_some_and(|(base, region)| known(region) && base - address < GAP)
    }

    /// What is there, for a message.
    pub(crate) fn describe(&self, address: u64) -> String {
        match self.regions.range(..=address).next_back() {
            Some((base, region)) => format!(
                "{:?} + {} of {} bytes",
                region.kind,
                address - base,
                region.len
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
