//! Loads, stores and atomic operations.

use bpftime_isa::{
    AtomicOp, CtxFieldKind, Instruction, MapFieldKind, Object, Operand, Reg, Size, Trust, Walked,
    Width,
};

use super::{Notes, dynptr};
use crate::assertion::fetched;
use crate::domain::stack::{self, Found};
use crate::domain::state::State;
use crate::domain::value::{Kind, Number, Value};
use crate::env::Env;

/// Where on a stack an access goes: frame, first byte, and how many places are possible.
struct Place {
    frame: usize,
    at: usize,
    /// Bytes between the least and the greatest possible first byte.
    slack: usize,
}

impl Place {
    fn new(frame: u8, offset: Number) -> Option<Self> {
        let (least, most) = offset.signed();
        let at = usize::try_from(stack::SIZE as i64 + least as i64).ok()?;
        let slack = usize::try_from((most as i64).checked_sub(least as i64)?).ok()?;
        Some(Self {
            frame: frame.into(),
            at,
            slack,
        })
    }

    /// Notes how much of the frame is used.
    fn note(&self, notes: &mut Notes) {
        if let Some(used) = notes.stack.get_mut(self.frame) {
            *used = (*used).max((stack::SIZE - self.at.min(stack::SIZE)) as u32);
        }
    }
}

fn offset(pointer: &Value, off: i16) -> Number {
    pointer
        .offset()
        .add(Number::constant(i64::from(off) as u64))
}

pub(super) fn load(env: &Env<'_>, notes: &mut Notes, state: &mut State, insn: &Instruction) {
    let (size, signed, dst, base, off) = match *insn {
        Instruction::Load {
            size,
            signed,
            dst,
            base,
            off,
        } => (size, signed, dst, base, off),
        Instruction::LoadAcquire {
            size,
            dst,
            base,
            off,
        } => (size, false, dst, base, off),
        _ => return,
    };
    let value = loaded(env, notes, state, base, off, size);
    state.set(
        dst,
        if signed {
            sign_extended(&value, size)
        } else {
            value
        },
    );
}

fn sign_extended(value: &Value, size: Size) -> Value {
    if value.is_scalar() {
        Value::scalar(value.number.sign_extend(size.bytes() * 8))
    } else {
        Value::scalar(Number::unknown())
    }
}

fn loaded(
    env: &Env<'_>,
    notes: &mut Notes,
    state: &mut State,
    base: Reg,
    off: i16,
    size: Size,
) -> Value {
    let bytes = size.bytes() as usize;
    let unknown = Value::scalar(stack::any_of_size(bytes));
    let pointer = *state.reg(base);
    let offset = offset(&pointer, off);
    match pointer.kind {
        Kind::Stack { frame } => match Place::new(frame, offset) {
            Some(place) => {
                place.note(notes);
                if place.slack > 0 {
                    return unknown;
                }
                match state
                    .frame(place.frame)
                    .map(|f| f.stack.read(place.at, bytes))
                {
                    Some(Found::Value(value)) => value,
                    _ => unknown,
                }
            }
            None => unknown,
        },
        Kind::Ctx => {
            let field = offset
                .as_constant()
                .and_then(|at| env.layout.readable(at as i64, size.bytes()));
            match field.map(|field| field.kind) {
                Some(CtxFieldKind::PacketStart) => Value::pointer(Kind::Packet),
                Some(CtxFieldKind::PacketEnd) => Value::pointer(Kind::PacketEnd),
                Some(CtxFieldKind::PacketMeta) => Value::pointer(Kind::PacketMeta),
                Some(CtxFieldKind::Object(to)) => Value {
                    nullable: to.nullable,
                    id: if to.nullable { notes.fresh_id() } else { 0 },
                    ..Value::pointer(Kind::Object(to.object))
                },
                Some(CtxFieldKind::Scalar | CtxFieldKind::UserPointer) | None => unknown,
            }
        }
        Kind::Object(object) => {
            let walked = offset
                .as_constant()
                .and_then(|at| env.walk(object, at as i64, size.bytes()));
            match walked {
                // Reads through what need not be valid give 0 if they fault.
                Some(Walked::Object(type_id)) => Value::pointer(Kind::Object(Object::Typed {
                    type_id,
                    trust: env.walked_trust(state, object, None),
                })),
                Some(Walked::Kept {
                    type_id,
                    nullable,
                    rcu,
                }) => {
                    let trust = env.walked_trust(state, object, Some(rcu));
                    let nullable = nullable && matches!(trust, Trust::Trusted | Trust::Rcu);
                    Value {
                        nullable,
                        id: if nullable { notes.fresh_id() } else { 0 },
                        ..Value::pointer(Kind::Object(Object::Typed { type_id, trust }))
                    }
                }
                Some(Walked::Number) | None => unknown,
            }
        }
        Kind::Map { map } => {
            let walked = offset
                .as_constant()
                .and_then(|at| env.walk_map(map, at as i64, size.bytes()));
            match walked {
                Some(Walked::Object(type_id)) => Value::pointer(Kind::Object(Object::Typed {
                    type_id,
                    trust: Trust::Walked,
                })),
                _ => unknown,
            }
        }
        Kind::MapValue { map } => kernel_pointer(env, notes, map, offset, env.in_rcu(state))
            .or_else(|| frozen_bytes(env, map, offset, bytes))
            .unwrap_or(unknown),
        _ => unknown,
    }
}

