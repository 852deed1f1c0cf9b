//! System calls that a stop interrupts.
//!
//! Most of them are restarted by the kernel when the thread goes on. Some give `EINTR` instead, as
//! they do after `SIGSTOP` and `SIGCONT` (signal(7)); a program without a signal handler may
//! well not expect that. They have done nothing when they give it, so they are begun again.

use libc::user_regs_struct;

use super::memory;
use crate::process::Status;
use crate::ptrace;

/// The instruction of a system call.
const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// Calls that only wait, or that give `EINTR` only if nothing was done. A time limit begins anew.
const WAITING: [i64; 13] = [
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_io_getevents,
    libc::SYS_io_uring_enter,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_accept,
    libc::SYS_accept4,
];

/// Of these, the ones that may have a signal mask of their own. With one, a signal that comes while
/// the thread is stopped has its handler run before the mask is in force again, so it must end the
/// call.
const MASKING: [i64; 3] = [
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_io_uring_enter,
];

/// Lets a stopped thread begin a call again that nothing but the stop has interrupted. Gives the
/// registers for [`end`] if it does.
pub(super) fn restart(pid: i32, tid: i32, regs: &mut user_regs_struct) -> Option<user_regs_struct> {
    let call = regs.orig_rax as i64;
    let interrupted = regs.rax as i64 == -i64::from(libc::EINTR);
    // Negative unless the thread is on its way out of a system call.
    if !interrupted || !WAITING.contains(&call) || (MASKING.contains(&call) && regs.r8 != 0) {
        return None;
    }
    let at = regs.rip.wrapping_sub(SYSCALL.len() as u64);
    let mut code = [0; SYSCALL.len()];
    if signal_pending(tid) || memory::read(pid, at, &mut code).is_err() || code != SYSCALL {
        return None;
    }
    let before = *regs;
    let mut begun = *regs;
    begun.rip = at;
    begun.rax = regs.orig_rax;
    begun.orig_rax = u64::MAX;
    ptrace::set_registers(tid, &begun).ok()?;
    *regs = begun;
    Some(before)
}

/// To be called just before the thread goes on: if a signal has come meanwhile, its call gives `EINTR`
/// as it must. One that comes later finds the thread as if it had come just before the call.
pub(super) fn end(tid: i32, before: &user_regs_struct) {
    if signal_pending(tid) {
        // Fails only if it has been killed.
        let _ = ptrace::set_registers(tid, before);
    }
}

fn signal_pending(tid: i32) -> bool {
    Status::read(tid).map_or(true, |status| status.signal_pending)
}
