//! What must hold before an instruction, as data.
//!
//! [`Assertions`] extracts it from the instructions alone; `check` judges it on a state;
//! `transfer` relies on it.

use std::ops::Range;

use bpftime_isa::{
    AluOp, AtomicOp, CallTarget, Decoded, Imm64, Instruction, Operand, Reg, Size, Width,
};

use crate::structure::Index;

/// How memory is accessed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AccessKind {
    /// A plain load.
    Read,
    /// A plain store.
    Write,
    /// An atomic operation: aligned, and only where the kernel allows it.
    Atomic {
        /// Memory is read.
        read: bool,
        /// Memory is written.
        write: bool,
    },
}

impl AccessKind {
    pub(crate) fn reads(self) -> bool {
        match self {
            Self::Read => true,
            Self::Write => false,
            Self::Atomic { read, .. } => read,
        }
    }

    pub(crate) fn writes(self) -> bool {
        match self {
            Self::Read => false,
            Self::Write => true,
            Self::Atomic { write, .. } => write,
        }
    }
}

/// A memory access through a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Access {
    pub(crate) base: Reg,
    pub(crate) off: i16,
    pub(crate) size: Size,
    pub(crate) kind: AccessKind,
    /// What is read is sign-extended.
    pub(crate) signed: bool,
}

/// Something that must hold before an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Assertion {
    /// The register was written.
    Initialized(Reg),
    /// The register is not the frame pointer.
    Writable(Reg),
    /// The register holds a number, or a pointer where bits of pointers may be seen.
    NumberOrLeak(Reg),
    /// The register holds a number.
    Number(Reg),
    /// The operands fit the operation; pointers allow little.
    Arithmetic {
        op: AluOp,
        width: Width,
        dst: Reg,
        src: Operand,
    },
    /// The operands may be compared.
    Comparable {
        width: Width,
        dst: Reg,
        src: Operand,
    },
    /// The memory may be accessed.
    Accessible(Access),
    /// The value may be stored there; follows [`Self::Accessible`].
    Storable { access: Access, src: Operand },
    /// The value may be an operand of an atomic operation.
    AtomicOperand { access: Access, src: Reg },
    /// The 64-bit immediate is one that can be loaded.
    Loadable(Imm64),
    /// The call is allowed, with the arguments that are there.
    Callable(CallTarget),
    /// Legacy packet access is allowed.
    LegacyPacket,
    /// The function may return.
    Returnable,
    /// The instruction is not supported.
    Unsupported(&'static str),
}

/// What must hold before the instructions of a program, one after the other.
pub(crate) struct Assertions {
    all: Vec<Assertion>,
    /// For each instruction, where its own begin.
    first: Vec<u32>,
}

impl Assertions {
    pub(crate) fn of(code: &[Decoded]) -> Self {
        let mut all = Vec::new();
        let mut first = Vec::with_capacity(code.len() + 1);
        for decoded in code {
            first.push(all.len() as u32);
            all.extend(assertions(&decoded.insn));
        }
        first.push(all.len() as u32);
        Self { all, first }
    }

    /// Places of the assertions of an instruction.
    pub(crate) fn of_instruction(&self, index: Index) -> Range<u32> {
        let at = index as usize;
        match self.first.get(at..at + 2) {
            Some([first, end]) => *first..*end,
            _ => 0..0,
        }
    }

    /// The assertion at a place.
    pub(crate) fn get(&self, place: u32) -> Option<Assertion> {
        self.all.get(place as usize).copied()
    }
}

