//! Effects of helpers.

use bpftime_isa::context::{Object, Trust};
use bpftime_isa::kfunc::DynptrKind;
use bpftime_isa::{ArgType, HelperProto, MapType, Reg, RetType};

use super::{Notes, dynptr, invalid, memory, packet};
use crate::check::{
    ARGUMENT_REGS, Failure, dynptr_made, lock_of, map_argument, memory_arguments, owned_kptr,
};
use crate::domain::interval::Interval;
use crate::domain::section::{Lock, LockKind};
use crate::domain::stack::{self, Found};
use crate::domain::state::{Reference, State};
use crate::domain::value::{Hold, Kind, Number, PerCpu, Value};
use crate::env::Env;

pub(super) fn helper(
    env: &Env<'_>,
    notes: &mut Notes,
    state: &mut State,
    slot: u32,
    id: u32,
) -> Result<(), Failure> {
    let Ok(proto) = env.helper(id) else {
        return Ok(());
    };
    for argument in memory_arguments(env, state, proto)? {
        memory::helper_writes(env, notes, state, &argument);
    }
    let map = map_argument(env, state, proto).map(|(map, _)| map);
    let own = map.filter(|map| env.is_own_map(*map));
    let call = notes.calls.entry(slot).or_insert((id, own));
    if call.1 != own {
        call.1 = None;
    }
    let result = match proto.ret {
        RetType::Integer => Value::scalar(result_range(env, state, proto)),
        RetType::MapValueOrNull => looked_up(env, notes, state, (slot, id), map),
        RetType::MapValue => match map {
            Some(map) => {
                let kind = Kind::MapValue { map };
                Value {
                    id: if env.holds_lock(kind) {
                        notes.fresh_id()
                    } else {
                        0
                    },
                    ..Value::pointer(kind)
                }
            }
            None => Value::any(),
        },
        RetType::RingBufMemOrNull => record(notes, state, slot, &proto.args),
        RetType::KptrOrNull => {
            let field = owned_kptr(env, state, Reg::R1)?;
            let kind = env.pointee(field, Trust::Trusted, Hold::Owned);
            acquired(notes, state, slot, kind)
        }
        RetType::AcquiredOrNull(object) => acquired(notes, state, slot, Kind::Object(object)),
        RetType::CastOrNull(object) => Value {
            nullable: true,
            id: notes.fresh_id(),
            reference: state.reg(Reg::R1).reference,
            ..Value::pointer(Kind::Object(object))
        },
        RetType::ObjectOrNull(object) => Value {
            nullable: true,
            id: notes.fresh_id(),
            ..Value::pointer(Kind::Object(object))
        },
        RetType::Struct(name) => Value::pointer(Kind::Object(Object::Kernel(name))),
        RetType::StructOrNull(name) => Value {
            nullable: true,
            id: notes.fresh_id(),
            ..Value::pointer(Kind::Object(Object::Kernel(name)))
        },
        RetType::SliceOrNull => {
            let size = state.reg(Reg::R3).as_constant();
            let size = size.and_then(|size| u32::try_from(size).ok()).unwrap_or(0);
            dynptr::slice(notes, state, Reg::R1, (size, true), None)?
        }
        RetType::OfCpu(nullable) => {
            let kind = match state.reg(Reg::R1).kind {
                Kind::PerCpu(PerCpu::Memory(size)) => Kind::Bytes { size },
                Kind::PerCpu(PerCpu::Structure(type_id)) => Kind::Object(Object::Typed {
                    type_id,
                    trust: Trust::Argument,
                }),
                // As the object of which each CPU has its own, it is there until the RCU section ends.
                Kind::PerCpuLocal { type_id, .. } => Kind::Local {
                    type_id,
                    hold: Hold::Rcu,
                },
                _ => Kind::Any,
            };
            Value {
                nullable,
                id: if nullable { notes.fresh_id() } else { 0 },
                ..Value::pointer(kind)
            }
        }
        RetType::Void | RetType::Unsupported(_) => Value::uninit(),
    };
    let mut changes_packet = proto.changes_packet;
    for (reg, argument) in ARGUMENT_REGS.into_iter().zip(proto.args) {
        match argument {
            ArgType::NewDynptr(kind) => dynptr::make(env, notes, state, (reg, slot), kind)?,
            ArgType::ReleasedDynptr => {
                let made = dynptr_made(state, reg)?;
                state.release(made.reference, invalid(env));
            }
            // Making room in the packet may move it.
            ArgType::Dynptr if id == DYNPTR_WRITE => {
                changes_packet |= dynptr_made(state, reg)?.kind == DynptrKind::Skb;
            }
            _ => {}
        }
    }
    match id {
        SPIN_LOCK => {
            let lock = lock_of(env, state, Reg::R1, LockKind::Spin)?;
            state.sections.locks.push(Lock { slot, ..lock });
        }
        SPIN_UNLOCK => super::local::unlocked(env, state),
        _ => {}
    }
    if let Some(position) = proto.args.iter().position(|argument| {
        matches!(
            argument,
            ArgType::RingBufMem | ArgType::ReleasedSock | ArgType::ReleasedKptr
        )
    }) {
        let given = *state.reg(ARGUMENT_REGS[position]);
        let reference = given.reference;
        if matches!(given.kind, Kind::PerCpuLocal { .. }) && env.in_rcu(state) {
            super::local::shared(state, reference);
        } else if reference != 0 {
            state.release(reference, invalid(env));
        }
    }
    if changes_packet {
        packet::moved(env, state);
    }
    state.clear_caller_saved();
    state.set(Reg::R0, result);
    Ok(())
}

