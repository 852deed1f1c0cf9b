//! What an instruction makes of a state. Relies on its assertions having been checked.

mod alu;
mod branch;
mod call;
mod callback;
mod contract;
mod dynptr;
mod early;
mod kfunc;
mod local;
mod memory;
mod packet;

use bpftime_isa::{CallTarget, Imm64, Instruction, MapType, Reg};

use crate::check::Failure;
use crate::domain::state::State;
use crate::domain::value::{Id, Kind, Value};
use crate::env::Env;

pub(crate) use branch::branch;
pub(crate) use callback::{entered, runs_already};
pub(crate) use contract::{called, entry as contract_entry};
pub(crate) use early::{TAIL_CALL, returned_early};
pub(crate) use kfunc::kfunc;

/// What the analysis notes beside states.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes {
    /// Registers that may still be read after the instruction, by number.
    pub(crate) live: u16,
    /// Last identity in use.
    pub(crate) last_id: Id,
    /// Helper and map of calls, by slot; no map where paths differ.
    pub(crate) calls: std::collections::BTreeMap<u32, (u32, Option<u32>)>,
    /// Indices of maps that were used.
    pub(crate) maps: std::collections::BTreeSet<u32>,
    /// Bytes used below `r10`, by depth of the frame, since it was last cleared.
    pub(crate) stack: [u32; bpftime_abi::MAX_CALL_FRAMES],
}

impl Notes {
    pub(crate) fn fresh_id(&mut self) -> Id {
        self.last_id += 1;
        self.last_id
    }
}

/// What becomes of pointers to what is gone: where bits of pointers may be seen, what was a pointer is
/// still some number.
fn invalid(env: &Env<'_>) -> Value {
    if env.options.allow_ptr_leaks {
        Value::unknown()
    } else {
        Value::uninit()
    }
}

/// Carries the state over an instruction that is neither a jump, a local call nor an exit.
pub(crate) fn step(
    env: &Env<'_>,
    notes: &mut Notes,
    state: &mut State,
    slot: u32,
    insn: &Instruction,
) -> Result<(), Failure> {
    match *insn {
        Instruction::Alu {
            op,
            width,
            dst,
            src,
        } => alu::binary(notes, state, op, width, dst, src),
        Instruction::MovSx {
            width,
            from,
            dst,
            src,
        } => {
            let number = alu::number_of(state.reg(src)).alu_movsx(width, from.bytes() * 8);
            state.set(dst, Value::scalar(number));
        }
        Instruction::Neg { width, dst } => {
            let value = state.reg(dst);
            let number = alu::number_of(value).alu_neg(width);
            state.set(dst, Value::scalar(number));
        }
        Instruction::ByteOrder { op, size, dst } => {
            let number = alu::number_of(state.reg(dst)).byte_order(op, size.bytes() * 8);
            state.set(dst, Value::scalar(number));
        }
        Instruction::LoadImm64 { dst, value } => {
            let loaded = load_imm(env, notes, value, slot);
            state.set(dst, loaded);
        }
        Instruction::Load { .. } | Instruction::LoadAcquire { .. } => {
            memory::load(env, notes, state, insn);
        }
        Instruction::Store { .. } | Instruction::StoreRelease { .. } => {
            memory::store(env, notes, state, insn);
        }
        Instruction::Atomic {
            op,
            width,
            base,
            off,
            src,
        } => memory::atomic(env, notes, state, op, width, (base, off), src),
        Instruction::LoadPacket { size, .. } => {
            state.clear_caller_saved();
            let number = crate::domain::stack::any_of_size(size.bytes() as usize);
            state.set(Reg::R0, Value::scalar(number));
        }
        Instruction::Call(CallTarget::Helper(id)) => {
            call::helper(env, notes, state, slot, id)?;
        }
        Instruction::AddrSpaceCast { dst, to, .. } => {
            let arena = env.program.maps.iter().zip(0..);
            let arena = arena.filter(|(map, _)| map.map_type == MapType::Arena);
            notes.maps.extend(arena.map(|(_, index)| index));
            // Into the program's own space, an address; into that of user space, a number.
            state.set(
                dst,
                if to == 0 {
                    Value::pointer(Kind::Arena)
                } else {
                    Value::unknown()
                },
            );
        }
        Instruction::Call(_)
        | Instruction::Jump { .. }
        | Instruction::Branch { .. }
        | Instruction::MayGoto { .. }
        | Instruction::Exit => {}
    }
    Ok(())
}

fn load_imm(env: &Env<'_>, notes: &mut Notes, value: Imm64, slot: u32) -> Value {
    match value {
        Imm64::Value(number) => Value::constant(number),
        Imm64::MapIdx(map) => {
            notes.maps.insert(map);
            notes.maps.extend(env.held_by(map));
            Value::pointer(Kind::Map { map })
        }
        Imm64::MapIdxValue { index, offset } => {
            notes.maps.insert(index);
            // The address in user space, of which nothing is known.
            if env
                .map(index)
                .is_some_and(|map| map.map_type == MapType::Arena)
            {
                return Value::unknown();
            }
            match i32::try_from(offset) {
                Ok(delta) => Value {
                    delta,
                    ..Value::pointer(Kind::MapValue { map: index })
                },
                Err(_) => Value::any(),
            }
        }
        Imm64::Func { delta } => Value::pointer(Kind::Func {
            entry: slot.wrapping_add(1).wrapping_add_signed(delta),
        }),
        Imm64::BtfId { id, .. } => env.symbol(id).map_or(Value::any(), Value::pointer),
        Imm64::MapFd(_) | Imm64::MapFdValue { .. } => Value::any(),
    }
}
