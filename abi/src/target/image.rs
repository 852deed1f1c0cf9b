//! The image file, and what its code and the trampolines agree on.

use core::mem::{offset_of, size_of};

/// First word of an [`ImageHeader`].
pub const IMAGE_MAGIC: u64 = u64::from_le_bytes(*b"bpftimeI");

/// Where the [`ImageHeader`] is: both offset in the image file and from the image's base.
pub const IMAGE_HEADER_OFFSET: usize = 0x400;

/// Describes the image file; at [`IMAGE_HEADER_OFFSET`].
///
/// The image has two `PT_LOAD` segments: the first, read and execute, from offset 0 for
/// `file_len` bytes; the second, read and write, all zero, [`State`](super::State), follows directly. Entry
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
    /// Offset of [`State`](super::State) from the base (equal to `file_len`).
    pub state: u64,
    /// Bytes of [`State`](super::State); mapped read-write, private, anonymous. A multiple of 4096.
    pub state_len: u64,
    /// Where the trampoline of a hook without return programs calls.
    pub entry_dispatch: u64,
    /// Where the trampoline of a hook with return programs calls.
    pub return_entry_dispatch: u64,
    /// Where the return point of such a trampoline jumps.
    pub return_dispatch: u64,
    /// Where the trampoline of a [`HOOK_UNWIND`](super::HOOK_UNWIND) hook at `_Unwind_Find_FDE` calls.
    pub find_fde: u64,
    /// The same at `_dl_find_object`.
    pub find_object: u64,
    /// The table of [`crate::vmctx::HELPER_SLOTS`] helper addresses (relocated like the rest).
    pub helpers: u64,
    /// Words of [`crate::Capabilities`] that the image offers.
    pub capabilities: [u64; 5],
}

/// The trampoline pushes the hook index after skipping this many bytes below the stack
/// pointer, which leaf functions use without moving it (System V red zone).
pub const RED_ZONE: usize = 128;

/// Where [`ImageHeader::return_entry_dispatch`] returns to, from its return address, when the
/// return will not be seen: past what takes the return address off the stack.
pub const RETURN_MISSED_OFFSET: usize = 24;

const _: () = {
    assert!(size_of::<ImageHeader>() == 128);
    assert!(offset_of!(ImageHeader, file_len) == 16);
    assert!(offset_of!(ImageHeader, entry_dispatch) == 40);
    assert!(offset_of!(ImageHeader, capabilities) == 88);
};
