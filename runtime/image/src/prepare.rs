//! What some programs need before they run: a virtual CPU, which is the right to its per-CPU
//! values, exclusive for one run; and the thread's name in locks of maps.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use bpftime_abi::target::{
    Config, HookRecord, Lease, MAX_LEASES, PROGRAM_NEEDS_CPU, PROGRAM_TAKES_NO_LOCK, ProgramRecord,
    ThreadSlot,
};
use bpftime_helpers::Env;

use crate::sys::{config_quad, config_word};
use crate::{slot, task};

/// Prepares what the program needs. Gives false, and counts the miss, if all CPUs are taken.
///
/// # Safety
///
/// Called by the dispatchers only, which own the slot, with one of its hook's programs.
#[unsafe(no_mangle)]
unsafe extern "sysv64" fn bpftime_prepare(
    slot: *mut ThreadSlot,
    hook: u64,
    program: *const ProgramRecord,
) -> bool {
    // SAFETY: by contract.
    let flags = unsafe { (*program).flags };
    // SAFETY: `initialize` has put the `Env` there, and the caller owns the slot.
    let owner = unsafe { &mut (*(&raw mut (*slot).env).cast::<Env>()).caller.owner };
    if *owner == 0 && flags & PROGRAM_TAKES_NO_LOCK == 0 {
        *owner = task::owner();
    }
    if flags & PROGRAM_NEEDS_CPU == 0 {
        return true;
    }

    let (leases, count) = table();
    let target = u64::from(config_word(offset_of!(Config, target_id)));
    let owner = target << 32 | u64::from(task::tgid());
    // Threads stay at the CPU that they found free.
    // SAFETY: the caller owns the slot.
    let mut index = unsafe { (*slot).vm.cpu } as usize;
    for _ in 0..count {
        if index >= count {
            index = 0;
        }
        if word(leases, index)
            .compare_exchange(0, owner, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
        {
            // SAFETY: as above.
            unsafe { (*slot).vm.cpu = index as u32 };
            return true;
        }
        index += 1;
    }
    slot::count_miss(hook, offset_of!(HookRecord, missed_cpu));
    false
}

/// Gives back the CPU.
///
/// # Safety
///
/// Called by the dispatchers only, after a successful [`bpftime_prepare`] of a program that needs
/// one.
#[unsafe(no_mangle)]
unsafe extern "sysv64" fn bpftime_release(slot: *mut ThreadSlot) {
    let (leases, count) = table();
    // SAFETY: the caller owns the slot.
    let index = unsafe { (*slot).vm.cpu } as usize;
    if index < count {
        word(leases, index).store(0, Ordering::Release);
    }
}

/// Address of the table, and leases in use.
fn table() -> (u64, usize) {
    let leases = config_quad(offset_of!(Config, leases));
    let count = config_word(offset_of!(Config, lease_count)) as usize;
    (
        leases,
        if leases == 0 {
            0
        } else {
            count.min(MAX_LEASES)
        },
    )
}

fn word(leases: u64, index: usize) -> &'static AtomicU64 {
    let address = leases as usize + index * size_of::<Lease>();
    // SAFETY: `index` is below MAX_LEASES, the table's length; the table is mapped as long as the
    // configuration refers to it, and its words are accessed atomically by all.
    unsafe { AtomicU64::from_ptr(address as *mut u64) }
}
