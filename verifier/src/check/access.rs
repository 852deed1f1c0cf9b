//! Loads, stores and atomic operations.

use bpftime_isa::{CtxFieldKind, Operand, Size};

use super::region::{MemoryArgument, in_region, offset_of};
use super::{Failure, local, map_field, object, operand};
use crate::assertion::{Access, AccessKind};
use crate::diagnostic::Code;
use crate::domain::stack::{self, Found};
use crate::domain::state::State;
use crate::domain::value::Kind;
use crate::env::Env;

/// The access as memory that is used.
pub(crate) fn argument(state: &State, access: &Access) -> MemoryArgument {
    let bytes = u64::from(access.size.bytes());
    MemoryArgument {
        reg: access.base,
        pointer: *state.reg(access.base),
        extra: access.off.into(),
        least: bytes,
        most: bytes,
        reads: access.kind.reads(),
        writes: access.kind.writes(),
    }
}

pub(super) fn accessible(env: &Env<'_>, state: &State, access: &Access) -> Result<(), Failure> {
    let argument = argument(state, access);
    let atomic = matches!(access.kind, AccessKind::Atomic { .. });
    if atomic {
        atomic_place(access, &argument)?;
    }
    match argument.pointer.kind {
        Kind::Ctx => context(env, access, &argument),
        Kind::Map { map } if access.kind == AccessKind::Read && !argument.pointer.nullable => {
            let offset = argument.offset().as_constant();
            match offset.and_then(|at| env.walk_map(map, at as i64, access.size.bytes())) {
                Some(_) => Ok(()),
                None => in_region(env, state, &argument),
            }
        }
        Kind::Object(object) => object::field(env, access, &argument, object),
        Kind::Arena if access.signed => Err(Failure::new(
            Code::UnsupportedInstruction,
            "a load from an arena that is not sign-extended",
            argument.pointer.to_string(),
            "sign extending loads from arena are not supported yet",
        )),
        // The engine adds the lower half to the arena's base; what is not there faults, and is skipped.
        Kind::Arena => Ok(()),
        Kind::Local { type_id, hold } => {
            local::accessible(env, access, &argument, (type_id, hold))?;
            if atomic {
                aligned(access, &argument, "", Code::AtomicAccess)?;
            }
            Ok(())
        }
        Kind::Stack { frame } => {
            in_region(env, state, &argument)?;
            aligned(access, &argument, "stack ", Code::StackBounds)?;
            stack_contents(env, state, access, &argument, frame)
        }
        kind => {
            in_region(env, state, &argument)?;
            if let Kind::MapValue { map } = kind {
                map_field::accessible(env, access, &argument, map)?;
            }
            if atomic {
                aligned(access, &argument, "", Code::AtomicAccess)?;
            }
            Ok(())
        }
    }
}

fn atomic_place(access: &Access, argument: &MemoryArgument) -> Result<(), Failure> {
    match argument.pointer.kind {
        Kind::Ctx | Kind::Packet | Kind::PacketMeta | Kind::Object(_) => Err(Failure::new(
            Code::AtomicAccess,
            "stack, map value or ring buffer memory for an atomic operation",
            argument.pointer.to_string(),
            format!(
                "BPF_ATOMIC stores into R{} {} is not allowed",
                access.base.index(),
                argument.pointer.kernel_kind()
            ),
        )),
        _ => Ok(()),
    }
}

fn aligned(
    access: &Access,
    argument: &MemoryArgument,
    what: &str,
    code: Code,
) -> Result<(), Failure> {
    let bits = argument.offset().bits;
    let low = u64::from(access.size.bytes()) - 1;
    if (bits.value | bits.mask) & low == 0 {
        return Ok(());
    }
    Err(Failure::new(
        code,
        format!("an offset that is a multiple of {}", access.size.bytes()),
        argument.pointer.to_string(),
        format!(
            "misaligned {what}access off ({:#x}; {:#x})+{}+{} size {}",
            argument.pointer.number.bits.value,
            argument.pointer.number.bits.mask,
            argument.pointer.delta,
            access.off,
            access.size.bytes()
        ),
    ))
}

fn context(env: &Env<'_>, access: &Access, argument: &MemoryArgument) -> Result<(), Failure> {
    let size = access.size.bytes();
    let pointer = &argument.pointer;
    if pointer.nullable || pointer.offset().as_constant() != Some(0) {
        return Err(Failure::new(
            Code::ContextAccess,
            "the context pointer as it was passed",
            pointer.to_string(),
            match pointer.constant_offset() {
                Some(offset) => format!(
                    "dereference of modified ctx ptr R{} off={offset} disallowed",
                    access.base.index()
                ),
                None => format!("variable ctx access var_off={pointer} disallowed"),
            },
        ));
    }
    let offset = i64::from(access.off);
    let found = match access.kind {
        AccessKind::Read => env.layout.readable(offset, size),
        AccessKind::Write => env.layout.writable(offset, size),
        AccessKind::Atomic { .. } => None,
    };
    match found {
        Some(field) => {
            // A part of a packet pointer would be a number of which nothing may be known.
            let whole = field.offset as i64 == offset && field.size == size;
            match field.kind {
                CtxFieldKind::Scalar | CtxFieldKind::UserPointer => Ok(()),
                CtxFieldKind::PacketStart
                | CtxFieldKind::PacketEnd
                | CtxFieldKind::PacketMeta
                | CtxFieldKind::Object(_)
                    if whole && !access.signed =>
                {
                    Ok(())
                }
                _ => Err(no_field(env, offset, size)),
            }
        }
        None => Err(no_field(env, offset, size)),
    }
}

