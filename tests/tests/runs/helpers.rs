//! Helpers that check what they are given and make up what they give.

use bpftime_isa::context::Object;
use bpftime_isa::helper::{self, ArgType, HelperProto, RetType};
use bpftime_isa::{MapFieldKind, MapType};
use bpftime_vm::TrapReason;
use bpftime_vm::interp::machine::{Arguments, Called};

use super::dynptrs::{
    DISCARD_DYNPTR, DYNPTR_DATA, DYNPTR_READ, DYNPTR_WRITE, FROM_MEM, RESERVE_DYNPTR, SUBMIT_DYNPTR,
};
use super::memory::Kind;
use super::world::World;

/// Greatest size that a helper takes (kernel `BPF_MAX_VAR_SIZ`).
const MAX_SIZE: u64 = 1 << 29;
/// Greatest error number.
const MAX_ERRNO: u64 = 4095;

const LOOKUP: u32 = 1;
const UPDATE: u32 = 2;
const TAIL_CALL: u32 = 12;
const SMP_PROCESSOR_ID: u32 = 8;
const SKB_LOAD_BYTES: u32 = 26;
const LOCK: u32 = 93;
const UNLOCK: u32 = 94;
const FOR_EACH: u32 = 164;
pub(super) const TIMER_SET_CALLBACK: u32 = 170;
pub(super) const FIND_VMA: u32 = 180;
const KPTR_XCHG: u32 = 194;
pub(super) const DRAIN: u32 = 209;
const LOOP: u32 = 181;
const XDP_LOAD_BYTES: u32 = 189;
const LOOKUP_PERCPU: u32 = 195;
/// Helpers that return a count up to the size that they are given.
const COUNTING: [u32; 5] = [45, 67, 114, 115, 141];

/// What the arguments of a call are.
#[derive(Default)]
pub(super) struct Call {
    pub(super) map: Option<usize>,
    key: u64,
    pub(super) value: u64,
    pub(super) size: u64,
    pub(super) alloc_size: u64,
    given_back: Option<u64>,
    pub(super) object: u64,
    pub(super) function: Option<u32>,
    pub(super) context: u64,
}

