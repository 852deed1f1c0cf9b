//! Random programs that a verifier has a chance to accept.
//!
//! A program is a prologue that gives every register a value, random pieces, and an epilogue that
//! mixes the registers into `r0`. Pieces use registers that may hold numbers or pointers, so that
//! many programs are wrong; masks and comparisons before accesses make many others right.

use bpftime_isa::{
    AluOp, AtomicOp, ByteOrderOp, CallTarget, Cond, Imm64, Instruction, MapDef, MapType, Operand,
    ProgType, Program, Reg, Size, Width, encode,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Bytes of the memory that programs get.
pub(crate) const MEMORY_LEN: usize = 64;
/// Bytes of a value of the map.
pub(crate) const VALUE_LEN: u32 = 48;
/// Entries of the map.
pub(crate) const ENTRIES: u32 = 4;

/// Registers with numbers in them. `r6` holds the address of the memory, `r7` the address of a
/// value of the map or null.
const NUMBERS: [Reg; 7] = [
    Reg::R0,
    Reg::R2,
    Reg::R3,
    Reg::R4,
    Reg::R5,
    Reg::R8,
    Reg::R9,
];

/// Some instructions that belong together; jumps lead to instructions of the same piece or past
/// its end, `skip` pieces further.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// Straight-line code.
    Plain(Vec<Instruction>),
    /// A branch over the next pieces.
    Skip {
        cond: Cond,
        width: Width,
        dst: Reg,
        src: Operand,
        pieces: usize,
    },
    /// The pieces, repeated while a counter in `r9` is below a bound.
    Loop { rounds: i32, body: Vec<Piece> },
}

fn number() -> impl Strategy<Value = Reg> {
    select(NUMBERS.to_vec())
}

/// Mostly registers with numbers, now and then any.
fn any_register() -> impl Strategy<Value = Reg> {
    prop_oneof![20 => number(), 1 => select(Reg::ALL.to_vec())]
}

fn width() -> impl Strategy<Value = Width> {
    select(vec![Width::W32, Width::W64])
}

fn size() -> impl Strategy<Value = Size> {
    select(vec![Size::B, Size::H, Size::W, Size::DW])
}

fn immediate() -> impl Strategy<Value = i32> {
    prop_oneof![
        4 => -8i32..72,
        1 => select(vec![i32::MIN, i32::MAX, -1, 0, 0x7fff, 0x8000, 0xffff, 0x10000]),
        1 => any::<i32>(),
    ]
}

fn operand() -> impl Strategy<Value = Operand> {
    prop_oneof![
        any_register().prop_map(Operand::Reg),
        immediate().prop_map(Operand::Imm)
    ]
}

