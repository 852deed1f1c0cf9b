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

use core::mem::{offset_of, size_of};

use crate::{Capabilities, EntryPoint, MapType, VmCtx};

/// First word of an [`ImageHeader`].
pub const IMAGE_MAGIC: u64 = u64::from_le_bytes(*b"bpftimeI");
/// First word of a [`ControlPage`].
pub const CONTROL_MAGIC: u64 = u64::from_le_bytes(*b"bpftimeC");
/// Name of the control `memfd`; `/proc/PID/maps` shows it as `/memfd:bpftime-control (deleted)`.
pub const CONTROL_NAME: &str = "bpftime-control";
/// Where the [`ImageHeader`] is: both offset in the image file and from the image's base.
pub const IMAGE_HEADER_OFFSET: usize = 0x400;

/// Greatest number of hooks in one target; hook indices are below it.
pub const MAX_HOOKS: usize = 256;
/// Greatest number of programs in one target.
pub const MAX_PROGRAMS: usize = 1024;
/// Programs of one hook beyond this number are not run.
pub const MAX_PROGRAMS_PER_HOOK: usize = 64;
/// Thread slots. More threads than this share them: a slot belongs to a thread only while it
/// runs a program.
pub const MAX_SLOTS: usize = 512;
/// Slots, from the one that the FS base hashes to, in which a thread's slot can be.
pub const SLOT_WINDOW: usize = 8;
/// Return addresses that can be outstanding in one process.
pub const RETURN_ENTRIES: usize = 65536;
/// Entries in which the return address for a stack slot can be, counted from a multiple of it.
pub const RETURN_WINDOW: usize = 4;
/// Bytes of private stack of a thread slot. Most of it is for signal handlers: the kernel puts the
/// frame of a signal that arrives while a program runs on the private stack, unless the handler has
/// an alternate stack. Untouched pages cost nothing.
pub const SLOT_STACK_BYTES: usize = 128 * 1024;
/// Most native stack that a program may need, its frames and spills together; the rest of
/// [`SLOT_STACK_BYTES`] is for the dispatcher and helpers. Programs that need more must be refused.
pub const PROGRAM_STACK_BYTES: usize = 24 * 1024;
/// Records in [`Control::mappings`].
pub const MAX_MAPPINGS: usize = 1024;
/// Records in [`TraceRing`].
pub const TRACE_RECORDS: usize = 256;
/// Bytes of text in one [`TraceRecord`].
pub const TRACE_TEXT: usize = 232;

/// Describes the image file; at [`IMAGE_HEADER_OFFSET`].
///
/// The image has two `PT_LOAD` segments: the first, read and execute, from offset 0 for
/// `file_len` bytes; the second, read and write, all zero, [`State`], follows directly. Entry
/// points are given as offsets from the image's base address.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ImageHeader {
    /// [`IMAGE_MAGIC`].
    pub magic: u64,
    /// [`crate::ABI_VERSION`] of the image.
    pub abi_version: u32,
    /// `size_of::<ImageHeader>()`.
    pub header_len: u32,
    /// Bytes, from the base, that are mapped read-execute; a multiple of 4096.
    pub file_len: u64,
    /// Offset of [`State`] from the base (equal to `file_len`).
    pub state: u64,
    /// Bytes of [`State`]; mapped read-write, private, anonymous. A multiple of 4096.
    pub state_len: u64,
    /// Where the trampoline of a hook without return programs calls.
    pub entry_dispatch: u64,
    /// Where the trampoline of a hook with return programs calls.
    pub return_entry_dispatch: u64,
    /// Where the return point of such a trampoline jumps.
    pub return_dispatch: u64,
    /// The table of [`crate::vmctx::HELPER_SLOTS`] helper addresses (relocated like the rest).
    pub helpers: u64,
    /// Words of [`crate::Capabilities`] that the image offers.
    pub capabilities: [u64; 5],
}

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
}

