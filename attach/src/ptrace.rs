//! Thin, safe wrappers around `ptrace(2)` and `wait4(2)` for one thread each.
//!
//! All calls for a tracee must come from the OS thread that seized it. Errors are bare error
//! numbers; `ESRCH` means that the tracee has died or is not stopped.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::ptr;

use libc::{c_int, c_void, user_regs_struct};

/// `PTRACE_EVENT_STOP` (`linux/ptrace.h`).
const EVENT_STOP: i32 = 128;
/// `PTRACE_GET_RSEQ_CONFIGURATION` (`linux/ptrace.h`, Linux 5.13).
const GET_RSEQ_CONFIGURATION: u32 = 0x420f;
/// Register set of general registers (`linux/elf.h`).
const NT_PRSTATUS: usize = 1;
/// Signal set with every signal; `SIGKILL` and `SIGSTOP` cannot be blocked anyhow.
pub(crate) const ALL_SIGNALS: u64 = u64::MAX;

/// A bare error number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Errno(pub(crate) c_int);

impl Errno {
    pub(crate) fn last() -> Self {
        Self(
            io::Error::last_os_error()
                .raw_os_error()
                .unwrap_or(libc::EIO),
        )
    }
}

/// What `wait4` reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wait {
    /// `PTRACE_INTERRUPT`, or a notification about job control.
    EventStop,
    /// The process is stopped by this job control signal.
    GroupStop(c_int),
    /// Entry to or exit from a system call.
    Syscall,
    /// The signal is about to be delivered.
    Signal(c_int),
    /// `PTRACE_EVENT_*`.
    Event(c_int),
    /// The thread has ended: status as `wait4` gives it.
    Ended(c_int),
}

/// Whether a syscall stop is at the entry or the exit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SyscallStop {
    Entry,
    Exit,
    Other,
}

fn request(request: u32, tid: i32, addr: usize, data: usize) -> Result<i64, Errno> {
    // SAFETY: the callers below pass `addr` and `data` that are integers, or point to memory of
    // the size that the request reads or writes.
    let result = unsafe {
        libc::ptrace(
            request as _,
            tid,
            ptr::without_provenance_mut::<c_void>(addr),
            data,
        )
    };
    if result < 0 {
        Err(Errno::last())
    } else {
        Ok(result)
    }
}

/// Starts tracing without stopping. `PTRACE_O_TRACESYSGOOD` must be among the options: without
/// it, a tracer that dies during a syscall stop makes the tracee die of `SIGTRAP`.
pub(crate) fn seize(tid: i32, options: c_int) -> Result<(), Errno> {
    let options = options | libc::PTRACE_O_TRACESYSGOOD;
    request(libc::PTRACE_SEIZE, tid, 0, options as usize).map(drop)
}

pub(crate) fn interrupt(tid: i32) -> Result<(), Errno> {
    request(libc::PTRACE_INTERRUPT, tid, 0, 0).map(drop)
}

/// Lets a group-stopped thread stay stopped while waiting for news.
pub(crate) fn listen(tid: i32) -> Result<(), Errno> {
    request(libc::PTRACE_LISTEN, tid, 0, 0).map(drop)
}

/// Resumes; `signal` is delivered if the thread is in a signal-delivery stop.
pub(crate) fn cont(tid: i32, signal: c_int) -> Result<(), Errno> {
    request(libc::PTRACE_CONT, tid, 0, signal as usize).map(drop)
}

/// Resumes up to the next entry to or exit from a system call.
pub(crate) fn cont_to_syscall(tid: i32, signal: c_int) -> Result<(), Errno> {
    request(libc::PTRACE_SYSCALL, tid, 0, signal as usize).map(drop)
}

/// Stops tracing and resumes; `signal` as for [`cont`].
pub(crate) fn detach(tid: i32, signal: c_int) -> Result<(), Errno> {
    request(libc::PTRACE_DETACH, tid, 0, signal as usize).map(drop)
}