/// Helpers that return a count of bytes up to the size that they are given, or an error:
/// `bpf_probe_read_str`, `bpf_get_stack`, `bpf_probe_read_user_str`, `bpf_probe_read_kernel_str`,
/// `bpf_get_task_stack`.
const COUNTING: [u32; 5] = [45, 67, 114, 115, 141];

const GET_SMP_PROCESSOR_ID: u32 = 8;
const DYNPTR_WRITE: u32 = 202;
const MAP_LOOKUP: u32 = 1;
const SPIN_LOCK: u32 = 93;
const SPIN_UNLOCK: u32 = 94;

/// Greatest error number (kernel `MAX_ERRNO`).
const MAX_ERRNO: u64 = 4095;

/// Range of a helper's number, where its contract says one.
fn result_range(env: &Env<'_>, state: &State, proto: &HelperProto) -> Number {
    if let (GET_SMP_PROCESSOR_ID, Some(cpus)) = (proto.id, env.options.cpus) {
        return Number::range(Interval::new(0, u64::from(cpus.max(1)) - 1));
    }
    if !COUNTING.contains(&proto.id) {
        return Number::unknown();
    }
    let size = proto
        .args
        .iter()
        .position(|argument| matches!(argument, ArgType::ConstSize | ArgType::ConstSizeOrZero))
        .map(|position| state.reg(ARGUMENT_REGS[position]).number.unsigned().1);
    match size {
        Some(most) => Number::range(Interval::new(MAX_ERRNO.wrapping_neg(), most)),
        None => Number::unknown(),
    }
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
    acquired(notes, state, slot, Kind::Record { size })
}

/// What a lookup in the map finds: a value, another map, a socket.
fn looked_up(
    env: &Env<'_>,
    notes: &mut Notes,
    state: &mut State,
    (slot, helper): (u32, u32),
    map: Option<u32>,
) -> Value {
    let Some(index) = map else {
        return Value::any();
    };
    let kind = match (env.map(index).map(|map| map.map_type), env.held_by(index)) {
        (_, Some(held)) => Kind::Map { map: held },
        (Some(MapType::SockMap | MapType::SockHash), _) => {
            return acquired(notes, state, slot, Kind::Object(Object::Socket));
        }
        (Some(MapType::XskMap), _) => Kind::Object(Object::XdpSock),
        _ => Kind::MapValue { map: index },
    };
    let by_key = helper == MAP_LOOKUP && matches!(kind, Kind::MapValue { .. });
    if by_key && is_in_array(env, state, index) {
        return Value {
            id: if env.holds_lock(kind) {
                notes.fresh_id()
            } else {
                0
            },
            ..Value::pointer(kind)
        };
    }
    Value {
        nullable: true,
        id: notes.fresh_id(),
        ..Value::pointer(kind)
    }
}

/// Whether the key in `r2` is a known index of the array: all values of an array are there, always. How many
/// an array has that a map of maps holds is not known.
fn is_in_array(env: &Env<'_>, state: &State, index: u32) -> bool {
    let array = env.map(index).filter(|map| {
        env.is_own_map(index) && matches!(map.map_type, MapType::Array | MapType::PerCpuArray)
    });
    let key = state.reg(Reg::R2);
    let at = match (key.kind, key.constant_offset()) {
        (Kind::Stack { frame }, Some(offset)) => usize::try_from(stack::SIZE as i64 + offset)
            .ok()
            .zip(state.frame(frame.into())),
        _ => None,
    };
    let known = at.and_then(|(at, frame)| match frame.stack.read(at, 4) {
        Found::Value(value) => value.as_constant(),
        _ => None,
    });
    array
        .zip(known)
        .is_some_and(|(array, key)| key < u64::from(array.max_entries))
}

/// Something that was acquired, or null.
pub(super) fn acquired(notes: &mut Notes, state: &mut State, slot: u32, kind: Kind) -> Value {
    let id = notes.fresh_id();
    state.references.push(Reference { id, slot });
    Value {
        nullable: true,
        id,
        reference: id,
        ..Value::pointer(kind)
    }
}
