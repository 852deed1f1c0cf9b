//! Return addresses that trampolines took off the stack.

use core::mem::size_of;

use super::state::hash;

/// Return addresses that can be outstanding in one process.
pub const RETURN_ENTRIES: usize = 65536;

/// Entries in which the return address for a stack slot can be, counted from a multiple of it.
pub const RETURN_WINDOW: usize = 4;

/// A return address that a trampoline took off the stack.
///
/// An entry is found by the address of the stack slot and the hook, so it does not matter which
/// thread returns (coroutines) or what was skipped (`longjmp`). Per stack slot and hook there is at
/// most one entry, within one aligned window of [`RETURN_WINDOW`] entries. Entries of several hooks
/// for one stack slot are a chain of tail calls: the return address of one is the return point
/// of another. Entries of a stack slot that no longer holds one of their return points are stale;
/// the next call through that stack slot replaces them.
///
/// To take a hook away, with all threads stopped and none in trampoline or image: for each
/// entry of the hook whose stack slot holds the hook's return point, write `return_address` there;
/// where instead another entry of that stack slot has the return point as `return_address`, write
/// it to that entry. Then zero the entry.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ReturnEntry {
    /// [`ReturnEntry::key`]; without [`RETURN_LIVE`] once the function has returned.
    pub key: u64,
    /// What the stack slot held.
    pub return_address: u64,
}

impl ReturnEntry {
    /// [`RETURN_LIVE`], address of the stack slot in the low 48 bits (a multiple of 8), hook index
    /// above.
    pub const fn key(stack_slot: u64, hook: usize) -> u64 {
        stack_slot & RETURN_SLOT_MASK | (hook as u64) << 48 | RETURN_LIVE
    }

    /// The stack slot and the hook index of an entry that is in use.
    pub const fn live(&self) -> Option<(u64, usize)> {
        if self.key & RETURN_LIVE == 0 {
            return None;
        }
        Some((self.key & RETURN_SLOT_MASK, (self.key >> 48) as usize))
    }
}

/// The stack slot in [`ReturnEntry::key`].
pub const RETURN_SLOT_MASK: u64 = 0x0000_ffff_ffff_fff8;

/// Set in [`ReturnEntry::key`] of an entry that is in use; others may be taken.
pub const RETURN_LIVE: u64 = 1;

/// Window in [`State::returns`](super::State::returns) in which the entry of a stack slot is (index of the window's
/// first entry).
pub const fn return_window(stack_slot: u64) -> usize {
    hash(stack_slot >> 3, RETURN_ENTRIES / RETURN_WINDOW) * RETURN_WINDOW
}

const _: () = {
    assert!(size_of::<ReturnEntry>() == 16);
};
