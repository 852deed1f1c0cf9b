//! Whether a range of bytes behind a pointer may be accessed.

use bpftime_abi::map_type::create_flags::{BPF_F_RDONLY_PROG, BPF_F_WRONLY_PROG};
use bpftime_isa::{MapType, Reg};

use super::Failure;
use crate::diagnostic::Code;
use crate::domain::stack;
use crate::domain::state::State;
use crate::domain::value::{Kind, Number, Value};
use crate::env::Env;

/// Memory that is accessed: by an instruction, or by a helper through an argument.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct MemoryArgument {
    /// Register that holds the pointer, for messages.
    pub(crate) reg: Reg,
    /// The pointer.
    pub(crate) pointer: Value,
    /// Constant added to the pointer.
    pub(crate) extra: i64,
    /// Least number of bytes accessed.
    pub(crate) least: u64,
    /// Greatest number of bytes accessed.
    pub(crate) most: u64,
    /// The bytes are read.
    pub(crate) reads: bool,
    /// The bytes are written.
    pub(crate) writes: bool,
}

impl MemoryArgument {
    /// First byte, relative to the start of the memory.
    pub(crate) fn offset(&self) -> Number {
        self.pointer
            .offset()
            .add(Number::constant(self.extra as u64))
    }
}

/// Least and greatest offset of the first byte.
pub(crate) fn offset_of(argument: &MemoryArgument) -> (i64, i64) {
    let (least, most) = argument.offset().signed();
    (least as i64, most as i64)
}

/// Whether all bytes are in the memory that the pointer points to, and may be used so.
pub(super) fn in_region(
    env: &Env<'_>,
    state: &State,
    argument: &MemoryArgument,
) -> Result<(), Failure> {
    let pointer = &argument.pointer;
    let number = argument.reg.index();
    if pointer.nullable {
        return Err(Failure::new(
            Code::PossibleNull,
            format!("a pointer in {} that was compared with 0", argument.reg),
            pointer.to_string(),
            format!("R{number} invalid mem access '{}'", pointer.kernel_kind()),
        ));
    }
    match pointer.kind {
        Kind::MapValue { map } => map_value(env, argument, map),
        Kind::Bytes { .. } if argument.writes => Err(Failure::new(
            Code::MemoryBounds,
            "memory that may be written",
            pointer.to_string(),
            format!("R{number} cannot write into rdonly_mem"),
        )),
        Kind::Bytes { size } => within(argument, size.into(), Code::MemoryBounds, "mem_size"),
        Kind::Slice {
            writable: false, ..
        } if argument.writes => Err(Failure::new(
            Code::MemoryBounds,
            "memory that may be written",
            pointer.to_string(),
            format!("R{number} cannot write into rdonly_mem"),
        )),
        Kind::Slice { size, .. } => within(argument, size.into(), Code::MemoryBounds, "mem_size"),
        Kind::MapKey { map } => map_key(env, argument, map),
        Kind::Stack { frame } => on_stack(state, argument, frame),
        Kind::Packet | Kind::PacketMeta => packet(env, argument),
        Kind::Record { size } => within(argument, u64::from(size), Code::MemoryBounds, "mem_size"),
        Kind::Memory => match env.options.memory_len {
            Some(length) => within(argument, length, Code::MemoryBounds, "mem_size"),
            None => Err(Failure::new(
                Code::MemoryBounds,
                "a memory whose length is known (`memory_len`)",
                pointer.to_string(),
                format!("R{number} unbounded memory access"),
            )),
        },
        _ => Err(Failure::new(
            Code::NotAPointer,
            format!("a pointer to memory in {}", argument.reg),
            pointer.to_string(),
            format!("R{number} invalid mem access '{}'", pointer.kernel_kind()),
        )),
    }
}

/// Whether the bytes are in `0..size`.
fn within(
    argument: &MemoryArgument,
    size: u64,
    code: Code,
    size_name: &str,
) -> Result<(), Failure> {
    let (least, most) = offset_of(argument);
    let end = i128::from(most) + i128::from(argument.most);
    if least >= 0 && end <= i128::from(size) {
        return Ok(());
    }
    let number = argument.reg.index();
    let what = if code == Code::MapValueBounds {
        "map value"
    } else {
        "memory"
    };
    let kernel = if least == most {
        format!(
            "invalid access to {what}, {size_name}={size} off={least} size={}\nR{number} min value is outside of the allowed memory range",
            argument.most
        )
    } else if least < 0 {
        format!(
            "R{number} min value is negative, either use unsigned index or do a if (index >=0) check."
        )
    } else if most >= super::MAX_OFFSET {
        format!("R{number} unbounded memory access, make sure to bounds check any such access")
    } else {
        format!(
            "invalid access to {what}, {size_name}={size} off={most} size={}\nR{number} max value is outside of the allowed memory range",
            argument.most
        )
    };
    Err(Failure::new(
        code,
        format!("{} bytes within {size}", argument.most),
        format!("offset from {least} to {most}: {}", argument.pointer),
        kernel,
    ))
}

