//! What a program runs in: made-up memory, maps and packets.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use bpftime_isa::{
    AtomicOp, CtxFieldKind, CtxLayout, KernelTypes, MapDef, MapFieldKind, MapType, ProgType,
    Program, Size, Width, context,
};
use bpftime_vm::TrapReason;
use bpftime_vm::interp::Access;
use bpftime_vm::interp::machine::{Arguments, Called, Machine};

use super::memory::{Kind, Memory, handle, number_of};
use super::parts::Part;
use super::tape::Tape;

/// Functions are handles from here, maps before.
const FUNCTIONS: u64 = 1 << 24;
const STACK_BYTES: usize = 512;
/// Comparisons of a run that are remembered.
const COMPARED: usize = 256;
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
    packet: u64,
    /// Bytes of the metadata.
    metadata: usize,
    pub(super) frames: Vec<u64>,
    pub(super) repeating: Vec<Repeating>,
    /// Slots that were executed.
    executed: &'a mut [bool],
    /// Ways that branches went, by slot: 1 on, 2 away.
    ways: &'a mut [u8],
    at: u32,
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
                let mut bytes = vec![0; len];
                let known = initial.len().min(len);
                bytes[..known].copy_from_slice(&initial[..known]);
                bytes
            }
            (_, Some(stored)) if choice < 2 => stored.clone(),
            _ => self.value_bytes(len),
        };
        let address = self.memory.add(Kind::MapValue, !read_only, bytes);
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

    fn bad_access(&mut self, access: Access, address: u64, size: u64) -> TrapReason {
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

impl Machine for World<'_> {
    fn executing(&mut self, slot: u32) {
        self.steps += 1;
        self.at = slot;
        if let Some(executed) = self.executed.get_mut(slot as usize) {
            *executed = true;
        }
    }

    fn comparing(&mut self, left: u64, right: u64, taken: bool) {
        let Some(ways) = self.ways.get_mut(self.at as usize) else {
            return;
        };
        *ways |= if taken { 2 } else { 1 };
        if *ways != 3 && left != right && self.compared.len() < COMPARED {
            self.compared.push((self.at, left, right));
        }
    }

    fn load(&mut self, address: u64, size: Size) -> Result<u64, TrapReason> {
        let len = u64::from(size.bytes());
        if let Some((base, region)) = self.memory.around(address)
            && let Some(type_id) = region.typed
        {
            return Ok(self.walk(base, type_id, address - base, size));
        }
        match self.touched(address, len) {
            Some((field, true)) if matches!(field.kind, MapFieldKind::Kptr { .. }) => {
                return Ok(self.load_kptr(address, &field));
            }
            Some((field, _)) => {
                return Err(self.refuse(format!("a read of {:?}", field.kind)));
            }
            None => {}
        }
        if let Some(value) = self.memory.load(address, size) {
            return Ok(value);
        }
        if Self::in_arena(address) || self.is_stale(address) {
            return Ok(self.number());
        }
        // The kernel's own description of a map.
        if self.map_of(address & !0xfff).is_some() {
            return Ok(self.number());
        }
        let anywhere = !self.memory.is_near(address) && !self.memory.is_gone(address);
        if self.reads_kernel_memory() && anywhere {
            return Ok(self.number());
        }
        Err(self.bad_access(Access::Read, address, size.bytes().into()))
    }

    fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), TrapReason> {
        match self.touched(address, size.bytes().into()) {
            Some((field, true))
                if matches!(
                    field.kind,
                    MapFieldKind::Kptr {
                        referenced: false,
                        ..
                    }
                ) =>
            {
                return Ok(());
            }
            Some((field, _)) => {
                return Err(self.refuse(format!("a write of {:?}", field.kind)));
            }
            None if Self::in_arena(address) => return Ok(()),
            None => {}
        }
        match self.memory.store(address, size, value) {
            Some(()) => Ok(()),
            None => Err(self.bad_access(Access::Write, address, size.bytes().into())),
        }
    }

    fn atomic(
        &mut self,
        address: u64,
        width: Width,
        op: AtomicOp,
        operand: u64,
        expected: u64,
    ) -> Result<u64, TrapReason> {
        let size = match width {
            Width::W32 => Size::W,
            Width::W64 => Size::DW,
        };
        let mask = u64::MAX >> (64 - 8 * size.bytes());
        if Self::in_arena(address) {
            return Ok(self.number() & mask);
        }
        if let Some((field, _)) = self.touched(address, size.bytes().into()) {
            return Err(self.refuse(format!("an atomic operation on {:?}", field.kind)));
        }
        let Some(old) = self.memory.load(address, size) else {
            return Err(self.bad_access(Access::Write, address, size.bytes().into()));
        };
        let new = match op {
            AtomicOp::Add { .. } => old.wrapping_add(operand),
            AtomicOp::Or { .. } => old | operand,
            AtomicOp::And { .. } => old & operand,
            AtomicOp::Xor { .. } => old ^ operand,
            AtomicOp::Xchg => operand,
            AtomicOp::Cmpxchg if old == expected & mask => operand,
            AtomicOp::Cmpxchg => old,
        };
        match self.memory.store(address, size, new) {
            Some(()) => Ok(old),
            None => Err(self.bad_access(Access::Write, address, size.bytes().into())),
        }
    }

    fn helper(&mut self, number: u32, arguments: Arguments) -> Result<Called, TrapReason> {
        self.call_helper(number, &arguments)
    }

    fn kfunc(&mut self, id: u32, btf_idx: i16, arguments: Arguments) -> Result<Called, TrapReason> {
        self.call_kfunc(id, btf_idx, &arguments)
    }

    fn kernel_symbol(&mut self, id: u32, _btf_fd: u32) -> Result<u64, TrapReason> {
        match self.symbol(id) {
            Some(address) => Ok(address),
            None => Err(self.refuse(format!("the kernel's variable {id}"))),
        }
    }

    fn cast_address(&mut self, address: u64, to: u16, _from: u16) -> Result<u64, TrapReason> {
        Ok(Self::cast_arena(address, to))
    }

    fn called_back(&mut self, result: u64) -> Result<Called, TrapReason> {
        self.go_on_calling(result)
    }

    fn function(&mut self, entry: i64) -> Result<u64, TrapReason> {
        match u64::try_from(entry) {
            Ok(entry) => Ok(handle(FUNCTIONS + entry)),
            Err(_) => Err(self.refuse(format!("a function at slot {entry}"))),
        }
    }

    fn load_packet(&mut self, offset: i64, size: Size) -> Result<Option<u64>, TrapReason> {
        let packet = self.packet_bytes();
        let start = usize::try_from(offset).ok();
        let bytes = start.and_then(|at| packet.get(at..at.checked_add(size.bytes() as usize)?));
        let network = bytes.map(|bytes| {
            bytes
                .iter()
                .fold(0, |all, byte| all << 8 | u64::from(*byte))
        });
        // There are skbs whose packet programs cannot see.
        Ok(match network {
            None if self.packet == 0 && self.tape.often() => Some(self.number()),
            network => network,
        })
    }

    fn map_handle(&mut self, index: u32) -> Result<u64, TrapReason> {
        if index as usize >= self.program.maps.len() {
            return Err(self.refuse(format!("map {index}")));
        }
        Ok(handle(index.into()))
    }

    fn map_value(&mut self, index: u32, offset: u32) -> Result<u64, TrapReason> {
        if index as usize >= self.program.maps.len() {
            return Err(self.refuse(format!("map {index}")));
        }
        if self.maps[index as usize].definition.map_type == MapType::Arena {
            return Ok(Self::arena_variable(offset));
        }
        Ok(self.map_value_at(index as usize, 0) + u64::from(offset))
    }

    fn enter(&mut self, _depth: usize) -> u64 {
        let bytes = self.random_bytes(STACK_BYTES);
        let base = self.memory.add(Kind::Stack, true, bytes);
        self.frames.push(base);
        base + STACK_BYTES as u64
    }

    fn leave(&mut self, _depth: usize) {
        if let Some(base) = self.frames.pop() {
            self.memory.remove(base);
        }
    }
}
