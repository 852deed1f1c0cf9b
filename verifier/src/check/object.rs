//! Objects of the kernel's that programs hold pointers to: sockets, flow keys.
//!
//! A pointer to one is got from the context or from a helper, never computed. Its fields are read
//! through the view that Linux gives of it, whose layout says which bytes may be read and written;
//! nothing is known of what they hold. A pointer got from a helper that acquires carries the
//! identity of the resource ([`Value::reference`]), and so do the pointers that casts make of it;
//! giving the resource back makes all of them unusable at once, on the stack too.

use bpftime_isa::context::{Object, Trust};
use bpftime_isa::{CtxFieldKind, Reg};

use super::{Failure, region::MemoryArgument};
use crate::assertion::{Access, AccessKind};
use crate::diagnostic::Code;
use crate::domain::state::State;
use crate::domain::value::{Kind, Value};
use crate::env::Env;

/// Whether fields of the object may be accessed so.
pub(super) fn field(
    env: &Env<'_>,
    access: &Access,
    argument: &MemoryArgument,
    object: Object,
) -> Result<(), Failure> {
    let pointer = &argument.pointer;
    let number = access.base.index();
    if pointer.nullable {
        return Err(Failure::new(
            Code::PossibleNull,
            format!("a pointer in {} that was compared with 0", access.base),
            pointer.to_string(),
            format!("R{number} invalid mem access '{}'", pointer.kernel_kind()),
        ));
    }
    if matches!(object, Object::Typed { .. } | Object::Kernel(_)) {
        return structure(env, access, argument, object);
    }
    let size = access.size.bytes();
    let found = argument
        .offset()
        .as_constant()
        .zip(object.layout())
        .and_then(|(offset, layout)| match access.kind {
            AccessKind::Read => layout.readable(offset as i64, size),
            AccessKind::Write => layout.writable(offset as i64, size),
            AccessKind::Atomic { .. } => None,
        });
    match found.map(|field| field.kind) {
        Some(CtxFieldKind::Scalar) => Ok(()),
        _ if access.kind.writes() => Err(Failure::new(
            Code::ObjectAccess,
            format!("a field of {} that may be written so", object_name(object)),
            format!("{size} bytes at offset {} of {pointer}", access.off),
            format!("R{number} cannot write into {}", pointer.kernel_kind()),
        )),
        _ => Err(Failure::new(
            Code::ObjectAccess,
            format!("a field of {} that may be read so", object_name(object)),
            format!("{size} bytes at offset {} of {pointer}", access.off),
            format!(
                "R{number} invalid {} access off={} size={size}",
                pointer.kernel_kind(),
                access.off
            ),
        )),
    }
}

/// Whether a structure of the kernel's may be accessed so. Reads that fault give 0, so that it matters for
/// the program alone whether the structure is there; writes are for the few that may
/// ([`Env::may_write`]).
fn structure(
    env: &Env<'_>,
    access: &Access,
    argument: &MemoryArgument,
    object: Object,
) -> Result<(), Failure> {
    let pointer = &argument.pointer;
    let (number, size) = (access.base.index(), access.size.bytes());
    let offset = argument.offset().as_constant().map(|offset| offset as i64);
    let walked = offset.and_then(|offset| env.walk(object, offset, size));
    if access.kind == AccessKind::Write
        && let Some(offset) = offset
        && env.may_write(object, offset, size)
    {
        return Ok(());
    }
    let kernel = match offset {
        _ if access.kind != AccessKind::Read => "only read is supported".to_owned(),
        None => format!(
            "R{number} is {} invalid variable offset",
            pointer.kernel_kind()
        ),
        Some(_) if !env.gpl_compatible() => {
            "Cannot access kernel structures from non-GPL compatible program".to_owned()
        }
        Some(_) if walked.is_some() => return Ok(()),
        Some(offset) => format!(
            "access beyond struct or not to a field: {} off={offset} size={size}",
            pointer.kernel_kind()
        ),
    };
    Err(Failure::new(
        Code::ObjectAccess,
        "a read of a field, at a known offset, of a structure that the kernel's types describe, under a \
         licence compatible with the GPL",
        format!("{size} bytes at offset {} of {pointer}", access.off),
        kernel,
    ))
}