/// General registers; `None` for a thread in 32-bit mode.
pub(crate) fn registers(tid: i32) -> Result<Option<user_regs_struct>, Errno> {
    let mut regs = MaybeUninit::<user_regs_struct>::zeroed();
    let mut iov = libc::iovec {
        iov_base: regs.as_mut_ptr().cast(),
        iov_len: size_of::<user_regs_struct>(),
    };
    request(
        libc::PTRACE_GETREGSET,
        tid,
        NT_PRSTATUS,
        &raw mut iov as usize,
    )?;
    if iov.iov_len != size_of::<user_regs_struct>() {
        return Ok(None);
    }
    // SAFETY: all-zero is a valid value, and the kernel has written the whole of it.
    let regs = unsafe { regs.assume_init() };
    Ok((regs.cs == 0x33).then_some(regs))
}

pub(crate) fn set_registers(tid: i32, regs: &user_regs_struct) -> Result<(), Errno> {
    let mut iov = libc::iovec {
        iov_base: ptr::from_ref(regs).cast_mut().cast(),
        iov_len: size_of::<user_regs_struct>(),
    };
    request(
        libc::PTRACE_SETREGSET,
        tid,
        NT_PRSTATUS,
        &raw mut iov as usize,
    )
    .map(drop)
}

pub(crate) fn signal_mask(tid: i32) -> Result<u64, Errno> {
    let mut mask = 0_u64;
    request(
        libc::PTRACE_GETSIGMASK,
        tid,
        size_of::<u64>(),
        &raw mut mask as usize,
    )?;
    Ok(mask)
}

pub(crate) fn set_signal_mask(tid: i32, mask: u64) -> Result<(), Errno> {
    request(
        libc::PTRACE_SETSIGMASK,
        tid,
        size_of::<u64>(),
        &raw const mask as usize,
    )
    .map(drop)
}

/// Replaces one word, also in memory that the tracee itself may not write.
pub(crate) fn poke(tid: i32, address: u64, word: u64) -> Result<(), Errno> {
    request(libc::PTRACE_POKEDATA, tid, address as usize, word as usize).map(drop)
}

pub(crate) fn syscall_stop(tid: i32) -> Result<SyscallStop, Errno> {
    let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    let size = size_of::<libc::ptrace_syscall_info>();
    request(
        libc::PTRACE_GET_SYSCALL_INFO,
        tid,
        size,
        info.as_mut_ptr() as usize,
    )?;
    // SAFETY: all-zero is a valid value, and what the kernel wrote is plain data.
    let info = unsafe { info.assume_init() };
    Ok(match info.op {
        libc::PTRACE_SYSCALL_INFO_ENTRY => SyscallStop::Entry,
        libc::PTRACE_SYSCALL_INFO_EXIT => SyscallStop::Exit,
        _ => SyscallStop::Other,
    })
}

/// Address of the thread's `struct rseq`, 0 if it has registered none or the kernel cannot say.
pub(crate) fn rseq_area(tid: i32) -> u64 {
    #[repr(C)]
    struct Configuration {
        area: u64,
        size: u32,
        signature: u32,
        flags: u32,
        pad: u32,
    }
    let mut conf = Configuration {
        area: 0,
        size: 0,
        signature: 0,
        flags: 0,
        pad: 0,
    };
    let size = size_of::<Configuration>();
    match request(GET_RSEQ_CONFIGURATION, tid, size, &raw mut conf as usize) {
        Ok(_) => conf.area,
        Err(_) => 0,
    }
}

/// News of a tracee; with `block` false, `None` if there is none.
pub(crate) fn wait(tid: i32, block: bool) -> Result<Option<Wait>, Errno> {
    let mut status = 0;
    let flags = libc::__WALL | if block { 0 } else { libc::WNOHANG };
    loop {
        // SAFETY: `status` lives during the call.
        let result = unsafe { libc::waitpid(tid, &raw mut status, flags) };
        if result == 0 {
            return Ok(None);
        }
        if result > 0 {
            break;
        }
        let errno = Errno::last();
        if errno.0 != libc::EINTR {
            return Err(errno);
        }
    }
    if !libc::WIFSTOPPED(status) {
        return Ok(Some(Wait::Ended(status)));
    }
    let signal = libc::WSTOPSIG(status);
    Ok(Some(match status >> 16 {
        EVENT_STOP if signal == libc::SIGTRAP => Wait::EventStop,
        EVENT_STOP => Wait::GroupStop(signal),
        0 if signal == libc::SIGTRAP | 0x80 => Wait::Syscall,
        0 => Wait::Signal(signal),
        event => Wait::Event(event),
    }))
}
