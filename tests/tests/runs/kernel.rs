//! Structures of the kernel's, and what is read from them.
//!
//! What is read is never the same twice: others write it. Where the kernel's types say that a member
//! points to a structure, it points to one that is there, to nothing, or, if nobody vouches for it, to
//! anywhere.

use bpftime_isa::context::{Object, Trust};
use bpftime_isa::{KernelSymbol, ProgType, Size, Walked};

use super::memory::Kind;
use super::world::World;

/// Objects of the kernel's whose size no table tells.
const OBJECT_BYTES: u64 = 1 << 16;
/// Bytes at the start of an object that are not 0.
const KNOWN: u64 = 4096;
/// Addresses of which a run follows different ones.
const WALKED: usize = 64;
/// Where arenas are; a part of the address space in which nothing else is.
const ARENA: u64 = 0x6a6a_0000_0000_0000;
/// Bits of an address that may have changed in an arena, by arithmetic.
const ARENA_BITS: u32 = 48;
/// What programs see of an arena before they cast: its place in user space.
const ARENA_USER: u64 = 0x0100_0000_0000;

impl World<'_> {
    /// An object of the kernel's, valid as long as `of` is.
    pub(super) fn object(&mut self, object: &Object, of: u64) -> u64 {
        match object {
            Object::Kernel(name) => {
                let type_id = self.types.and_then(|types| types.structure(name));
                self.structure(type_id.unwrap_or(0), of)
            }
            Object::Typed { type_id, trust } => {
                // An argument may be null without a word about it.
                if *trust == Trust::Argument && self.tape.below(8) == 0 {
                    return 0;
                }
                self.structure(*type_id, of)
            }
            _ => {
                let layout = object.layout();
                let len = layout.map_or(OBJECT_BYTES, |layout| layout.size.into());
                let writable = *object == Object::TraceBuffer
                    || layout.is_some_and(|it| it.fields.iter().any(|field| field.write.is_some()));
                let bytes = self.value_bytes(len.min(KNOWN) as usize);
                self.memory
                    .add_region(Kind::Object { of }, writable, len, bytes)
            }
        }
    }

    /// A structure of the kernel's with the number, 0 if it is not known.
    pub(super) fn structure(&mut self, type_id: u32, of: u64) -> u64 {
        self.has_structures = true;
        // Which members may be written is not modelled.
        let connection = self.types.is_some_and(|types| {
            ["nf_conn", "nf_conn___init"]
                .iter()
                .any(|name| types.structure(name) == Some(type_id))
        });
        let writable = connection || self.program.prog_type == ProgType::StructOps;
        let kind = Kind::Object { of };
        let address = self
            .memory
            .add_region(kind, writable, OBJECT_BYTES, Vec::new());
        if let Some(region) = self.memory.at_mut(address) {
            region.typed = Some(type_id);
        }
        address
    }

    /// A structure of the kernel's by name, that has to be given back.
    pub(super) fn acquired_structure(&mut self, name: &'static str) -> u64 {
        let address = self.object(&Object::Kernel(name), 0);
        if let Some(region) = self.memory.at_mut(address) {
            region.kind = Kind::Acquired;
            region.owners = 1;
        }
        address
    }

    /// What a read gives in a structure that begins at `base`.
    pub(super) fn walk(&mut self, base: u64, type_id: u32, offset: u64, size: Size) -> u64 {
        let read = self
            .types
            .filter(|_| size == Size::DW)
            .zip(u32::try_from(offset).ok())
            .and_then(|(types, offset)| types.read(type_id, offset, 8));
        match read {
            Some(Walked::Object(to)) => match self.tape.below(8) {
                0 | 1 => 0,
                // Anywhere but where something is.
                2 => self.tape.below(1 << 32) | 0x4141_0000_0000_0000,
                _ => self.walked(to, 0, false),
            },
            Some(Walked::Kept { nullable: true, .. }) if !self.tape.often() => 0,
            Some(Walked::Kept { type_id, rcu, .. }) => self.walked(type_id, base, rcu),
            _ => {
                let bits = 8 * size.bytes();
                self.number() & (u64::MAX >> (64 - bits))
            }
        }
    }

    fn walked(&mut self, type_id: u32, of: u64, rcu: bool) -> u64 {
        let known = &self.walked_to;
        if known.len() >= WALKED {
            let mut same = known.iter().copied().filter(|address| {
                let region = self.memory.at(*address);
                let fits = Kind::Object { of };
                region
                    .is_some_and(|it| it.typed == Some(type_id) && it.rcu == rcu && it.kind == fits)
            });
            if let Some(address) = same.next() {
                return address;
            }
        }
        let address = self.structure(type_id, of);
        if let Some(region) = self.memory.at_mut(address) {
            region.rcu = rcu;
        }
        self.walked_to.push(address);
        address
    }

    /// Whether the value is such a structure that is there; if not, what is wrong.
    pub(super) fn structure_at(&mut self, value: u64, name: &str) -> Result<(), &'static str> {
        let Some((base, region)) = self.memory.around(value) else {
            return Err("nothing");
        };
        if !matches!(region.kind, Kind::Acquired | Kind::Object { .. }) {
            return Err("not a structure");
        }
        let offset = u32::try_from(value - base).unwrap_or(u32::MAX);
        match (self.types, region.typed) {
            (Some(types), Some(type_id)) if type_id != 0 => {
                let fits = types.contains(type_id, offset, name);
                fits.then_some(()).ok_or("another structure")
            }
            _ => Ok(()),
        }
    }

    /// The address of a function or variable of the kernel's.
    pub(super) fn symbol(&mut self, id: u32) -> Option<u64> {
        let known = self.symbols.get(&id).copied();
        if known.is_some() {
            return known;
        }
        let kind = Kind::Object { of: 0 };
        let address = match self.types?.symbol(id)? {
            KernelSymbol::Function => self.memory.add(Kind::Other, false, Vec::new()),
            KernelSymbol::Memory(size) => {
                self.memory.add_region(kind, false, size.into(), Vec::new())
            }
            KernelSymbol::Structure(type_id) => self.structure(type_id, 0),
            // No memory: each CPU has its own.
            KernelSymbol::PerCpuMemory(size) => {
                let one = self.memory.add_region(kind, false, size.into(), Vec::new());
                self.per_cpu(one)
            }
            KernelSymbol::PerCpuStructure(type_id) => {
                let one = self.structure(type_id, 0);
                self.per_cpu(one)
            }
        };
        self.symbols.insert(id, address);
        Some(address)
    }

    /// The address of what each CPU has its own of; this CPU's is at `one`.
    pub(super) fn per_cpu(&mut self, one: u64) -> u64 {
        let address = self.memory.add(Kind::Other, false, Vec::new());
        self.of_cpus.insert(address, one);
        address
    }

    /// Whether the address is in an arena, as programs see it.
    pub(super) fn in_arena(address: u64) -> bool {
        address >> ARENA_BITS == ARENA >> ARENA_BITS
    }

    /// The address as programs see it, or as user space does.
    pub(super) fn cast_arena(address: u64, to: u16) -> u64 {
        let low = address & 0xffff_ffff;
        match to {
            0 => ARENA + (1 << 47) + low,
            _ if low == 0 => 0,
            _ => ARENA_USER + low,
        }
    }

    /// Where the variables of an arena are, for user space.
    pub(super) fn arena_variable(offset: u32) -> u64 {
        ARENA_USER + u64::from(offset)
    }
}
