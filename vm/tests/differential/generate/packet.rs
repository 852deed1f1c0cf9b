//! Pieces that use a packet.
//!
//! `r6` holds the context, `r7` the start of the packet and `r8` its end.

use bpftime_isa::{AluOp, Cond, Instruction, Operand, Reg, Size, Width};
use proptest::prelude::*;
use proptest::sample::select;

use super::Piece;
use super::simple::{access, add, mov, width};

/// A comparison with the end of the packet that skips an access, in any of the forms that
/// compilers make, right or wrong.
pub(super) fn checked_access() -> impl Strategy<Value = Piece> {
    let index = prop_oneof![
        2 => Just(vec![]),
        // A number out of the packet, masked or not.
        1 => (0i16..16, 1u32..8, any::<bool>(), width()).prop_map(|(off, bits, mask, width)| {
            let mut all = vec![Instruction::Load {
                size: Size::W,
                signed: false,
                dst: Reg::R3,
                base: Reg::R7,
                off,
            }];
            if mask {
                all.push(Instruction::Alu {
                    op: AluOp::And,
                    width,
                    dst: Reg::R3,
                    src: Operand::Imm((1 << bits) - 1),
                });
            }
            all.push(add(Reg::R2, Operand::Reg(Reg::R3)));
            all
        }),
    ];
    let compare = (
        select(vec![
            Cond::Gt,
            Cond::Ge,
            Cond::Lt,
            Cond::Le,
            Cond::Eq,
            Cond::Ne,
        ]),
        any::<bool>(),
        select(vec![Width::W64, Width::W64, Width::W64, Width::W32]),
    );
    (
        index,
        0i32..40,
        -1i32..40,
        compare,
        access(Reg::R2, -2i16..40),
        any::<bool>(),
    )
        .prop_map(
            |(index, start, len, (cond, swapped, width), access, negated)| {
                let mut all = vec![mov(Reg::R2, Operand::Reg(Reg::R7))];
                all.extend(index);
                let (dst, src) = if swapped {
                    (Reg::R8, Reg::R4)
                } else {
                    (Reg::R4, Reg::R8)
                };
                let branch = |delta| Instruction::Branch {
                    cond,
                    width,
                    dst,
                    src: Operand::Reg(src),
                    delta,
                };
                all.extend([
                    add(Reg::R2, Operand::Imm(start)),
                    mov(Reg::R4, Operand::Reg(Reg::R2)),
                    add(Reg::R4, Operand::Imm(len)),
                ]);
                if negated {
                    let over = Instruction::Jump {
                        long: false,
                        delta: 1,
                    };
                    all.extend([branch(1), over, access]);
                } else {
                    all.extend([branch(1), access]);
                }
                Piece::Plain(all)
            },
        )
}
