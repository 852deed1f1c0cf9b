//! Decoded instructions.
//!
//! Jump distances are in slots, relative to the slot after the instruction, as encoded.

use crate::Reg;

/// Operand width of arithmetic and comparisons. 32-bit results are zero-extended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Width {
    /// 32 bits.
    W32,
    /// 64 bits.
    W64,
}

/// Size of a memory access.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Size {
    /// One byte.
    B,
    /// Two bytes.
    H,
    /// Four bytes.
    W,
    /// Eight bytes.
    DW,
}

impl Size {
    /// Bytes: 1, 2, 4 or 8.
    pub const fn bytes(self) -> u32 {
        match self {
            Self::B => 1,
            Self::H => 2,
            Self::W => 4,
            Self::DW => 8,
        }
    }
}

/// Second operand.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Operand {
    /// A register.
    Reg(Reg),
    /// A 32-bit immediate, sign-extended for 64-bit operations.
    Imm(i32),
}

/// Binary arithmetic (RFC 9669 section 4.1). Division and remainder by zero give 0 and the
/// dividend; shift amounts are masked to the width.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum AluOp {
    Add,
    Sub,
    Mul,
    Div,
    /// Signed division.
    Sdiv,
    Mod,
    /// Signed remainder, with the sign of the dividend.
    Smod,
    Or,
    And,
    Xor,
    Lsh,
    Rsh,
    /// Arithmetic shift right.
    Arsh,
    Mov,
}

/// Byte order operations (RFC 9669 section 4.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ByteOrderOp {
    /// Convert between host and little endian: truncates on a little-endian machine.
    ToLe,
    /// Convert between host and big endian.
    ToBe,
    /// Swap bytes whatever the host's order.
    Swap,
}

/// Conditions of conditional jumps (RFC 9669 section 4.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Cond {
    Eq,
    Ne,
    /// Unsigned `>`.
    Gt,
    /// Unsigned `>=`.
    Ge,
    /// Unsigned `<`.
    Lt,
    /// Unsigned `<=`.
    Le,
    /// `dst & src` is not zero.
    Set,
    Sgt,
    Sge,
    Slt,
    Sle,
}

/// Atomic read-modify-write operations (RFC 9669 section 5.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AtomicOp {
    /// `lock *(base + off) += src`; with `fetch`, `src` receives the old value.
    Add {
        /// Whether the old value is returned.
        fetch: bool,
    },
    /// Bitwise or.
    Or {
        /// Whether the old value is returned.
        fetch: bool,
    },
    /// Bitwise and.
    And {
        /// Whether the old value is returned.
        fetch: bool,
    },
    /// Bitwise exclusive or.
    Xor {
        /// Whether the old value is returned.
        fetch: bool,
    },
    /// Exchange; `src` receives the old value.
    Xchg,
    /// Compare with `r0` and exchange; `r0` receives the old value, zero-extended.
    Cmpxchg,
}

/// What a 64-bit immediate load loads (RFC 9669 section 5.4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Imm64 {
    /// A number.
    Value(u64),
    /// The map with this descriptor (`BPF_PSEUDO_MAP_FD`).
    MapFd(i32),
    /// The address of a byte of the map's first value (`BPF_PSEUDO_MAP_VALUE`).
    MapFdValue {
        /// Descriptor.
        fd: i32,
        /// Offset in bytes.
        offset: u32,
    },
    /// A kernel variable by BTF id (`BPF_PSEUDO_BTF_ID`).
    BtfId {
        /// BTF type id.
        id: u32,
        /// Descriptor of the module's BTF, 0 for the kernel's own.
        btf_fd: u32,
    },
    /// The address of a subprogram, for callbacks (`BPF_PSEUDO_FUNC`); the distance in slots
    /// from the slot after this instruction's *first* slot, as in a call.
    Func {
        /// Distance in slots.
        delta: i32,
    },
    /// The map with this index in [`crate::Program::maps`] (`BPF_PSEUDO_MAP_IDX`).
    MapIdx(u32),
    /// The address of a byte of the indexed map's first value (`BPF_PSEUDO_MAP_IDX_VALUE`).
    MapIdxValue {
        /// Index in [`crate::Program::maps`].
        index: u32,
        /// Offset in bytes.
        offset: u32,
    },
}

/// What a call calls.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CallTarget {
    /// A helper by number.
    Helper(u32),
    /// A subprogram; the distance in slots from the slot after the call.
    Local(i32),
    /// A kernel function by BTF id; `btf_idx` selects the module's BTF.
    Kfunc {
        /// BTF type id.
        id: u32,
        /// Index into the descriptor array of the load, 0 for the kernel's own BTF.
        btf_idx: i16,
    },
    /// The address in a register (`callx`); decoded, always rejected by the verifier.
    Register(Reg),
}

