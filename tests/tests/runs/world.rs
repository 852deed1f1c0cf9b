//! What a program runs in: made-up memory, maps and packets.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use bpftime_isa::{
    CtxFieldKind, CtxLayout, KernelTypes, MapDef, MapType, ProgType, Program, context,
};
use bpftime_verifier::FunctionFacts;
use bpftime_vm::TrapReason;
use bpftime_vm::interp::Access;

use super::memory::{Kind, Memory, handle, number_of};
use super::parts::Part;
use super::tape::Tape;

/// Functions are handles from here, maps before.
pub(super) const FUNCTIONS: u64 = 1 << 24;
pub(super) const STACK_BYTES: usize = 512;
/// Comparisons of a run that are remembered.
pub(super) const COMPARED: usize = 256;
/// Bytes of a map's value that are not 0 at first; some have millions.
const FILLED: usize = 1 << 16;
/// Bytes of values that are chosen word by word, so that each can be changed alone.
const CHOSEN: usize = 128;

/// A map of the program's, or one that a map of maps holds.
pub(super) struct Map {
    pub(super) definition: MapDef,
    /// Values that programs were given, by what they were asked for.
    pub(super) values: HashMap<u64, u64>,
    /// Maps that it holds.
    held: HashMap<u64, u64>,
    /// The bytes that were stored last.
    pub(super) stored: Option<Vec<u8>>,
}

/// A helper that calls back, and how far it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Repeating {
    /// `bpf_loop`.
    Loop {
        entry: u32,
        context: u64,
        at: u64,
        count: u64,
    },
    /// `bpf_for_each_map_elem`.
    Each {
        entry: u32,
        context: u64,
        map: usize,
        at: u64,
        count: u64,
    },
    /// `bpf_user_ringbuf_drain`.
    Drain {
        entry: u32,
        context: u64,
        at: u64,
        count: u64,
        /// The dynptr that was given last, and what it is about.
        given: (u64, u64),
    },
    /// `bpf_rbtree_add`: compares the node with those of the tree.
    Less {
        entry: u32,
        node: u64,
        root: u64,
        left: u64,
        result: u64,
    },
    /// One call, and then the helper gives that. Later: not before the program is done, in truth.
    Once { result: u64, later: bool },
}

/// The world of one run.
pub(crate) struct World<'a> {
    pub(super) program: &'a Program,
    layout: Cow<'static, CtxLayout>,
    /// Numbers that the program has in its instructions.
    pub(super) words: &'a [u64],
    pub(super) memory: Memory,
    pub(super) tape: Tape,
    pub(super) maps: Vec<Map>,
    pub(super) context: u64,
    /// First byte of the packet's metadata.
    pub(super) packet: u64,
    /// Bytes of the metadata.
    metadata: usize,
    pub(super) frames: Vec<u64>,
    /// Bytes of stack of functions by first slot, where that is proved.
    pub(super) stacks: BTreeMap<u32, u32>,
    /// A function was entered of which it is not known yet which one it is.
    pub(super) entered: bool,
    pub(super) repeating: Vec<Repeating>,
    /// Slots that were executed.
    pub(super) executed: &'a mut [bool],
    /// Ways that branches went, by slot: 1 on, 2 away.
    pub(super) ways: &'a mut [u8],
    pub(super) at: u32,
    /// Branches that went one way only so far, with what they compared.
    pub(crate) compared: Vec<(u32, u64, u64)>,
    pub(crate) steps: u64,
    /// What the program did that it may not.
    pub(crate) violation: Option<String>,
    /// What this world cannot do.
    pub(crate) missing: Option<String>,
    /// The program was given a pointer to a structure of the kernel's.
    pub(super) has_structures: bool,
    /// The locks that are held, by address.
    pub(super) locks: Vec<u64>,
    /// Sections that the program is in.
    pub(super) rcu: u32,
    pub(super) preempt: u32,
    pub(super) irq: u32,
    /// The kernel's types.
    pub(super) types: Option<&'a dyn KernelTypes>,
    /// What was made on stacks, by address: what marks it, its size, and it.
    pub(super) parts: BTreeMap<u64, (u64, u32, Part)>,
    pub(super) serial: u64,
    /// Ring buffer records behind dynptrs that are to be given back.
    pub(super) records: BTreeSet<u64>,
    /// Objects that kernel pointers own, by the address of the pointer.
    pub(super) kptrs: HashMap<u64, u64>,
    /// Objects in lists and trees, by the address of the list or tree.
    pub(super) collections: HashMap<u64, Vec<u64>>,
    /// Objects that may be gone, and still be read.
    pub(super) stale: BTreeSet<u64>,
    /// Structures that were read from others.
    pub(super) walked_to: Vec<u64>,
    /// The kernel's functions and variables by number.
    pub(super) symbols: HashMap<u32, u64>,
    /// What objects were cast from.
    pub(super) casts: HashMap<u64, u64>,
    /// This CPU's own of what each has its own of.
    pub(super) of_cpus: HashMap<u64, u64>,
    /// Locks and sections of the program, while something runs that is called later.
    pub(super) suspended: Vec<(Vec<u64>, [u32; 3])>,
    /// Functions were called that run when the program is done.
    pub(crate) ran_later: bool,
}

