//! Single instructions.

use bpftime_isa::{AluOp, AtomicOp, ByteOrderOp, Cond, Instruction, Operand, Reg, Size, Width};
use proptest::prelude::*;
use proptest::sample::select;

/// Registers with numbers in them. `r6` holds the address of the memory, `r7` the address of a
/// value of the map or null.
pub(super) const NUMBERS: [Reg; 7] = [
    Reg::R0,
    Reg::R2,
    Reg::R3,
    Reg::R4,
    Reg::R5,
    Reg::R8,
    Reg::R9,
];

pub(super) fn number() -> impl Strategy<Value = Reg> {
    select(NUMBERS.to_vec())
}

/// Mostly registers with numbers, now and then any.
pub(super) fn any_register() -> impl Strategy<Value = Reg> {
    prop_oneof![20 => number(), 1 => select(Reg::ALL.to_vec())]
}

pub(super) fn width() -> impl Strategy<Value = Width> {
    select(vec![Width::W32, Width::W64])
}

pub(super) fn size() -> impl Strategy<Value = Size> {
    select(vec![Size::B, Size::H, Size::W, Size::DW])
}

pub(super) fn immediate() -> impl Strategy<Value = i32> {
    prop_oneof![
        4 => -8i32..72,
        1 => select(vec![i32::MIN, i32::MAX, -1, 0, 0x7fff, 0x8000, 0xffff, 0x10000]),
        1 => any::<i32>(),
    ]
}

pub(super) fn operand() -> impl Strategy<Value = Operand> {
    prop_oneof![
        any_register().prop_map(Operand::Reg),
        immediate().prop_map(Operand::Imm)
    ]
}

pub(super) fn alu_op() -> impl Strategy<Value = AluOp> {
    select(vec![
        AluOp::Add,
        AluOp::Sub,
        AluOp::Mul,
        AluOp::Div,
        AluOp::Sdiv,
        AluOp::Mod,
        AluOp::Smod,
        AluOp::Or,
        AluOp::And,
        AluOp::Xor,
        AluOp::Lsh,
        AluOp::Rsh,
        AluOp::Arsh,
        AluOp::Mov,
    ])
}

pub(super) fn cond() -> impl Strategy<Value = Cond> {
    select(vec![
        Cond::Eq,
        Cond::Ne,
        Cond::Gt,
        Cond::Ge,
        Cond::Lt,
        Cond::Le,
        Cond::Set,
        Cond::Sgt,
        Cond::Sge,
        Cond::Slt,
        Cond::Sle,
    ])
}

pub(super) fn atomic_op() -> impl Strategy<Value = AtomicOp> {
    (0..6, any::<bool>()).prop_map(|(op, fetch)| match op {
        0 => AtomicOp::Add { fetch },
        1 => AtomicOp::Or { fetch },
        2 => AtomicOp::And { fetch },
        3 => AtomicOp::Xor { fetch },
        4 => AtomicOp::Xchg,
        _ => AtomicOp::Cmpxchg,
    })
}

pub(super) fn alu() -> impl Strategy<Value = Instruction> {
    (alu_op(), width(), any_register(), operand()).prop_map(|(op, width, dst, src)| {
        let bits = match width {
            Width::W32 => 31,
            Width::W64 => 63,
        };
        // The decoder and the verifier refuse constant divisors of 0 and shifts beyond the width.
        let src = match (op, src) {
            (AluOp::Lsh | AluOp::Rsh | AluOp::Arsh, Operand::Imm(imm)) => Operand::Imm(imm & bits),
            (AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod, Operand::Imm(0)) => {
                Operand::Imm(3)
            }
            (_, src) => src,
        };
        Instruction::Alu {
            op,
            width,
            dst,
            src,
        }
    })
}

pub(super) fn unary() -> impl Strategy<Value = Instruction> {
    prop_oneof![
        (width(), number()).prop_map(|(width, dst)| Instruction::Neg { width, dst }),
        (
            select(vec![
                ByteOrderOp::ToLe,
                ByteOrderOp::ToBe,
                ByteOrderOp::Swap
            ]),
            select(vec![Size::H, Size::W, Size::DW]),
            number()
        )
            .prop_map(|(op, size, dst)| Instruction::ByteOrder { op, size, dst }),
        (
            width(),
            select(vec![Size::B, Size::H, Size::W]),
            number(),
            number()
        )
            .prop_map(|(width, from, dst, src)| {
                let width = if from == Size::W { Width::W64 } else { width };
                Instruction::MovSx {
                    width,
                    from,
                    dst,
                    src,
                }
            }),
    ]
}

/// An access at an address register and an offset.
pub(super) fn access(
    base: Reg,
    offset: impl Strategy<Value = i16>,
) -> impl Strategy<Value = Instruction> {
    (
        0..9,
        size(),
        any::<bool>(),
        number(),
        number(),
        offset,
        atomic_op(),
        width(),
        immediate(),
    )
        .prop_map(
            move |(kind, size, signed, dst, src, off, op, width, imm)| match kind {
                0..=2 => Instruction::Load {
                    size,
                    signed: signed && size != Size::DW,
                    dst,
                    base,
                    off,
                },
                3 | 4 => Instruction::Store {
                    size,
                    base,
                    off,
                    src: Operand::Reg(src),
                },
                5 => Instruction::Store {
                    size,
                    base,
                    off,
                    src: Operand::Imm(imm),
                },
                6 => Instruction::Atomic {
                    op,
                    width,
                    base,
                    off: off & !7,
                    src,
                },
                7 => Instruction::StoreRelease {
                    size,
                    base,
                    off: off & !7,
                    src,
                },
                _ => Instruction::LoadAcquire {
                    size,
                    dst,
                    base,
                    off: off & !7,
                },
            },
        )
}

pub(super) fn mov(dst: Reg, src: Operand) -> Instruction {
    Instruction::Alu {
        op: AluOp::Mov,
        width: Width::W64,
        dst,
        src,
    }
}

pub(super) fn add(dst: Reg, src: Operand) -> Instruction {
    Instruction::Alu {
        op: AluOp::Add,
        width: Width::W64,
        dst,
        src,
    }
}

/// Unknown numbers from memory in registers.
pub(super) fn numbers<const N: usize>(registers: [Reg; N]) -> [Instruction; N] {
    registers.map(|dst| Instruction::Load {
        size: Size::DW,
        signed: false,
        dst,
        base: Reg::R6,
        off: dst.index() as i16 * 5 % 56,
    })
}
