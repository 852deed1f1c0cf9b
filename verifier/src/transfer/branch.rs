//! What a conditional jump says about the registers.

use bpftime_isa::{Cond, Object, Operand, Reg, Trust, Width};

use crate::check::operand;
use crate::domain::refine::assume;
use crate::domain::state::State;
use crate::domain::value::{Hold, Id, Kind, Value};
use crate::env::Env;

/// Greatest offset in a packet (kernel `MAX_PACKET_OFF`).
const MAX_PACKET_OFFSET: u64 = 0xffff;

/// The state in which the comparison comes out as `taken`, or `None` if it cannot.
pub(crate) fn branch(
    env: &Env<'_>,
    mut state: State,
    cond: Cond,
    width: Width,
    dst: Reg,
    src: Operand,
    taken: bool,
) -> Option<State> {
    let left = *state.reg(dst);
    let right = operand(&state, src);
    if left.is_scalar() && right.is_scalar() {
        let equal = left.id != 0 && left.id == right.id;
        if equal && holds_of_equals(cond).is_some_and(|holds| holds != taken) {
            return None;
        }
        let (a, b) = assume(cond, width, taken, left.number, right.number)?;
        set_number(&mut state, dst, &left, a);
        if let Operand::Reg(src) = src
            && src != dst
        {
            set_number(&mut state, src, &right, b);
        }
        return Some(state);
    }
    if width == Width::W32 {
        return Some(state);
    }
    let equal = match (cond, taken) {
        (Cond::Eq, true) | (Cond::Ne, false) => Some(true),
        (Cond::Ne, true) | (Cond::Eq, false) => Some(false),
        _ => None,
    };
    if let Some(equal) = equal {
        if right.as_constant() == Some(0) {
            return compared_with_null(env, state, &left, equal);
        }
        if left.as_constant() == Some(0) {
            return compared_with_null(env, state, &right, equal);
        }
        if equal {
            return Some(equal_pointers(env, state, &left, &right));
        }
        return Some(state);
    }
    compared_packet(&mut state, cond, taken, &left, &right);
    Some(state)
}

/// Whether the comparison holds of equal numbers, as far as that depends on nothing else.
fn holds_of_equals(cond: Cond) -> Option<bool> {
    match cond {
        Cond::Eq | Cond::Ge | Cond::Le | Cond::Sge | Cond::Sle => Some(true),
        Cond::Ne | Cond::Gt | Cond::Lt | Cond::Sgt | Cond::Slt => Some(false),
        Cond::Set => None,
    }
}

/// What is equal to a pointer that is not null is not null.
fn equal_pointers(env: &Env<'_>, state: State, left: &Value, right: &Value) -> State {
    let (unknown, known) = if left.nullable {
        (left, right)
    } else {
        (right, left)
    };
    if !unknown.nullable || known.nullable || !never_null(env, known) {
        return state;
    }
    not_null(env, state, unknown.id)
}

/// Sets a number that a comparison sharpened, in the register and in all equal values.
fn set_number(state: &mut State, reg: Reg, before: &Value, number: crate::domain::value::Number) {
    if number == before.number {
        return;
    }
    if before.id == 0 {
        state.set(reg, Value::scalar(number));
        return;
    }
    let id = before.id;
    state.change_values(
        |value| value.is_scalar() && value.id == id,
        |value| value.number = number,
    );
}

/// The nullable pointers with the identity are not null.
fn not_null(env: &Env<'_>, mut state: State, id: Id) -> State {
    state.change_values(
        |value| value.nullable && value.id == id,
        |value| {
            value.nullable = false;
            // Which of several values with locks it is still matters.
            if !env.holds_lock(value.kind) {
                value.id = 0;
            }
        },
    );
    state
}

/// A pointer, or not, was compared with 0.
fn compared_with_null(
    env: &Env<'_>,
    mut state: State,
    value: &Value,
    equal: bool,
) -> Option<State> {
    if !value.nullable {
        return if equal && never_null(env, value) {
            None
        } else {
            Some(state)
        };
    }
    let (id, reference) = (value.id, value.reference);
    if equal {
        // If it is what was acquired, there is nothing to give back. A cast of it may be null
        // while it is not.
        if reference != 0 && reference == id {
            state.references.retain(|held| held.id != reference);
        }
        state.change_values(
            |value| value.nullable && value.id == id,
            |value| *value = Value::constant(0),
        );
    } else {
        return Some(not_null(env, state, id));
    }
    Some(state)
}

/// No memory is in the first page of the address space, nor in the last.
const PAGE: i64 = 4096;

/// Pointers to memory that is there, with an offset too small to reach 0 or to wrap to it, or inside of it.
fn never_null(env: &Env<'_>, value: &Value) -> bool {
    let memory = matches!(
        value.kind,
        Kind::Ctx
            | Kind::Stack { .. }
            | Kind::MapValue { .. }
            | Kind::MapKey { .. }
            | Kind::Bytes { .. }
            | Kind::Record { .. }
            | Kind::Slice { .. }
            | Kind::Local { .. }
            | Kind::Object(_)
    );
    // Reads through these may fault.
    let unsure = matches!(
        value.kind,
        Kind::Object(Object::Typed {
            trust: Trust::Rcu | Trust::Argument | Trust::Walked,
            ..
        }) | Kind::Local {
            hold: Hold::Stale,
            ..
        }
    );
    let near = |offset: i64| offset > -PAGE && offset < PAGE;
    let near = value.constant_offset().is_some_and(near);
    memory && !unsure && (near || stays_in_memory(env, value))
}

/// Whether the offset leads into the memory or to its end: it begins above 0, and goes not round the end of
/// all addresses.
fn stays_in_memory(env: &Env<'_>, value: &Value) -> bool {
    let size = match value.kind {
        Kind::MapValue { map } => env.map(map).map_or(0, |map| map.value_size),
        Kind::Bytes { size } | Kind::Record { size } | Kind::Slice { size, .. } => size,
        _ => 0,
    };
    value.offset().unsigned().1 <= u64::from(size)
}

/// A packet pointer was compared with the packet's end, or a metadata pointer with its start.
fn compared_packet(state: &mut State, cond: Cond, taken: bool, left: &Value, right: &Value) {
    // As `low < high` or `low <= high`.
    let (low, high, strict) = match (cond, taken) {
        (Cond::Lt, true) | (Cond::Ge, false) => (left, right, true),
        (Cond::Le, true) | (Cond::Gt, false) => (left, right, false),
        (Cond::Gt, true) | (Cond::Le, false) => (right, left, true),
        (Cond::Ge, true) | (Cond::Lt, false) => (right, left, false),
        _ => return,
    };
    let bounds = match (low.kind, high.kind) {
        (Kind::Packet, Kind::PacketEnd) => true,
        (Kind::PacketMeta, Kind::Packet) => {
            high.delta == 0 && high.id == 0 && high.number.as_constant() == Some(0)
        }
        _ => false,
    };
    if !bounds {
        return;
    }
    let Ok(delta) = u32::try_from(low.delta) else {
        return;
    };
    let (least, most) = low.number.signed();
    // Only where the sum cannot have wrapped does the comparison say something of the packet.
    if (least as i64) < 0 || most.saturating_add(u64::from(delta)) > MAX_PACKET_OFFSET {
        return;
    }
    let range = delta + u32::from(strict);
    let (kind, id) = (low.kind, low.id);
    state.change_values(
        |value| value.kind == kind && value.id == id,
        |value| value.range = value.range.max(range),
    );
}