/// What the guardian tells the image. Written before the first hook is live.
#[repr(C, align(4096))]
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Address of [`Control`] in the target.
    pub control: u64,
    /// Address of a [`LeaseTable`], 0 if there is none; programs that need a CPU are then missed.
    pub leases: u64,
    /// Leases in the table that this target may use, at most [`MAX_LEASES`].
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
    /// The trampoline's return point, see [`HookRecord::return_point`].
    pub return_point: u64,
    /// Not used.
    pub reserved: [u64; 4],
}

/// A program attached to a hook. The same program at two hooks takes two records.
#[repr(C, align(128))]
#[derive(Clone, Copy, Debug)]
pub struct ProgramRecord {
    /// Next record of the list, 0 for none.
    pub next: u64,
    /// The code; address 0 in a record that is not used.
    pub entry: EntryPoint,
    /// [`VmCtx::maps`] of the program.
    pub maps: u64,
    /// [`VmCtx::map_values`] of the program.
    pub map_values: u64,
    /// What `bpf_get_attach_cookie` gives.
    pub cookie: u64,
    /// Address of the program's word in [`Control::switches`].
    pub switch: u64,
    /// The program runs while the switch holds this value; not 0. A switch that is used anew gets
    /// a new value, so that forked children keep out.
    pub generation: u64,
    /// [`PROGRAM_NEEDS_CPU`] and [`PROGRAM_TAKES_NO_LOCK`], see [`program_flags`].
    pub flags: u32,
    /// The broker's number of the link.
    pub link_id: u32,
    /// Keeps the size.
    pub reserved: [u64; 8],
}

/// The program uses its virtual CPU (per-CPU maps, `bpf_get_smp_processor_id`,
/// `bpf_perf_event_output`): one is leased for each run.
pub const PROGRAM_NEEDS_CPU: u32 = 1;
/// The program takes no lock of a map (neither updates nor deletes elements, nor outputs to a
/// ring or perf buffer). Saves a `gettid` where [`Config::tid_offset`] is 0.
pub const PROGRAM_TAKES_NO_LOCK: u32 = 2;

