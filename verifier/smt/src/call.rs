//! Calls of helpers.

use bpftime_isa::{ArgType, HelperProto, MapType, Reg, RetType, helper};
use bpftime_verifier::domain::value::Kind;
use bpftime_verifier::refine::Origin;
use z3::ast::Bool;

use crate::covered::position;
use crate::memory::World;
use crate::state::{Packet, State, Unknowns};
use crate::value::{Atom, Value, both, constant};

const ARGUMENTS: [Reg; 5] = [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5];

/// Helpers that return a count of bytes up to the size that they are given, or an error number, as
/// the verifier has it.
const COUNTING: [u32; 5] = [45, 67, 114, 115, 141];

/// Greatest error number (kernel `MAX_ERRNO`).
const MAX_ERRNO: u64 = 4095;

/// The prototype as the program gets it, or as programs of other types do.
fn prototype(world: &World<'_>, id: u32) -> Option<&'static HelperProto> {
    helper::available(&world.program.caller(), id)
        .ok()
        .or_else(|| helper::proto(id))
}

/// What a call does, and what its contract says of the result; `None` if the helper is not known.
pub(crate) fn helper(
    world: &World<'_>,
    unknowns: &mut Unknowns,
    state: &mut State,
    id: u32,
) -> Option<Bool> {
    let proto = prototype(world, id)?;
    let mut contract = Bool::from_bool(true);
    for (position, argument) in proto.args.into_iter().enumerate() {
        if writes(argument) {
            let size = written(world, state, proto, position);
            write(state, position, size);
        }
    }
    let given = |unknowns: &mut Unknowns| {
        let term = unknowns.number();
        unknowns.give(Origin::Helper { helper: id }, None, &term);
        term
    };
    let result = match proto.ret {
        RetType::Integer => {
            let term = given(unknowns);
            if COUNTING.contains(&id)
                && let Some(size) = size_register(proto)
                && let Some(size) = state.reg(size).as_number()
            {
                let least = constant(MAX_ERRNO.wrapping_neg());
                contract = both(&term.bvsge(&least), &term.bvsle(size));
            }
            Value::number(term)
        }
        RetType::MapValueOrNull => {
            let term = given(unknowns);
            let null = term.eq(constant(0));
            let found = state.reg(Reg::R1).map(|atom| match atom {
                Atom::Pointer(Kind::Map { map }, _) => found_in(world, *map),
                _ => Value::opaque(),
            });
            found.or_null(&null)
        }
        RetType::MapValue => state.reg(Reg::R1).map(|atom| match atom {
            Atom::Pointer(Kind::Map { map }, _) => {
                Value::pointer(Kind::MapValue { map: *map }, constant(0))
            }
            _ => Value::opaque(),
        }),
        RetType::RingBufMemOrNull => {
            let null = given(unknowns).eq(constant(0));
            record(state, proto).or_null(&null)
        }
        RetType::AcquiredOrNull(object)
        | RetType::CastOrNull(object)
        | RetType::ObjectOrNull(object) => {
            let null = given(unknowns).eq(constant(0));
            Value::pointer(Kind::Object(object), constant(0)).or_null(&null)
        }
        _ => Value::opaque(),
    };
    invalidate(unknowns, state, proto);
    state.clear_caller_saved();
    state.set(Reg::R0, result);
    Some(contract)
}

/// A call of which nothing is known but that it leaves the registers of the program alone.
pub(crate) fn anything(unknowns: &mut Unknowns, state: &mut State) {
    for frame in &mut state.frames {
        frame.stack.forget_all();
    }
    state.change(&mut |kind| {
        let lasting = matches!(
            kind,
            Kind::Ctx | Kind::Stack { .. } | Kind::Map { .. } | Kind::MapValue { .. }
        );
        (!lasting).then(Value::opaque)
    });
    state.packet = Packet::new(unknowns);
    state.clear_caller_saved();
}

/// What a lookup finds if it finds something.
fn found_in(world: &World<'_>, map: u32) -> Value {
    let plain = world.program.maps.get(map as usize).is_some_and(|def| {
        !matches!(
            def.map_type,
            MapType::ArrayOfMaps
                | MapType::HashOfMaps
                | MapType::SockMap
                | MapType::SockHash
                | MapType::XskMap
        )
    });
    if plain {
        Value::pointer(Kind::MapValue { map }, constant(0))
    } else {
        Value::opaque()
    }
}

fn record(state: &State, proto: &HelperProto) -> Value {
    let size = proto
        .args
        .iter()
        .position(|argument| *argument == ArgType::ConstAllocSize)
        .and_then(|position| state.reg(ARGUMENTS[position]).as_number()?.as_u64())
        .and_then(|size| u32::try_from(size).ok());
    match size {
        Some(size) => Value::pointer(Kind::Record { size }, constant(0)),
        None => Value::opaque(),
    }
}

/// What can no longer be used after the call is some number.
fn invalidate(unknowns: &mut Unknowns, state: &mut State, proto: &HelperProto) {
    let releases = proto
        .args
        .iter()
        .any(|argument| matches!(argument, ArgType::RingBufMem | ArgType::ReleasedSock));
    if releases {
        state.change(&mut |kind| {
            matches!(kind, Kind::Record { .. } | Kind::Object(_)).then(Value::opaque)
        });
    }
    // What is written to a dynptr may be written to a packet, which may move.
    let moves = proto.changes_packet || proto.args.contains(&ArgType::Dynptr);
    if moves {
        state.change(&mut |kind| {
            matches!(kind, Kind::Packet | Kind::PacketMeta | Kind::PacketEnd).then(Value::opaque)
        });
        state.packet = Packet::new(unknowns);
    }
}

fn size_register(proto: &HelperProto) -> Option<Reg> {
    let position = proto
        .args
        .iter()
        .position(|argument| matches!(argument, ArgType::ConstSize | ArgType::ConstSizeOrZero));
    position.map(|position| ARGUMENTS[position])
}

/// Whether the helper may write the memory behind the argument. What only reads is listed, so that
/// a kind of argument that is new counts as one that writes.
fn writes(argument: ArgType) -> bool {
    !matches!(
        argument,
        ArgType::None
            | ArgType::Anything
            | ArgType::Scalar
            | ArgType::ConstMapPtr
            | ArgType::MapKey
            | ArgType::MapValue
            | ArgType::MapValueOrNull
            | ArgType::MemRead
            | ArgType::MemReadOrNull
            | ArgType::FixedMemRead(_)
            | ArgType::ConstSize
            | ArgType::ConstSizeOrZero
            | ArgType::ConstAllocSize
            | ArgType::Ctx
            | ArgType::CtxOrNull
            | ArgType::RingBufMem
            | ArgType::ConstStr
            | ArgType::SockCommon
            | ArgType::AnySock
            | ArgType::ReleasedSock
            | ArgType::Func
    )
}

/// Bytes behind the argument that the helper may write at most, if that is known.
fn written(world: &World<'_>, state: &State, proto: &HelperProto, position: usize) -> Option<u16> {
    let size = match proto.args[position] {
        ArgType::FixedMemReadWrite(size) | ArgType::FixedMemWrite(size) => u64::from(size),
        ArgType::UninitMapValue => {
            let map = proto
                .args
                .iter()
                .position(|argument| *argument == ArgType::ConstMapPtr)?;
            match state.reg(ARGUMENTS[map]).only()? {
                Atom::Pointer(Kind::Map { map }, _) => {
                    world.program.maps.get(*map as usize)?.value_size.into()
                }
                _ => return None,
            }
        }
        _ => state
            .reg(*ARGUMENTS.get(position + 1)?)
            .as_number()?
            .as_u64()?,
    };
    u16::try_from(size).ok()
}

/// The helper may write so many bytes behind the argument, if they are on a stack.
fn write(state: &mut State, argument: usize, size: Option<u16>) {
    let value = state.reg(ARGUMENTS[argument]).clone();
    for (_, atom) in &value.0 {
        match atom {
            Atom::Pointer(Kind::Stack { frame }, offset) => {
                let Some(frame) = state.frames.get_mut(usize::from(*frame)) else {
                    continue;
                };
                let at = offset.as_u64().and_then(|offset| position(offset, 0));
                match (at, size) {
                    (Some(at), Some(size)) => frame.stack.forget(at, size),
                    _ => frame.stack.forget_all(),
                }
            }
            Atom::Pointer(..) | Atom::Number(_) => {}
            Atom::Opaque => state.frames.iter_mut().for_each(|f| f.stack.forget_all()),
        }
    }
}