fn no_field(env: &Env<'_>, offset: i64, size: u32) -> Failure {
    Failure::new(
        Code::ContextAccess,
        format!("a field of {} that may be accessed so", env.layout.name),
        format!("{size} bytes at offset {offset}"),
        format!("invalid bpf_context access off={offset} size={size}"),
    )
}

/// What a stack access reads: written bytes, whole pointers.
fn stack_contents(
    env: &Env<'_>,
    state: &State,
    access: &Access,
    argument: &MemoryArgument,
    frame: u8,
) -> Result<(), Failure> {
    if !access.kind.reads() {
        return Ok(());
    }
    let Some(frame) = state.frame(frame.into()) else {
        return Ok(());
    };
    let size = access.size.bytes() as usize;
    let (least, most) = offset_of(argument);
    let at = (stack::SIZE as i64 + least) as usize;
    let span = (most - least) as usize + size;
    if frame
        .stack
        .overlapping(at, span)
        .any(|cell| cell.value.is_part())
    {
        return Err(Failure::new(
            Code::StackSpill,
            "bytes that no iterator or dynptr is in",
            format!("one within {span} bytes from {least}"),
            format!("invalid read from stack off {least}+0 size {size}"),
        ));
    }
    if !env.options.allow_uninit_stack && !frame.stack.is_written(at, span) {
        return Err(Failure::new(
            Code::StackUninit,
            format!("bytes {least} to {} written before", most + size as i64),
            "some were not written on some path",
            format!("invalid read from stack off {least}+0 size {size}"),
        ));
    }
    let atomic = matches!(access.kind, AccessKind::Atomic { .. });
    if least == most {
        if frame.stack.read(at, size) == Found::PartOfPointer {
            return Err(part_of_pointer(access, least));
        }
        if !atomic {
            return Ok(());
        }
    }
    let pointer = frame
        .stack
        .overlapping(at, span)
        .any(|cell| !cell.value.is_scalar());
    if pointer && !env.options.allow_ptr_leaks {
        return Err(part_of_pointer(access, least));
    }
    Ok(())
}

fn part_of_pointer(access: &Access, offset: i64) -> Failure {
    Failure::new(
        Code::StackSpill,
        "a load of all 8 bytes of a stored pointer, and of nothing else",
        format!("{} bytes at offset {offset}", access.size.bytes()),
        format!(
            "invalid size of register fill\ncorrupted spill memory off={offset} size={}",
            access.size.bytes()
        ),
    )
}

/// Whether the value may be stored there.
pub(super) fn storable(
    env: &Env<'_>,
    state: &State,
    access: &Access,
    src: Operand,
) -> Result<(), Failure> {
    let value = operand(state, src);
    let target = state.reg(access.base);
    if value.kind == Kind::GivenDynptr {
        return Err(leak(src, "memory, as a dynptr that is given"));
    }
    let Kind::Stack { frame } = target.kind else {
        if target.kind == Kind::Arena && value.may_be_pointer() && value.kind != Kind::Arena {
            return Err(leak(src, "arena"));
        }
        if let Kind::MapValue { map } = target.kind {
            map_field::storable(env, &argument(state, access), map, &value)?;
        }
        if value.may_be_pointer() && !env.options.allow_ptr_leaks {
            return Err(leak(src, target.kernel_kind()));
        }
        return Ok(());
    };
    if value.may_be_pointer() && access.size != Size::DW {
        if env.options.allow_ptr_leaks && value.kind != Kind::Any {
            return Err(Failure::new(
                Code::StackSpill,
                "a store of all 8 bytes of a pointer",
                format!("{} bytes of {value}", access.size.bytes()),
                "invalid size of register spill",
            ));
        }
        return Err(leak(src, "the stack in part"));
    }
    let running = state.depth() - 1;
    if matches!(value.kind, Kind::Stack { .. }) && usize::from(frame) != running {
        return Err(Failure::new(
            Code::StackSpill,
            "no pointer to a stack in the stack of a caller",
            value.to_string(),
            "cannot spill pointers to stack into stack frame of the caller",
        ));
    }
    if env.options.allow_ptr_leaks {
        return Ok(());
    }
    // What is left of a pointer that is overwritten in part, or of one that was stored at one of
    // several places, counts as numbers, so that reading it would reveal bits of the pointer.
    let argument = argument(state, access);
    let (least, most) = offset_of(&argument);
    let whole = access.size == Size::DW && least == most;
    let overwritten = state.frame(frame.into()).is_some_and(|frame| {
        let at = (stack::SIZE as i64 + least).max(0) as usize;
        let span = (most - least).max(0) as usize + access.size.bytes() as usize;
        frame
            .stack
            .overlapping(at, span)
            .any(|cell| !cell.value.is_scalar())
    });
    if whole || !(overwritten || value.may_be_pointer()) {
        return Ok(());
    }
    Err(Failure::new(
        Code::StackSpill,
        "a store of a pointer at a known place, and over all of a stored pointer or nothing of it",
        format!("{} bytes at offset {least}", access.size.bytes()),
        "attempt to corrupt spilled pointer on stack",
    ))
}

fn leak(src: Operand, place: &str) -> Failure {
    let (name, number) = match src {
        Operand::Reg(reg) => (reg.to_string(), reg.index()),
        Operand::Imm(imm) => (imm.to_string(), 0),
    };
    Failure::new(
        Code::PointerLeak,
        format!("a number in {name}"),
        format!("a pointer stored to {place}"),
        format!("R{number} leaks addr into {place}"),
    )
}
