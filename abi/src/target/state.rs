//! The image's writable memory: what dispatchers read and write.

use core::mem::{offset_of, size_of};

use super::{ProgramRecord, PtRegs, RETURN_ENTRIES, ReturnEntry};
use crate::VmCtx;

/// Greatest number of hooks in one target; hook indices are below it.
pub const MAX_HOOKS: usize = 256;

/// Greatest number of programs in one target.
pub const MAX_PROGRAMS: usize = 1024;

/// Thread slots. More threads than this share them: a slot belongs to a thread only while it
/// runs a program.
pub const MAX_SLOTS: usize = 512;

/// Slots, from the one that the FS base hashes to, in which a thread's slot can be.
pub const SLOT_WINDOW: usize = 8;

/// Bytes of private stack of a thread slot. Most of it is for signal handlers: the kernel puts the
/// frame of a signal that arrives while a program runs on the private stack, unless the handler has
/// an alternate stack. Untouched pages cost nothing.
pub const SLOT_STACK_BYTES: usize = 128 * 1024;

/// Most native stack that a program may need, its frames and spills together; the rest of
/// [`SLOT_STACK_BYTES`] is for the dispatcher and helpers. Programs that need more must be refused.
pub const PROGRAM_STACK_BYTES: usize = 24 * 1024;

/// The image's writable segment. All zero at first; the guardian fills `config`, marks the page
/// of `process` `MADV_WIPEONFORK`, and then writes hooks and programs.
///
/// Order of writes when the target's threads may be anywhere (they are stopped, or the words
/// are written one by one, aligned): a [`ProgramRecord`] is complete before a list refers to it, and a
/// removed one keeps its content until every slot's claim word was seen without
/// [`CLAIM_BUSY`] (all threads stopped) after the removal.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct State {
    /// Forgotten by a forked child (first page).
    pub process: ProcessState,
    /// What the guardian found out about the process (second page).
    pub config: Config,
    /// By hook index.
    pub hooks: [HookDispatch; MAX_HOOKS],
    /// In any order; linked from hooks by address.
    pub programs: [ProgramRecord; MAX_PROGRAMS],
    /// By hash of the FS base.
    pub slots: [ThreadSlot; MAX_SLOTS],
    /// Invocations by slot and hook, entry and return together. Only the slot's owner writes.
    pub hits: [[u64; MAX_HOOKS]; MAX_SLOTS],
    /// Return addresses by hash of the stack slot that held them.
    pub returns: [ReturnEntry; RETURN_ENTRIES],
    /// Private stacks, by slot.
    pub stacks: [SlotStack; MAX_SLOTS],
}

/// One private stack; grows down from its end.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct SlotStack(pub [u8; SLOT_STACK_BYTES]);

/// What must be asked again after a `fork`. One page, `MADV_WIPEONFORK`.
#[repr(C, align(4096))]
#[derive(Clone, Copy, Debug)]
pub struct ProcessState {
    /// Process id as `getpid` gives it; 0 when not yet asked. The image fills it.
    pub tgid: u32,
    /// Upper half of what threads write into locks of maps; 0 when not yet known. Likewise.
    pub owner: u32,
    /// Not 0: the last wait for a virtual CPU was in vain, so threads do not wait. Likewise.
    pub waited_in_vain: u32,
    /// How many threads were given a virtual CPU to begin with. Likewise.
    pub threads_spread: u32,
}

/// What the guardian tells the image. Written before the first hook is live.
#[repr(C, align(4096))]
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Address of [`Control`](super::Control) in the target.
    pub control: u64,
    /// Address of a [`LeaseTable`](super::LeaseTable), 0 if there is none; programs that need a CPU are then missed.
    pub leases: u64,
    /// Leases in the table that this target may use, at most [`MAX_LEASES`](super::MAX_LEASES).
    pub lease_count: u32,
    /// The broker's number for this target, high half of a lease's owner; not 0.
    pub target_id: u32,
    /// Address of the vDSO's `__vdso_clock_gettime`; 0: the system call is used.
    pub vdso_clock_gettime: u64,
    /// Offset from the FS base at which every thread keeps its tid as a `u32` (glibc 0x2d0,
    /// musl 0x30); 0: the `gettid` system call is used.
    pub tid_offset: u32,
    /// [`CONFIG_NO_SYSTEM_CALLS`] and [`CONFIG_SAME_PID_NAMESPACE`].
    pub flags: u32,
    /// Hooks from this index on were never used, so no return point is theirs.
    pub hooks_used: u32,
}

