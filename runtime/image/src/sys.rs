//! The system calls that helpers need. None is on a probe's own path.

use core::arch::asm;
use core::mem::offset_of;

use bpftime_abi::Errno;
use bpftime_abi::target::{CONFIG_NO_SYSTEM_CALLS, Config, State};

use crate::header::state;

/// What this image may call; the link test compares.
#[derive(Clone, Copy)]
#[repr(u64)]
pub enum Call {
    /// `sched_yield`: a living thread holds a lock of a map for long, so it does not run; or threads
    /// that do not run hold all virtual CPUs.
    SchedYield = 24,
    /// `nanosleep`: they hold them for longer.
    NanoSleep = 35,
    /// `getpid`: once per process.
    GetPid = 39,
    /// `getuid`: `bpf_get_current_uid_gid`.
    GetUid = 102,
    /// `getgid`: the same.
    GetGid = 104,
    /// `prctl(PR_GET_NAME)`: `bpf_get_current_comm`.
    Prctl = 157,
    /// `gettid`: where the thread's control block does not tell.
    GetTid = 186,
    /// `futex(FUTEX_WAKE)`: a consumer sleeps.
    Futex = 202,
    /// `clock_gettime`: where there is no vDSO.
    ClockGetTime = 228,
    /// `tgkill` with signal 0: whether a lock's owner is alive.
    TgKill = 234,
    /// `process_vm_readv` on itself: reads that may fault.
    ProcessVmReadv = 310,
}

/// Makes a system call, unless the target's seccomp filter forbids any.
///
/// # Safety
///
/// As for the system call itself: pointers among the arguments must be valid for what it does with
/// them.
pub unsafe fn call(call: Call, arguments: [u64; 6]) -> i64 {
    if config_word(offset_of!(Config, flags)) & CONFIG_NO_SYSTEM_CALLS != 0 {
        return -i64::from(Errno::EPERM.0);
    }
    let result;
    // SAFETY: the kernel changes rax, rcx and r11 only, besides memory that the caller vouches for.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") call as u64 => result,
            in("rdi") arguments[0],
            in("rsi") arguments[1],
            in("rdx") arguments[2],
            in("r10") arguments[3],
            in("r8") arguments[4],
            in("r9") arguments[5],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Makes a system call that takes no pointer; 0 instead of an error.
pub fn identity(call: Call) -> u32 {
    debug_assert!(matches!(
        call,
        Call::GetPid | Call::GetTid | Call::GetUid | Call::GetGid
    ));
    // SAFETY: these calls take no argument.
    u32::try_from(unsafe { self::call(call, [0; 6]) }).unwrap_or(0)
}

/// A 4-byte word of the configuration.
pub fn config_word(offset: usize) -> u32 {
    debug_assert!(offset <= size_of::<Config>() - 4);
    // SAFETY: inside the state, which is valid for the life of the process.
    unsafe { config(offset).cast::<u32>().read_volatile() }
}

/// An 8-byte word of the configuration.
pub fn config_quad(offset: usize) -> u64 {
    debug_assert!(offset <= size_of::<Config>() - 8);
    // SAFETY: as above.
    unsafe { config(offset).cast::<u64>().read_volatile() }
}

fn config(offset: usize) -> *const u8 {
    state()
        .cast::<u8>()
        .wrapping_add(offset_of!(State, config) + offset)
}