/// What must hold before the instruction, in the order in which it is to be checked.
fn assertions(insn: &Instruction) -> Vec<Assertion> {
    use Assertion as A;
    match *insn {
        Instruction::Alu {
            op: AluOp::Mov,
            width,
            dst,
            src,
        } => {
            let mut list = Vec::new();
            if let Operand::Reg(src) = src {
                list.push(A::Initialized(src));
                if width == Width::W32 {
                    list.push(A::NumberOrLeak(src));
                }
            }
            list.push(A::Writable(dst));
            list
        }
        Instruction::Alu {
            op,
            width,
            dst,
            src,
        } => {
            let mut list = Vec::new();
            if let Operand::Reg(src) = src {
                list.push(A::Initialized(src));
            }
            list.extend([
                A::Initialized(dst),
                A::Writable(dst),
                A::Arithmetic {
                    op,
                    width,
                    dst,
                    src,
                },
            ]);
            list
        }
        Instruction::MovSx { dst, src, .. } => {
            vec![A::Initialized(src), A::Number(src), A::Writable(dst)]
        }
        Instruction::Neg { dst, .. } | Instruction::ByteOrder { dst, .. } => {
            vec![A::Initialized(dst), A::Writable(dst), A::NumberOrLeak(dst)]
        }
        Instruction::LoadImm64 { dst, value } => vec![A::Writable(dst), A::Loadable(value)],
        Instruction::Load {
            size,
            signed,
            dst,
            base,
            off,
        } => vec![
            A::Initialized(base),
            A::Writable(dst),
            A::Accessible(Access {
                base,
                off,
                size,
                kind: AccessKind::Read,
                signed,
            }),
        ],
        Instruction::Store {
            size,
            base,
            off,
            src,
        } => {
            let access = Access {
                base,
                off,
                size,
                kind: AccessKind::Write,
                signed: false,
            };
            let mut list = Vec::new();
            if let Operand::Reg(src) = src {
                list.push(A::Initialized(src));
            }
            list.extend([
                A::Initialized(base),
                A::Accessible(access),
                A::Storable { access, src },
            ]);
            list
        }
        Instruction::LoadAcquire {
            size,
            dst,
            base,
            off,
        } => vec![
            A::Initialized(base),
            A::Writable(dst),
            A::Accessible(Access {
                base,
                off,
                size,
                kind: AccessKind::Atomic {
                    read: true,
                    write: false,
                },
                signed: false,
            }),
        ],
        Instruction::StoreRelease {
            size,
            base,
            off,
            src,
        } => {
            let access = Access {
                base,
                off,
                size,
                kind: AccessKind::Atomic {
                    read: false,
                    write: true,
                },
                signed: false,
            };
            vec![
                A::Initialized(src),
                A::Initialized(base),
                A::Accessible(access),
                A::Storable {
                    access,
                    src: Operand::Reg(src),
                },
            ]
        }
        Instruction::Atomic {
            op,
            width,
            base,
            off,
            src,
        } => atomic(op, width, base, off, src),
        Instruction::LoadPacket { index, .. } => {
            let mut list = vec![A::LegacyPacket];
            if let Some(index) = index {
                list.extend([A::Initialized(index), A::Number(index)]);
            }
            list
        }
        Instruction::AddrSpaceCast { .. } => {
            vec![A::Unsupported("arena pointers (addr_space_cast)")]
        }
        Instruction::Jump { .. } | Instruction::MayGoto { .. } => Vec::new(),
        Instruction::Branch {
            width, dst, src, ..
        } => {
            let mut list = Vec::new();
            if let Operand::Reg(src) = src {
                list.push(A::Initialized(src));
            }
            list.extend([A::Initialized(dst), A::Comparable { width, dst, src }]);
            list
        }
        Instruction::Call(target) => vec![A::Callable(target)],
        Instruction::Exit => vec![A::Returnable],
    }
}

fn atomic(op: AtomicOp, width: Width, base: Reg, off: i16, src: Reg) -> Vec<Assertion> {
    use Assertion as A;
    let access = Access {
        base,
        off,
        size: match width {
            Width::W32 => Size::W,
            Width::W64 => Size::DW,
        },
        kind: AccessKind::Atomic {
            read: true,
            write: true,
        },
        signed: false,
    };
    let mut list = vec![A::Initialized(src), A::Initialized(base)];
    list.push(A::AtomicOperand { access, src });
    if op == AtomicOp::Cmpxchg {
        list.extend([
            A::Initialized(Reg::R0),
            A::AtomicOperand {
                access,
                src: Reg::R0,
            },
        ]);
    }
    if let Some(result) = fetched(op, src) {
        list.push(A::Writable(result));
    }
    list.push(A::Accessible(access));
    list
}

/// The register that receives the old value.
pub(crate) fn fetched(op: AtomicOp, src: Reg) -> Option<Reg> {
    match op {
        AtomicOp::Add { fetch }
        | AtomicOp::Or { fetch }
        | AtomicOp::And { fetch }
        | AtomicOp::Xor { fetch } => fetch.then_some(src),
        AtomicOp::Xchg => Some(src),
        AtomicOp::Cmpxchg => Some(Reg::R0),
    }
}
