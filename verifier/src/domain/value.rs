//! What a register or a stack cell holds.

use core::fmt;

use bpftime_isa::context::Object;
use bpftime_isa::kfunc::{DynptrKind, IterKind};

use super::scalar::Scalar;

/// A 64-bit number.
pub type Number = Scalar<u64>;

/// Kind of a value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Never written, or no longer valid; may not be read.
    Uninit,
    /// Something that was written, but of different kinds on different paths; may be copied,
    /// nothing else.
    Any,
    /// A number.
    Scalar,
    /// The context.
    Ctx,
    /// The plain memory of a program of type [`bpftime_isa::ProgType::Memory`].
    Memory,
    /// The stack of the frame with this depth; offsets are relative to its `r10`.
    Stack {
        /// Depth of the frame, 0 for the main program.
        frame: u8,
    },
    /// A map, as helpers take it.
    Map {
        /// Index in [`bpftime_isa::Program::maps`]; beyond them, a map that a map of maps holds.
        map: u32,
    },
    /// A value of a map.
    MapValue {
        /// Index as in [`Self::Map`].
        map: u32,
    },
    /// A key of a map, which may be read only.
    MapKey {
        /// Index as in [`Self::Map`].
        map: u32,
    },
    /// A byte of the packet, relative to its start.
    Packet,
    /// A byte of the packet's metadata, relative to its start.
    PacketMeta,
    /// The end of the packet.
    PacketEnd,
    /// An object of the kernel's.
    Object(Object),
    /// Part of an iterator that lives on the stack; only there.
    Iterator {
        /// Over what.
        kind: IterKind,
        /// Which 8 bytes of it.
        part: u8,
        /// It has given all that it has.
        drained: bool,
    },
    /// Bytes that may be read only.
    Bytes {
        /// How many.
        size: u32,
    },
    /// A ring buffer record.
    Record {
        /// Bytes.
        size: u32,
    },
    /// An object of a structure that the program declares.
    Local {
        /// Number of the structure in the program's BTF.
        type_id: u32,
        /// Why the object is still there.
        hold: Hold,
    },
    /// Objects of a structure that the program declares, of which each CPU has its own; no address.
    PerCpuLocal {
        /// Number of the structure in the program's BTF.
        type_id: u32,
        /// Why the objects are still there.
        hold: Hold,
    },
    /// A variable of the kernel's of which each CPU has its own; no address.
    PerCpu(PerCpu),
    /// Part of a dynptr that lives on the stack; only there. Its reference is that of what has to be
    /// given back, or an identity of its own that slices of it share.
    Dynptr {
        /// About what.
        kind: DynptrKind,
        /// Whether it is the second half.
        second: bool,
    },
    /// A dynptr that the function was called back with, and may not change.
    GivenDynptr,
    /// An address in an arena; its lower half is anything, and no access beyond the arena is possible.
    Arena,
    /// Whether interrupts were enabled before they were disabled; only on the stack.
    IrqFlag {
        /// How often they were disabled then, this time included.
        depth: u8,
        /// Whether a lock was taken with it.
        lock: bool,
    },
    /// Memory of a dynptr, or the buffer that stands in for it.
    Slice {
        /// Bytes.
        size: u32,
        /// Programs may write it.
        writable: bool,
        /// It may be in a packet.
        packet: bool,
        /// Frame and first byte of the buffer, if that is on a stack.
        buffer: Option<(u8, u16)>,
    },
    /// A function, for helpers that call back.
    Func {
        /// First slot.
        entry: u32,
    },
}

/// A variable of the kernel's of which each CPU has its own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PerCpu {
    /// So many bytes, which may be read.
    Memory(u32),
    /// The kernel's structure with the number.
    Structure(u32),
}

/// Why an object of a program's structure is still there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Hold {
    /// The program owns it, and has to give it back.
    Owned,
    /// A collection owns it whose lock the program holds (kernel `NON_OWN_REF`).
    Member,
    /// A map's value, which others may change, held it in this RCU section (kernel `MEM_RCU`).
    Rcu,
    /// It was there once: reads give anything, and nothing may be written.
    Stale,
}

/// Identity of a value; 0 is none.
pub type Id = u32;

