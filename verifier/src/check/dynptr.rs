//! Dynptrs: checked windows on memory, which live on the program's stack.
//!
//! A dynptr fills two cells of its own, which loads refuse. It is used where both are in place, at an
//! offset that is known. What is written over one destroys both, and makes slices of it unusable.
//!
//! **Resources.** A dynptr on a ring buffer record stands for the record, as do its clones: all carry the
//! record's identity, and submitting or discarding one makes all of them and their slices unusable. None
//! of them can be overwritten, so that a record is never lost from sight. Others carry an identity of
//! their own, and stand for nothing: their memory (a map's value, a packet) is there without them.
//!
//! **Given** dynptrs are those that a function is called back with (samples of a user ring buffer). They
//! are used, but neither changed nor stored, and slices of them end with the call.
//!
//! **Slices** are memory of the constant size that was asked for, or null. A slice of a packet is gone
//! with whatever may move the packet, as packet pointers are. In place of the packet a slice may be the
//! buffer that was given for bytes that are not in one piece: on the stack, or in a map's value. Then
//! stores through the slice overwrite the buffer, of which nothing is known after each such store; and a
//! slice does not outlive the frame that its buffer is in.

use bpftime_isa::Reg;
use bpftime_isa::kfunc::{DYNPTR_SIZE, DynptrKind};

use super::Failure;
use super::place::place_on_stack;
use super::region::{MemoryArgument, in_region};
use crate::diagnostic::Code;
use crate::domain::stack;
use crate::domain::state::State;
use crate::domain::value::{Id, Kind};
use crate::env::Env;

/// Where on a stack a dynptr is, or is to be: frame and first byte.
pub(crate) fn place(state: &State, reg: Reg) -> Result<(usize, usize), Failure> {
    place_on_stack(state, reg, DYNPTR_SIZE, || {
        "expected pointer to stack or const struct bpf_dynptr".to_owned()
    })
}

/// Whether a dynptr may be made where the register points to.
pub(super) fn room(state: &State, reg: Reg) -> Result<(), Failure> {
    let (frame, at) = place(state, reg)?;
    let least = at as i64 - stack::SIZE as i64;
    let end = i128::from(least) + i128::from(DYNPTR_SIZE);
    kept_there(state, frame, least, end).map_or(Ok(()), Err)
}

/// A dynptr that was made.
pub(crate) struct Made {
    pub(crate) kind: DynptrKind,
    pub(crate) reference: Id,
}

/// The dynptr that the register points to.
pub(crate) fn made(state: &State, reg: Reg) -> Result<Made, Failure> {
    let value = state.reg(reg);
    if value.kind == Kind::GivenDynptr && value.constant_offset() == Some(0) {
        return Ok(Made {
            kind: DynptrKind::Local,
            reference: value.reference,
        });
    }
    let (frame, at) = place(state, reg)?;
    let stack = state.frame(frame).map(|frame| &frame.stack);
    let half = |wanted: bool| {
        let at = at + if wanted { 8 } else { 0 };
        let mut cells = stack?.overlapping(at, 8);
        let cell = cells.find(|cell| usize::from(cell.at) == at)?;
        match cell.value.kind {
            Kind::Dynptr { kind, second } if second == wanted => Some((kind, cell.value.reference)),
            _ => None,
        }
    };
    match half(false) {
        Some((kind, reference)) if reference != 0 && half(true) == Some((kind, reference)) => {
            Ok(Made { kind, reference })
        }
        _ => Err(Failure::new(
            Code::HelperArgument,
            format!("the address of a dynptr that was made in {reg}"),
            state.reg(reg).to_string(),
            "Expected an initialized dynptr as arg",
        )),
    }
}

/// Whether the dynptr stands for something that has to be given back.
fn is_held(state: &State, reference: Id) -> bool {
    state.references.iter().any(|held| held.id == reference)
}

/// Whether the register points to a dynptr that is given back.
pub(super) fn released(state: &State, reg: Reg) -> Result<(), Failure> {
    let made = made(state, reg)?;
    if made.kind == DynptrKind::RingBuf && is_held(state, made.reference) {
        return Ok(());
    }
    Err(Failure::new(
        Code::HelperArgument,
        format!("a dynptr on a ring buffer record in {reg}"),
        format!("one of kind {:?}", made.kind),
        "arg 1 is an unacquired reference",
    ))
}

/// A complaint, if a dynptr that must not be lost is in the range: offsets from the frame's end.
pub(super) fn kept_there(state: &State, frame: usize, least: i64, end: i128) -> Option<Failure> {
    if state.references.is_empty() {
        return None;
    }
    let stack = &state.frame(frame)?.stack;
    let held = |cell: &&stack::Cell| {
        let first = i128::from(cell.at) - stack::SIZE as i128;
        matches!(cell.value.kind, Kind::Dynptr { .. })
            && i128::from(least) < first + i128::from(cell.size)
            && first < end
            && is_held(state, cell.value.reference)
    };
    stack.cells().iter().find(held).map(|cell| {
        Failure::new(
            Code::StackSpill,
            "no store over a dynptr that stands for a record",
            format!("one at offset {}", i64::from(cell.at) - stack::SIZE as i64),
            "cannot overwrite referenced dynptr",
        )
    })
}

/// The buffer that stands in for bytes of a packet that are not in one piece, if one is given: its
/// memory. The size is in the next register and known.
pub(crate) fn buffer(
    state: &State,
    reg: Reg,
    size_reg: Reg,
) -> Result<Option<MemoryArgument>, Failure> {
    let (value, size) = (state.reg(reg), state.reg(size_reg));
    let Some(size) = size.as_constant().filter(|size| *size < 1 << 29) else {
        return Err(Failure::new(
            Code::HelperArgument,
            format!("a known size in {size_reg}"),
            size.to_string(),
            format!("R{} is not a const", size_reg.index()),
        ));
    };
    Ok((value.as_constant() != Some(0)).then_some(MemoryArgument {
        reg,
        pointer: *value,
        extra: 0,
        least: size,
        most: size,
        reads: true,
        writes: true,
    }))
}

/// Whether the buffer may be used so.
pub(super) fn usable_buffer(
    env: &Env<'_>,
    state: &State,
    reg: Reg,
    size_reg: Reg,
) -> Result<(), Failure> {
    let Some(memory) = buffer(state, reg, size_reg)? else {
        return Ok(());
    };
    let refuse = |needed: &str, kernel: &str| {
        Err(Failure::new(
            Code::HelperArgument,
            format!("{needed} in {reg}"),
            memory.pointer.to_string(),
            kernel,
        ))
    };
    in_region(env, state, &memory)?;
    match memory.pointer.kind {
        Kind::MapValue { map } => super::map_field::usable_by_helper(env, &memory, map),
        Kind::Stack { frame } => {
            let Some(offset) = memory.pointer.constant_offset() else {
                return refuse("a buffer at a known offset", "invalid variable-offset");
            };
            let at = (stack::SIZE as i64 + offset).max(0) as usize;
            let parts = |cell: &stack::Cell| cell.value.is_part();
            let stack = state.frame(frame.into()).map(|frame| &frame.stack);
            if stack.is_some_and(|stack| stack.overlapping(at, memory.most as usize).any(parts)) {
                return refuse(
                    "a buffer in which no iterator or dynptr is",
                    "invalid read from stack",
                );
            }
            Ok(())
        }
        // What could be given back or moved before the slice is gone.
        _ => refuse(
            "a buffer on the stack or in a map's value",
            "expected buffer",
        ),
    }
}
