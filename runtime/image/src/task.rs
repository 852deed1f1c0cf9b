//! Which process and thread this is.

use core::arch::asm;
use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, Ordering};

use bpftime_abi::target::{CONFIG_SAME_PID_NAMESPACE, Config};

use crate::header::state;
use crate::sys::{self, Call};

/// The process id as the process sees it. One system call after each `fork`: the page that keeps
/// it is wiped in the child (`MADV_WIPEONFORK`).
pub fn tgid() -> u32 {
    // SAFETY: the state is valid for the life of the process; the word is only accessed
    // atomically.
    let cached = unsafe { AtomicU32::from_ptr(&raw mut (*state()).process.tgid) };
    match cached.load(Ordering::Relaxed) {
        0 => {
            let tgid = sys::identity(Call::GetPid);
            cached.store(tgid, Ordering::Relaxed);
            tgid
        }
        tgid => tgid,
    }
}

/// The thread id as the thread sees it.
pub fn tid() -> u32 {
    match sys::config_word(offset_of!(Config, tid_offset)) {
        0 => sys::identity(Call::GetTid),
        offset => {
            let tid: u32;
            // SAFETY: the guardian has made sure that every thread's control block has its thread
            // id there.
            unsafe {
                asm!(
                    "mov {tid:e}, fs:[{offset}]",
                    offset = in(reg) u64::from(offset),
                    tid = out(reg) tid,
                    options(nostack, readonly, preserves_flags),
                );
            }
            tid
        }
    }
}

/// What the thread writes into locks of maps; not 0 unless system calls are forbidden. The
/// dispatchers compose it themselves when the upper half is cached and the thread id is in memory.
pub fn owner() -> u64 {
    let flags = sys::config_word(offset_of!(Config, flags));
    let process = if flags & CONFIG_SAME_PID_NAMESPACE != 0 {
        tgid()
    } else {
        0x8000_0000 | sys::config_word(offset_of!(Config, target_id))
    };
    // SAFETY: the state is valid for the life of the process; the word is only accessed
    // atomically.
    unsafe { AtomicU32::from_ptr(&raw mut (*state()).process.owner) }
        .store(process, Ordering::Relaxed);
    match (process, tid()) {
        (_, 0) | (0, _) => 0,
        (process, tid) => u64::from(process) << 32 | u64::from(tid),
    }
}

/// Whether the owner of a lock may be alive; if so, lets other threads run, as it is asked after
/// waiting in vain: the owner was preempted, perhaps by this thread.
pub unsafe extern "sysv64" fn owner_alive(owner: u64) -> bool {
    let flags = sys::config_word(offset_of!(Config, flags));
    let (process, thread) = (owner >> 32, owner & 0xffff_ffff);
    if owner_exists(flags, process, thread) {
        // SAFETY: takes no argument.
        unsafe { sys::call(Call::SchedYield, [0; 6]) };
        return true;
    }
    false
}

fn owner_exists(flags: u32, process: u64, thread: u64) -> bool {
    if flags & CONFIG_SAME_PID_NAMESPACE == 0 || process & 0x8000_0000 != 0 || thread == 0 {
        return true;
    }
    let process = if process == 0 { thread } else { process };
    const ESRCH: i64 = 3;
    // SAFETY: takes no pointer; signal 0 is not delivered.
    unsafe { sys::call(Call::TgKill, [process, thread, 0, 0, 0, 0]) != -ESRCH }
}
