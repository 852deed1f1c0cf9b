//! What must hold before an instruction, as data.
//!
//! [`assertions`] extracts it from the instruction alone; `check` judges it on a state;
//! `transfer` relies on it.

use bpftime_isa::{AluOp, AtomicOp, CallTarget, Imm64, Instruction, Operand, Reg, Size, Width};

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
    /// There is an arena.
    Arena,
    /// The function may return.
    Returnable,
}

/// The most that must hold before an instruction.
const MOST: usize = 8;

/// What must hold before an instruction, in the order in which it is to be checked. Made when the
/// instruction is reached: a list for each of a million would take more memory than the analysis.
pub(crate) struct Assertions {
    list: [Option<Assertion>; MOST],
    len: usize,
}

impl Assertions {
    fn push(&mut self, assertion: Assertion) {
        self.list[self.len] = Some(assertion);
        self.len += 1;
    }

    fn initialized(&mut self, operand: Operand) {
        if let Operand::Reg(reg) = operand {
            self.push(Assertion::Initialized(reg));
        }
    }
}

impl<const N: usize> From<[Assertion; N]> for Assertions {
    fn from(assertions: [Assertion; N]) -> Self {
        const { assert!(N <= MOST) };
        let mut all = Self {
            list: [None; MOST],
            len: 0,
        };
        assertions
            .into_iter()
            .for_each(|assertion| all.push(assertion));
        all
    }
}

impl IntoIterator for Assertions {
    type Item = Assertion;
    type IntoIter = std::iter::Flatten<std::array::IntoIter<Option<Assertion>, MOST>>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.into_iter().flatten()
    }
}

/// What must hold before the instruction, in the order in which it is to be checked.
pub(crate) fn assertions(insn: &Instruction) -> Assertions {
    use Assertion as A;
    match *insn {
        Instruction::Alu {
            op: AluOp::Mov,
            width,
            dst,
            src,
        } => {
            let mut list = Assertions::from([]);
            list.initialized(src);
            if let (Operand::Reg(src), Width::W32) = (src, width) {
                list.push(A::NumberOrLeak(src));
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
            let mut list = Assertions::from([]);
            list.initialized(src);
            list.push(A::Initialized(dst));
            list.push(A::Writable(dst));
            list.push(A::Arithmetic {
                op,
                width,
                dst,
                src,
            });
            list
        }
        Instruction::MovSx { dst, src, .. } => {
            [A::Initialized(src), A::NumberOrLeak(src), A::Writable(dst)].into()
        }
        Instruction::Neg { dst, .. } | Instruction::ByteOrder { dst, .. } => {
            [A::Initialized(dst), A::Writable(dst), A::NumberOrLeak(dst)].into()
        }
        Instruction::LoadImm64 { dst, value } => [A::Writable(dst), A::Loadable(value)].into(),
        Instruction::Load {
            size,
            signed,
            dst,
            base,
            off,
        } => [
            A::Initialized(base),
            A::Writable(dst),
            A::Accessible(Access {
                base,
                off,
                size,
                kind: AccessKind::Read,
                signed,
            }),
        ]
        .into(),
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
            let mut list = Assertions::from([]);
            list.initialized(src);
            list.push(A::Initialized(base));
            list.push(A::Accessible(access));
            list.push(A::Storable { access, src });
            list
        }
        Instruction::LoadAcquire {
            size,
            dst,
            base,
            off,
        } => [
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
        ]
        .into(),
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
            [
                A::Initialized(src),
                A::Initialized(base),
                A::Accessible(access),
                A::Storable {
                    access,
                    src: Operand::Reg(src),
                },
            ]
            .into()
        }
        Instruction::Atomic {
            op,
            width,
            base,
            off,
            src,
        } => atomic(op, width, base, off, src),
        Instruction::LoadPacket { index, .. } => {
            let mut list = Assertions::from([A::LegacyPacket]);
            if let Some(index) = index {
                list.push(A::Initialized(index));
                list.push(A::Number(index));
            }
            list
        }
        Instruction::AddrSpaceCast { dst, src, .. } => {
            [A::Arena, A::Initialized(src), A::Writable(dst)].into()
        }
        Instruction::Jump { .. } | Instruction::MayGoto { .. } => [].into(),
        Instruction::Branch {
            width, dst, src, ..
        } => {
            let mut list = Assertions::from([]);
            list.initialized(src);
            list.push(A::Initialized(dst));
            list.push(A::Comparable { width, dst, src });
            list
        }
        Instruction::Call(target) => [A::Callable(target)].into(),
        Instruction::Exit => [A::Returnable].into(),
    }
}

fn atomic(op: AtomicOp, width: Width, base: Reg, off: i16, src: Reg) -> Assertions {
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
    let mut list = Assertions::from([
        A::Initialized(src),
        A::Initialized(base),
        A::AtomicOperand { access, src },
    ]);
    if op == AtomicOp::Cmpxchg {
        list.push(A::Initialized(Reg::R0));
        list.push(A::AtomicOperand {
            access,
            src: Reg::R0,
        });
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