impl<'a> World<'a> {
    /// A world for a program, with a packet if its context has one. `None`: its context is not
    /// known.
    pub(crate) fn new(
        program: &'a Program,
        types: Option<&'a dyn KernelTypes>,
        words: &'a [u64],
        packet: &[u8],
        tape: Tape,
        executed: &'a mut [bool],
        ways: &'a mut [u8],
    ) -> Option<Self> {
        let layout = context::of(program)?;
        let maps = program.maps.iter().map(Map::new).collect();
        let mut world = Self {
            program,
            layout,
            words,
            memory: Memory::new(),
            tape,
            maps,
            context: 0,
            packet: 0,
            metadata: 0,
            frames: Vec::new(),
            stacks: BTreeMap::new(),
            entered: false,
            repeating: Vec::new(),
            executed,
            ways,
            at: 0,
            compared: Vec::new(),
            steps: 0,
            violation: None,
            missing: None,
            has_structures: false,
            locks: Vec::new(),
            rcu: 0,
            preempt: 0,
            irq: 0,
            types,
            parts: BTreeMap::new(),
            serial: 0,
            records: BTreeSet::new(),
            kptrs: HashMap::new(),
            collections: HashMap::new(),
            stale: BTreeSet::new(),
            walked_to: Vec::new(),
            symbols: HashMap::new(),
            casts: HashMap::new(),
            of_cpus: HashMap::new(),
            suspended: Vec::new(),
            ran_later: false,
        };
        world.make_context(packet);
        Some(world)
    }

    /// Lets functions have no more stack than the analysis says that they use.
    pub(crate) fn limit_stacks(&mut self, functions: &[FunctionFacts]) {
        let functions = functions.iter();
        self.stacks = functions.map(|it| (it.entry, it.stack)).collect();
    }

    /// `r1` and `r2` at the program's entry.
    pub(crate) fn registers(&self) -> (u64, u64) {
        let len = self
            .memory
            .at(self.context)
            .map_or(0, |region| region.bytes.len());
        let second = if self.layout.plain_memory {
            len as u64
        } else {
            0
        };
        (self.context, second)
    }

    fn make_context(&mut self, packet: &[u8]) {
        if self.layout.plain_memory {
            self.context = self.memory.add(Kind::Context, true, packet.to_vec());
            return;
        }
        let mut bytes = vec![0; self.layout.size as usize];
        let seed = self.seed();
        seed.clone().fill(&mut bytes, self.words);
        let writable = self.layout.fields.iter().any(|field| field.write.is_some());
        let fields: Vec<_> = self.layout.fields.to_vec();
        let mut has_packet = false;
        for field in fields {
            let number = match &field.kind {
                CtxFieldKind::Object(pointer) => {
                    if pointer.nullable && !self.tape.often() {
                        0
                    } else {
                        self.object(&pointer.object, 0)
                    }
                }
                CtxFieldKind::PacketStart => {
                    has_packet = true;
                    continue;
                }
                CtxFieldKind::Scalar if field.size as usize <= CHOSEN && field.size > 8 => {
                    let chosen = self.value_bytes(field.size as usize);
                    let at = field.offset as usize;
                    bytes[at..at + chosen.len()].copy_from_slice(&chosen);
                    continue;
                }
                CtxFieldKind::Scalar if field.size <= 8 => {
                    let words = self.words;
                    self.tape.choose(|random| random.number(words))
                }
                _ => continue,
            };
            put(&mut bytes, field.offset, field.size, number);
        }
        self.context = self.memory.add(Kind::Context, writable, bytes);
        if has_packet {
            self.place_packet(packet.to_vec());
        }
    }

