//! Effects of helpers.

use bpftime_isa::{ArgType, Reg, RetType, helper as table};

use super::{Notes, memory};
use crate::check::{ARGUMENT_REGS, Failure, map_argument, memory_arguments};
use crate::domain::state::{Reference, State};
use crate::domain::value::{Kind, Value};
use crate::env::Env;

pub(super) fn helper(
    env: &Env<'_>,
    notes: &mut Notes,
    state: &mut State,
    slot: u32,
    id: u32,
) -> Result<(), Failure> {
    notes.helpers.insert(id);
    let Some(proto) = table::proto(id) else {
        return Ok(());
    };
    for argument in memory_arguments(env, state, proto)? {
        memory::helper_writes(notes, state, &argument);
    }
    let map = map_argument(env, state, proto).map(|(map, _)| map);
    let result = match proto.ret {
        RetType::Integer => Value::unknown(),
        RetType::MapValueOrNull => match map {
            Some(map) => Value {
                nullable: true,
                id: notes.fresh_id(),
                ..Value::pointer(Kind::MapValue { map })
            },
            None => Value::any(),
        },
        RetType::RingBufMemOrNull => record(notes, state, slot, &proto.args),
        RetType::Void | RetType::Unsupported(_) => Value::uninit(),
    };
    if let Some(position) = proto
        .args
        .iter()
        .position(|argument| *argument == ArgType::RingBufMem)
    {
        let reference = state.reg(ARGUMENT_REGS[position]).reference;
        if reference != 0 {
            state.release(reference);
        }
    }
    if proto.changes_packet {
        state.change_values(
            |value| {
                matches!(
                    value.kind,
                    Kind::Packet | Kind::PacketMeta | Kind::PacketEnd
                )
            },
            |value| *value = Value::uninit(),
        );
    }
    state.clear_caller_saved();
    state.set(Reg::R0, result);
    Ok(())
}

/// A ring buffer record of the size that is given.
fn record(notes: &mut Notes, state: &mut State, slot: u32, args: &[ArgType; 5]) -> Value {
    let size = args
        .iter()
        .position(|argument| *argument == ArgType::ConstAllocSize)
        .and_then(|position| state.reg(ARGUMENT_REGS[position]).as_constant())
        .and_then(|size| u32::try_from(size).ok());
    let Some(size) = size else {
        return Value::any();
    };
    let id = notes.fresh_id();
    state.references.push(Reference { id, slot });
    Value {
        nullable: true,
        id,
        reference: id,
        ..Value::pointer(Kind::Record { size })
    }
}
