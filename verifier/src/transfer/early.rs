//! Functions that return where no exit is.
//!
//! A tail call in a function that was called ends that function only: the program that it goes on
//! with returns to the function's caller. It had the context alone, so that it cannot have changed
//! the stacks of those who called; but it may have returned anything, and moved the packet. A legacy
//! load from beyond the packet's end returns 0 from the function.

use bpftime_isa::{CallTarget, Instruction, Reg};

use super::packet;
use crate::domain::state::State;
use crate::domain::value::Value;
use crate::env::Env;

/// Number of `bpf_tail_call`.
pub(crate) const TAIL_CALL: u32 = 12;

/// The caller's state if the instruction returns from the function that runs; `None` if it does not
/// or if nothing called it.
pub(crate) fn returned_early(env: &Env<'_>, state: &State, insn: &Instruction) -> Option<State> {
    if state.depth() < 2 {
        return None;
    }
    let mut returned = state.clone();
    match insn {
        Instruction::LoadPacket { .. } => returned.set(Reg::R0, Value::constant(0)),
        Instruction::Call(CallTarget::Helper(TAIL_CALL)) => {
            packet::moved(env, &mut returned);
            returned.set(Reg::R0, Value::unknown());
        }
        _ => return None,
    }
    returned.pop();
    Some(returned)
}
