//! System calls that a stop interrupts.
//!
//! Most of them are restarted by the kernel when the thread goes on. Some give `EINTR` instead, as
//! they do after `SIGSTOP` and `SIGCONT` (signal(7)); a program without a signal handler may
//! well not expect that. They have done nothing when they give it, so they are begun again.
//!
//! Calls with a time limit are restarted by another call, `restart_syscall`, for which a seccomp filter
//! may kill. In a thread with a filter these are begun again too.

use libc::user_regs_struct;

use super::memory;
use crate::process::{Seccomp, Status};
use crate::ptrace;

/// The instruction of a system call.
const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// What such a call with a time limit gives to the kernel's own exit code.
const ERESTART_RESTARTBLOCK: i64 = -516;

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
    // Negative unless the thread is on its way out of a system call.
    let call = regs.orig_rax as i64;
    let gives_error = regs.rax as i64 == -i64::from(libc::EINTR)
        && WAITING.contains(&call)
        && (regs.r8 == 0 || !MASKING.contains(&call));
    let restarts = regs.rax as i64 == ERESTART_RESTARTBLOCK && call >= 0;
    if !gives_error && !restarts {
        return None;
    }
    let status = Status::read(tid).ok()?;
    if status.signal_pending || (restarts && status.seccomp == Seccomp::Disabled) {
        return None;
    }
    let at = regs.rip.wrapping_sub(SYSCALL.len() as u64);
    let mut code = [0; SYSCALL.len()];
    // A call that was restarted already is `restart_syscall` itself.
    if call == libc::SYS_restart_syscall
        || memory::read(pid, at, &mut code).is_err()
        || code != SYSCALL
    {
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
    if Status::read(tid).map_or(true, |status| status.signal_pending) {
        // Fails only if it has been killed.
        let _ = ptrace::set_registers(tid, before);
    }
}
