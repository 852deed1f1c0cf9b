//! Who and where the program runs, clocks, random numbers.

use bpftime_abi::{Errno, VmCtx};

use crate::env::{env, ops};

/// Size of a thread's name with its NUL.
const TASK_COMM_LEN: usize = 16;

/// Ticks per second that `bpf_jiffies64` counts with (`CONFIG_HZ` of Debian's kernels).
const HZ: u64 = 250;
const NS_PER_TICK: u64 = 1_000_000_000 / HZ;
/// What `jiffies` starts with: its lower half overflows five minutes after boot.
const INITIAL_JIFFIES: u64 = (300 * HZ).wrapping_neg() & 0xffff_ffff;

const CLOCK_MONOTONIC: u32 = 1;
const CLOCK_MONOTONIC_COARSE: u32 = 6;
const CLOCK_BOOTTIME: u32 = 7;
const CLOCK_TAI: u32 = 11;

/// Nanoseconds of a clock.
///
/// # Safety
/// `vm` is what the program was called with.
unsafe fn clock(vm: *mut VmCtx, clock: u32) -> u64 {
    // SAFETY: by contract.
    unsafe {
        let env = env(vm);
        (ops(env).clock_ns)(env, clock)
    }
}

/// `u64 bpf_ktime_get_ns()`: `CLOCK_MONOTONIC`.
///
/// # Safety
/// `vm` is what the program was called with.
pub unsafe extern "sysv64" fn ktime_get_ns(
    vm: *mut VmCtx,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: by contract.
    unsafe { clock(vm, CLOCK_MONOTONIC) }
}

/// `u64 bpf_ktime_get_boot_ns()`: `CLOCK_BOOTTIME`.
///
/// # Safety
/// `vm` is what the program was called with.
pub unsafe extern "sysv64" fn ktime_get_boot_ns(
    vm: *mut VmCtx,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: by contract.
    unsafe { clock(vm, CLOCK_BOOTTIME) }
}

/// `u64 bpf_ktime_get_coarse_ns()`: `CLOCK_MONOTONIC_COARSE`.
///
/// # Safety
/// `vm` is what the program was called with.
pub unsafe extern "sysv64" fn ktime_get_coarse_ns(
    vm: *mut VmCtx,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: by contract.
    unsafe { clock(vm, CLOCK_MONOTONIC_COARSE) }
}

/// `u64 bpf_ktime_get_tai_ns()`: `CLOCK_TAI`.
///
/// # Safety
/// `vm` is what the program was called with.
pub unsafe extern "sysv64" fn ktime_get_tai_ns(
    vm: *mut VmCtx,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: by contract.
    unsafe { clock(vm, CLOCK_TAI) }
}

/// `u64 bpf_jiffies64()`: the monotonic clock in ticks of 4 ms.
///
/// # Safety
/// `vm` is what the program was called with.
pub unsafe extern "sysv64" fn jiffies64(
    vm: *mut VmCtx,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: by contract.
    let ns = unsafe { clock(vm, CLOCK_MONOTONIC_COARSE) };
    (ns / NS_PER_TICK).wrapping_add(INITIAL_JIFFIES)
}

/// `u32 bpf_get_prandom_u32()`.
///
/// # Safety
/// `vm` is what the program was called with.
pub unsafe extern "sysv64" fn get_prandom_u32(
    vm: *mut VmCtx,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: by contract.
    unsafe {
        let env = env(vm);
        (ops(env).random)(env) as u64
    }
}

/// `u32 bpf_get_smp_processor_id()`: the leased virtual CPU.
///
/// # Safety
/// `vm` is what the program was called with.
pub unsafe extern "sysv64" fn get_smp_processor_id(
    vm: *mut VmCtx,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: by contract.
    unsafe { (*vm).cpu as u64 }
}

/// `long bpf_get_numa_node_id()`: virtual CPUs are all on node 0.
///
/// # Safety
/// None needed; the signature asks for it.
pub unsafe extern "sysv64" fn get_numa_node_id(
    _: *mut VmCtx,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    0
}

/// `u64 bpf_get_current_pid_tgid()`.
///
/// # Safety
/// `vm` is what the program was called with.
pub unsafe extern "sysv64" fn get_current_pid_tgid(
    vm: *mut VmCtx,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: by contract.
    unsafe {
        let env = env(vm);
        (ops(env).pid_tgid)(env)
    }
}

/// `u64 bpf_get_current_uid_gid()`.
///
/// # Safety
/// `vm` is what the program was called with.
pub unsafe extern "sysv64" fn get_current_uid_gid(
    vm: *mut VmCtx,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: by contract.
    unsafe {
        let env = env(vm);
        (ops(env).uid_gid)(env)
    }
}

/// `long bpf_get_current_comm(buf, size)`: the name, cut to the size, NUL-terminated and padded
/// with NULs.
///
/// # Safety
/// The verifier proved that `r1` points to `r2` writable bytes.
pub unsafe extern "sysv64" fn get_current_comm(
    vm: *mut VmCtx,
    r1: u64,
    r2: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    let size = r2 as u32 as usize;
    if size == 0 {
        return Errno::EINVAL.to_r0();
    }
    let mut comm = [0u8; TASK_COMM_LEN];
    // SAFETY: by contract; comm has 16 bytes.
    unsafe {
        let env = env(vm);
        (ops(env).comm)(env, comm.as_mut_ptr());
    }
    let mut name = comm.iter().take_while(|byte| **byte != 0);
    let mut at = 0;
    while at < size {
        let byte = if at.wrapping_add(1) < size {
            name.next()
        } else {
            None
        };
        // SAFETY: at < size. Volatile: not to become a call of `memset`.
        unsafe {
            let to = (r1 as *mut u8).wrapping_add(at);
            to.write_volatile(byte.copied().unwrap_or(0));
        }
        at = at.wrapping_add(1);
    }
    0
}

/// `u64 bpf_get_func_ip(ctx)`: address of the probed function.
///
/// # Safety
/// `vm` is what the program was called with.
pub unsafe extern "sysv64" fn get_func_ip(
    vm: *mut VmCtx,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: by contract.
    unsafe { env(vm).func_ip }
}

/// `u64 bpf_get_attach_cookie(ctx)`.
///
/// # Safety
/// `vm` is what the program was called with.
pub unsafe extern "sysv64" fn get_attach_cookie(
    vm: *mut VmCtx,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: by contract.
    unsafe { env(vm).cookie }
}