/// A decoded instruction. `LoadImm64` takes two slots, all others one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Instruction {
    /// `dst = dst op src` (`dst = src` for [`AluOp::Mov`]).
    Alu {
        /// Operation.
        op: AluOp,
        /// Operand width.
        width: Width,
        /// Destination and first operand.
        dst: Reg,
        /// Second operand.
        src: Operand,
    },
    /// `dst = (s8|s16|s32) src`, then zero-extended if `width` is 32 bits.
    MovSx {
        /// Width of the result before zero extension.
        width: Width,
        /// Source bits: [`Size::B`], [`Size::H`] or (64-bit only) [`Size::W`].
        from: Size,
        /// Destination.
        dst: Reg,
        /// Source.
        src: Reg,
    },
    /// `dst = -dst`.
    Neg {
        /// Operand width.
        width: Width,
        /// Operand and destination.
        dst: Reg,
    },
    /// Byte order conversion; the result is zero-extended.
    ByteOrder {
        /// Operation.
        op: ByteOrderOp,
        /// [`Size::H`], [`Size::W`] or [`Size::DW`].
        size: Size,
        /// Operand and destination.
        dst: Reg,
    },
    /// `dst = value ll`.
    LoadImm64 {
        /// Destination.
        dst: Reg,
        /// What is loaded.
        value: Imm64,
    },
    /// `dst = *(size *)(base + off)`.
    Load {
        /// Bytes read.
        size: Size,
        /// Sign-extended to 64 bits (`BPF_MEMSX`), else zero-extended.
        signed: bool,
        /// Destination.
        dst: Reg,
        /// Address register.
        base: Reg,
        /// Offset in bytes.
        off: i16,
    },
    /// `*(size *)(base + off) = src`.
    Store {
        /// Bytes written.
        size: Size,
        /// Address register.
        base: Reg,
        /// Offset in bytes.
        off: i16,
        /// Value; an immediate is sign-extended to the size.
        src: Operand,
    },
    /// Atomic read-modify-write of 4 or 8 bytes.
    Atomic {
        /// Operation.
        op: AtomicOp,
        /// 32 or 64 bits of memory.
        width: Width,
        /// Address register.
        base: Reg,
        /// Offset in bytes.
        off: i16,
        /// Operand, and destination of a fetch. 32-bit fetches are zero-extended.
        src: Reg,
    },
    /// `dst = load_acquire((size *)(base + off))`.
    LoadAcquire {
        /// Bytes read.
        size: Size,
        /// Destination.
        dst: Reg,
        /// Address register.
        base: Reg,
        /// Offset in bytes.
        off: i16,
    },
    /// `store_release((size *)(base + off), src)`.
    StoreRelease {
        /// Bytes written.
        size: Size,
        /// Address register.
        base: Reg,
        /// Offset in bytes.
        off: i16,
        /// Value.
        src: Reg,
    },
    /// Legacy packet access: `r0 = ntoh(*(size *)(packet + index + off))`, or exit with 0 from
    /// the program if out of range. `r6` must hold the context; clobbers `r1` to `r5`.
    LoadPacket {
        /// [`Size::B`], [`Size::H`] or [`Size::W`].
        size: Size,
        /// The index register of the indirect form.
        index: Option<Reg>,
        /// Offset in bytes.
        off: i32,
    },
    /// `dst = addr_space_cast(src, to, from)`; moves arena pointers between views.
    AddrSpaceCast {
        /// Destination.
        dst: Reg,
        /// Source.
        src: Reg,
        /// Address space of the result.
        to: u16,
        /// Address space of the source.
        from: u16,
    },
    /// `goto`; with `long`, the 32-bit form (`gotol`).
    Jump {
        /// Encoded in the 32-bit form.
        long: bool,
        /// Distance in slots.
        delta: i32,
    },
    /// `if dst cond src goto`.
    Branch {
        /// Condition.
        cond: Cond,
        /// Compared width.
        width: Width,
        /// First operand.
        dst: Reg,
        /// Second operand.
        src: Operand,
        /// Distance in slots.
        delta: i16,
    },
    /// Jumps when the loop's budget is spent, else goes on (`BPF_JCOND`, `may_goto`).
    MayGoto {
        /// Distance in slots.
        delta: i16,
    },
    /// Call.
    Call(CallTarget),
    /// Return from the subprogram or program.
    Exit,
}

impl Instruction {
    /// Slots that the instruction takes: 2 for `LoadImm64`, else 1.
    pub const fn slots(&self) -> usize {
        match self {
            Self::LoadImm64 { .. } => 2,
            _ => 1,
        }
    }
}
