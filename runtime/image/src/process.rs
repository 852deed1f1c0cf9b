//! What is known of the process and forgotten by a forked child.

use core::sync::atomic::{AtomicU32, Ordering};

use crate::header::state;
use crate::sys;

/// The process id as the process sees it. One system call after each `fork`: the page that keeps
/// it is wiped in the child (`MADV_WIPEONFORK`).
pub fn tgid() -> u32 {
    // SAFETY: the state is valid for the life of the process; the word is only accessed
    // atomically.
    let cached = unsafe { AtomicU32::from_ptr(&raw mut (*state()).process.tgid) };
    match cached.load(Ordering::Relaxed) {
        0 => {
            let tgid = sys::getpid();
            cached.store(tgid, Ordering::Relaxed);
            tgid
        }
        tgid => tgid,
    }
}