    /// Puts the packet somewhere, and its addresses into the context.
    fn place_packet(&mut self, bytes: Vec<u8>) {
        let has_metadata =
            |field: &bpftime_isa::context::CtxField| field.kind == CtxFieldKind::PacketMeta;
        self.metadata = 0;
        if self.layout.fields.iter().any(has_metadata) {
            self.metadata = self.tape.below(9) as usize * 4;
        }
        let len = bytes.len();
        let mut all = vec![0xa5; self.metadata];
        all.extend(bytes);
        self.packet = self.memory.add(Kind::Packet, true, all);
        let start = self.packet + self.metadata as u64;
        let layout = self.layout.clone();
        let keep_len = self.tape.often();
        let Some(context) = self.memory.at_mut(self.context) else {
            return;
        };
        for field in layout.fields.iter() {
            let number = match field.kind {
                CtxFieldKind::PacketMeta => self.packet,
                CtxFieldKind::PacketStart => start,
                CtxFieldKind::PacketEnd => start + len as u64,
                CtxFieldKind::Scalar if field.name == "len" && keep_len => len as u64,
                CtxFieldKind::Scalar if field.name == "data_len" && keep_len => 0,
                _ => continue,
            };
            put(&mut context.bytes, field.offset, field.size, number);
        }
    }

    /// The packet is somewhere else now, and may be longer or shorter at both ends.
    pub(super) fn move_packet(&mut self) {
        if self.packet == 0 || !self.memory.has_room() {
            return;
        }
        let Some(old) = self.memory.at(self.packet) else {
            return;
        };
        let mut bytes = old.bytes[self.metadata..].to_vec();
        self.memory.remove(self.packet);
        match self.tape.below(6) {
            0 => bytes.truncate(self.tape.below(bytes.len() as u64 + 1) as usize),
            1 => bytes.extend(vec![0; self.tape.below(64) as usize]),
            2 => {
                let cut = self.tape.below(bytes.len() as u64 + 1) as usize;
                bytes.drain(..cut);
            }
            3 => {
                let mut longer = vec![0; self.tape.below(64) as usize];
                longer.append(&mut bytes);
                bytes = longer;
            }
            _ => {}
        }
        self.place_packet(bytes);
    }

    /// The packet without its metadata.
    pub(super) fn packet_bytes(&self) -> &[u8] {
        match self.memory.at(self.packet) {
            Some(region) => &region.bytes[self.metadata..],
            None => &[],
        }
    }

    fn seed(&mut self) -> super::tape::Random {
        super::tape::Random::new(self.tape.choose(super::tape::Random::next))
    }

