//! What becomes of dynptrs and their slices; [`crate::check::dynptr`] says why that is sound.

use bpftime_isa::Reg;
use bpftime_isa::kfunc::{DYNPTR_SIZE, DynptrKind};

use super::Notes;
use super::invalid;
use crate::check::{Failure, dynptr_buffer, dynptr_made, dynptr_place};
use crate::domain::stack;
use crate::domain::state::{Reference, State};
use crate::domain::value::{Id, Kind, Value};
use crate::env::Env;

/// Makes a dynptr where the register points to. One that stands for a resource acquires it.
pub(super) fn make(
    env: &Env<'_>,
    notes: &mut Notes,
    state: &mut State,
    (reg, slot): (Reg, u32),
    kind: DynptrKind,
) -> Result<(), Failure> {
    let id = notes.fresh_id();
    if kind.is_acquired() {
        state.references.push(Reference { id, slot });
    }
    write(env, notes, state, reg, kind, id)
}

/// Makes a clone, where `to` points to, of the dynptr that `from` points to.
pub(super) fn clone(
    env: &Env<'_>,
    notes: &mut Notes,
    state: &mut State,
    from: Reg,
    to: Reg,
) -> Result<(), Failure> {
    let made = dynptr_made(state, from)?;
    let id = if made.kind.is_acquired() {
        made.reference
    } else {
        notes.fresh_id()
    };
    write(env, notes, state, to, made.kind, id)
}

fn write(
    env: &Env<'_>,
    notes: &mut Notes,
    state: &mut State,
    reg: Reg,
    kind: DynptrKind,
    reference: Id,
) -> Result<(), Failure> {
    let (frame, at) = dynptr_place(state, reg)?;
    if let Some(used) = notes.stack.get_mut(frame) {
        *used = (*used).max((stack::SIZE - at) as u32);
    }
    overwritten(env, state, frame, at, DYNPTR_SIZE as usize);
    let Some(frame) = state.frame_mut(frame) else {
        return Ok(());
    };
    for second in [false, true] {
        let value = Value {
            reference,
            ..Value::pointer(Kind::Dynptr { kind, second })
        };
        frame.stack.write(at + if second { 8 } else { 0 }, 8, value);
    }
    Ok(())
}

/// Bytes of a stack are about to be overwritten: dynptrs that are in them are gone, and slices of them.
pub(super) fn overwritten(env: &Env<'_>, state: &mut State, frame: usize, at: usize, size: usize) {
    let found = |state: &State| {
        let stack = &state.frame(frame)?.stack;
        let mut cells = stack.overlapping(at, size);
        let cell = cells.find(|cell| matches!(cell.value.kind, Kind::Dynptr { .. }))?;
        Some(cell.value.reference)
    };
    while let Some(reference) = found(state) {
        // It stands for no resource, or the store would not have been allowed.
        let gone = invalid(env);
        state.change_values(|value| value.reference == reference, |value| *value = gone);
    }
}

/// The slice, or null, of the dynptr in the register, so many bytes long.
pub(super) fn slice(
    notes: &mut Notes,
    state: &State,
    reg: Reg,
    (size, writable): (u32, bool),
    buffer: Option<(u8, u16)>,
) -> Result<Value, Failure> {
    let made = dynptr_made(state, reg)?;
    Ok(Value {
        nullable: true,
        id: notes.fresh_id(),
        reference: made.reference,
        ..Value::pointer(Kind::Slice {
            size,
            writable,
            packet: made.kind.is_packet(),
            buffer,
        })
    })
}

/// The slice that a kernel function returns for the dynptr in `r1`, with the buffer in `r3` and the size
/// in `r4`, and what becomes of the buffer.
pub(super) fn buffered_slice(
    env: &Env<'_>,
    notes: &mut Notes,
    state: &mut State,
    writable: bool,
) -> Result<Value, Failure> {
    let memory = dynptr_buffer(state, Reg::R3, Reg::R4)?;
    let size = state.reg(Reg::R4).as_constant().unwrap_or(0) as u32;
    let mut place = None;
    if let Some(memory) = memory
        && let Kind::Stack { frame } = memory.pointer.kind
        && let Some(offset) = memory.pointer.constant_offset()
    {
        super::memory::helper_writes(env, notes, state, &memory);
        let at = (stack::SIZE as i64 + offset).max(0);
        place = Some((frame, at as u16));
    }
    slice(notes, state, Reg::R1, (size, writable), place)
}

/// Slices of packets are gone.
pub(super) fn is_packet_slice(value: &Value) -> bool {
    matches!(value.kind, Kind::Slice { packet: true, .. })
}