/// The flags of a program that uses the helpers and map types in `needs`.
pub const fn program_flags(needs: &Capabilities) -> u32 {
    /// Helpers that use the leased CPU: `get_smp_processor_id`, `perf_event_output`.
    const USE_CPU: [u32; 2] = [8, 25];
    /// Helpers that change no map and wait for none, and can come with any map: lookup,
    /// `probe_read`, `ktime_get_ns`, `trace_printk`, `get_prandom_u32`, CPU, process, user, name,
    /// `probe_read_str`, `probe_read_{user,kernel}{,_str}`, cookie, function address.
    const TAKE_NO_LOCK: [u32; 18] = [
        1, 4, 5, 6, 7, 8, 14, 15, 16, 45, 112, 113, 114, 115, 125, 173, 174, 195,
    ];

    let mut flags = 0;
    let mut other = *needs;
    let mut index = 0;
    while index < TAKE_NO_LOCK.len() {
        other = other.without_helper(TAKE_NO_LOCK[index]);
        index += 1;
    }
    if !other.has_any_helper() {
        flags |= PROGRAM_TAKES_NO_LOCK;
    }
    if needs.has_helper(USE_CPU[0])
        || needs.has_helper(USE_CPU[1])
        || needs.has_map_type(MapType::PerCpuArray)
        || needs.has_map_type(MapType::PerCpuHash)
        || needs.has_map_type(MapType::LruPerCpuHash)
        || needs.has_map_type(MapType::PerfEventArray)
    {
        flags |= PROGRAM_NEEDS_CPU;
    }
    flags
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

/// The kernel's `struct pt_regs` for x86-64: what a uprobe program's `r1` points to.
#[doc(alias = "pt_regs")]
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PtRegs {
    /// r15.
    pub r15: u64,
    /// r14.
    pub r14: u64,
    /// r13.
    pub r13: u64,
    /// r12.
    pub r12: u64,
    /// rbp.
    pub bp: u64,
    /// rbx.
    pub bx: u64,
    /// r11.
    pub r11: u64,
    /// r10.
    pub r10: u64,
    /// r9.
    pub r9: u64,
    /// r8.
    pub r8: u64,
    /// rax; the return value in return programs.
    pub ax: u64,
    /// rcx.
    pub cx: u64,
    /// rdx.
    pub dx: u64,
    /// rsi.
    pub si: u64,
    /// rdi.
    pub di: u64,
    /// `-1`: not in a system call.
    pub orig_ax: u64,
    /// The probed instruction; in return programs the address returned to.
    pub ip: u64,
    /// Code segment, 0x33.
    pub cs: u64,
    /// CF, PF, AF, ZF, SF and OF as at the probe; IF and bit 1 set.
    pub flags: u64,
    /// rsp as at the probe; in return programs as after the return.
    pub sp: u64,
    /// Stack segment, 0x2b.
    pub ss: u64,
}

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

/// Window in [`State::returns`] in which the entry of a stack slot is (index of the window's
/// first entry).
pub const fn return_window(stack_slot: u64) -> usize {
    hash(stack_slot >> 3, RETURN_ENTRIES / RETURN_WINDOW) * RETURN_WINDOW
}

/// First slot of the window in which a thread's slot is; the window wraps at [`MAX_SLOTS`].
pub const fn slot_window(fs_base: u64) -> usize {
    hash(fs_base >> 6, MAX_SLOTS)
}

/// Multiplier of [`return_window`] and [`slot_window`] (2^64 divided by the golden ratio).
pub const HASH_MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The high bits of the product; `buckets` is a power of two.
const fn hash(key: u64, buckets: usize) -> usize {
    (key.wrapping_mul(HASH_MULTIPLIER) >> (64 - buckets.trailing_zeros())) as usize
}

/// Shared control memory; its size is `size_of::<Control>()`, sealed against change.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct Control {
    /// Whose memory this is and how far the injection is.
    pub page: ControlPage,
    /// Every mapping that the injector made, to be unmapped by who undoes it.
    pub mappings: [MappingRecord; MAX_MAPPINGS],
    /// Journal of hooks, by hook index.
    pub hooks: [HookRecord; MAX_HOOKS],
    /// A program runs while its switch holds its record's generation.
    pub switches: [u64; MAX_PROGRAMS],
    /// Text of `bpf_trace_printk`.
    pub trace: TraceRing,
}

/// First page of [`Control`].
#[repr(C, align(4096))]
#[derive(Clone, Copy, Debug)]
pub struct ControlPage {
    /// [`CONTROL_MAGIC`], written last.
    pub magic: u64,
    /// [`crate::ABI_VERSION`] of who injected.
    pub abi_version: u32,
    /// Process id of the target in the guardian's pid namespace.
    pub pid: u32,
    /// Start time of the target (`/proc/PID/stat`, field 22): a forked child, which inherits the
    /// mapping, or a process with a reused pid has another one.
    pub start_time: u64,
    /// Process id of the guardian.
    pub guardian: u32,
    /// [`Phase`] as a number, accessed atomically.
    pub phase: u32,
    /// Base address of the image.
    pub image: u64,
    /// Bytes from the base to the end of [`State`].
    pub image_len: u64,
    /// Address of [`State`].
    pub state: u64,
    /// The broker's number for this target.
    pub target_id: u32,
    /// Records of [`Control::mappings`] in use, at most [`MAX_MAPPINGS`]. Raised after the record
    /// is written, and that before the mapping is made.
    pub mapping_count: u32,
}

/// How far an injection is.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Mappings are being made; no code of the target is changed.
    Injecting = 0,
    /// The image can be used; hooks say what is patched.
    Ready = 1,
    /// Hooks are being removed and mappings unmapped.
    Removing = 2,
}

impl Phase {
    /// The phase with the number.
    pub const fn from_u32(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Injecting),
            1 => Some(Self::Ready),
            2 => Some(Self::Removing),
            _ => None,
        }
    }
}

