//! The environment of helpers in an ordinary process with an operating system below.

use std::ffi::c_void;
use std::io;
use std::sync::atomic::AtomicU32;

use bpftime_abi::Errno;
use bpftime_helpers::{Env, Ops};

/// Receives the lines that programs print with `bpf_trace_printk`, without line ends.
pub(super) type TraceSink = Box<dyn FnMut(&[u8]) + Send>;

/// What [`Env::private`] points to.
pub(super) struct Private {
    pub(super) trace: TraceSink,
}

/// The functions of this environment.
pub(super) static OPS: Ops = Ops {
    clock_ns,
    pid_tgid,
    uid_gid,
    comm,
    random,
    read_memory,
    trace_printk,
    futex_wake,
};

/// Thread group id and thread id of the calling thread, as `bpf_get_current_pid_tgid` has them.
pub(super) fn current_pid_tgid() -> u64 {
    // SAFETY: neither has preconditions.
    let (tgid, tid) = unsafe { (libc::getpid(), libc::gettid()) };
    u64::from(tgid as u32) << 32 | u64::from(tid as u32)
}

/// Random bits from the kernel.
pub(super) fn random_u64() -> u64 {
    let mut bytes = [0u8; 8];
    // SAFETY: the buffer has room. Eight bytes are never cut short; should the call fail, the
    // number is 0, which is as good as any.
    unsafe { libc::getrandom(bytes.as_mut_ptr().cast::<c_void>(), bytes.len(), 0) };
    u64::from_ne_bytes(bytes)
}

unsafe extern "sysv64" fn clock_ns(_: *mut Env, clock: u32) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let Ok(clock) = libc::clockid_t::try_from(clock) else {
        return 0;
    };
    // SAFETY: the buffer has room. On failure the time stays 0.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    (time.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.tv_nsec as u64)
}

unsafe extern "sysv64" fn pid_tgid(_: *mut Env) -> u64 {
    current_pid_tgid()
}

unsafe extern "sysv64" fn uid_gid(_: *mut Env) -> u64 {
    // SAFETY: neither has preconditions.
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    u64::from(gid) << 32 | u64::from(uid)
}

unsafe extern "sysv64" fn comm(_: *mut Env, comm: *mut u8) {
    // SAFETY: helpers pass 16 writable bytes, which is what the call fills.
    unsafe {
        comm.write_bytes(0, 16);
        libc::prctl(libc::PR_GET_NAME, comm);
    }
}

unsafe extern "sysv64" fn random(_: *mut Env) -> u32 {
    random_u64() as u32
}

unsafe extern "sysv64" fn read_memory(_: *mut Env, to: *mut u8, from: u64, len: u64) -> i32 {
    let Ok(len) = usize::try_from(len) else {
        return -Errno::EFAULT.0;
    };
    let local = libc::iovec {
        iov_base: to.cast(),
        iov_len: len,
    };
    let remote = libc::iovec {
        iov_base: from as *mut c_void,
        iov_len: len,
    };
    // SAFETY: helpers pass room for `len` bytes; the kernel checks the other address.
    let read = unsafe { libc::process_vm_readv(libc::getpid(), &local, 1, &remote, 1, 0) };
    if usize::try_from(read) == Ok(len) {
        0
    } else {
        -Errno::EFAULT.0
    }
}

unsafe extern "sysv64" fn trace_printk(env: *mut Env, text: *const u8, len: u64) {
    // SAFETY: `private` is set by `HostEnvironment`, which owns it and is borrowed mutably while
    // programs run; helpers pass `len` readable bytes.
    let (private, text) = unsafe {
        (
            &mut *(*env).private.cast::<Private>(),
            std::slice::from_raw_parts(text, len as usize),
        )
    };
    (private.trace)(text);
}

unsafe extern "sysv64" fn futex_wake(_: *mut Env, word: *const AtomicU32) {
    // SAFETY: the word is mapped; waking changes no memory.
    unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, i32::MAX) };
}

/// Says whether the thread that a lock names exists: the thread id is in the lower half.
pub(super) unsafe extern "sysv64" fn owner_alive(owner: u64) -> bool {
    let tid = owner as u32 as libc::pid_t;
    // SAFETY: signal 0 is never delivered. A thread of any process can be asked for by its id.
    let result = unsafe { libc::syscall(libc::SYS_tkill, tid, 0) };
    result == 0 || io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH)
}
