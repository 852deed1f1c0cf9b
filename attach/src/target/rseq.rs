//! Restartable sequences (`rseq(2)`).
//!
//! A thread whose program counter we borrow leaves its critical section without the kernel's
//! noticing: the kernel forgets the section as soon as it sees the thread elsewhere. So the
//! thread goes on at the section's abort handler, where the kernel would have sent it too.

use super::memory;
use crate::ptrace;

/// Where a thread that is stopped at `rip` must go on.
pub(super) fn resume_address(pid: i32, tid: i32, rip: u64) -> u64 {
    let area = ptrace::rseq_area(tid);
    if area == 0 {
        return rip;
    }
    let word = |address: u64| {
        let mut bytes = [0; 8];
        memory::read(pid, address, &mut bytes)
            .ok()
            .map(|()| u64::from_le_bytes(bytes))
    };
    // `struct rseq`: cpu_id_start, cpu_id (u32 each), rseq_cs.
    let Some(section) = word(area + 8).filter(|section| *section != 0) else {
        return rip;
    };
    // `struct rseq_cs`: version, flags (u32 each), start_ip, post_commit_offset, abort_ip.
    match (word(section + 8), word(section + 16), word(section + 24)) {
        (Some(start), Some(len), Some(abort)) if rip.wrapping_sub(start) < len => abort,
        _ => rip,
    }
}
