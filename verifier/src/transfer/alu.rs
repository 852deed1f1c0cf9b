//! Arithmetic.

use bpftime_isa::{AluOp, Operand, Reg, Width};

use super::Notes;
use crate::check::{MAX_OFFSET, operand};
use crate::domain::state::State;
use crate::domain::value::{Kind, Number, Value};

/// The number in a value; anything, if it is a pointer.
pub(super) fn number_of(value: &Value) -> Number {
    if value.is_scalar() {
        value.number
    } else {
        Number::unknown()
    }
}

pub(super) fn binary(
    notes: &mut Notes,
    state: &mut State,
    op: AluOp,
    width: Width,
    dst: Reg,
    src: Operand,
) {
    if op == AluOp::Mov {
        let value = moved(notes, state, width, src);
        state.set(dst, value);
        return;
    }
    let left = *state.reg(dst);
    let right = operand(state, src);
    if left.kind == Kind::Arena {
        // Still an address in the arena: only its lower half counts.
        return;
    }
    let value = match (left.is_scalar(), right.is_scalar()) {
        (true, true) => Value::scalar(left.number.alu(op, width, right.number)),
        (false, true) if width == Width::W64 => moved_pointer(notes, &left, &right, op),
        (true, false) if width == Width::W64 && op == AluOp::Add => {
            moved_pointer(notes, &right, &left, op)
        }
        // A difference of pointers, or of a pointer's half.
        (_, _) => Value::scalar(match width {
            Width::W64 => Number::unknown(),
            Width::W32 => Number::below_bits(32),
        }),
    };
    state.set(dst, value);
}

fn moved(notes: &mut Notes, state: &mut State, width: Width, src: Operand) -> Value {
    let reg = match src {
        Operand::Imm(imm) => {
            return Value::constant(match width {
                Width::W64 => i64::from(imm) as u64,
                Width::W32 => u64::from(imm as u32),
            });
        }
        Operand::Reg(reg) => reg,
    };
    let mut value = *state.reg(reg);
    if !value.is_scalar() {
        return match width {
            Width::W64 => value,
            Width::W32 => Value::scalar(Number::below_bits(32)),
        };
    }
    let number = match width {
        Width::W64 => value.number,
        Width::W32 => value.number.truncate_half(),
    };
    if number != value.number || number.as_constant().is_some() {
        return Value::scalar(number);
    }
    // The copy is equal to the original: what a comparison says of one holds for both.
    if value.id == 0 {
        value.id = notes.fresh_id();
        state.set(reg, value);
    }
    value
}

fn moved_pointer(notes: &mut Notes, pointer: &Value, added: &Value, op: AluOp) -> Value {
    let mut result = *pointer;
    let number = match op {
        AluOp::Sub => added.number.neg(),
        _ => added.number,
    };
    if let Some(constant) = number.as_constant() {
        let delta = i64::from(pointer.delta).checked_add(constant as i64);
        return match delta.map(i32::try_from) {
            Some(Ok(delta)) if i64::from(delta).abs() <= MAX_OFFSET => {
                result.delta = delta;
                result
            }
            _ => Value::any(),
        };
    }
    result.number = pointer.number.add(number);
    if matches!(pointer.kind, Kind::Packet | Kind::PacketMeta) {
        // Another variable part: what was known to be in the packet does not apply.
        result.id = notes.fresh_id();
        result.range = 0;
    }
    result
}