fn object_name(object: Object) -> &'static str {
    match object {
        Object::Kernel(name) => name,
        Object::TraceBuffer => "the tracepoint's buffer",
        _ => object.layout().map_or("the object", |layout| layout.name),
    }
}

/// Whether the value is a structure of the kernel's, typed by BTF.
pub(super) fn is_typed(value: &Value) -> bool {
    matches!(
        value.kind,
        Kind::Object(Object::Typed { .. } | Object::Kernel(_))
    )
}

/// Whether a helper may read the bytes of an object: of a structure of the kernel's that is certainly
/// there, and of what an iterator gives, whose size is compared when the program is attached.
pub(super) fn readable_by_helper(env: &Env<'_>, argument: &MemoryArgument) -> bool {
    let pointer = &argument.pointer;
    let Kind::Object(object) = pointer.kind else {
        return false;
    };
    let offset = argument.offset().as_constant().map(|offset| offset as i64);
    let (Some(offset), Ok(size)) = (offset, u32::try_from(argument.most)) else {
        return false;
    };
    if argument.writes || pointer.nullable || !(0..super::MAX_OFFSET).contains(&offset) {
        return false;
    }
    match object {
        Object::IteratorBuffer { .. } => true,
        Object::Typed {
            trust: Trust::Trusted,
            ..
        }
        | Object::Kernel(_) => {
            size > 0 && env.gpl_compatible() && env.walk(object, offset, size).is_some()
        }
        _ => false,
    }
}

/// Whether the value is a socket, of any view.
fn is_socket(value: &Value) -> bool {
    matches!(
        value.kind,
        Kind::Object(Object::Socket | Object::SockCommon | Object::TcpSock | Object::XdpSock)
    )
}

/// Whether the register holds a socket for a helper.
pub(super) fn socket(state: &State, reg: Reg) -> Result<(), Failure> {
    let value = state.reg(reg);
    if is_socket(value) && !value.nullable {
        return Ok(());
    }
    Err(super::call::refuse(reg, value, "sock"))
}

/// Whether the register holds a socket of any kind, or a structure of the kernel's that begins with one.
pub(super) fn any_socket(env: &Env<'_>, state: &State, reg: Reg) -> Result<(), Failure> {
    if is_typed(state.reg(reg)) {
        structure_argument(env, state, reg, "sock_common", false)
    } else {
        socket(state, reg)
    }
}

/// Whether the register holds a structure of the kernel's with the name, for a helper. What was read from
/// memory may be anything, and is not taken.
pub(super) fn structure_argument(
    env: &Env<'_>,
    state: &State,
    reg: Reg,
    name: &str,
    nullable: bool,
) -> Result<(), Failure> {
    let value = state.reg(reg);
    let is_it = match (value.kind, value.constant_offset()) {
        (Kind::Object(object), Some(offset)) => env.contains(object, offset, name),
        _ => false,
    };
    if is_it && (nullable || !value.nullable) {
        return Ok(());
    }
    let wanted = format!("a struct {name} that is an argument or came from a helper");
    Err(super::call::refuse(reg, value, &wanted))
}

/// Whether the register holds a socket that was acquired, to be given back.
pub(super) fn released_socket(env: &Env<'_>, state: &State, reg: Reg) -> Result<(), Failure> {
    any_socket(env, state, reg)?;
    let value = state.reg(reg);
    if value.reference != 0 {
        return Ok(());
    }
    Err(Failure::new(
        Code::HelperArgument,
        format!("a socket in {reg} that a helper acquired and that was not given back"),
        value.to_string(),
        format!(
            "R{} must be referenced when passed to release function",
            reg.index()
        ),
    ))
}
