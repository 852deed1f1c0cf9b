//! Futex words in memory that processes share.

use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Sleeps while the word has this value, until it is woken, at most for `patience`. May also wake
/// for no reason.
pub fn wait(word: &AtomicU32, value: u32, patience: Duration) {
    let timeout = libc::timespec {
        tv_sec: patience.as_secs() as libc::time_t,
        tv_nsec: patience.subsec_nanos().into(),
    };
    // SAFETY: the kernel reads an aligned word that lives during the call, and the timeout. Not
    // FUTEX_PRIVATE: other processes wake too.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT,
            value,
            &raw const timeout,
        );
    }
}

/// Wakes all that wait on the word.
pub fn wake(word: &AtomicU32) {
    // SAFETY: the kernel compares the address and does not follow it.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE,
            libc::c_int::MAX,
        );
    }
}