/// A pointer to an object that a map's value holds. Others may replace it at any time, so that the
/// object may be gone, unless RCU keeps it.
fn kernel_pointer(
    env: &Env<'_>,
    notes: &mut Notes,
    map: u32,
    offset: Number,
    in_rcu: bool,
) -> Option<Value> {
    let at = offset.as_constant()?;
    let fields = &env.map(map)?.fields;
    let field = fields.iter().find(|field| u64::from(field.offset) == at)?;
    if !matches!(field.kind, MapFieldKind::Kptr { .. }) {
        return None;
    }
    let kind = env.loaded_pointee(field, in_rcu);
    Some(Value {
        nullable: true,
        id: notes.fresh_id(),
        ..Value::pointer(kind)
    })
}

/// Bytes of a map that can no longer change.
fn frozen_bytes(env: &Env<'_>, map: u32, offset: Number, bytes: usize) -> Option<Value> {
    let at = usize::try_from(offset.as_constant()?).ok()?;
    let contents = env.constant_value(map)?.get(at..at.checked_add(bytes)?)?;
    let mut padded = [0; 8];
    padded.get_mut(..bytes)?.copy_from_slice(contents);
    Some(Value::constant(u64::from_le_bytes(padded)))
}

pub(super) fn store(env: &Env<'_>, notes: &mut Notes, state: &mut State, insn: &Instruction) {
    let (size, base, off, value) = match *insn {
        Instruction::Store {
            size,
            base,
            off,
            src,
        } => (size, base, off, crate::check::operand(state, src)),
        Instruction::StoreRelease {
            size,
            base,
            off,
            src,
        } => (
            size,
            base,
            off,
            crate::check::operand(state, Operand::Reg(src)),
        ),
        _ => return,
    };
    let value = named(notes, state, insn, value);
    write(env, notes, state, (base, off), size.bytes() as usize, value);
}

/// The number that is stored, with an identity that what it is stored from has as well: what a
/// comparison says of one then holds for both.
fn named(notes: &mut Notes, state: &mut State, insn: &Instruction, value: Value) -> Value {
    let (Instruction::Store {
        src: Operand::Reg(src),
        base,
        ..
    }
    | Instruction::StoreRelease { src, base, .. }) = *insn
    else {
        return value;
    };
    let on_stack = matches!(state.reg(base).kind, Kind::Stack { .. });
    let dead = notes.live & (1 << src.index()) == 0;
    if dead
        || !on_stack
        || !value.is_scalar()
        || value.id != 0
        || value.number.as_constant().is_some()
    {
        return value;
    }
    let named = Value {
        id: notes.fresh_id(),
        ..value
    };
    state.set(src, named);
    named
}

/// Memory other than stacks is shared or not tracked: writing it changes nothing that is known. A slice
/// may be a buffer on a stack.
fn write(
    env: &Env<'_>,
    notes: &mut Notes,
    state: &mut State,
    (base, off): (Reg, i16),
    bytes: usize,
    value: Value,
) {
    let pointer = *state.reg(base);
    let frame = match pointer.kind {
        Kind::Stack { frame } => frame,
        Kind::Slice { .. } => return through_slice(env, state, pointer.kind),
        _ => return,
    };
    let Some(place) = Place::new(frame, offset(&pointer, off)) else {
        return;
    };
    place.note(notes);
    dynptr::overwritten(env, state, place.frame, place.at, place.slack + bytes);
    let Some(frame) = state.frame_mut(place.frame) else {
        return;
    };
    if place.slack == 0 {
        frame.stack.write(place.at, bytes, value);
    } else {
        frame.stack.may_write(place.at, place.slack + bytes);
    }
}

/// Something is written through a slice: perhaps to the buffer that stands in for it.
fn through_slice(env: &Env<'_>, state: &mut State, kind: Kind) {
    let Kind::Slice {
        size,
        buffer: Some((frame, at)),
        ..
    } = kind
    else {
        return;
    };
    let (frame, at, size) = (usize::from(frame), usize::from(at), size as usize);
    dynptr::overwritten(env, state, frame, at, size);
    if let Some(frame) = state.frame_mut(frame) {
        frame.stack.may_write(at, size);
    }
}

/// What a helper writes: `least` bytes for certain, up to `most`.
pub(super) fn helper_writes(
    env: &Env<'_>,
    notes: &mut Notes,
    state: &mut State,
    argument: &crate::check::MemoryArgument,
) {
    let frame = match argument.pointer.kind {
        Kind::Stack { frame } => frame,
        Kind::Slice { .. } if argument.writes => {
            return through_slice(env, state, argument.pointer.kind);
        }
        _ => return,
    };
    let Some(place) = Place::new(frame, argument.offset()) else {
        return;
    };
    place.note(notes);
    if !argument.writes {
        return;
    }
    let (least, most) = (argument.least as usize, argument.most as usize);
    dynptr::overwritten(env, state, place.frame, place.at, place.slack + most);
    let Some(frame) = state.frame_mut(place.frame) else {
        return;
    };
    frame.stack.may_write(place.at, place.slack + most);
    if place.slack == 0 {
        frame.stack.write_unknown(place.at, least);
    }
}

pub(super) fn atomic(
    env: &Env<'_>,
    notes: &mut Notes,
    state: &mut State,
    op: AtomicOp,
    width: Width,
    (base, off): (Reg, i16),
    src: Reg,
) {
    let bytes = match width {
        Width::W32 => 4,
        Width::W64 => 8,
    };
    let unknown = Value::scalar(stack::any_of_size(bytes));
    write(env, notes, state, (base, off), bytes, unknown);
    if let Some(result) = fetched(op, src) {
        state.set(result, unknown);
    }
}
