//! Virtual CPUs: the right to the per-CPU values of maps, exclusive for one run of a program.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use bpftime_abi::target::{HookRecord, Lease, MAX_LEASES, ThreadSlot};

use crate::header::state;
use crate::{process, slot};

/// Leases a CPU for the program that the slot is about to run. Gives false, and counts the miss,
/// if all are taken.
///
/// # Safety
///
/// Called by the dispatchers only, which own the slot.
#[unsafe(no_mangle)]
unsafe extern "sysv64" fn bpftime_lease_cpu(slot: *mut ThreadSlot, hook: u64) -> bool {
    let (leases, count, owner) = table();
    // Threads start at different leases, and each at the one it had before.
    // SAFETY: the caller owns the slot.
    let start = unsafe { (*slot).vm.cpu } as usize;
    for distance in 0..count {
        let index = (start + distance) % count;
        if word(leases, index)
            .compare_exchange(0, owner, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
        {
            // SAFETY: as above.
            unsafe { (*slot).vm.cpu = index as u32 };
            return true;
        }
    }
    slot::count_miss(hook, offset_of!(HookRecord, missed_cpu));
    false
}

/// Gives back what [`bpftime_lease_cpu`] gave.
///
/// # Safety
///
/// Called by the dispatchers only, after a successful lease.
#[unsafe(no_mangle)]
unsafe extern "sysv64" fn bpftime_release_cpu(slot: *mut ThreadSlot) {
    let (leases, count, _) = table();
    // SAFETY: the caller owns the slot.
    let index = unsafe { (*slot).vm.cpu } as usize;
    if index < count {
        word(leases, index).store(0, Ordering::Release);
    }
}

/// Address of the table, leases in use, and what this process writes into a lease.
fn table() -> (u64, usize, u64) {
    // SAFETY: the state is valid for the life of the process; the guardian writes the
    // configuration before any hook is live.
    let config = unsafe { &raw const (*state()).config };
    // SAFETY: as above.
    let (leases, count, target) =
        unsafe { ((*config).leases, (*config).lease_count, (*config).target_id) };
    let count = if leases == 0 {
        0
    } else {
        (count as usize).min(MAX_LEASES)
    };
    let owner = u64::from(target) << 32 | u64::from(process::tgid());
    (leases, count, owner)
}

fn word(leases: u64, index: usize) -> &'static AtomicU64 {
    let address = leases as usize + index * size_of::<Lease>();
    // SAFETY: `index` is below MAX_LEASES, the table's length; the table is mapped as long as the
    // configuration refers to it, and its words are accessed atomically by all.
    unsafe { AtomicU64::from_ptr(address as *mut u64) }
}
