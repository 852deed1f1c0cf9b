//! What some programs need before they run: a virtual CPU, which is the right to its per-CPU
//! values, exclusive for one run; and the thread's name in locks of maps.
//!
//! The kernel's programs are not preempted; ours are, and a thread that waits for its turn on a busy
//! machine, or for a page, keeps its virtual CPU. When all are taken, a thread therefore lets others
//! run until one is free. A wait that was in vain is the process's last until it finds a CPU again:
//! the holders may be stopped for long.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bpftime_abi::target::{
    Config, HookRecord, Lease, MAX_LEASES, PROGRAM_NEEDS_CPU, PROGRAM_TAKES_NO_LOCK, ProcessState,
    ProgramRecord, State, ThreadSlot,
};
use bpftime_helpers::Env;

use crate::header::state;
use crate::sys::{self, Call, config_quad, config_word};
use crate::{slot, task};

/// Threads of two processes ask for the same CPU first only where there are more of them than this.
const CPUS_BETWEEN_TARGETS: u32 = 5;
/// Turns that a thread gives to others before it sleeps.
const YIELDS: u32 = 16;
/// Sleeps after that: 50 us, doubled each time up to 1.6 ms; 20 ms in all.
const SLEEPS: u32 = 16;
const FIRST_SLEEP_NS: u64 = 50_000;
const MOST_DOUBLINGS: u32 = 5;

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

    let target = u64::from(config_word(offset_of!(Config, target_id)));
    let owner = target << 32 | u64::from(task::tgid());
    // Threads stay at the CPU that they found free.
    // SAFETY: the caller owns the slot.
    let first = unsafe { (*slot).vm.cpu } as usize;
    match wait_for_cpu(owner, first) {
        Some(index) => {
            // SAFETY: as above.
            unsafe { (*slot).vm.cpu = index as u32 };
            true
        }
        None => {
            slot::count_miss(hook, offset_of!(HookRecord, missed_cpu));
            false
        }
    }
}

/// Takes a CPU, the `first` if it can be had, or one that gets free soon.
fn wait_for_cpu(owner: u64, first: usize) -> Option<usize> {
    if let Some(index) = take_cpu(owner, first) {
        return Some(index);
    }
    let in_vain = waited_in_vain();
    if table().1 == 0 || in_vain.load(Ordering::Relaxed) != 0 {
        return None;
    }
    for turn in 0..YIELDS + SLEEPS {
        let_others_run(turn);
        if let Some(index) = take_cpu(owner, first) {
            return Some(index);
        }
    }
    in_vain.store(1, Ordering::Relaxed);
    None
}

fn take_cpu(owner: u64, first: usize) -> Option<usize> {
    let (leases, count) = table();
    let mut index = first;
    for _ in 0..count {
        if index >= count {
            index = 0;
        }
        if word(leases, index)
            .compare_exchange(0, owner, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
        {
            let in_vain = waited_in_vain();
            if in_vain.load(Ordering::Relaxed) != 0 {
                in_vain.store(0, Ordering::Relaxed);
            }
            return Some(index);
        }
        index += 1;
    }
    None
}

fn let_others_run(turn: u32) {
    if turn < YIELDS {
        // SAFETY: takes no argument.
        unsafe { sys::call(Call::SchedYield, [0; 6]) };
        return;
    }
    let doublings = (turn - YIELDS).min(MOST_DOUBLINGS);
    let time = [0, FIRST_SLEEP_NS << doublings];
    // SAFETY: the kernel reads a timespec, two 8-byte words.
    unsafe { sys::call(Call::NanoSleep, [time.as_ptr() as u64, 0, 0, 0, 0, 0]) };
}

/// The CPU that a thread asks for first: each another one, as far as they suffice, so that its records
/// stay in one buffer and in order.
pub fn first_cpu() -> u32 {
    let (_, count) = table();
    let target = config_word(offset_of!(Config, target_id));
    let threads = process_word(offset_of!(ProcessState, threads_spread));
    let number = threads.fetch_add(1, Ordering::Relaxed);
    let number = target
        .wrapping_mul(CPUS_BETWEEN_TARGETS)
        .wrapping_add(number);
    number % (count.max(1) as u32)
}

/// Not 0 after a wait that did not get a CPU.
fn waited_in_vain() -> &'static AtomicU32 {
    process_word(offset_of!(ProcessState, waited_in_vain))
}

/// A word of what the process knows of itself.
fn process_word(offset: usize) -> &'static AtomicU32 {
    debug_assert!(offset <= size_of::<ProcessState>() - 4);
    // SAFETY: the state is valid for the life of the process; these words are only accessed atomically.
    unsafe {
        AtomicU32::from_ptr(
            state()
                .cast::<u8>()
                .add(offset_of!(State, process) + offset)
                .cast(),
        )
    }
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
