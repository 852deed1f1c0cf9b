//! Records in a target process, shared by the in-target image, the guardian and the broker.
//!
//! Two memories, with different owners after a `fork` of the target:
//!
//! - [`State`]: private, anonymous memory, the writable segment of the image. What the
//!   dispatchers read (hooks, programs) and write (thread slots, return addresses) is here, so a
//!   forked child goes on with its own copy of everything that its own copy of the code uses. The
//!   guardian writes it with `ptrace` or `process_vm_writev`; the broker never sees it.
//! - [`Control`]: a `memfd` named [`CONTROL_NAME`], shared by target, guardian, broker and the
//!   target's forked children. It holds the journal from which anybody can undo the injection,
//!   the switches that stop programs everywhere at once, and counters of what was missed.
//!   Nothing in it is an address that the image follows.
//!
//! All addresses are of the target. Records are plain data: zero bytes are valid for each of
//! them and mean "empty".
//!
//! - [`image`]: the image file, and what its code and the trampolines agree on
//! - [`state`]: the image's writable memory: what dispatchers read and write
//! - [`program`]: a program attached to a hook
//! - [`regs`]: the context of uprobe programs
//! - [`returns`]: return addresses that trampolines took off the stack
//! - [`control`]: the shared control memory: the journal from which anybody can undo the injection
//! - [`lease`]: virtual CPUs
//! - [`trace`]: the ring that takes `bpf_trace_printk`'s text

pub mod control;
pub mod image;
pub mod lease;
pub mod program;
pub mod regs;
pub mod returns;
pub mod state;
pub mod trace;

pub use control::{
    CONTROL_MAGIC, CONTROL_NAME, Control, ControlPage, HOOK_ENTRY, HOOK_RETURN, HOOK_UNWIND,
    HookRecord, HookState, MAX_MAPPINGS, MappingKind, MappingRecord, PatchRecord, Phase,
};
pub use image::{IMAGE_HEADER_OFFSET, IMAGE_MAGIC, ImageHeader, RED_ZONE, RETURN_MISSED_OFFSET};
pub use lease::{Lease, LeaseTable, MAX_LEASES};
pub use program::{
    MAX_PROGRAMS_PER_HOOK, PROGRAM_NEEDS_CPU, PROGRAM_TAKES_NO_LOCK, ProgramRecord, program_flags,
};
pub use regs::PtRegs;
pub use returns::{
    RETURN_ENTRIES, RETURN_LIVE, RETURN_SLOT_MASK, RETURN_WINDOW, ReturnEntry, return_window,
};
pub use state::{
    CLAIM_BUSY, CLAIM_USED, CONFIG_NO_SYSTEM_CALLS, CONFIG_SAME_PID_NAMESPACE, Config,
    HASH_MULTIPLIER, HookDispatch, MAX_HOOKS, MAX_PROGRAMS, MAX_SLOTS, PROGRAM_STACK_BYTES,
    ProcessState, SLOT_STACK_BYTES, SLOT_WINDOW, SlotStack, State, ThreadSlot, slot_window,
};
pub use trace::{TRACE_RECORDS, TRACE_TEXT, TraceRecord, TraceRing};