/// A mapping that the injector made in the target.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MappingRecord {
    /// Address; page-aligned.
    pub address: u64,
    /// Length in bytes, a multiple of the page size; 0: already unmapped.
    pub len: u64,
    /// [`MappingKind`] as a number.
    pub kind: u32,
    /// The broker's number of the program or map; 0 otherwise.
    pub id: u32,
}

/// What a mapping is for.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MappingKind {
    /// The image, read-execute.
    Image = 1,
    /// [`State`].
    State = 2,
    /// [`Control`].
    Control = 3,
    /// Trampolines near a module.
    Trampolines = 4,
    /// A program's code.
    Program = 5,
    /// Control or data of a map.
    Map = 6,
    /// A [`LeaseTable`].
    Leases = 7,
    /// Map handles and tables of programs (private).
    Tables = 8,
    /// The injector's own scratch memory.
    Scratch = 9,
}

/// Bytes of the target that are replaced.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PatchRecord {
    /// Address of the first byte.
    pub address: u64,
    /// Number of bytes, at most 16; 0: no patch.
    pub len: u32,
    /// Not used.
    pub reserved: u32,
    /// The target's own bytes.
    pub original: [u8; 16],
    /// What is written over them.
    pub replacement: [u8; 16],
}

/// Journal entry of a hook. Complete, and [`HookState::Planned`], before the site is touched.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct HookRecord {
    /// [`HookState`] as a number, accessed atomically.
    pub state: u32,
    /// [`HOOK_ENTRY`] and [`HOOK_RETURN`].
    pub kind: u32,
    /// Address of the probed instruction.
    pub site: u64,
    /// What was or will be patched, in this order: the island in padding first, if there is
    /// one, then the site. Removal goes the other way round.
    pub patches: [PatchRecord; 2],
    /// Address of the trampoline.
    pub trampoline: u64,
    /// Bytes of the trampoline.
    pub trampoline_len: u64,
    /// Address in the trampoline to which the probed function returns; 0 without return programs.
    pub return_point: u64,
    /// Not run because a program was running in this thread (signal handler, `CLONE_VM`). The
    /// four counters are added to atomically.
    pub missed_nested: u64,
    /// Not run because no thread slot was free.
    pub missed_slot: u64,
    /// Not run because no virtual CPU was free.
    pub missed_cpu: u64,
    /// Return not seen because [`State::returns`] was full.
    pub missed_return: u64,
}

/// The hook has entry programs.
pub const HOOK_ENTRY: u32 = 1;
/// The hook's trampoline takes the return address; also set if it has entry programs too.
pub const HOOK_RETURN: u32 = 2;

/// Life of a hook.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HookState {
    /// Not used.
    Free = 0,
    /// The record is complete; the site may or may not be patched.
    Planned = 1,
    /// Patched.
    Live = 2,
    /// The original bytes are being written back.
    Removing = 3,
}

impl HookState {
    /// The state with the number.
    pub const fn from_u32(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Free),
            1 => Some(Self::Planned),
            2 => Some(Self::Live),
            3 => Some(Self::Removing),
            _ => None,
        }
    }
}

/// Text of `bpf_trace_printk`, newest over oldest.
///
/// A writer takes a ticket by adding 1 to `tickets`, uses record `ticket % TRACE_RECORDS`, and
/// stores `ticket + 1` to [`TraceRecord::sequence`] when the text is complete. A reader that expects
/// ticket `t` takes the record if `sequence` is `t + 1` before and after copying it; a higher one
/// means that records were lost.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct TraceRing {
    /// Tickets given out.
    pub tickets: u64,
    /// Futex word, raised after each record.
    pub futex: u32,
    /// Not used.
    pub reserved: [u32; 13],
    /// The records.
    pub records: [TraceRecord; TRACE_RECORDS],
}

