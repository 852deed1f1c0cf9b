//! What the machine code may look like.

use std::collections::BTreeSet;

use bpftime_isa::{AluOp, AtomicOp, CallTarget, Imm64, Instruction, Operand, Reg, Size, Width};
use iced_x86::{Decoder, DecoderOptions, FlowControl, InstructionInfoFactory, OpKind, Register};

use super::{ALU_OPS, WIDTHS, alu, compile, mov};

/// A program with one of everything: stack, atomics, helper, maps, subprogram, loop, `may_goto`.
fn everything() -> Vec<Instruction> {
    let store = |off, src| Instruction::Store {
        size: Size::DW,
        base: Reg::R10,
        off,
        src,
    };
    let atomic = |op, width| Instruction::Atomic {
        op,
        width,
        base: Reg::R3,
        off: -8,
        src: Reg::R2,
    };
    let mut all = vec![
        mov(Reg::R6, Operand::Reg(Reg::R1)),
        store(-8, Operand::Imm(5)),
        mov(Reg::R3, Operand::Reg(Reg::R10)),
        mov(Reg::R2, Operand::Imm(3)),
        mov(Reg::R0, Operand::Imm(5)),
    ];
    for width in WIDTHS {
        for fetch in [false, true] {
            all.push(atomic(AtomicOp::Add { fetch }, width));
            all.push(atomic(AtomicOp::Or { fetch }, width));
            all.push(atomic(AtomicOp::And { fetch }, width));
            all.push(atomic(AtomicOp::Xor { fetch }, width));
        }
        all.push(atomic(AtomicOp::Xchg, width));
        all.push(atomic(AtomicOp::Cmpxchg, width));
    }
    for size in [Size::B, Size::H, Size::W, Size::DW] {
        all.push(Instruction::LoadAcquire {
            size,
            dst: Reg::R4,
            base: Reg::R3,
            off: -8,
        });
        all.push(Instruction::StoreRelease {
            size,
            base: Reg::R3,
            off: -16,
            src: Reg::R4,
        });
        for signed in [false, true] {
            if signed && size == Size::DW {
                continue;
            }
            all.push(Instruction::Load {
                size,
                signed,
                dst: Reg::R5,
                base: Reg::R3,
                off: -16,
            });
        }
    }
    for width in WIDTHS {
        all.extend(ALU_OPS.map(|op| alu(op, width, Reg::R5, Operand::Reg(Reg::R2))));
    }
    all.extend([
        Instruction::LoadImm64 {
            dst: Reg::R1,
            value: Imm64::MapIdx(1),
        },
        Instruction::LoadImm64 {
            dst: Reg::R2,
            value: Imm64::MapIdxValue {
                index: 1,
                offset: 0xffff_ffff,
            },
        },
        Instruction::Call(CallTarget::Helper(1)),
        mov(Reg::R1, Operand::Reg(Reg::R0)),
        Instruction::Call(CallTarget::Local(3)),
        Instruction::MayGoto { delta: 1 },
        Instruction::Jump {
            long: false,
            delta: -2,
        },
        Instruction::Exit,
        mov(Reg::R0, Operand::Reg(Reg::R1)),
        alu(AluOp::Mul, Width::W64, Reg::R0, Operand::Imm(3)),
        Instruction::Exit,
    ]);
    all
}

#[test]
fn code_is_position_independent_and_leaves_vector_registers_alone() {
    let native = compile(&everything());
    let mut factory = InstructionInfoFactory::new();
    // Follows control, because Cranelift puts constants between the functions.
    let mut seen = BTreeSet::new();
    let mut pending = vec![native.entry as u64];
    while let Some(ip) = pending.pop() {
        let code = native
            .code
            .get(ip as usize..)
            .expect("control stays in the code");
        let instruction = Decoder::with_ip(64, code, ip, DecoderOptions::NONE).decode();
        if !seen.insert(ip) {
            continue;
        }
        assert!(!instruction.is_invalid(), "not an instruction at {ip:#x}");
        for used in factory.info(&instruction).used_registers() {
            let register = used.register();
            assert!(
                register.is_gpr() || register.is_segment_register() || register.is_ip(),
                "{ip:#x}: {:?} uses {register:?}",
                instruction.code()
            );
        }
        for operand in 0..instruction.op_count() {
            let kind = instruction.op_kind(operand);
            if kind == OpKind::Memory {
                assert_eq!(instruction.segment_prefix(), Register::None);
                if instruction.is_ip_rel_memory_operand() {
                    let constant = instruction.ip_rel_memory_address();
                    assert!(
                        constant < native.code.len() as u64,
                        "constant outside of the code"
                    );
                } else {
                    assert_ne!(
                        instruction.memory_base(),
                        Register::None,
                        "absolute address"
                    );
                }
            }
        }
        match instruction.flow_control() {
            FlowControl::Next | FlowControl::IndirectCall => pending.push(instruction.next_ip()),
            FlowControl::UnconditionalBranch => pending.push(instruction.near_branch_target()),
            FlowControl::ConditionalBranch | FlowControl::Call => {
                pending.extend([instruction.next_ip(), instruction.near_branch_target()]);
            }
            FlowControl::Return | FlowControl::Exception => {}
            other => panic!("{other:?} at {ip:#x}"),
        }
    }
    let count = seen.len();
    assert!(count > 100, "only {count} instructions");
}

#[test]
fn each_access_to_shared_memory_is_made() {
    let load = |dst| Instruction::Load {
        size: Size::DW,
        signed: false,
        dst,
        base: Reg::R1,
        off: 8,
    };
    let store = |imm| Instruction::Store {
        size: Size::DW,
        base: Reg::R1,
        off: 16,
        src: Operand::Imm(imm),
    };
    // Two loads of one place and three stores to another: none may be merged or dropped.
    let native = compile(&[
        load(Reg::R0),
        load(Reg::R2),
        alu(AluOp::Add, Width::W64, Reg::R0, Operand::Reg(Reg::R2)),
        store(1),
        store(1),
        store(2),
        Instruction::Exit,
    ]);
    let decoder = Decoder::with_ip(64, &native.code, 0, DecoderOptions::NONE);
    let mut accesses = [0, 0];
    for instruction in decoder {
        let memory = (0..instruction.op_count())
            .any(|operand| instruction.op_kind(operand) == OpKind::Memory);
        match instruction.memory_displacement64() {
            8 if memory => accesses[0] += 1,
            16 if memory => accesses[1] += 1,
            _ => {}
        }
    }
    assert_eq!(accesses, [2, 3]);
}
