//! Calls of global functions that are judged by their contracts.
//!
//! **The function** starts with a stack of its own, no resources and no sections, and arguments of which
//! only what its type says is known. Each run of it starts in such a state: the call has checked that. It
//! ends with nothing held, so what the caller holds stays held.
//!
//! **The caller** goes on with any number in `r0`, with anything in the memory that it handed over, and
//! without pointers into a packet that the function may change. Of map values nothing is known
//! anyway, and it reaches nothing else of the caller's.

use bpftime_isa::{ContractArg, Reg};

use super::{Notes, memory, packet};
use crate::check::{ARGUMENT_REGS, MemoryArgument, contract_memory};
use crate::contract::Global;
use crate::domain::state::{CallbackKind, State};
use crate::domain::value::{Kind, Value};
use crate::env::Env;

/// The state in which the function is entered.
pub(crate) fn entry(notes: &mut Notes, global: &Global) -> State {
    let arguments: Vec<Value> = global
        .contract
        .arguments
        .iter()
        .map(|argument| match *argument {
            ContractArg::Number => Value::unknown(),
            ContractArg::Context => Value::pointer(Kind::Ctx),
            ContractArg::Memory { size, nullable } => Value {
                nullable,
                id: notes.fresh_id(),
                ..Value::pointer(Kind::Slice {
                    size,
                    writable: true,
                    packet: false,
                    buffer: None,
                })
            },
        })
        .collect();
    State::entry_later(CallbackKind::Global, &arguments)
}

/// What the caller knows afterwards.
pub(crate) fn called(env: &Env<'_>, notes: &mut Notes, state: &mut State, global: &Global) {
    let arguments = global.contract.arguments.iter();
    for (reg, argument) in ARGUMENT_REGS.into_iter().zip(arguments) {
        if let ContractArg::Memory { size, nullable } = *argument
            && let Some(memory) = contract_memory(reg, *state.reg(reg), size, nullable)
        {
            // It need not write any of it.
            let memory = MemoryArgument { least: 0, ..memory };
            memory::helper_writes(env, notes, state, &memory);
        }
    }
    if global.changes_packet {
        packet::moved(env, state);
    }
    state.clear_caller_saved();
    state.set(Reg::R0, Value::unknown());
}