impl World<'_> {
    pub(super) fn call_helper(
        &mut self,
        number: u32,
        arguments: &Arguments,
    ) -> Result<Called, TrapReason> {
        let caller = self.program.caller();
        let proto = helper::available(&caller, number)
            .ok()
            .or_else(|| helper::proto(number));
        let Some(proto) = proto else {
            return Err(self.refuse(format!("a call of helper {number}")));
        };
        if !self.locks.is_empty() && !matches!(number, LOCK | UNLOCK | KPTR_XCHG) {
            return Err(self.refuse(format!("{}: called with a lock held", proto.name)));
        }
        let call = self.check_arguments(proto, arguments)?;
        if let Some(base) = call.given_back {
            self.memory.remove(base);
        }
        let called = self.result(proto, arguments, &call)?;
        if proto.changes_packet {
            self.move_packet();
        }
        Ok(called)
    }

    fn check_arguments(
        &mut self,
        proto: &'static HelperProto,
        arguments: &Arguments,
    ) -> Result<Call, TrapReason> {
        let mut call = Call::default();
        for (index, expected) in proto.args.iter().enumerate() {
            if *expected == ArgType::None {
                continue;
            }
            if !arguments.initialised[index] {
                let name = proto.name;
                return Err(self.refuse(format!("{name}: argument {} is not set", index + 1)));
            }
            let value = arguments.values[index];
            let sized = matches!(
                proto.args.get(index + 1),
                Some(ArgType::ConstSize | ArgType::ConstSizeOrZero)
            );
            let size = if sized {
                arguments.values[index + 1]
            } else {
                0
            };
            let zero = proto.args.get(index + 1) == Some(&ArgType::ConstSizeOrZero);
            if sized && (size > MAX_SIZE || (size == 0 && !zero)) {
                return Err(self.refuse(format!("{}: size {size:#x}", proto.name)));
            }
            if let Err(problem) = self.check_argument(*expected, value, size, &mut call)? {
                return Err(self.refuse(format!(
                    "{}: argument {} ({expected:?}) {value:#x}, size {size}: {problem} ({})",
                    proto.name,
                    index + 1,
                    self.memory.describe(value)
                )));
            }
        }
        Ok(call)
    }

    fn check_argument(
        &mut self,
        expected: ArgType,
        value: u64,
        size: u64,
        call: &mut Call,
    ) -> Result<Result<(), &'static str>, TrapReason> {
        let null = value == 0;
        let sizes = |world: &Self, call: &Call| {
            let definition = call.map.map(|map| &world.maps[map].definition);
            definition.map_or((0, 0), |map| {
                (u64::from(map.key_size), u64::from(map.value_size))
            })
        };
        Ok(match expected {
            ArgType::None | ArgType::Anything | ArgType::Scalar => Ok(()),
            ArgType::ConstMapPtr => {
                call.map = self.map_of(value);
                call.map.map(drop).ok_or("not a map")
            }
            ArgType::MapKey => {
                let (key_size, _) = sizes(self, call);
                call.key = match self.memory.bytes(value, key_size, false) {
                    Some(bytes) => {
                        let mut key = [0; 8];
                        let len = bytes.len().min(8);
                        key[..len].copy_from_slice(&bytes[..len]);
                        u64::from_le_bytes(key)
                    }
                    None => return Ok(Err("not memory for a key")),
                };
                Ok(())
            }
            ArgType::MapValueOrNull if null => Ok(()),
            ArgType::MapValue | ArgType::MapValueOrNull => {
                let (_, value_size) = sizes(self, call);
                call.value = value;
                self.readable(value, value_size)
            }
            ArgType::UninitMapValue => {
                let (_, value_size) = sizes(self, call);
                self.written(value, value_size)
            }
            ArgType::MemReadOrNull | ArgType::MemWriteOrNull | ArgType::UninitMemOrNull if null => {
                Ok(())
            }
            ArgType::MemRead | ArgType::MemReadOrNull => self.readable(value, size),
            ArgType::MemWrite
            | ArgType::MemWriteOrNull
            | ArgType::UninitMem
            | ArgType::UninitMemOrNull => {
                call.value = value;
                call.size = size;
                self.written(value, size)
            }
            ArgType::FixedMemRead(size) => self.readable(value, size.into()),
            ArgType::FixedMemWrite(size) | ArgType::FixedMemReadWrite(size) => {
                self.written(value, size.into())
            }
            ArgType::ConstSize | ArgType::ConstSizeOrZero => Ok(()),
            ArgType::ConstAllocSize => {
                call.alloc_size = value;
                if value == 0 || value > MAX_SIZE {
                    Err("the size")
                } else {
                    Ok(())
                }
            }
            ArgType::CtxOrNull if null => Ok(()),
            ArgType::Ctx | ArgType::CtxOrNull if value == self.context => Ok(()),
            ArgType::Ctx | ArgType::CtxOrNull => Err("not the context"),
            ArgType::RingBufMem | ArgType::ReleasedSock => {
                // Whatever it was cast to.
                let value = self.casts.get(&value).copied().unwrap_or(value);
                call.given_back = Some(value);
                match self.memory.at(value) {
                    Some(region) if region.owners > 0 => Ok(()),
                    _ => Err("not something to give back"),
                }
            }
            ArgType::SocketOrNull | ArgType::AnySockOrNull if null => Ok(()),
            ArgType::SockCommon
            | ArgType::AnySock
            | ArgType::AnySockOrNull
            | ArgType::SocketOrNull => {
                call.object = value;
                match self.memory.at(value) {
                    Some(region) if matches!(region.kind, Kind::Acquired | Kind::Object { .. }) => {
                        Ok(())
                    }
                    // One that a structure of the kernel's points to, or inside of one.
                    None if self.is_kernel_memory(value) => Ok(()),
                    _ => Err("not a socket"),
                }
            }
            ArgType::ConstStr => match self.memory.bytes(value, 1, false) {
                Some(_) => Ok(()),
                None => Err("not a string"),
            },
            ArgType::SpinLock | ArgType::Timer | ArgType::KptrField => {
                call.object = value;
                let kind = self.field_at(value).map(|(_, field)| field.kind);
                match (expected, kind) {
                    (ArgType::SpinLock, Some(MapFieldKind::SpinLock))
                    | (ArgType::Timer, Some(MapFieldKind::Timer))
                    | (ArgType::KptrField, Some(MapFieldKind::Kptr { .. })) => Ok(()),
                    _ => Err("not such a part of a map's value"),
                }
            }
            ArgType::PerCpu if self.of_cpus.contains_key(&value) => Ok(()),
            ArgType::PerCpu => Err("nothing of which each CPU has its own"),
            // With the pointer that it goes to.
            ArgType::ReleasedKptr => Ok(()),
            ArgType::Dynptr => self.dynptr(value).map(drop),
            ArgType::ReleasedDynptr | ArgType::NewDynptr(_) => Ok(()),
            ArgType::StructOrNull(_) if null => Ok(()),
            // One that a structure of the kernel's points to.
            ArgType::Struct(_) if self.is_kernel_memory(value) => Ok(()),
            ArgType::StructOrNull(_) if self.is_kernel_memory(value) => Ok(()),
            ArgType::Struct(name) | ArgType::StructOrNull(name) => self.structure_at(value, name),
            ArgType::Func => {
                call.function = Self::function_at(value);
                call.function.map(drop).ok_or("not a function")
            }
            ArgType::StackOrNull => {
                call.context = value;
                Ok(())
            }
            // Also what the table learns after this was written.
            other => return Err(self.lack(format!("arguments: {other:?}"))),
        })
    }

    /// Whether the address is where nothing of the program's is.
    fn is_kernel_memory(&self, address: u64) -> bool {
        self.reads_kernel_memory()
            && self.memory.around(address).is_none()
            && !self.memory.is_near(address)
            && !self.memory.is_gone(address)
    }

    pub(super) fn readable(&mut self, address: u64, len: u64) -> Result<(), &'static str> {
        if len == 0 {
            return Ok(());
        }
        if self.touched(address, len).is_some() {
            return Err("memory with a part that is the kernel's");
        }
        self.memory
            .bytes(address, len, false)
            .map(drop)
            .ok_or("not memory to read")
    }

    pub(super) fn writable(&mut self, address: u64, len: u64) -> Result<(), &'static str> {
        if len > 0 && self.memory.bytes(address, len, true).is_none() {
            return Err("not memory to write");
        }
        if self.touched(address, len).is_some() {
            return Err("memory with a part that is the kernel's");
        }
        Ok(())
    }

    pub(super) fn written(&mut self, address: u64, len: u64) -> Result<(), &'static str> {
        self.writable(address, len)?;
        if len == 0 {
            return Ok(());
        }
        let bytes = self.random_bytes(len as usize);
        if let Some(place) = self.memory.bytes(address, len, true) {
            place.copy_from_slice(&bytes);
        }
        Ok(())
    }

    fn result(
        &mut self,
        proto: &'static HelperProto,
        arguments: &Arguments,
        call: &Call,
    ) -> Result<Called, TrapReason> {
        let value = |value| Ok(Called::Result(Some(value)));
        match proto.id {
            LOCK | UNLOCK => self.lock(proto, arguments.values[0])?,
            KPTR_XCHG => {
                let old = self.exchange(call.object, arguments.values[1]);
                return match old {
                    Ok(old) => value(old),
                    Err(problem) => Err(self.refuse(format!("kptr_xchg: {problem}"))),
                };
            }
            FROM_MEM | RESERVE_DYNPTR | SUBMIT_DYNPTR | DISCARD_DYNPTR | DYNPTR_READ
            | DYNPTR_WRITE | DYNPTR_DATA => {
                return match self.dynptr_helper(proto.id, arguments.values, call) {
                    Ok(called) => Ok(called),
                    Err(problem) => Err(self.refuse(format!("{}: {problem}", proto.name))),
                };
            }
            TIMER_SET_CALLBACK | FIND_VMA | DRAIN => {
                return self.start_calling(proto, arguments, call);
            }
            TAIL_CALL => return Ok(self.tail_call()),
            LOOKUP | LOOKUP_PERCPU => return value(self.lookup(call)),
            UPDATE => self.remember(call),
            SMP_PROCESSOR_ID => return value(self.tape.below(8)),
            SKB_LOAD_BYTES | XDP_LOAD_BYTES => return value(self.load_bytes(arguments, call)),
            LOOP | FOR_EACH => return self.start_calling(proto, arguments, call),
            _ => {}
        }
        match proto.ret {
            RetType::Void => Ok(Called::Result(None)),
            RetType::Integer if COUNTING.contains(&proto.id) => {
                let count = self.tape.below(call.size + 1 + 8);
                let error = (count % MAX_ERRNO + 1).wrapping_neg();
                value(if count <= call.size { count } else { error })
            }
            RetType::Integer if self.tape.below(3) > 0 => value(0),
            RetType::Integer => {
                let number = self.number();
                value(number)
            }
            RetType::MapValueOrNull if !self.tape.often() => value(0),
            RetType::MapValueOrNull | RetType::MapValue => match call.map {
                Some(map) => {
                    let place = self.tape.below(4);
                    value(self.map_value_at(map, place))
                }
                None => Err(self.lack(format!("{}: no map", proto.name))),
            },
            RetType::RingBufMemOrNull if !self.tape.often() => value(0),
            RetType::RingBufMemOrNull => {
                let bytes = self.random_bytes(call.alloc_size as usize);
                value(self.memory.add(Kind::Acquired, true, bytes))
            }
            RetType::AcquiredOrNull(_)
            | RetType::CastOrNull(_)
            | RetType::ObjectOrNull(_)
            | RetType::StructOrNull(_)
                if !self.tape.often() =>
            {
                value(0)
            }
            RetType::AcquiredOrNull(object) => {
                let address = self.object(&object, 0);
                if let Some(region) = self.memory.at_mut(address) {
                    region.kind = Kind::Acquired;
                    region.owners = 1;
                }
                value(address)
            }
            RetType::Struct(name) | RetType::StructOrNull(name) => {
                self.has_structures = true;
                value(self.object(&Object::Kernel(name), 0))
            }
            RetType::OfCpu(true) if !self.tape.often() => value(0),
            RetType::OfCpu(_) => {
                let one = self.of_cpus.get(&arguments.values[0]).copied();
                value(one.unwrap_or(0))
            }
            RetType::CastOrNull(object) => {
                let cast = self.object(&object, call.object);
                self.casts.insert(cast, call.object);
                value(cast)
            }
            RetType::ObjectOrNull(object) => value(self.object(&object, 0)),
            other => Err(self.lack(format!("{}: {other:?}", proto.name))),
        }
    }

    /// Takes or gives back the one lock that may be held.
    fn lock(&mut self, proto: &HelperProto, address: u64) -> Result<(), TrapReason> {
        let expected = (proto.id != LOCK).then_some(address);
        if self.locks.last().copied() != expected {
            let held = self.locks.clone();
            return Err(self.refuse(format!("{}: {address:#x}, {held:x?} is held", proto.name)));
        }
        if proto.id == LOCK {
            self.locks.push(address);
        } else {
            self.locks.pop();
            self.unlocked();
        }
        Ok(())
    }

    /// Another program runs instead, or none is there. In a subprogram, its caller goes on when
    /// the other program is done.
    fn tail_call(&mut self) -> Called {
        match self.tape.below(8) {
            0 => {
                if self.frames.len() > 1 {
                    self.move_packet();
                }
                Called::Return(self.number())
            }
            _ => Called::Result(Some(2u64.wrapping_neg())),
        }
    }

    fn lookup(&mut self, call: &Call) -> u64 {
        let Some(map) = call.map else { return 0 };
        let definition = &self.maps[map].definition;
        let map_type = definition.map_type;
        // An object may leave the number to whoever loads it.
        let entries = match definition.max_entries {
            0 => u32::MAX,
            entries => entries,
        };
        let found = if self.maps[map].is_array() && map_type != MapType::ArrayOfMaps {
            call.key & 0xffff_ffff < entries.into()
        } else {
            self.tape.often()
        };
        if !found {
            return 0;
        }
        let place = if self.maps[map].is_array() {
            call.key
        } else {
            self.tape.below(4)
        };
        match map_type {
            MapType::ArrayOfMaps | MapType::HashOfMaps => self.held_map(map, place),
            MapType::SockMap | MapType::SockHash => {
                let address = self.object(&Object::Socket, 0);
                if let Some(region) = self.memory.at_mut(address) {
                    region.kind = Kind::Acquired;
                    region.owners = 1;
                }
                address
            }
            MapType::XskMap => self.object(&Object::XdpSock, 0),
            _ => self.map_value_at(map, place),
        }
    }

    /// Remembers what the program stores, which it may look for later.
    fn remember(&mut self, call: &Call) {
        let Some(map) = call.map else { return };
        let len = u64::from(self.maps[map].definition.value_size);
        if let Some(bytes) = self.memory.bytes(call.value, len, false) {
            self.maps[map].stored = Some(bytes.to_vec());
        }
        if !self.maps[map].is_array() {
            // What is found later may be what was stored now; old values stay valid.
            self.maps[map].values.clear();
        }
    }

    /// Bytes of the packet at an offset.
    fn load_bytes(&mut self, arguments: &Arguments, call: &Call) -> u64 {
        let [_, offset, ..] = arguments.values;
        let packet = self.packet_bytes();
        let found = usize::try_from(offset)
            .ok()
            .and_then(|at| packet.get(at..at.checked_add(call.size as usize)?))
            .map(<[u8]>::to_vec);
        let Some(bytes) = found else {
            return 14u64.wrapping_neg();
        };
        if let Some(place) = self.memory.bytes(call.value, call.size, true) {
            place.copy_from_slice(&bytes);
        }
        0
    }
}
