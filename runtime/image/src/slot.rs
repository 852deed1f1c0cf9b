//! Which thread slot a thread may use.
//!
//! The dispatcher tries the first slot of the thread's window itself; the rest is here.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use bpftime_abi::target::{
    CLAIM_BUSY, CLAIM_USED, Config, Control, HookRecord, MAX_SLOTS, SLOT_STACK_BYTES, SLOT_WINDOW,
    State, ThreadSlot, slot_window,
};
use bpftime_helpers::{Env, HELPERS};

use crate::header::state;
use crate::sys::config_quad;
use crate::{environment, prepare};

const _: () = assert!(size_of::<Env>() <= size_of::<[u64; 96]>() && align_of::<Env>() <= 8);

/// Code segment selector of 64-bit user code on Linux.
const USER_CS: u64 = 0x33;
/// Stack segment selector of user code on Linux.
const USER_SS: u64 = 0x2b;

/// Why a probe's programs are not run.
#[derive(Clone, Copy)]
enum Miss {
    Nested,
    Slot,
}

/// Claims a slot for the thread, or counts a miss for the hook and gives null.
///
/// # Safety
///
/// Called by the dispatchers only, with the state in place and an index from a trampoline.
#[unsafe(no_mangle)]
unsafe extern "sysv64" fn bpftime_claim_slot(fs_base: u64, hook: u64) -> *mut ThreadSlot {
    match claim(fs_base) {
        Ok(slot) => slot,
        Err(miss) => {
            let offset = match miss {
                Miss::Nested => offset_of!(HookRecord, missed_nested),
                Miss::Slot => offset_of!(HookRecord, missed_slot),
            };
            count_miss(hook, offset);
            core::ptr::null_mut()
        }
    }
}

/// Adds to one of the counters of a hook's record in the control memory.
pub fn count_miss(hook: u64, offset: usize) {
    let control = config_quad(offset_of!(Config, control));
    if control == 0 {
        return;
    }
    let index = hook as usize % bpftime_abi::target::MAX_HOOKS;
    let counter =
        control as usize + offset_of!(Control, hooks) + index * size_of::<HookRecord>() + offset;
    // SAFETY: inside the control memory, whose size is fixed and sealed; aligned, because all
    // parts of the sum are multiples of 8; accessed atomically by all.
    unsafe { AtomicU64::from_ptr(counter as *mut u64) }.fetch_add(1, Ordering::Relaxed);
}

fn claim(fs_base: u64) -> Result<*mut ThreadSlot, Miss> {
    let key = fs_base & !(CLAIM_BUSY | CLAIM_USED) | CLAIM_USED;
    let first = slot_window(fs_base);

    // The thread's own slot, wherever in the window it is.
    for distance in 0..SLOT_WINDOW {
        let (slot, word) = slot_at(first + distance);
        match word.load(Ordering::Relaxed) {
            found if found == key => {
                if swap(word, key, key) {
                    return Ok(slot);
                }
            }
            found if found == key | CLAIM_BUSY => return Err(Miss::Nested),
            _ => {}
        }
    }
    // A slot that was never used, else one that is idle.
    for take_idle in [false, true] {
        for distance in 0..SLOT_WINDOW {
            let (slot, word) = slot_at(first + distance);
            let found = word.load(Ordering::Relaxed);
            let free = found == 0 || take_idle && found & CLAIM_BUSY == 0;
            if free && swap(word, found, key) {
                if found == 0 {
                    // SAFETY: the slot was just claimed.
                    unsafe { initialize(slot) };
                }
                return Ok(slot);
            }
        }
    }
    Err(Miss::Slot)
}

fn swap(word: &AtomicU64, from: u64, key: u64) -> bool {
    word.compare_exchange(from, key | CLAIM_BUSY, Ordering::Acquire, Ordering::Relaxed)
        .is_ok()
}

fn slot_at(index: usize) -> (*mut ThreadSlot, &'static AtomicU64) {
    // SAFETY: the index is reduced below the array's length; the state is valid for the life of
    // the process and its claim words are only accessed atomically.
    unsafe {
        let slots = (&raw mut (*state()).slots).cast::<ThreadSlot>();
        let slot = slots.add(index % MAX_SLOTS);
        (slot, AtomicU64::from_ptr(&raw mut (*slot).claim))
    }
}

/// Fills in what stays the same for all uses of a slot.
///
/// # Safety
///
/// The caller has claimed the slot.
unsafe fn initialize(slot: *mut ThreadSlot) {
    let base = state() as usize;
    let index = (slot as usize - base - offset_of!(State, slots)) / size_of::<ThreadSlot>();
    let stack = base + offset_of!(State, stacks) + (index + 1) * SLOT_STACK_BYTES;
    // SAFETY: nobody else accesses a claimed slot but for its claim word.
    unsafe {
        (*slot).stack = stack as u64;
        (*slot).vm.helpers = HELPERS.as_ptr();
        (*slot).vm.cpu = prepare::first_cpu();
        let env = (&raw mut (*slot).env).cast::<Env>();
        env.write(environment::environment(slot));
        (*slot).vm.env = env.cast();
        (*slot).regs.orig_ax = u64::MAX;
        (*slot).regs.cs = USER_CS;
        (*slot).regs.ss = USER_SS;
    }
}