/// The target is under a seccomp filter: helpers make no system call. What they cannot find
/// out without one is an error or zero, and consumers of ring buffers are not woken.
pub const CONFIG_NO_SYSTEM_CALLS: u32 = 1;

/// The target is in the broker's pid namespace: its threads' locks in maps carry
/// `tgid << 32 | tid`, and it may find out whether another owner is alive. Without this the upper half
/// is `0x8000_0000 | target_id`, and owners of locks are taken to be alive.
pub const CONFIG_SAME_PID_NAMESPACE: u32 = 2;

/// What a dispatcher knows of a hook. 64 bytes, its own cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct HookDispatch {
    /// Address of the probed instruction: `ip` in the `pt_regs` of entry programs.
    pub site: u64,
    /// Address of the first [`ProgramRecord`] run at entry, 0 for none.
    pub entry_programs: u64,
    /// Address of the first [`ProgramRecord`] run at return, 0 for none.
    pub return_programs: u64,
    /// The trampoline's return point, see [`HookRecord::return_point`](super::HookRecord::return_point).
    pub return_point: u64,
    /// Not used.
    pub reserved: [u64; 4],
}

/// Set in [`ThreadSlot::claim`] while a thread runs programs with the slot.
pub const CLAIM_BUSY: u64 = 1;

/// Set in [`ThreadSlot::claim`] once the slot belongs to some FS base.
pub const CLAIM_USED: u64 = 2;

/// Scratch memory of a thread while it runs programs. Nothing in it outlives a run but the state
/// of the random number generator, so an idle slot may be taken over by another thread.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct ThreadSlot {
    /// `fs_base & !3 | CLAIM_USED`, with [`CLAIM_BUSY`] during a run. 0: never used. Changed by
    /// compare-and-swap, except that the owner clears `CLAIM_BUSY` by a store.
    pub claim: u64,
    /// Not used.
    pub reserved: [u64; 2],
    /// State of the generator of `bpf_get_prandom_u32`; 0: not seeded.
    pub random: u64,
    /// What programs and helpers are called with.
    pub vm: VmCtx,
    /// The program's context.
    pub regs: PtRegs,
    /// Start (highest address) of the slot's private stack.
    pub stack: u64,
    /// Memory for the helpers' `Env`; only the image knows its layout.
    pub env: [u64; 96],
}

/// First slot of the window in which a thread's slot is; the window wraps at [`MAX_SLOTS`].
pub const fn slot_window(fs_base: u64) -> usize {
    hash(fs_base >> 6, MAX_SLOTS)
}

/// Multiplier of [`return_window`](super::return_window) and [`slot_window`] (2^64 divided by the golden ratio).
pub const HASH_MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The high bits of the product; `buckets` is a power of two.
pub(super) const fn hash(key: u64, buckets: usize) -> usize {
    (key.wrapping_mul(HASH_MULTIPLIER) >> (64 - buckets.trailing_zeros())) as usize
}

const _: () = {
    assert!(offset_of!(State, process) == 0);
    assert!(offset_of!(State, config) == 4096);
    assert!(offset_of!(State, hooks) == 8192);
    assert!(size_of::<State>().is_multiple_of(4096));
    assert!(offset_of!(ProcessState, tgid) == 0);
    assert!(offset_of!(ProcessState, owner) == 4);
    assert!(offset_of!(Config, control) == 0);
    assert!(offset_of!(Config, leases) == 8);
    assert!(offset_of!(Config, lease_count) == 16);
    assert!(offset_of!(Config, target_id) == 20);
    assert!(offset_of!(Config, vdso_clock_gettime) == 24);
    assert!(offset_of!(Config, tid_offset) == 32);
    assert!(offset_of!(Config, flags) == 36);
    assert!(offset_of!(Config, hooks_used) == 40);
    assert!(size_of::<HookDispatch>() == 64);
    assert!(offset_of!(HookDispatch, site) == 0);
    assert!(offset_of!(HookDispatch, entry_programs) == 8);
    assert!(offset_of!(HookDispatch, return_programs) == 16);
    assert!(offset_of!(HookDispatch, return_point) == 24);
    assert!(size_of::<ThreadSlot>() == 1024);
    assert!(offset_of!(ThreadSlot, claim) == 0);
    assert!(offset_of!(ThreadSlot, vm) == 32);
    assert!(offset_of!(ThreadSlot, regs) == 72);
    assert!(offset_of!(ThreadSlot, env) == 248);
};