fn map_value(env: &Env<'_>, argument: &MemoryArgument, map: u32) -> Result<(), Failure> {
    let Some(definition) = env.map(map) else {
        return Err(Failure::new(
            Code::Internal,
            "a map of the program",
            format!("map {map}"),
            "verifier bug: no such map",
        ));
    };
    within(
        argument,
        u64::from(definition.value_size),
        Code::MapValueBounds,
        "value_size",
    )?;
    let forbidden = |direction: &str, flag: &str| {
        Err(Failure::new(
            Code::MapAccess,
            format!("a map that programs may {direction}"),
            format!("{} was created with {flag}", definition.name),
            format!(
                "{} into map forbidden, value_size={} off={} size={}",
                direction,
                definition.value_size,
                offset_of(argument).0,
                argument.most
            ),
        ))
    };
    if argument.writes && definition.flags & BPF_F_RDONLY_PROG != 0 {
        return forbidden("write", "BPF_F_RDONLY_PROG");
    }
    // Linux sets the flag on these by itself: the value is the kernel's own.
    if argument.writes && matches!(definition.map_type, MapType::DevMap | MapType::DevMapHash) {
        return forbidden("write", "its type");
    }
    if argument.reads && definition.flags & BPF_F_WRONLY_PROG != 0 {
        return forbidden("read", "BPF_F_WRONLY_PROG");
    }
    Ok(())
}

fn map_key(env: &Env<'_>, argument: &MemoryArgument, map: u32) -> Result<(), Failure> {
    if argument.writes {
        return Err(Failure::new(
            Code::MapAccess,
            "memory that may be written",
            format!("a key of a map: {}", argument.pointer),
            format!("write to change key R{} not allowed", argument.reg.index()),
        ));
    }
    let size = env.map(map).map_or(0, |map| map.key_size);
    within(argument, size.into(), Code::MemoryBounds, "key_size")
}

fn on_stack(state: &State, argument: &MemoryArgument, frame: u8) -> Result<(), Failure> {
    let (least, most) = offset_of(argument);
    let end = i128::from(most) + i128::from(argument.most);
    let known_frame = state.frame(frame.into()).is_some();
    if argument.writes
        && let Some(kept) = super::dynptr::kept_there(state, frame.into(), least, end)
    {
        return Err(kept);
    }
    if known_frame && least >= -(stack::SIZE as i64) && end <= 0 {
        return Ok(());
    }
    let number = argument.reg.index();
    let access = if argument.reads {
        "read from"
    } else {
        "write to"
    };
    let kernel = if least == most {
        format!(
            "invalid {access} stack R{number} off={least} size={}",
            argument.most
        )
    } else {
        format!(
            "invalid variable-offset {access} stack R{number} var_off={} size={}",
            argument.pointer, argument.most
        )
    };
    Err(Failure::new(
        Code::StackBounds,
        format!(
            "{} bytes between -{} and 0 of the frame",
            argument.most,
            stack::SIZE
        ),
        format!("offset from {least} to {most}: {}", argument.pointer),
        kernel,
    ))
}

fn packet(env: &Env<'_>, argument: &MemoryArgument) -> Result<(), Failure> {
    let pointer = &argument.pointer;
    let number = argument.reg.index();
    if argument.writes && !env.packet_writable() {
        return Err(Failure::new(
            Code::PacketBounds,
            "a program type that may write packets",
            env.program.prog_type.name(),
            "cannot write into packet",
        ));
    }
    // The range counts from the variable part, which is not negative where a range is known.
    let first = i128::from(pointer.delta) + i128::from(argument.extra);
    let end = first + i128::from(argument.most);
    let (least, _) = pointer.number.signed();
    if first >= 0 && (least as i64) >= 0 && end <= i128::from(pointer.range) {
        return Ok(());
    }
    let kernel = if (least as i64) < 0 {
        format!(
            "R{number} min value is negative, either use unsigned index or do a if (index >=0) check."
        )
    } else {
        format!(
            "invalid access to packet, off={first} size={}, R{number}(id={},off={},r={})\nR{number} offset is outside of the packet",
            argument.most, pointer.id, pointer.delta, pointer.range
        )
    };
    Err(Failure::new(
        Code::PacketBounds,
        format!("bytes {first} to {end} compared with the packet's end"),
        format!(
            "{} bytes are known to be in the packet: {pointer}",
            pointer.range
        ),
        kernel,
    ))
}