/// What a register or a stack cell holds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Value {
    /// Kind.
    pub kind: Kind,
    /// May be null instead; then no offset was added.
    pub nullable: bool,
    /// Constant part of a pointer's offset in bytes.
    pub delta: i32,
    /// Number, or variable part of a pointer's offset.
    pub number: Number,
    /// Scalars: values with the same identity are equal. Nullable pointers: values with the same
    /// identity are null together. Map values with spin locks: with the same identity they are the
    /// same value, also once they are known not to be null. Packet pointers with a variable offset: values with the same
    /// identity have the same variable offset.
    pub id: Id,
    /// The acquired resource that the pointer stands for, or the dynptr that it is a slice of.
    pub reference: Id,
    /// Packet pointers: bytes from offset `delta == 0` that are known to be in the packet.
    pub range: u32,
}

impl Value {
    /// Not readable.
    pub fn uninit() -> Self {
        Self::pointer(Kind::Uninit)
    }

    /// Readable, of unknown kind.
    pub fn any() -> Self {
        Self::pointer(Kind::Any)
    }

    /// Any number.
    pub fn unknown() -> Self {
        Self::scalar(Number::unknown())
    }

    /// A number.
    pub fn scalar(number: Number) -> Self {
        Self {
            number,
            ..Self::pointer(Kind::Scalar)
        }
    }

    /// One number.
    pub fn constant(value: u64) -> Self {
        Self::scalar(Number::constant(value))
    }

    /// A pointer without offset that is not null.
    pub fn pointer(kind: Kind) -> Self {
        Self {
            kind,
            nullable: false,
            delta: 0,
            number: Number::constant(0),
            id: 0,
            reference: 0,
            range: 0,
        }
    }

    /// Whether it is a number.
    pub fn is_scalar(&self) -> bool {
        self.kind == Kind::Scalar
    }

    /// Whether it is a part of something that lives on the stack and that only kernel functions
    /// read and write.
    pub fn is_part(&self) -> bool {
        matches!(
            self.kind,
            Kind::Iterator { .. } | Kind::Dynptr { .. } | Kind::IrqFlag { .. }
        )
    }

    /// Whether it may be a pointer, so that copying it out would leak an address.
    pub fn may_be_pointer(&self) -> bool {
        !matches!(self.kind, Kind::Uninit | Kind::Scalar)
    }

    /// The number, if it is a scalar of which only one is possible.
    pub fn as_constant(&self) -> Option<u64> {
        if self.is_scalar() {
            self.number.as_constant()
        } else {
            None
        }
    }

    /// Whole offset of a pointer, modulo 2^64.
    pub fn offset(&self) -> Number {
        if self.delta == 0 {
            return self.number;
        }
        self.number
            .add(Number::constant(i64::from(self.delta) as u64))
    }

    /// Offset of a pointer, if only one is possible.
    pub fn constant_offset(&self) -> Option<i64> {
        self.offset().as_constant().map(|offset| offset as i64)
    }

    /// Whether kinds of both are the same for partitioning: type, map, nullness.
    pub fn same_shape(&self, other: &Self) -> bool {
        self.kind == other.kind && self.nullable == other.nullable
    }

    /// Whether they also agree in what is known to be in the packet.
    pub fn same_class(&self, other: &Self) -> bool {
        let in_packet = matches!(self.kind, Kind::Packet | Kind::PacketMeta);
        self.same_shape(other)
            && (!in_packet || (self.range == other.range && self.delta == other.delta))
    }

    /// The kernel's name of the kind, as in `invalid mem access 'scalar'`.
    pub fn kernel_kind(&self) -> &'static str {
        match (self.kind, self.nullable) {
            (Kind::Uninit | Kind::Any, _) => "?",
            (Kind::Scalar, _) => "scalar",
            (Kind::Ctx, _) => "ctx",
            (Kind::Memory, _) => "mem",
            (Kind::Stack { .. }, _) => "fp",
            (Kind::Map { .. }, false) => "map_ptr",
            (Kind::MapValue { .. }, false) => "map_value",
            (Kind::Map { .. } | Kind::MapValue { .. }, true) => "map_value_or_null",
            (Kind::MapKey { .. }, _) => "map_key",
            (Kind::Packet, _) => "pkt",
            (Kind::PacketMeta, _) => "pkt_meta",
            (Kind::PacketEnd, _) => "pkt_end",
            (Kind::Record { .. }, false) => "ringbuf_mem",
            (Kind::Record { .. }, true) => "ringbuf_mem_or_null",
            (Kind::Object(object), nullable) => object_kind(object, nullable),
            (Kind::Iterator { kind, .. }, _) => kind.name(),
            (Kind::Bytes { .. }, _) => "rdonly_mem",
            (Kind::Func { .. }, _) => "func",
            (Kind::Local { hold, .. }, false) => hold.kernel_kind(),
            (Kind::Local { .. }, true) => "ptr_or_null_",
            (Kind::PerCpuLocal { .. } | Kind::PerCpu(_), _) => "percpu_ptr_",
            (Kind::Dynptr { .. } | Kind::GivenDynptr, _) => "dynptr_ptr",
            (Kind::Arena, _) => "arena",
            (Kind::IrqFlag { .. }, _) => "irq_flag",
            (Kind::Slice { .. }, false) => "mem",
            (Kind::Slice { .. }, true) => "mem_or_null",
        }
    }
}