fn alu_op() -> impl Strategy<Value = AluOp> {
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

fn cond() -> impl Strategy<Value = Cond> {
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

fn atomic_op() -> impl Strategy<Value = AtomicOp> {
    (0..6, any::<bool>()).prop_map(|(op, fetch)| match op {
        0 => AtomicOp::Add { fetch },
        1 => AtomicOp::Or { fetch },
        2 => AtomicOp::And { fetch },
        3 => AtomicOp::Xor { fetch },
        4 => AtomicOp::Xchg,
        _ => AtomicOp::Cmpxchg,
    })
}

fn alu() -> impl Strategy<Value = Instruction> {
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

fn unary() -> impl Strategy<Value = Instruction> {
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
fn access(base: Reg, offset: impl Strategy<Value = i16>) -> impl Strategy<Value = Instruction> {
    (
        0..8,
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
                _ => Instruction::LoadAcquire {
                    size,
                    dst,
                    base,
                    off: off & !7,
                },
            },
        )
}

/// An access at `base` plus a number that was bounded in one of several ways, or not at all.
fn indexed(base: Reg, len: i32) -> impl Strategy<Value = Piece> {
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
fn offset(access: Instruction, by: i16) -> Instruction {
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
fn lookup() -> impl Strategy<Value = Piece> {
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
fn spill() -> impl Strategy<Value = Piece> {
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

fn piece() -> impl Strategy<Value = Piece> {
    let leaf = prop_oneof![
        6 => vec(prop_oneof![4 => alu(), 1 => unary()], 1..4).prop_map(Piece::Plain),
        2 => access(Reg::R6, -1i16..MEMORY_LEN as i16).prop_map(|i| Piece::Plain(vec![i])),
        2 => access(Reg::R10, -64i16..1).prop_map(|i| Piece::Plain(vec![i])),
        2 => indexed(Reg::R6, MEMORY_LEN as i32),
        1 => indexed(Reg::R10, 64),
        1 => indexed(Reg::R7, VALUE_LEN as i32),
        1 => lookup(),
        1 => spill(),
        4 => (cond(), width(), any_register(), operand(), 1usize..4).prop_map(
            |(cond, width, dst, src, pieces)| Piece::Skip { cond, width, dst, src, pieces }
        ),
    ];
    leaf.prop_recursive(1, 12, 4, |inner| {
        (1..9i32, vec(inner, 1..4)).prop_map(|(rounds, body)| Piece::Loop { rounds, body })
    })
}

fn mov(dst: Reg, src: Operand) -> Instruction {
    Instruction::Alu {
        op: AluOp::Mov,
        width: Width::W64,
        dst,
        src,
    }
}

fn add(dst: Reg, src: Operand) -> Instruction {
    Instruction::Alu {
        op: AluOp::Add,
        width: Width::W64,
        dst,
        src,
    }
}

/// Unknown numbers from memory in registers.
fn numbers<const N: usize>(registers: [Reg; N]) -> [Instruction; N] {
    registers.map(|dst| Instruction::Load {
        size: Size::DW,
        signed: false,
        dst,
        base: Reg::R6,
        off: dst.index() as i16 * 5 % 56,
    })
}

/// The instructions of pieces; `r9` counts the rounds of a loop.
fn flatten(pieces: &[Piece]) -> Vec<Instruction> {
    let parts: Vec<Vec<Instruction>> = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Plain(instructions) => instructions.clone(),
            // Filled in below, when the lengths of the others are known.
            Piece::Skip { .. } => vec![Instruction::Exit],
            Piece::Loop { rounds, body } => {
                let mut all = vec![mov(Reg::R9, Operand::Imm(0))];
                all.extend(flatten(body));
                all.push(add(Reg::R9, Operand::Imm(1)));
                let slots: usize = all[1..].iter().map(Instruction::slots).sum();
                all.push(Instruction::Branch {
                    cond: Cond::Lt,
                    width: Width::W64,
                    dst: Reg::R9,
                    src: Operand::Imm(*rounds),
                    delta: -(slots as i16 + 1),
                });
                all
            }
        })
        .collect();
    let slots: Vec<usize> = parts
        .iter()
        .map(|part| part.iter().map(Instruction::slots).sum())
        .collect();
    let mut all = Vec::new();
    for (index, (piece, part)) in pieces.iter().zip(parts).enumerate() {
        match *piece {
            Piece::Skip {
                cond,
                width,
                dst,
                src,
                pieces,
            } => {
                let over: usize = slots.iter().skip(index + 1).take(pieces).sum();
                all.push(Instruction::Branch {
                    cond,
                    width,
                    dst,
                    src,
                    delta: over as i16,
                });
            }
            _ => all.extend(part),
        }
    }
    all
}

/// A random program.
pub(crate) fn program() -> impl Strategy<Value = Program> {
    vec(piece(), 1..14).prop_map(|pieces| {
        let mut all = vec![mov(Reg::R6, Operand::Reg(Reg::R1))];
        all.extend(numbers(NUMBERS));
        all.push(mov(Reg::R7, Operand::Imm(0)));
        for off in (-64..0).step_by(8) {
            all.push(Instruction::Store {
                size: Size::DW,
                base: Reg::R10,
                off,
                src: Operand::Imm(off.into()),
            });
        }
        all.extend(flatten(&pieces));
        for reg in NUMBERS {
            all.push(Instruction::Alu {
                op: AluOp::Xor,
                width: Width::W64,
                dst: Reg::R0,
                src: Operand::Reg(reg),
            });
            all.push(Instruction::Alu {
                op: AluOp::Mul,
                width: Width::W64,
                dst: Reg::R0,
                src: Operand::Imm(31),
            });
        }
        all.push(Instruction::Exit);
        Program {
            name: "random".to_owned(),
            section: String::new(),
            prog_type: ProgType::Memory,
            attach_type: None,
            license: "GPL".to_owned(),
            insns: encode(&all),
            maps: vec![MapDef {
                name: "values".to_owned(),
                map_type: MapType::Array,
                key_size: 4,
                value_size: VALUE_LEN,
                max_entries: ENTRIES,
                flags: 0,
                inner: None,
                initial: None,
                frozen: false,
            }],
            subprograms: Vec::new(),
            lines: Vec::new(),
        }
    })
}
