//! Whether a thread is in the image, in a program or in a trampoline, or will come back there.

use std::mem::{offset_of, size_of};
use std::ops::Range;

use bpftime_abi::target::{CLAIM_BUSY, MAX_SLOTS, State, ThreadSlot};

use super::bytes::u64_at;
use super::control::ControlMemory;
use super::returns::Returns;
use crate::error::Result;
use crate::memfd::NAME_PREFIX;
use crate::process::Maps;
use crate::target::{Reference, Stopped};

/// Whether some thread runs programs of this image now.
pub(super) fn is_busy(stopped: &Stopped<'_>, control: &ControlMemory) -> Result<bool> {
    let mut slots = vec![0; MAX_SLOTS * size_of::<ThreadSlot>()];
    stopped.read(
        control.place.state + offset_of!(State, slots) as u64,
        &mut slots,
    )?;
    Ok(slots
        .chunks_exact(size_of::<ThreadSlot>())
        .filter_map(|slot| u64_at(slot, offset_of!(ThreadSlot, claim)))
        .any(|claim| claim & CLAIM_BUSY != 0))
}

/// All code of ours that is mapped.
pub(super) fn code(maps: &Maps) -> Vec<Range<u64>> {
    maps.iter()
        .filter(|m| m.execute)
        .filter(|m| {
            m.memfd_name()
                .is_some_and(|name| name.starts_with(NAME_PREFIX.as_bytes()))
        })
        .map(|m| m.start..m.end)
        .collect()
}

/// Whether a thread refers to any of `ranges`, not counting the return addresses that `returns`
/// can put back. A register counts too: an unwinder may just be reading what the image has for it.
pub(super) fn any_reference(
    stopped: &Stopped<'_>,
    ranges: &[Range<u64>],
    returns: &Returns,
) -> Result<bool> {
    let in_ranges = |address: &u64| ranges.iter().any(|range| range.contains(address));
    let mut threads = stopped.threads().iter();
    if threads.any(|thread| general(thread.registers()).iter().any(in_ranges)) {
        return Ok(true);
    }
    Ok(stopped
        .references(ranges)?
        .into_iter()
        .any(|reference| match reference {
            Reference::ProgramCounter { .. } | Reference::Unscanned { .. } => true,
            Reference::Stack { slot, address, .. } => !returns.can_put_back(slot, address),
        }))
}

/// The general registers, but for the stack pointer.
fn general(regs: &libc::user_regs_struct) -> [u64; 15] {
    [
        regs.rax, regs.rbx, regs.rcx, regs.rdx, regs.rsi, regs.rdi, regs.rbp, regs.r8, regs.r9,
        regs.r10, regs.r11, regs.r12, regs.r13, regs.r14, regs.r15,
    ]
}
