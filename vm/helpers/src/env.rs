//! What helpers need from the environment that runs the program.

use core::sync::atomic::AtomicU32;

use bpftime_abi::VmCtx;
use bpftime_maps::{Caller, MapRef, Record};

/// Ring buffer records that a program may hold at once; one more reservation gives null.
pub const OPEN_RECORDS: usize = 16;

/// State of the thread that runs the program: what [`VmCtx::env`] points to. One thread runs
/// one program at a time with it.
#[derive(Debug)]
#[repr(C)]
pub struct Env {
    /// Functions of the environment.
    pub ops: *const Ops,
    /// Who takes the locks of maps: this thread.
    pub caller: Caller,
    /// What `bpf_get_attach_cookie` gives; to be set before each program.
    pub cookie: u64,
    /// What `bpf_get_func_ip` gives: address of the probed function; to be set before each hook.
    pub func_ip: u64,
    /// For the functions of the environment; helpers do not look at it.
    pub private: *mut u8,
    /// Records reserved and not yet given back by the running program. The verifier makes
    /// sure that none is left at its end.
    pub open_records: [OpenRecord; OPEN_RECORDS],
}

/// A reserved ring buffer record.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct OpenRecord {
    /// Its ring buffer, or null for an empty place.
    pub map: *const MapRef,
    /// The record.
    pub record: Record,
}

impl OpenRecord {
    /// An empty place.
    pub const NONE: Self = Self {
        map: core::ptr::null(),
        record: Record {
            data: core::ptr::null_mut(),
            size: 0,
            reserved: 0,
        },
    };
}

/// Functions of the environment. None may touch an xmm or ymm register in a target. All get the
/// [`Env`] of the calling thread.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Ops {
    /// Nanoseconds of a clock, by its `CLOCK_*` number: 1 monotonic, 6 monotonic coarse, 7 boot
    /// time, 11 TAI. 0 for a clock that there is not.
    pub clock_ns: unsafe extern "sysv64" fn(*mut Env, clock: u32) -> u64,
    /// Thread group id in the upper half, thread id in the lower.
    pub pid_tgid: unsafe extern "sysv64" fn(*mut Env) -> u64,
    /// Group id in the upper half, user id in the lower.
    pub uid_gid: unsafe extern "sysv64" fn(*mut Env) -> u64,
    /// Writes the thread's name, NUL-padded, to 16 writable bytes.
    pub comm: unsafe extern "sysv64" fn(*mut Env, comm: *mut u8),
    /// A random number.
    pub random: unsafe extern "sysv64" fn(*mut Env) -> u32,
    /// Copies `len` bytes from an address that may be anything to `to`, which has room for
    /// them: 0, or `-EFAULT` if not all could be read; then `to` may be partly written. Never
    /// faults.
    pub read_memory: unsafe extern "sysv64" fn(*mut Env, to: *mut u8, from: u64, len: u64) -> i32,
    /// Takes a line of `trace_printk`: `len` bytes of text, without a NUL.
    pub trace_printk: unsafe extern "sysv64" fn(*mut Env, text: *const u8, len: u64),
    /// Wakes all that wait on a futex word in shared memory (`FUTEX_WAKE` without the private
    /// flag).
    pub futex_wake: unsafe extern "sysv64" fn(*mut Env, word: *const AtomicU32),
}

impl Env {
    /// An environment without open records.
    pub const fn new(ops: *const Ops, caller: Caller) -> Self {
        Self {
            ops,
            caller,
            cookie: 0,
            func_ip: 0,
            private: core::ptr::null_mut(),
            open_records: [OpenRecord::NONE; OPEN_RECORDS],
        }
    }
}

/// The environment of a running program.
///
/// # Safety
/// `vm` is what the program was called with: a valid [`VmCtx`] whose `env` points to an [`Env`]
/// that only this thread uses now.
#[inline(always)]
pub(crate) unsafe fn env<'a>(vm: *mut VmCtx) -> &'a mut Env {
    // SAFETY: by contract.
    unsafe { &mut *(*vm).env.cast::<Env>() }
}

/// The environment's functions.
///
/// # Safety
/// `env` was filled by an engine: `ops` points to valid functions.
#[inline(always)]
pub(crate) unsafe fn ops<'a>(env: &Env) -> &'a Ops {
    // SAFETY: by contract.
    unsafe { &*env.ops }
}

/// The map that a handle names.
///
/// # Safety
/// `handle` is one of [`VmCtx::maps`], which the verifier proved.
#[inline(always)]
pub(crate) unsafe fn map<'a>(handle: u64) -> &'a MapRef {
    // SAFETY: by contract: the address of a private `MapRef` that outlives the program.
    unsafe { &*(handle as *const MapRef) }
}
