//! What an instruction does.

use bpftime_isa::{CallTarget, Decoded, Imm64, Instruction, Operand, Reg, Width};
use bpftime_verifier::domain::value::Kind;
use z3::ast::Bool;

use crate::alu::{binary, byte_order, compare, immediate, low_half, sign_extended, unary};
use crate::call;
use crate::memory::{World, load, store};
use crate::state::{State, Unknowns};
use crate::value::{Value, both, constant, yes};

/// The encoding does not know the instruction.
#[derive(Debug)]
pub(crate) struct Unmodelled(pub(crate) String);

fn operand(state: &State, operand: Operand) -> Value {
    match operand {
        Operand::Reg(reg) => state.reg(reg).clone(),
        Operand::Imm(imm) => immediate(imm),
    }
}

/// Whether the branch is taken.
pub(crate) fn taken(unknowns: &mut Unknowns, state: &State, insn: &Instruction) -> Bool {
    match *insn {
        Instruction::Branch {
            cond,
            width,
            dst,
            src,
            ..
        } => {
            let right = operand(state, src);
            compare(unknowns, state, cond, width, state.reg(dst), &right)
        }
        _ => unknowns.truth(),
    }
}

/// Carries the state over an instruction that does not leave the block; gives what is known of the
/// unknowns that it brings.
pub(crate) fn step(
    world: &World<'_>,
    unknowns: &mut Unknowns,
    state: &mut State,
    decoded: &Decoded,
) -> Result<Bool, Unmodelled> {
    if state.frames.len() > 1 && leaves_early(&decoded.insn) {
        return Err(Unmodelled(format!("the way out at {}", decoded.slot)));
    }
    match decoded.insn {
        Instruction::Alu {
            op,
            width,
            dst,
            src,
        } => {
            let right = operand(state, src);
            let value = binary(unknowns, state, op, width, state.reg(dst), &right);
            state.set(dst, value);
        }
        Instruction::MovSx {
            width,
            from,
            dst,
            src,
        } => {
            let value = unary(unknowns, state.reg(src), |n| {
                let wide = sign_extended(n, from);
                match width {
                    Width::W64 => wide,
                    Width::W32 => low_half(&wide),
                }
            });
            state.set(dst, value);
        }
        Instruction::Neg { width, dst } => {
            let value = unary(unknowns, state.reg(dst), |n| match width {
                Width::W64 => n.bvneg(),
                Width::W32 => low_half(&n.bvneg()),
            });
            state.set(dst, value);
        }
        Instruction::ByteOrder { op, size, dst } => {
            let value = unary(unknowns, state.reg(dst), |n| byte_order(op, size, n));
            state.set(dst, value);
        }
        Instruction::LoadImm64 { dst, value } => {
            let value = match value {
                Imm64::Value(number) => Value::constant(number),
                Imm64::MapIdx(map) => Value::pointer(Kind::Map { map }, constant(0)),
                Imm64::MapIdxValue { index, offset } => {
                    Value::pointer(Kind::MapValue { map: index }, constant(offset.into()))
                }
                _ => Value::opaque(),
            };
            state.set(dst, value);
        }
        Instruction::Load {
            size,
            signed,
            dst,
            base,
            off,
        } => {
            let base = state.reg(base).clone();
            let value = load(world, unknowns, state, &base, off, size, signed);
            state.set(dst, value);
        }
        Instruction::LoadAcquire {
            size,
            dst,
            base,
            off,
        } => {
            let base = state.reg(base).clone();
            let value = load(world, unknowns, state, &base, off, size, false);
            state.set(dst, value);
        }
        Instruction::Store {
            size,
            base,
            off,
            src,
        } => {
            let (base, value) = (state.reg(base).clone(), operand(state, src));
            store(unknowns, state, &base, off, size.bytes() as u8, &value);
        }
        Instruction::StoreRelease {
            size,
            base,
            off,
            src,
        } => {
            let (base, value) = (state.reg(base).clone(), state.reg(src).clone());
            store(unknowns, state, &base, off, size.bytes() as u8, &value);
        }
        Instruction::Atomic {
            op,
            width,
            base,
            off,
            src,
        } => {
            let bytes = match width {
                Width::W32 => 4,
                Width::W64 => 8,
            };
            let base = state.reg(base).clone();
            let value = Value::number(unknowns.of_size(bytes));
            store(unknowns, state, &base, off, bytes, &value);
            // Whether it fetches or not, no more is said of what may be the result.
            let result = match op {
                bpftime_isa::AtomicOp::Cmpxchg => Some(Reg::R0),
                bpftime_isa::AtomicOp::Xchg => Some(src),
                bpftime_isa::AtomicOp::Add { fetch }
                | bpftime_isa::AtomicOp::Or { fetch }
                | bpftime_isa::AtomicOp::And { fetch }
                | bpftime_isa::AtomicOp::Xor { fetch } => fetch.then_some(src),
            };
            if let Some(result) = result {
                let old = Value::number(unknowns.of_size(bytes));
                state.set(result, old);
            }
        }
        Instruction::LoadPacket { size, .. } => {
            state.clear_caller_saved();
            let value = Value::number(unknowns.of_size(size.bytes() as u8));
            state.set(Reg::R0, value);
        }
        Instruction::Call(CallTarget::Helper(id)) => {
            return call::helper(world, unknowns, state, id)
                .ok_or_else(|| Unmodelled(format!("helper {id}")));
        }
        Instruction::Call(CallTarget::Kfunc { .. }) => call::anything(unknowns, state),
        Instruction::Call(CallTarget::Register(_)) | Instruction::AddrSpaceCast { .. } => {
            return Err(Unmodelled(decoded.insn.to_string()));
        }
        Instruction::Call(CallTarget::Local(_))
        | Instruction::Jump { .. }
        | Instruction::Branch { .. }
        | Instruction::MayGoto { .. }
        | Instruction::Exit => {}
    }
    Ok(yes())
}

/// `bpf_tail_call`.
const TAIL_CALL: u32 = 12;

/// Whether the function may return from within its block, to where its caller goes on, with a
/// result of which nothing is known.
fn leaves_early(insn: &Instruction) -> bool {
    matches!(
        insn,
        Instruction::LoadPacket { .. } | Instruction::Call(CallTarget::Helper(TAIL_CALL))
    )
}

/// Conjunction of what instructions gave.
pub(crate) fn and(all: &mut Bool, more: &Bool) {
    *all = both(all, more);
}
