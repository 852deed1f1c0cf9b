//! Alignment and contents of the memory that helpers use.

use bpftime_isa::{ArgType, HelperProto, Reg};

use super::Failure;
use super::call::{ARGUMENT_REGS, refuse};
use super::region::{MemoryArgument, offset_of};
use crate::diagnostic::Code;
use crate::domain::stack::{self, Cell};
use crate::domain::state::State;
use crate::domain::value::{Kind, Value};
use crate::env::Env;

/// Helpers that the kernel lets read packet memory (`pkt_access` in their prototypes).
const PACKET_READERS: [u32; 16] = [
    1, 2, 3, 28, 84, 85, 87, 99, 100, 110, 112, 161, 204, 205, 206, 207,
];

/// Helpers read and write numbers of a fixed size at once, so these are aligned.
pub(super) fn fixed_memory_aligned(
    proto: &HelperProto,
    memory: &MemoryArgument,
) -> Result<(), Failure> {
    let position = ARGUMENT_REGS.iter().position(|reg| *reg == memory.reg);
    let argument = position.and_then(|position| proto.args.get(position));
    let size = match argument {
        Some(
            ArgType::FixedMemRead(size)
            | ArgType::FixedMemReadWrite(size)
            | ArgType::FixedMemWrite(size),
        ) => u64::from(*size),
        _ => return Ok(()),
    };
    let bits = memory.offset().bits;
    let misaligned = matches!(size, 2 | 4 | 8) && (bits.value | bits.mask) & (size - 1) != 0;
    if !misaligned {
        return Ok(());
    }
    Err(Failure::new(
        Code::HelperArgument,
        format!("memory aligned to {size} bytes in {}", memory.reg),
        memory.pointer.to_string(),
        format!(
            "misaligned {}access off {}+0 size {size}",
            if matches!(memory.pointer.kind, Kind::Stack { .. }) {
                "stack "
            } else {
                ""
            },
            memory.pointer.delta
        ),
    ))
}

/// What the helper finds in memory that it reads.
pub(super) fn memory_contents(
    env: &Env<'_>,
    state: &State,
    proto: &HelperProto,
    memory: &MemoryArgument,
) -> Result<(), Failure> {
    match memory.pointer.kind {
        Kind::Packet | Kind::PacketMeta => {
            if PACKET_READERS.contains(&proto.id) && !proto.changes_packet {
                return Ok(());
            }
            Err(Failure::new(
                Code::HelperArgument,
                format!("memory outside the packet in {}", memory.reg),
                memory.pointer.to_string(),
                "helper access to the packet is not allowed",
            ))
        }
        Kind::Stack { .. } => stack_contents(env, state, memory),
        _ => Ok(()),
    }
}

/// What is found in memory of a stack that is read, or overwritten.
pub(super) fn stack_contents(
    env: &Env<'_>,
    state: &State,
    memory: &MemoryArgument,
) -> Result<(), Failure> {
    match memory.pointer.kind {
        Kind::Stack { frame } => {
            let (least, most) = offset_of(memory);
            let at = (stack::SIZE as i64 + least).max(0) as usize;
            let span = (most - least).max(0) as usize + memory.most as usize;
            let Some(frame) = state.frame(frame.into()) else {
                return Ok(());
            };
            if memory.reads && !env.options.allow_uninit_stack && !frame.stack.is_written(at, span)
            {
                return Err(Failure::new(
                    Code::StackUninit,
                    format!("{} bytes from {least} written before", memory.most),
                    "some were not written on some path",
                    format!(
                        "invalid indirect read from stack R{} off {least}+0 size {}",
                        memory.reg.index(),
                        memory.most
                    ),
                ));
            }
            let mut cells = frame.stack.overlapping(at, span);
            // What a helper only writes may destroy an iterator, as the kernel has it, but no dynptr.
            let kept = |cell: &Cell| match cell.value.kind {
                Kind::Dynptr { .. } => true,
                _ => memory.reads && cell.value.is_part(),
            };
            if cells.any(kept) {
                return Err(Failure::new(
                    Code::StackSpill,
                    "bytes that no iterator or dynptr is in",
                    format!("one within {} bytes from {least}", memory.most),
                    format!(
                        "invalid read from stack R{} off {least}+0 size {}",
                        memory.reg.index(),
                        memory.most
                    ),
                ));
            }
            let pointer = frame
                .stack
                .overlapping(at, span)
                .any(|cell| !cell.value.is_scalar());
            if pointer && !env.options.allow_ptr_leaks {
                return Err(Failure::new(
                    Code::PointerLeak,
                    "no pointers in memory that a helper uses",
                    format!("one within {} bytes from {least}", memory.most),
                    format!(
                        "invalid indirect read from stack R{} off {least}+0 size {}",
                        memory.reg.index(),
                        memory.most
                    ),
                ));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A NUL-terminated string in a read-only map whose contents are known.
///
/// In a map of several values the pointer may be to any of them, and a map that programs may write
/// does not keep its NUL.
pub(super) fn constant_string(env: &Env<'_>, reg: Reg, value: &Value) -> Result<(), Failure> {
    let Kind::MapValue { map } = value.kind else {
        return Err(refuse(reg, value, "map_value"));
    };
    let string = env
        .constant_value(map)
        .filter(|_| !value.nullable)
        .zip(value.constant_offset())
        .and_then(|(bytes, offset)| bytes.get(usize::try_from(offset).ok()?..));
    match string {
        Some(bytes) if bytes.contains(&0) => Ok(()),
        Some(_) => Err(Failure::new(
            Code::HelperArgument,
            "a NUL byte before the end of the map's value",
            value.to_string(),
            "string is not zero-terminated",
        )),
        None => Err(Failure::new(
            Code::HelperArgument,
            format!("a constant string in a frozen map in {reg}"),
            value.to_string(),
            format!("R{} does not point to a readonly map'", reg.index()),
        )),
    }
}
