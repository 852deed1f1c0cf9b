//! Which registers may still be read.
//!
//! Reads: decoded instructions, [`Structure`]. What is not live is forgotten, so that states
//! which differ only there become one. A mistake here makes a register unreadable and a program
//! rejected, never accepted.

use bpftime_isa::{
    AluOp, ArgType, AtomicOp, CallTarget, Decoded, Instruction, Operand, Reg, helper,
};

use crate::structure::{Function, Index, JumpSources, Structure};

/// A set of registers by number.
pub(crate) type RegSet = u16;

const CALLER_SAVED: RegSet = 0b11_1111;
const ARGUMENTS: RegSet = 0b11_1110;

/// For each instruction, the registers that may be read from there on.
pub(crate) fn live_registers(code: &[Decoded], structure: &Structure) -> Vec<RegSet> {
    let effects: Vec<(RegSet, RegSet)> = code.iter().map(|d| effect(&d.insn)).collect();
    let mut live = vec![0; code.len() + 1];
    let all = Function {
        first: 0,
        end: code.len() as Index,
    };
    let sources = JumpSources::new(code, structure, all);
    // One sweep backwards settles all but loops; the rest follows jumps back to their sources.
    let mut work: Vec<Index> = (0..code.len() as Index).collect();
    let mut queued = vec![true; code.len()];
    while let Some(index) = work.pop() {
        let at = index as usize;
        queued[at] = false;
        let mut after = 0;
        if falls_through(&code[at].insn) {
            after |= live[at + 1];
        }
        if let Some(target) = structure.jump_target(code, index) {
            after |= live[target as usize];
        }
        let (read, written) = effects[at];
        let before = read | (after & !written);
        if before == live[at] {
            continue;
        }
        live[at] = before;
        let above = at.checked_sub(1).map(|above| above as Index);
        for source in sources.of(index).iter().copied().chain(above) {
            if !queued[source as usize] {
                queued[source as usize] = true;
                work.push(source);
            }
        }
    }
    live.truncate(code.len());
    live
}

fn falls_through(insn: &Instruction) -> bool {
    !matches!(insn, Instruction::Exit | Instruction::Jump { .. })
}

fn set(reg: Reg) -> RegSet {
    1 << reg.index()
}

fn operand(operand: Operand) -> RegSet {
    match operand {
        Operand::Reg(reg) => set(reg),
        Operand::Imm(_) => 0,
    }
}

/// Registers that the instruction reads.
pub(crate) fn reads(insn: &Instruction) -> RegSet {
    effect(insn).0
}

/// Registers read, and registers overwritten.
fn effect(insn: &Instruction) -> (RegSet, RegSet) {
    match *insn {
        Instruction::Alu {
            op: AluOp::Mov,
            dst,
            src,
            ..
        } => (operand(src), set(dst)),
        Instruction::Alu { dst, src, .. } => (set(dst) | operand(src), set(dst)),
        Instruction::MovSx { dst, src, .. } | Instruction::AddrSpaceCast { dst, src, .. } => {
            (set(src), set(dst))
        }
        Instruction::Neg { dst, .. } | Instruction::ByteOrder { dst, .. } => (set(dst), set(dst)),
        Instruction::LoadImm64 { dst, .. } => (0, set(dst)),
        Instruction::Load { dst, base, .. } | Instruction::LoadAcquire { dst, base, .. } => {
            (set(base), set(dst))
        }
        Instruction::Store { base, src, .. } => (set(base) | operand(src), 0),
        Instruction::StoreRelease { base, src, .. } => (set(base) | set(src), 0),
        Instruction::Atomic { op, base, src, .. } => {
            let r0 = if op == AtomicOp::Cmpxchg {
                set(Reg::R0)
            } else {
                0
            };
            (set(base) | set(src) | r0, 0)
        }
        Instruction::LoadPacket { index, .. } => {
            (set(Reg::R6) | index.map_or(0, set), CALLER_SAVED)
        }
        Instruction::Jump { .. } | Instruction::MayGoto { .. } => (0, 0),
        Instruction::Branch { dst, src, .. } => (set(dst) | operand(src), 0),
        Instruction::Call(CallTarget::Helper(id)) => (helper_arguments(id), CALLER_SAVED),
        Instruction::Call(CallTarget::Register(reg)) => (ARGUMENTS | set(reg), CALLER_SAVED),
        Instruction::Call(_) => (ARGUMENTS, CALLER_SAVED),
        Instruction::Exit => (set(Reg::R0), 0),
    }
}

fn helper_arguments(id: u32) -> RegSet {
    let Some(proto) = helper::proto(id) else {
        return ARGUMENTS;
    };
    let used = proto
        .args
        .iter()
        .zip(1u16..)
        .filter(|(argument, _)| **argument != ArgType::None);
    used.fold(0, |registers, (_, number)| registers | (1 << number))
}