/// One line of `bpf_trace_printk`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TraceRecord {
    /// Ticket of the record plus 1; 0 while it is written.
    pub sequence: u64,
    /// Thread id as the target sees it.
    pub tid: u32,
    /// Process id as the target sees it.
    pub tgid: u32,
    /// Bytes of text, at most [`TRACE_TEXT`].
    pub len: u32,
    /// Not used.
    pub reserved: u32,
    /// Text, not terminated.
    pub text: [u8; TRACE_TEXT],
}

/// Leases in a [`LeaseTable`].
pub const MAX_LEASES: usize = 64;

/// Virtual CPUs, shared by all targets of a broker. The index of a lease is the CPU number.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct LeaseTable {
    /// By CPU number.
    pub leases: [Lease; MAX_LEASES],
}

/// Right to the per-CPU values of one virtual CPU.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// 0: free; else `target_id << 32 | tgid` of the holder, which swaps it in and stores 0 when
    /// done. The broker frees leases of targets that are gone.
    pub owner: u64,
}

/// The trampoline pushes the hook index after skipping this many bytes below the stack
/// pointer, which leaf functions use without moving it (System V red zone).
pub const RED_ZONE: usize = 128;

/// Where [`ImageHeader::return_entry_dispatch`] returns to, from its return address, when the
/// return will not be seen: past what takes the return address off the stack.
pub const RETURN_MISSED_OFFSET: usize = 24;

const _: () = {
    assert!(size_of::<ImageHeader>() == 112);
    assert!(offset_of!(ImageHeader, file_len) == 16);
    assert!(offset_of!(ImageHeader, entry_dispatch) == 40);
    assert!(offset_of!(ImageHeader, capabilities) == 72);

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

    assert!(size_of::<HookDispatch>() == 64);
    assert!(offset_of!(HookDispatch, site) == 0);
    assert!(offset_of!(HookDispatch, entry_programs) == 8);
    assert!(offset_of!(HookDispatch, return_programs) == 16);
    assert!(offset_of!(HookDispatch, return_point) == 24);

    assert!(size_of::<ProgramRecord>() == 128);
    assert!(offset_of!(ProgramRecord, next) == 0);
    assert!(offset_of!(ProgramRecord, entry) == 8);
    assert!(offset_of!(ProgramRecord, maps) == 16);
    assert!(offset_of!(ProgramRecord, map_values) == 24);
    assert!(offset_of!(ProgramRecord, cookie) == 32);
    assert!(offset_of!(ProgramRecord, switch) == 40);
    assert!(offset_of!(ProgramRecord, generation) == 48);
    assert!(offset_of!(ProgramRecord, flags) == 56);
    assert!(offset_of!(ProgramRecord, link_id) == 60);

    assert!(size_of::<ThreadSlot>() == 1024);
    assert!(offset_of!(ThreadSlot, claim) == 0);
    assert!(offset_of!(ThreadSlot, vm) == 32);
    assert!(offset_of!(ThreadSlot, regs) == 72);
    assert!(offset_of!(ThreadSlot, env) == 248);
    assert!(size_of::<PtRegs>() == 21 * 8);

    assert!(size_of::<ReturnEntry>() == 16);
    assert!(offset_of!(Control, mappings) == 4096);
    assert!(size_of::<Control>().is_multiple_of(4096));
    assert!(offset_of!(ControlPage, pid) == 12);
    assert!(offset_of!(ControlPage, start_time) == 16);
    assert!(offset_of!(ControlPage, phase) == 28);
    assert!(offset_of!(ControlPage, mapping_count) == 60);
    assert!(size_of::<MappingRecord>() == 24);
    assert!(size_of::<PatchRecord>() == 48);
    assert!(size_of::<HookRecord>() == 192);
    assert!(offset_of!(HookRecord, site) == 8);
    assert!(offset_of!(HookRecord, patches) == 16);
    assert!(offset_of!(HookRecord, trampoline) == 112);
    assert!(offset_of!(HookRecord, missed_nested) == 136);
    assert!(size_of::<TraceRecord>() == 256);
    assert!(offset_of!(TraceRing, records) == 64);
    assert!(size_of::<Lease>() == 64);
};
