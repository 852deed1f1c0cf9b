//! Return addresses that trampolines took off the stack, see
//! [`bpftime_abi::target::ReturnEntry`].
//!
//! Only the thread that runs on the stack of a live entry changes the entry; others take over
//! entries that are not live, by compare-and-swap. The dispatcher does the common cases itself:
//! a window without a live entry of the stack slot, but with one to be taken.

use core::mem::offset_of;
use core::sync::atomic::{AtomicU64, Ordering};

use bpftime_abi::target::{
    HookRecord, MAX_HOOKS, RETURN_LIVE, RETURN_SLOT_MASK, RETURN_WINDOW, ReturnEntry, return_window,
};

use crate::header::state;
use crate::slot;

/// Keeps the return address at `stack_slot` for the hook's return point. Gives false if the return
/// will not be seen: no room (counted), or the function tail-called itself and its return is
/// already waited for.
///
/// # Safety
///
/// Called by the dispatcher only, on the probed thread's stack, with the probed thread's stack pointer at function entry and a
/// hook index below `MAX_HOOKS`.
#[unsafe(no_mangle)]
unsafe extern "sysv64" fn bpftime_record_return(stack_slot: u64, hook: u64) -> bool {
    if stack_slot & !RETURN_SLOT_MASK != 0 {
        slot::count_miss(hook, offset_of!(HookRecord, missed_return));
        return false;
    }
    // SAFETY: a function was called, so its stack pointer points to the return address.
    let return_address = unsafe { (stack_slot as *const u64).read_volatile() };
    let own = ReturnEntry::key(stack_slot, hook as usize);
    // SAFETY: `return_window` leaves a whole window before the end of the table.
    let window = unsafe {
        (&raw mut (*state()).returns)
            .cast::<ReturnEntry>()
            .add(return_window(stack_slot))
    };

    let mut waiting = None;
    let mut others = false;
    let mut chained = false;
    let mut free = None;
    for index in 0..RETURN_WINDOW {
        let key = entry(window, index).0.load(Ordering::Relaxed);
        if key & RETURN_LIVE == 0 {
            free = free.or(Some((index, key)));
        } else if key & RETURN_SLOT_MASK == stack_slot {
            chained |= return_point(key) == return_address;
            if key == own {
                waiting = Some(index);
            } else {
                others = true;
            }
        }
    }

    if !chained {
        if others {
            forget_others(window, stack_slot, own);
        }
        // The call that made the entry was left without returning.
        if let Some(index) = waiting {
            entry(window, index)
                .1
                .store(return_address, Ordering::Relaxed);
            return true;
        }
    } else if waiting.is_some() {
        return false;
    }

    while let Some((index, key)) = free {
        let (word, address) = entry(window, index);
        if word
            .compare_exchange(key, own, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
        {
            address.store(return_address, Ordering::Relaxed);
            return true;
        }
        free = next_free(window, index + 1);
    }
    slot::count_miss(hook, offset_of!(HookRecord, missed_return));
    false
}

/// Frees the live entries of a stack slot that holds none of their return points.
#[cold]
fn forget_others(window: *mut ReturnEntry, stack_slot: u64, own: u64) {
    for index in 0..RETURN_WINDOW {
        let word = entry(window, index).0;
        let key = word.load(Ordering::Relaxed);
        if key & RETURN_LIVE != 0 && key & RETURN_SLOT_MASK == stack_slot && key != own {
            word.store(key & !RETURN_LIVE, Ordering::Relaxed);
        }
    }
}

/// The first entry from `index` on that may be taken, with its key.
#[cold]
fn next_free(window: *mut ReturnEntry, index: usize) -> Option<(usize, u64)> {
    (index..RETURN_WINDOW).find_map(|index| {
        let key = entry(window, index).0.load(Ordering::Relaxed);
        (key & RETURN_LIVE == 0).then_some((index, key))
    })
}

/// Key and return address of an entry; `index` is below [`RETURN_WINDOW`].
fn entry(window: *mut ReturnEntry, index: usize) -> (&'static AtomicU64, &'static AtomicU64) {
    // SAFETY: the window has RETURN_WINDOW entries, the table is valid for the life of the process,
    // and all parties access it atomically.
    unsafe {
        let entry = window.add(index);
        (
            AtomicU64::from_ptr(&raw mut (*entry).key),
            AtomicU64::from_ptr(&raw mut (*entry).return_address),
        )
    }
}

/// The return point of a live entry's hook.
fn return_point(key: u64) -> u64 {
    let hook = (key >> 48) as usize % MAX_HOOKS;
    // SAFETY: below the array's length; the guardian writes the word before the hook is live.
    unsafe {
        (&raw const (*state()).hooks)
            .cast::<bpftime_abi::target::HookDispatch>()
            .add(hook)
            .cast::<u8>()
            .add(offset_of!(bpftime_abi::target::HookDispatch, return_point))
            .cast::<u64>()
            .read_volatile()
    }
}