    pub(super) fn random_bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.seed().fill(&mut bytes, self.words);
        bytes
    }

    /// Bytes that a program may look at: chosen word by word, if they are not too many.
    pub(super) fn value_bytes(&mut self, len: usize) -> Vec<u8> {
        if len > CHOSEN {
            return self.random_bytes(len);
        }
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend(self.number().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }

    pub(super) fn number(&mut self) -> u64 {
        let words = self.words;
        self.tape.choose(|random| random.number(words))
    }

    /// The map with the handle.
    pub(super) fn map_of(&self, address: u64) -> Option<usize> {
        let number = number_of(address)?;
        (number < self.maps.len() as u64).then_some(number as usize)
    }

    /// A value of a map.
    pub(super) fn map_value_at(&mut self, map: usize, place: u64) -> u64 {
        if let Some(address) = self.maps[map].values.get(&place) {
            return *address;
        }
        let definition = self.maps[map].definition.clone();
        let len = definition.value_size as usize;
        let read_only =
            definition.flags & bpftime_abi::map_type::create_flags::BPF_F_RDONLY_PROG != 0;
        let initial = definition.initial.as_deref();
        let choice = self.tape.below(4);
        let bytes = match (initial, &self.maps[map].stored) {
            // Nobody can change these; others may have any bytes.
            (Some(initial), _) if read_only || choice < 3 => {
                initial[..initial.len().min(len)].to_vec()
            }
            (_, Some(stored)) if choice < 2 => stored.clone(),
            _ => self.value_bytes(len.min(FILLED)),
        };
        let kind = Kind::MapValue;
        let address = self.memory.add_region(kind, !read_only, len as u64, bytes);
        if let Some(region) = self.memory.at_mut(address) {
            region.fields = definition.fields.into();
            region.map = Some(map);
        }
        self.maps[map].values.insert(place, address);
        address
    }

    /// A map that a map of maps holds.
    pub(super) fn held_map(&mut self, map: usize, place: u64) -> u64 {
        if let Some(number) = self.maps[map].held.get(&place) {
            return handle(*number);
        }
        let Some(inner) = self.maps[map].definition.inner.as_deref() else {
            return 0;
        };
        let inner = Map::new(inner);
        let number = self.maps.len() as u64;
        self.maps.push(inner);
        self.maps[map].held.insert(place, number);
        handle(number)
    }

    /// Where the packet begins, 0 if there is none.
    pub(super) fn packet_at(&self) -> u64 {
        self.packet
    }

    /// What the program may not leave behind at its end.
    pub(crate) fn left_behind(&self) -> Option<String> {
        let held = [
            ("objects", self.memory.owned() as usize),
            ("locks", self.locks.len()),
            ("records", self.records.len()),
            ("iterators", self.iterators()),
            ("RCU sections", self.rcu as usize),
            ("sections without preemption", self.preempt as usize),
            ("sections without interrupts", self.irq as usize),
        ];
        let mut held = held.iter().filter(|(_, count)| *count > 0);
        let (what, count) = held.next()?;
        Some(format!(
            "the end, with {count} {what} that were not given back"
        ))
    }

    /// Notes what the program did.
    pub(super) fn refuse(&mut self, what: String) -> TrapReason {
        self.violation.get_or_insert(what);
        TrapReason::Unsupported("what a proved program does not do")
    }

    /// Notes what this world cannot do.
    pub(super) fn lack(&mut self, what: String) -> TrapReason {
        self.missing.get_or_insert(what);
        TrapReason::Unsupported("what the made-up world lacks")
    }

    pub(super) fn bad_access(&mut self, access: Access, address: u64, size: u64) -> TrapReason {
        let near = self.memory.describe(address);
        self.refuse(format!("{access} of {size} bytes at {address:#x} ({near})"))
    }

    /// Programs of these types follow pointers to the kernel's memory, and what is not there
    /// reads as zero.
    pub(super) fn reads_kernel_memory(&self) -> bool {
        self.has_structures
            || self.program.prog_type.is_typed()
            || self.program.prog_type == ProgType::Syscall
    }

    pub(super) fn function_at(address: u64) -> Option<u32> {
        let number = number_of(address)?.checked_sub(FUNCTIONS)?;
        u32::try_from(number).ok()
    }
}

impl Map {
    fn new(definition: &MapDef) -> Self {
        Self {
            definition: definition.clone(),
            values: HashMap::new(),
            held: HashMap::new(),
            stored: None,
        }
    }

    /// Entries can be neither added nor deleted.
    pub(super) fn is_array(&self) -> bool {
        matches!(
            self.definition.map_type,
            MapType::Array | MapType::PerCpuArray | MapType::ArrayOfMaps
        )
    }
}

fn put(bytes: &mut [u8], offset: u32, size: u32, number: u64) {
    let at = offset as usize..(offset + size) as usize;
    if let (Some(place), Some(number)) =
        (bytes.get_mut(at), number.to_le_bytes().get(..size as usize))
    {
        place.copy_from_slice(number);
    }
}