impl Hold {
    fn kernel_kind(self) -> &'static str {
        match self {
            Self::Owned => "ptr_",
            Self::Member => "non_own_ptr_",
            Self::Rcu => "rcu_ptr_",
            Self::Stale => "untrusted_ptr_",
        }
    }
}

fn object_kind(object: Object, nullable: bool) -> &'static str {
    match (object, nullable) {
        (Object::Socket, false) => "sock",
        (Object::Socket, true) => "sock_or_null",
        (Object::SockCommon, false) => "sock_common",
        (Object::SockCommon, true) => "sock_common_or_null",
        (Object::TcpSock, false) => "tcp_sock",
        (Object::TcpSock, true) => "tcp_sock_or_null",
        (Object::XdpSock, false) => "xdp_sock",
        (Object::XdpSock, true) => "xdp_sock_or_null",
        (Object::FlowKeys, _) => "flow_keys",
        (Object::TraceBuffer, _) => "tp_buffer",
        (Object::IteratorBuffer { writable: true }, false) => "buf",
        (Object::IteratorBuffer { writable: true }, true) => "buf_or_null",
        (Object::IteratorBuffer { writable: false }, false) => "rdonly_buf",
        (Object::IteratorBuffer { writable: false }, true) => "rdonly_buf_or_null",
        (Object::Kernel(_) | Object::Typed { .. }, false) => "ptr_",
        (Object::Kernel(_) | Object::Typed { .. }, true) => "ptr_or_null_",
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(value) = self.as_constant() {
            return write!(f, "{}", value as i64);
        }
        write!(f, "{}(", self.kernel_kind())?;
        let mut parts = Vec::new();
        if self.id != 0 {
            parts.push(format!("id={}", self.id));
        }
        if self.reference != 0 {
            parts.push(format!("ref_obj_id={}", self.reference));
        }
        match self.kind {
            Kind::Map { map } | Kind::MapValue { map } | Kind::MapKey { map } => {
                parts.push(format!("map={map}"))
            }
            Kind::Stack { frame } => parts.push(format!("frame={frame}")),
            Kind::Record { size } | Kind::Slice { size, .. } => parts.push(format!("sz={size}")),
            _ => {}
        }
        if self.delta != 0 {
            parts.push(format!("off={}", self.delta));
        }
        if matches!(self.kind, Kind::Packet | Kind::PacketMeta) {
            parts.push(format!("r={}", self.range));
        }
        if self.is_scalar() || self.number.as_constant() != Some(0) {
            describe_number(self.number, &mut parts);
        }
        write!(f, "{})", parts.join(","))
    }
}

/// Bounds and bits in the kernel's notation, as far as they say something.
fn describe_number(number: Number, parts: &mut Vec<String>) {
    let (umin, umax) = number.unsigned();
    let (smin, smax) = number.signed();
    if (smin as i64, smax as i64) != (i64::MIN, i64::MAX) && (smin, smax) != (umin, umax) {
        parts.push(format!("smin={},smax={}", smin as i64, smax as i64));
    }
    if (umin, umax) != (0, u64::MAX) {
        parts.push(format!("umin={umin},umax={umax}"));
    }
    let (umin32, umax32) = number.narrow.unsigned();
    if (umin32, umax32) != (0, u32::MAX) && (u64::from(umin32), u64::from(umax32)) != (umin, umax) {
        parts.push(format!("umin32={umin32},umax32={umax32}"));
    }
    if number.bits.mask != u64::MAX {
        parts.push(format!(
            "var_off=({:#x}; {:#x})",
            number.bits.value, number.bits.mask
        ));
    }
}
