//! What helpers ask of their surroundings.
//!
//! Every function gets the `Env` inside the thread slot that the thread owns, as filled by
//! [`environment`].

use core::arch::asm;
use core::arch::x86_64::_rdtsc;
use core::mem::offset_of;
use core::sync::atomic::AtomicU32;

use bpftime_abi::Errno;
use bpftime_abi::target::{Config, ThreadSlot};
use bpftime_helpers::{Env, Ops};
use bpftime_maps::Caller;

use crate::sys::{self, Call};
use crate::{task, trace};

/// The functions, in every slot's `Env`.
static OPS: Ops = Ops {
    clock_ns,
    pid_tgid,
    uid_gid,
    comm,
    random,
    read_memory,
    trace_printk,
    futex_wake,
};

/// Rounds of waiting for a lock of a map, tens of microseconds each, the processor yielded between
/// them. After one round only, every seventh record of a ring buffer was lost on a busy machine,
/// whenever the lock's owner was preempted; these outlast several time slices (some milliseconds)
/// of other processes where the owner waits to go on.
const LOCK_ROUNDS: u32 = 2048;

/// The `Env` of a slot. Cookie, function address and owner are written by the dispatchers.
pub fn environment(slot: *mut ThreadSlot) -> Env {
    let caller = Caller::new(0, Some(task::owner_alive)).with_rounds(LOCK_ROUNDS);
    let mut env = Env::new(&raw const OPS, caller);
    env.private = slot.cast();
    env
}

/// The slot that an `Env` is in.
///
/// # Safety
///
/// `env` was made by [`environment`].
unsafe fn slot(env: *mut Env) -> *mut ThreadSlot {
    // SAFETY: by contract.
    unsafe { (*env).private.cast() }
}

#[repr(C)]
struct TimeSpec {
    seconds: i64,
    nanoseconds: i64,
}

unsafe extern "sysv64" fn clock_ns(_: *mut Env, clock: u32) -> u64 {
    let mut time = TimeSpec {
        seconds: 0,
        nanoseconds: 0,
    };
    let pointer = &raw mut time;
    let result = match sys::config_quad(offset_of!(Config, vdso_clock_gettime)) {
        // SAFETY: the kernel writes a timespec to `pointer`.
        0 => unsafe {
            sys::call(
                Call::ClockGetTime,
                [clock.into(), pointer as u64, 0, 0, 0, 0],
            )
        },
        address => {
            // SAFETY: the guardian has resolved the address; the vDSO is compiled without vector
            // registers, as the kernel is.
            let function = unsafe {
                core::mem::transmute::<u64, unsafe extern "sysv64" fn(u64, *mut TimeSpec) -> i32>(
                    address,
                )
            };
            // SAFETY: as for the system call.
            i64::from(unsafe { function(clock.into(), pointer) })
        }
    };
    if result != 0 {
        return 0;
    }
    (time.seconds as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.nanoseconds as u64)
}

unsafe extern "sysv64" fn pid_tgid(_: *mut Env) -> u64 {
    u64::from(task::tgid()) << 32 | u64::from(task::tid())
}

unsafe extern "sysv64" fn uid_gid(_: *mut Env) -> u64 {
    let (user, group) = (sys::identity(Call::GetUid), sys::identity(Call::GetGid));
    u64::from(group) << 32 | u64::from(user)
}

unsafe extern "sysv64" fn comm(_: *mut Env, comm: *mut u8) {
    const PR_GET_NAME: u64 = 16;
    // SAFETY: the caller gives 16 writable bytes, which is what the kernel fills; written first for
    // when it may not be called.
    unsafe {
        comm.cast::<u64>().write_unaligned(0);
        comm.cast::<u64>().add(1).write_unaligned(0);
        sys::call(Call::Prctl, [PR_GET_NAME, comm as u64, 0, 0, 0, 0]);
    }
}

/// Xorshift, stirred with the time stamp so that a forked child goes its own way.
unsafe extern "sysv64" fn random(env: *mut Env) -> u32 {
    // SAFETY: the thread owns the slot.
    let state = unsafe { &mut (*slot(env)).random };
    // SAFETY: every processor with FSGSBASE has a time stamp counter.
    let mut x = *state ^ unsafe { _rdtsc() };
    if x == 0 {
        x = slot_seed(env);
    }
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    *state = x;
    (x.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
}

fn slot_seed(env: *mut Env) -> u64 {
    env as u64 | 1
}

unsafe extern "sysv64" fn read_memory(env: *mut Env, to: *mut u8, from: u64, len: u64) -> i32 {
    const PAGE: u64 = 4096;
    // SAFETY: the thread owns the slot.
    let page = unsafe { (*slot(env)).regs.sp } & !(PAGE - 1);
    if len <= PAGE && from >= page && from - page <= PAGE - len {
        // SAFETY: the probed thread's own stack page, on which its return address was just
        // pushed; `to` has room by contract.
        unsafe { copy(to, from as *const u8, len) };
        return 0;
    }

    #[repr(C)]
    struct IoVec {
        base: u64,
        len: u64,
    }
    let local = IoVec {
        base: to as u64,
        len,
    };
    let remote = IoVec { base: from, len };
    let arguments = [
        task::tgid().into(),
        &raw const local as u64,
        1,
        &raw const remote as u64,
        1,
        0,
    ];
    // SAFETY: the kernel reads both vectors, checks the source, and writes at most `len` bytes to
    // `to`.
    if unsafe { sys::call(Call::ProcessVmReadv, arguments) } == len as i64 {
        0
    } else {
        -Errno::EFAULT.0
    }
}

unsafe extern "sysv64" fn trace_printk(_: *mut Env, text: *const u8, len: u64) {
    // SAFETY: the caller gives `len` readable bytes.
    unsafe { trace::write(text, len) };
}

unsafe extern "sysv64" fn futex_wake(_: *mut Env, word: *const AtomicU32) {
    wake(word);
}

/// Wakes all that wait on a word in shared memory.
pub fn wake(word: *const AtomicU32) {
    const FUTEX_WAKE: u64 = 1;
    const ALL: u64 = i32::MAX as u64;
    // SAFETY: the kernel does not follow the address, it only compares it.
    unsafe { sys::call(Call::Futex, [word as u64, FUTEX_WAKE, ALL, 0, 0, 0]) };
}

/// Copies bytes without a vector register.
///
/// # Safety
///
/// As for `copy_nonoverlapping`.
pub unsafe fn copy(to: *mut u8, from: *const u8, len: u64) {
    // SAFETY: by contract; the direction flag is clear in code of the System V convention.
    unsafe {
        asm!(
            "rep movsb",
            inout("rdi") to => _,
            inout("rsi") from => _,
            inout("rcx") len => _,
            options(nostack, preserves_flags),
        );
    }
}
