//! The compiler against the interpreter's arithmetic; what it refuses.

mod shape;

use std::ptr;

use bpftime_abi::vmctx::HELPER_SLOTS;
use bpftime_abi::{HelperFn, VmCtx};
use bpftime_isa::{
    AluOp, ByteOrderOp, CallTarget, Cond, Decoded, Imm64, Instruction, Operand, Reg, Size, Width,
};

use super::{Native, Proved, compile_instructions};
use crate::executable::{Mapping, call};
use crate::interp;

const WIDTHS: [Width; 2] = [Width::W32, Width::W64];

const VALUES: [u64; 14] = [
    0,
    1,
    2,
    7,
    31,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    0x1234_5678_9abc_def0,
    0x7fff_ffff_ffff_ffff,
    0x8000_0000_0000_0000,
    0xffff_ffff_8000_0000,
    u64::MAX,
];

const ALU_OPS: [AluOp; 14] = [
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
];

const CONDITIONS: [Cond; 11] = [
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
];

fn decoded(instructions: &[Instruction]) -> Vec<Decoded> {
    bpftime_isa::decode(&bpftime_isa::encode(instructions)).expect("valid instructions")
}

fn compile(instructions: &[Instruction]) -> Native {
    compile_instructions(&decoded(instructions), &Proved::default()).expect("compiles")
}

unsafe extern "sysv64" fn add_all(
    _vm: *mut VmCtx,
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    r5: u64,
) -> u64 {
    r1 + 10 * r2 + 100 * r3 + 1000 * r4 + 10000 * r5
}

/// Runs code that uses no memory but its stack, and no helper but `add_all`.
fn run(native: &Native, r1: u64, r2: u64) -> u64 {
    let mapping = Mapping::new(&native.code).expect("memory");
    let helpers: [HelperFn; HELPER_SLOTS] = [add_all; HELPER_SLOTS];
    let maps = [0x1111, 0x2222];
    let map_values = [0x3333, 0x4444];
    let mut vm = VmCtx {
        helpers: helpers.as_ptr(),
        maps: maps.as_ptr(),
        map_values: map_values.as_ptr(),
        env: ptr::null_mut(),
        cpu: 0,
        reserved: 0,
    };
    // SAFETY: the tests' programs only use what is described above.
    unsafe { call(mapping.at(native.entry), &mut vm, r1, r2) }
}

fn alu(op: AluOp, width: Width, dst: Reg, src: Operand) -> Instruction {
    Instruction::Alu {
        op,
        width,
        dst,
        src,
    }
}

fn mov(dst: Reg, src: Operand) -> Instruction {
    alu(AluOp::Mov, Width::W64, dst, src)
}

#[test]
fn arithmetic_agrees_with_the_interpreter() {
    for op in ALU_OPS {
        for width in WIDTHS {
            let by_register = compile(&[
                mov(Reg::R0, Operand::Reg(Reg::R1)),
                alu(op, width, Reg::R0, Operand::Reg(Reg::R2)),
                Instruction::Exit,
            ]);
            for a in VALUES {
                for b in VALUES {
                    let expected = interp::alu(op, width, a, b);
                    let got = run(&by_register, a, b);
                    assert_eq!(got, expected, "{a:#x} {op:?} {b:#x} in {width:?}");
                }
            }
            for imm in [0, 1, 3, 31, 32, 63, 64, -1, -2, i32::MAX, i32::MIN] {
                let by_immediate = compile(&[
                    mov(Reg::R0, Operand::Reg(Reg::R1)),
                    alu(op, width, Reg::R0, Operand::Imm(imm)),
                    Instruction::Exit,
                ]);
                for a in VALUES {
                    let expected = interp::alu(op, width, a, i64::from(imm) as u64);
                    let got = run(&by_immediate, a, 0);
                    assert_eq!(got, expected, "{a:#x} {op:?} {imm:#x} in {width:?}");
                }
            }
        }
    }
}

#[test]
fn unary_operations_agree_with_the_interpreter() {
    let sizes = [Size::H, Size::W, Size::DW];
    for value in VALUES {
        for width in WIDTHS {
            let native = compile(&[
                Instruction::Neg {
                    width,
                    dst: Reg::R1,
                },
                mov(Reg::R0, Operand::Reg(Reg::R1)),
                Instruction::Exit,
            ]);
            assert_eq!(run(&native, value, 0), interp::negate(width, value));
            for from in [Size::B, Size::H, Size::W] {
                if from == Size::W && width == Width::W32 {
                    continue;
                }
                let native = compile(&[
                    Instruction::MovSx {
                        width,
                        from,
                        dst: Reg::R0,
                        src: Reg::R1,
                    },
                    Instruction::Exit,
                ]);
                let extended = interp::sign_extend(from, value);
                let expected = match width {
                    Width::W32 => extended & 0xffff_ffff,
                    Width::W64 => extended,
                };
                assert_eq!(
                    run(&native, value, 0),
                    expected,
                    "{value:#x} {from:?} {width:?}"
                );
            }
        }
        for op in [ByteOrderOp::ToLe, ByteOrderOp::ToBe, ByteOrderOp::Swap] {
            for size in sizes {
                let native = compile(&[
                    Instruction::ByteOrder {
                        op,
                        size,
                        dst: Reg::R1,
                    },
                    mov(Reg::R0, Operand::Reg(Reg::R1)),
                    Instruction::Exit,
                ]);
                let expected = interp::byte_order(op, size, value);
                assert_eq!(
                    run(&native, value, 0),
                    expected,
                    "{op:?} {size:?} {value:#x}"
                );
            }
        }
    }
}

