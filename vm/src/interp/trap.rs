//! Why an interpreted program was stopped.

use std::fmt;

use bpftime_isa::{DecodeError, Reg};

/// A stop before the program's end: what was refused, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("slot {slot}: {reason}")]
pub struct Trap {
    /// Slot of the instruction that was refused.
    pub slot: u32,
    /// What was refused.
    pub reason: TrapReason,
}

/// What an interpreter refuses to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrapReason {
    /// An access that does not lie wholly within one region that the program may use.
    #[error("{access} of {size} bytes at {address:#x} lies outside every region{}", Near(*.near))]
    OutOfBounds {
        /// Read or write.
        access: Access,
        /// First byte.
        address: u64,
        /// Bytes.
        size: u64,
        /// The closest region: its kind, first byte and length in bytes.
        near: Option<(RegionKind, u64, u64)>,
    },
    /// A write to a region that may only be read.
    #[error("write of {size} bytes at {address:#x} to read-only {kind}")]
    ReadOnly {
        /// First byte.
        address: u64,
        /// Bytes.
        size: u64,
        /// What lies there.
        kind: RegionKind,
    },
    /// An atomic operation on an address that is not a multiple of its size.
    #[error("atomic operation of {size} bytes at {address:#x}, which is not aligned to its size")]
    Misaligned {
        /// First byte.
        address: u64,
        /// Bytes.
        size: u32,
    },
    /// A register was read that holds no value on this path.
    #[error("{0} is read but was never written on this path")]
    Uninitialised(Reg),
    /// A write to the frame pointer.
    #[error("r10 is read-only")]
    FramePointerWrite,
    /// A jump, call or fall-through to something that is not the start of an instruction.
    #[error("control goes to slot {target}, where no instruction starts")]
    BadJump {
        /// Where it went.
        target: i64,
    },
    /// More nested calls than [`bpftime_abi::MAX_CALL_FRAMES`].
    #[error("more than {} nested frames", bpftime_abi::MAX_CALL_FRAMES)]
    CallDepth,
    /// The run's instruction budget is spent.
    #[error("the budget of {limit} instructions is spent")]
    BudgetSpent {
        /// Instructions allowed.
        limit: u64,
    },
    /// A helper number that this environment does not offer.
    #[error("helper {0} is not offered here")]
    HelperNotOffered(u32),
    /// An argument that does not fit the helper's prototype.
    #[error("helper {name}: argument r{argument}: {problem}")]
    HelperArgument {
        /// Name of the helper.
        name: &'static str,
        /// Argument register, 1 to 5.
        argument: u8,
        /// What is wrong.
        problem: ArgumentProblem,
    },
    /// A map index beyond the program's maps, or a direct value of a map that has none.
    #[error("map {index} {problem}")]
    Map {
        /// Index in the program.
        index: u32,
        /// What is wrong.
        problem: &'static str,
    },
    /// An instruction that this engine does not run.
    #[error("{0} is not supported by the interpreter")]
    Unsupported(&'static str),
    /// The slots are no program.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// Why a helper's argument was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ArgumentProblem {
    /// The memory is not the program's to use this way.
    #[error(transparent)]
    Memory(#[from] Box<TrapReason>),
    /// Not the handle of one of the program's maps.
    #[error("{0:#x} is not one of the program's maps")]
    NotAMap(u64),
    /// A size argument that is negative, zero or too large.
    #[error("size {0:#x} is out of range")]
    Size(u64),
    /// Not a record that `bpf_ringbuf_reserve` returned, or given back already.
    #[error("{0:#x} is not a reserved ring buffer record")]
    NotReserved(u64),
    /// Not the context that the program was called with.
    #[error("{0:#x} is not the context")]
    NotTheContext(u64),
    /// Not the address of one of the program's functions.
    #[error("{0:#x} is not one of the program's functions")]
    NotAFunction(u64),
    /// A kind of argument that the interpreter does not know.
    #[error("{0} is not supported by the interpreter")]
    Unsupported(&'static str),
}

/// Direction of an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Read.
    Read,
    /// Write, or read and write.
    Write,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

/// What a region is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RegionKind {
    /// Stack of a frame, 0 is the main program's.
    Stack {
        /// Depth of the frame.
        frame: usize,
    },
    /// The context, or the memory of a memory program.
    Context,
    /// Bytes of the packet.
    Packet,
    /// A value of a map.
    MapValue {
        /// Index of the map in the program.
        map: u32,
    },
    /// A reserved ring buffer record.
    RingBufRecord {
        /// Index of the map in the program.
        map: u32,
    },
}

impl fmt::Display for RegionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stack { frame } => write!(f, "stack of frame {frame}"),
            Self::Context => f.write_str("context"),
            Self::Packet => f.write_str("packet"),
            Self::MapValue { map } => write!(f, "value of map {map}"),
            Self::RingBufRecord { map } => write!(f, "record of ring buffer {map}"),
        }
    }
}

struct Near(Option<(RegionKind, u64, u64)>);

impl fmt::Display for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((kind, base, len)) => {
                write!(f, "; the closest is the {kind}, {len} bytes at {base:#x}")
            }
            None => Ok(()),
        }
    }
}
