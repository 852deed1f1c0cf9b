//! What a conditional jump says about the registers.

use bpftime_isa::{Cond, Object, Operand, Reg, Trust, Width};

use crate::check::operand;
use crate::domain::refine::assume;
use crate::domain::state::State;
use crate::domain::value::{Kind, Value};
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
        return Some(state);
    }
    compared_packet(&mut state, cond, taken, &left, &right);
    Some(state)
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

/// A pointer, or not, was compared with 0.
fn compared_with_null(
    env: &Env<'_>,
    mut state: State,
    value: &Value,
    equal: bool,
) -> Option<State> {
    if !value.nullable {
        return if equal && never_null(value) {
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
    }
    Some(state)
}

/// Pointers to memory that is there, with an offset too small to wrap to 0.
fn never_null(value: &Value) -> bool {
    let memory = matches!(
        value.kind,
        Kind::Ctx
            | Kind::Stack { .. }
            | Kind::MapValue { .. }
            | Kind::MapKey { .. }
            | Kind::Bytes { .. }
            | Kind::Record { .. }
            | Kind::Object(_)
    );
    // Reads through these may fault.
    let unsure = matches!(
        value.kind,
        Kind::Object(Object::Typed {
            trust: Trust::Argument | Trust::Walked,
            ..
        })
    );
    memory && !unsure && value.offset().as_constant() == Some(0)
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
