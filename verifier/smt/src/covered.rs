//! Everything that a state of the verifier covers.

use std::collections::HashMap;

use bpftime_verifier::domain::stack::SIZE;
use bpftime_verifier::domain::state::State as Known;
use bpftime_verifier::domain::value::{Id, Kind, Number, Value as KnownValue};
use z3::ast::{BV, Bool};

use crate::state::{State, Unknowns};
use crate::value::{Atom, Value, both, constant, either, sum, yes};

/// Whether the term is one of the numbers.
pub(crate) fn is_in(term: &BV, number: Number) -> Bool {
    let mut parts = Vec::new();
    if number.bits.mask != u64::MAX {
        let known = term.bvand(constant(!number.bits.mask));
        parts.push(known.eq(constant(number.bits.value)));
    }
    let (lo, hi) = (number.wide.lo, number.wide.hi);
    if hi.wrapping_sub(lo) != u64::MAX {
        let far = term.bvsub(constant(lo));
        parts.push(far.bvule(constant(hi.wrapping_sub(lo))));
    }
    let (lo, hi) = (number.narrow.lo, number.narrow.hi);
    if hi.wrapping_sub(lo) != u32::MAX {
        let half = |n: u32| BV::from_u64(u64::from(n), 32);
        let far = term.extract(31, 0).bvsub(half(lo));
        parts.push(far.bvule(half(hi.wrapping_sub(lo))));
    }
    match parts.as_slice() {
        [] => yes(),
        parts => Bool::and(parts),
    }
}

/// Terms of values that are equal, by identity.
#[derive(Default)]
struct Shared {
    numbers: HashMap<Id, BV>,
    nulls: HashMap<Id, Bool>,
    /// Variable parts of packet pointers.
    parts: HashMap<(Kind, Id), BV>,
}

/// Unknowns for all that the state covers, and what holds of them.
pub(crate) fn unknowns(unknowns: &mut Unknowns, known: &Known) -> (State, Bool) {
    let mut state = State::new(unknowns, known.depth());
    let mut shared = Shared::default();
    let mut holds = Vec::new();
    for (depth, frame) in known.frames().enumerate() {
        for (reg, value) in frame.regs.iter().enumerate() {
            let term = value_of(unknowns, &mut shared, &mut holds, &state, value);
            state.frames[depth].regs[reg] = term;
        }
        for cell in frame.stack.cells() {
            let term = value_of(unknowns, &mut shared, &mut holds, &state, &cell.value);
            state.frames[depth].stack.set(cell.at, cell.size, term);
        }
    }
    let holds = match holds.as_slice() {
        [] => yes(),
        holds => Bool::and(holds),
    };
    (state, holds)
}

fn value_of(
    unknowns: &mut Unknowns,
    shared: &mut Shared,
    holds: &mut Vec<Bool>,
    state: &State,
    value: &KnownValue,
) -> Value {
    match value.kind {
        Kind::Uninit | Kind::Any => Value::opaque(),
        // A slice may be a buffer on a stack, so that stores through it count as stores anywhere; of the
        // others no fact is asked.
        Kind::Slice { .. }
        | Kind::Local { .. }
        | Kind::Dynptr { .. }
        | Kind::GivenDynptr
        | Kind::Arena
        | Kind::IrqFlag { .. } => Value::opaque(),
        Kind::Scalar => {
            let term = match (value.as_constant(), value.id) {
                (Some(number), _) => return Value::constant(number),
                (None, 0) => unknowns.number(),
                (None, id) => shared
                    .numbers
                    .entry(id)
                    .or_insert_with(|| unknowns.number())
                    .clone(),
            };
            holds.push(is_in(&term, value.number));
            Value::number(term)
        }
        kind => {
            let part = match value.number.as_constant() {
                Some(part) => constant(part),
                None => {
                    let packet = matches!(kind, Kind::Packet | Kind::PacketMeta);
                    let part = if packet && value.id != 0 {
                        let place = shared.parts.entry((kind, value.id));
                        place.or_insert_with(|| unknowns.number()).clone()
                    } else {
                        unknowns.number()
                    };
                    holds.push(is_in(&part, value.number));
                    part
                }
            };
            holds.extend(in_packet(state, value, &part));
            let offset = sum(&part, &constant(i64::from(value.delta) as u64));
            let pointer = Value::pointer(kind, offset);
            if !value.nullable {
                return pointer;
            }
            let null = match value.id {
                0 => unknowns.truth(),
                id => shared
                    .nulls
                    .entry(id)
                    .or_insert_with(|| unknowns.truth())
                    .clone(),
            };
            pointer.or_null(&null)
        }
    }
}

/// What is known to be in the packet.
fn in_packet(state: &State, value: &KnownValue, part: &BV) -> Option<Bool> {
    (value.kind == Kind::Packet && value.range > 0).then(|| {
        let end = part.bvadd(constant(value.range.into()));
        both(&part.bvule(&end), &end.bvule(&state.packet.len))
    })
}

/// What the state says of the registers of the running function; `None` if a register can hold
/// nothing of what the state says.
pub(crate) fn holds(state: &State, known: &Known) -> Option<Bool> {
    let mut all = yes();
    let depth = known.depth() - 1;
    let frame = known.frame(depth)?;
    for (reg, value) in frame.regs.iter().enumerate() {
        let mut any = Bool::from_bool(false);
        for (guard, atom) in &state.frames.get(depth)?.regs[reg].0 {
            any = either(&any, &both(guard, &fits(state, value, atom)));
        }
        if any.as_bool() == Some(false) {
            return None;
        }
        all = both(&all, &any);
    }
    Some(all)
}

fn fits(state: &State, value: &KnownValue, atom: &Atom) -> Bool {
    match (value.kind, atom) {
        (Kind::Uninit | Kind::Any, _) | (_, Atom::Opaque) => yes(),
        (Kind::Scalar, Atom::Number(term)) => is_in(term, value.number),
        // Bits of a pointer, as a number.
        (Kind::Scalar, Atom::Pointer(..)) => yes(),
        (_, Atom::Number(term)) if value.nullable => term.eq(constant(0)),
        (kind, Atom::Pointer(other, offset)) if kind == *other => {
            let delta = constant(i64::from(value.delta) as u64);
            let part = offset.bvsub(&delta);
            let place = is_in(&part, value.number);
            match in_packet(state, value, &part) {
                Some(range) => both(&place, &range),
                None => place,
            }
        }
        _ => Bool::from_bool(false),
    }
}

/// Position of a byte of a frame by its offset from `r10`.
pub(crate) fn position(offset: u64, extra: i64) -> Option<u16> {
    let at = (offset as i64)
        .checked_add(extra)?
        .checked_add(SIZE as i64)?;
    u16::try_from(at).ok().filter(|at| usize::from(*at) < SIZE)
}
