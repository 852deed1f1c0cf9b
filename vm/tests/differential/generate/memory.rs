//! Pieces that use the memory, the stack and the map.

use bpftime_isa::{AluOp, CallTarget, Cond, Imm64, Instruction, Operand, Reg, Size, Width};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::simple::{access, add, mov, number, numbers, width};
use super::{ENTRIES, Piece, VALUE_LEN};

/// An access at `base` plus a number that was bounded in one of several ways, or not at all.
pub(super) fn indexed(base: Reg, len: i32) -> impl Strategy<Value = Piece> {
    let bound = prop_oneof![
        // A mask, perhaps one bit too large.
        (1u32..7, width()).prop_map(|(bits, width)| vec![Instruction::Alu {
            op: AluOp::And,
            width,
            dst: Reg::R3,
            src: Operand::Imm((1 << bits) - 1),
        }]),
        (1..len + 8, width()).prop_map(|(divisor, width)| vec![Instruction::Alu {
            op: AluOp::Mod,
            width,
            dst: Reg::R3,
            src: Operand::Imm(divisor),
        }]),
        // A comparison that skips the access: its three instructions and those before them.
        (
            select(vec![Cond::Gt, Cond::Ge, Cond::Sgt, Cond::Sge]),
            width(),
            -2..len + 8
        )
            .prop_map(|(cond, width, limit)| vec![Instruction::Branch {
                cond,
                width,
                dst: Reg::R3,
                src: Operand::Imm(limit),
                delta: 3,
            }]),
        Just(vec![]),
    ];
    let start = if base == Reg::R10 { -len..1 } else { -1..9 };
    (number(), bound, start, access(Reg::R1, 0i16..9)).prop_map(
        move |(index, bound, start, access)| {
            let mut all = vec![mov(Reg::R3, Operand::Reg(index))];
            all.extend(bound);
            all.extend([
                mov(Reg::R1, Operand::Reg(base)),
                add(Reg::R1, Operand::Reg(Reg::R3)),
                offset(access, start as i16),
            ]);
            Piece::Plain(all)
        },
    )
}

/// The access with its offset moved.
pub(super) fn offset(access: Instruction, by: i16) -> Instruction {
    match access {
        Instruction::Load {
            size,
            signed,
            dst,
            base,
            off,
        } => Instruction::Load {
            size,
            signed,
            dst,
            base,
            off: off + by,
        },
        Instruction::Store {
            size,
            base,
            off,
            src,
        } => Instruction::Store {
            size,
            base,
            off: off + by,
            src,
        },
        other => other,
    }
}

/// Looks a value up whose address, or null, goes to `r7`; perhaps with the check for null.
pub(super) fn lookup() -> impl Strategy<Value = Piece> {
    (
        0i32..ENTRIES as i32 + 2,
        any::<bool>(),
        access(Reg::R7, -1i16..VALUE_LEN as i16),
    )
        .prop_map(|(key, check, access)| {
            let mut all = vec![
                Instruction::Store {
                    size: Size::W,
                    base: Reg::R10,
                    off: -4,
                    src: Operand::Imm(key),
                },
                Instruction::LoadImm64 {
                    dst: Reg::R1,
                    value: Imm64::MapIdx(0),
                },
                mov(Reg::R2, Operand::Reg(Reg::R10)),
                add(Reg::R2, Operand::Imm(-4)),
                Instruction::Call(CallTarget::Helper(1)),
                mov(Reg::R7, Operand::Reg(Reg::R0)),
            ];
            all.extend(numbers([Reg::R0, Reg::R2, Reg::R3, Reg::R4, Reg::R5]));
            if check {
                all.push(Instruction::Branch {
                    cond: Cond::Eq,
                    width: Width::W64,
                    dst: Reg::R7,
                    src: Operand::Imm(0),
                    delta: 1,
                });
            }
            all.push(access);
            Piece::Plain(all)
        })
}

/// A spill of a register to the stack and back.
pub(super) fn spill() -> impl Strategy<Value = Piece> {
    (
        select(vec![Reg::R6, Reg::R7, Reg::R8, Reg::R2]),
        select(vec![-16i16, -24, -32]),
        vec(access(Reg::R10, -40i16..-8), 0..2),
    )
        .prop_map(|(reg, off, between)| {
            let mut all = vec![Instruction::Store {
                size: Size::DW,
                base: Reg::R10,
                off,
                src: Operand::Reg(reg),
            }];
            all.extend(between);
            all.push(Instruction::Load {
                size: Size::DW,
                signed: false,
                dst: reg,
                base: Reg::R10,
                off,
            });
            Piece::Plain(all)
        })
}

/// `bpf_probe_read_kernel` of a number of bytes that was bounded, or not, to the stack or to the
/// memory.
pub(super) fn probe_read() -> impl Strategy<Value = Piece> {
    let bound = prop_oneof![
        (1u32..7).prop_map(|bits| vec![Instruction::Alu {
            op: AluOp::And,
            width: Width::W64,
            dst: Reg::R2,
            src: Operand::Imm((1 << bits) - 1),
        }]),
        (
            select(vec![Cond::Gt, Cond::Sgt, Cond::Ge]),
            width(),
            -1i32..72
        )
            .prop_map(|(cond, width, limit)| vec![Instruction::Branch {
                cond,
                width,
                dst: Reg::R2,
                src: Operand::Imm(limit),
                delta: 4,
            }]),
        (-1i32..72).prop_map(|len| vec![mov(Reg::R2, Operand::Imm(len))]),
    ];
    (
        number(),
        bound,
        select(vec![(Reg::R10, -64), (Reg::R6, 0)]),
        -1i32..20,
    )
        .prop_map(|(len, bound, (to, start), offset)| {
            let mut all = vec![mov(Reg::R2, Operand::Reg(len))];
            all.extend(bound);
            all.extend([
                mov(Reg::R1, Operand::Reg(to)),
                add(Reg::R1, Operand::Imm(start + offset)),
                mov(Reg::R3, Operand::Reg(Reg::R6)),
                Instruction::Call(CallTarget::Helper(113)),
            ]);
            all.extend(numbers([Reg::R0, Reg::R2, Reg::R3, Reg::R4, Reg::R5]));
            Piece::Plain(all)
        })
}

/// A call of the program's subprogram, with numbers or with an address and a number.
pub(super) fn call() -> impl Strategy<Value = Piece> {
    (select(vec![Reg::R6, Reg::R10, Reg::R8]), number()).prop_map(|(address, index)| {
        let mut all = vec![
            mov(Reg::R2, Operand::Reg(index)),
            mov(Reg::R1, Operand::Reg(address)),
            // The distance is filled in when the place of the subprogram is known.
            Instruction::Call(CallTarget::Local(i32::MIN)),
        ];
        all.extend(numbers([Reg::R2, Reg::R3, Reg::R4, Reg::R5]));
        Piece::Plain(all)
    })
}
