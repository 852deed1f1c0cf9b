//! Random programs that a verifier has a chance to accept.
//!
//! A program is a prologue that gives every register a value, random pieces, and an epilogue that
//! mixes the registers into `r0`. Pieces use registers that may hold numbers or pointers, so that
//! many programs are wrong; masks and comparisons before accesses make many others right.

mod memory;
mod packet;
mod simple;

use bpftime_isa::{
    AluOp, CallTarget, Cond, Instruction, MapDef, MapType, Operand, ProgType, Program, Reg, Size,
    Width, encode,
};
use proptest::collection::vec;
use proptest::prelude::*;

use simple::{NUMBERS, access, add, alu, any_register, cond, mov, numbers, operand, unary, width};

/// Bytes of the memory that programs get.
pub(crate) const MEMORY_LEN: usize = 64;
/// Bytes of a value of the map.
pub(crate) const VALUE_LEN: u32 = 48;
/// Entries of the map.
pub(crate) const ENTRIES: u32 = 4;

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
    /// The pieces, repeated while a counter in `r9` is below a bound; perhaps with a `may_goto`,
    /// so that the verifier widens instead of going round.
    Loop {
        rounds: i32,
        may_goto: bool,
        body: Vec<Piece>,
    },
}

/// A piece of a memory program.
fn piece() -> impl Strategy<Value = Piece> {
    let leaf = prop_oneof![
        6 => vec(prop_oneof![4 => alu(), 1 => unary()], 1..4).prop_map(Piece::Plain),
        2 => access(Reg::R6, -1i16..MEMORY_LEN as i16).prop_map(|i| Piece::Plain(vec![i])),
        2 => access(Reg::R10, -64i16..1).prop_map(|i| Piece::Plain(vec![i])),
        2 => memory::indexed(Reg::R6, MEMORY_LEN as i32),
        1 => memory::indexed(Reg::R10, 64),
        1 => memory::indexed(Reg::R7, VALUE_LEN as i32),
        1 => memory::lookup(),
        1 => memory::spill(),
        1 => memory::probe_read(),
        1 => memory::call(),
        4 => (cond(), width(), any_register(), operand(), 1usize..4).prop_map(
            |(cond, width, dst, src, pieces)| Piece::Skip { cond, width, dst, src, pieces }
        ),
    ];
    leaf.prop_recursive(1, 12, 4, |inner| {
        (1..9i32, any::<bool>(), vec(inner, 1..4)).prop_map(|(rounds, may_goto, body)| {
            Piece::Loop {
                rounds,
                may_goto,
                body,
            }
        })
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
            Piece::Loop {
                rounds,
                may_goto,
                body,
            } => {
                let body = flatten(body);
                let mut all = vec![mov(Reg::R9, Operand::Imm(0))];
                if *may_goto {
                    let slots: usize = body.iter().map(Instruction::slots).sum();
                    let delta = slots as i16 + 2;
                    all.push(Instruction::MayGoto { delta });
                }
                all.extend(body);
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

/// Fills in the distances of the calls to the subprogram, which begins after `all`.
fn resolve_calls(all: &mut [Instruction]) {
    let total: usize = all.iter().map(Instruction::slots).sum();
    let mut next = 0;
    for instruction in all {
        next += instruction.slots();
        if let Instruction::Call(CallTarget::Local(delta)) = instruction {
            *delta = (total - next) as i32;
        }
    }
}

/// Mixes registers into `r0`.
fn epilogue(registers: &[Reg]) -> impl Iterator<Item = Instruction> {
    let mix = |op, src| Instruction::Alu {
        op,
        width: Width::W64,
        dst: Reg::R0,
        src,
    };
    registers
        .iter()
        .flat_map(move |reg| {
            [
                mix(AluOp::Xor, Operand::Reg(*reg)),
                mix(AluOp::Mul, Operand::Imm(31)),
            ]
        })
        .chain([Instruction::Exit])
}

fn fill_stack() -> impl Iterator<Item = Instruction> {
    (-64..0).step_by(8).map(|off: i16| Instruction::Store {
        size: Size::DW,
        base: Reg::R10,
        off,
        src: Operand::Imm(off.into()),
    })
}

/// The subprogram: `r1` is an address or a number, `r2` a number.
fn subprogram() -> impl Strategy<Value = Vec<Instruction>> {
    let body = prop_oneof![
        vec(alu(), 0..3),
        vec(access(Reg::R1, -66i16..66), 0..2),
        vec(access(Reg::R10, -16i16..1), 0..2),
    ];
    body.prop_map(|body| {
        let mut all = vec![
            mov(Reg::R0, Operand::Reg(Reg::R2)),
            mov(Reg::R3, Operand::Imm(3)),
            mov(Reg::R4, Operand::Reg(Reg::R2)),
            mov(Reg::R5, Operand::Imm(-5)),
            mov(Reg::R8, Operand::Imm(8)),
            mov(Reg::R9, Operand::Reg(Reg::R2)),
        ];
        all.extend(fill_stack());
        all.extend(body);
        all.extend(epilogue(&[Reg::R2, Reg::R3, Reg::R8, Reg::R9]));
        all
    })
}

/// A random program that is given memory.
pub(crate) fn memory_program() -> impl Strategy<Value = Program> {
    (vec(piece(), 1..10), subprogram()).prop_map(|(pieces, subprogram)| {
        let mut all = vec![mov(Reg::R6, Operand::Reg(Reg::R1))];
        all.extend(numbers(NUMBERS));
        all.push(mov(Reg::R7, Operand::Imm(0)));
        all.extend(fill_stack());
        all.extend(flatten(&pieces));
        all.extend(epilogue(&NUMBERS));
        resolve_calls(&mut all);
        if all
            .iter()
            .any(|instruction| matches!(instruction, Instruction::Call(CallTarget::Local(_))))
        {
            all.extend(subprogram);
        }
        program(ProgType::Memory, &all)
    })
}

/// A random program that is given a packet.
pub(crate) fn packet_program() -> impl Strategy<Value = Program> {
    let piece = prop_oneof![
        3 => packet::checked_access(),
        1 => access(Reg::R7, -1i16..40).prop_map(|access| Piece::Plain(vec![access])),
        1 => alu().prop_map(|alu| Piece::Plain(vec![alu])),
    ];
    vec(piece, 1..5).prop_map(|pieces| {
        let field = |dst, off| Instruction::Load {
            size: Size::W,
            signed: false,
            dst,
            base: Reg::R1,
            off,
        };
        let all_numbers = [Reg::R0, Reg::R2, Reg::R3, Reg::R4, Reg::R5, Reg::R9];
        let mut all = vec![
            mov(Reg::R6, Operand::Reg(Reg::R1)),
            field(Reg::R7, 0),
            field(Reg::R8, 4),
        ];
        all.extend(all_numbers.map(|reg| mov(reg, Operand::Imm(reg.index() as i32))));
        all.extend(flatten(&pieces));
        all.push(mov(Reg::R2, Operand::Imm(2)));
        all.push(mov(Reg::R4, Operand::Imm(4)));
        all.extend(epilogue(&all_numbers));
        program(ProgType::Xdp, &all)
    })
}

fn program(prog_type: ProgType, instructions: &[Instruction]) -> Program {
    Program {
        name: "random".to_owned(),
        license: "GPL".to_owned(),
        maps: vec![MapDef {
            name: "values".to_owned(),
            ..MapDef::new(MapType::Array, 4, VALUE_LEN, ENTRIES)
        }],
        ..Program::new(prog_type, encode(instructions))
    }
}
