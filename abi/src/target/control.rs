//! The shared control memory: the journal from which anybody can undo the injection.

use core::mem::{offset_of, size_of};

use super::{MAX_HOOKS, MAX_PROGRAMS, TraceRing};

/// First word of a [`ControlPage`].
pub const CONTROL_MAGIC: u64 = u64::from_le_bytes(*b"bpftimeC");

/// Name of the control `memfd`; `/proc/PID/maps` shows it as `/memfd:bpftime-control (deleted)`.
pub const CONTROL_NAME: &str = "bpftime-control";

/// Records in [`Control::mappings`].
pub const MAX_MAPPINGS: usize = 1024;

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
    /// Bytes from the base to the end of [`State`](super::State).
    pub image_len: u64,
    /// Address of [`State`](super::State).
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
    /// Length in bytes, a multiple of the page size; 0: never used.
    pub len: u64,
    /// [`MappingKind`] as a number; 0: already unmapped (not so in children forked before).
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
    /// [`State`](super::State).
    State = 2,
    /// [`Control`].
    Control = 3,
    /// Trampolines near a module.
    Trampolines = 4,
    /// A program's code.
    Program = 5,
    /// Control or data of a map.
    Map = 6,
    /// A [`LeaseTable`](super::LeaseTable).
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
    /// [`HOOK_ENTRY`] and [`HOOK_RETURN`], or [`HOOK_UNWIND`].
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
    /// Return not seen because [`State::returns`](super::State::returns) was full.
    pub missed_return: u64,
}

/// The hook has entry programs.
pub const HOOK_ENTRY: u32 = 1;

/// The hook's trampoline takes the return address; also set if it has entry programs too.
pub const HOOK_RETURN: u32 = 2;

/// The hook is no probe: it is where an unwinder asks how to go on from an address, so that it
/// learns what the return points of the other hooks stand for. It must be there as long as one
/// of these may be on a stack.
pub const HOOK_UNWIND: u32 = 4;

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

const _: () = {
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
};