#[test]
fn conditions_agree_with_the_interpreter() {
    for cond in CONDITIONS {
        for width in WIDTHS {
            let native = compile(&[
                Instruction::Branch {
                    cond,
                    width,
                    dst: Reg::R1,
                    src: Operand::Reg(Reg::R2),
                    delta: 2,
                },
                mov(Reg::R0, Operand::Imm(0)),
                Instruction::Exit,
                mov(Reg::R0, Operand::Imm(1)),
                Instruction::Exit,
            ]);
            for a in VALUES {
                for b in VALUES {
                    let expected = u64::from(interp::compare(cond, width, a, b));
                    let got = run(&native, a, b);
                    assert_eq!(got, expected, "{a:#x} {cond:?} {b:#x} in {width:?}");
                }
            }
        }
    }
}

#[test]
fn helpers_get_their_arguments_and_maps_their_addresses() {
    let imm = |dst, value| mov(dst, Operand::Imm(value));
    let native = compile(&[
        imm(Reg::R1, 1),
        imm(Reg::R2, 2),
        imm(Reg::R3, 3),
        imm(Reg::R4, 4),
        imm(Reg::R5, 5),
        // A number without a prototype: all registers may be read.
        Instruction::Call(CallTarget::Helper(255)),
        Instruction::Exit,
    ]);
    assert_eq!(run(&native, 0, 0), 54321);
    for (value, expected) in [
        (Imm64::Value(0x1234_5678_9abc_def0), 0x1234_5678_9abc_def0),
        (Imm64::MapIdx(1), 0x2222),
        (
            Imm64::MapIdxValue {
                index: 1,
                offset: 0xffff_ffff,
            },
            0x4444 + 0xffff_ffff,
        ),
    ] {
        let native = compile(&[
            Instruction::LoadImm64 {
                dst: Reg::R0,
                value,
            },
            Instruction::Exit,
        ]);
        assert_eq!(run(&native, 0, 0), expected);
    }
}

#[test]
fn may_goto_ends_a_loop_after_eight_million_rounds() {
    let native = compile(&[
        mov(Reg::R0, Operand::Imm(0)),
        Instruction::MayGoto { delta: 2 },
        alu(AluOp::Add, Width::W64, Reg::R0, Operand::Imm(1)),
        Instruction::Jump {
            long: false,
            delta: -3,
        },
        Instruction::Exit,
    ]);
    assert_eq!(run(&native, 0, 0), 8 * 1024 * 1024);
}

#[test]
fn recursion_and_depth_are_refused() {
    let call = |delta| Instruction::Call(CallTarget::Local(delta));
    let recursive = decoded(&[call(-1), Instruction::Exit]);
    assert!(matches!(
        compile_instructions(&recursive, &Proved::default()),
        Err(super::CompileError::CallDepth)
    ));
    // A chain of functions, each of which calls the next.
    let chain = |frames: usize| {
        let mut all = Vec::new();
        for frame in 1..=frames {
            all.push(mov(Reg::R0, Operand::Imm(frame as i32)));
            if frame < frames {
                all.push(call(1));
            }
            all.push(Instruction::Exit);
        }
        decoded(&all)
    };
    let deepest =
        compile_instructions(&chain(8), &Proved::default()).expect("eight frames are allowed");
    assert!(deepest.stack_bytes >= 8 * 512);
    assert_eq!(run(&deepest, 0, 0), 8);
    assert!(matches!(
        compile_instructions(&chain(9), &Proved::default()),
        Err(super::CompileError::CallDepth)
    ));
}

#[test]
fn jumps_out_of_the_program_are_refused() {
    for delta in [-5, 1, 100] {
        let jump = Instruction::Jump { long: false, delta };
        let slots = bpftime_isa::encode(&[jump, Instruction::Exit]);
        let program = bpftime_isa::decode(&slots).expect("decodes");
        assert!(matches!(
            compile_instructions(&program, &Proved::default()),
            Err(super::CompileError::BadTarget { slot: 0, .. })
        ));
    }
    let open_end = decoded(&[mov(Reg::R0, Operand::Imm(0))]);
    assert!(matches!(
        compile_instructions(&open_end, &Proved::default()),
        Err(super::CompileError::BadTarget { slot: 0, target: 1 })
    ));
}
