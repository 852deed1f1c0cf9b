//! What the injector reads: entry points and sizes, at a known place of the file.

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::mem::size_of;

use bpftime_abi::ABI_VERSION;
use bpftime_abi::target::{IMAGE_HEADER_OFFSET, IMAGE_MAGIC, ImageHeader, State};

/// The state, as memory that the guardian and all threads of the process change at any time.
#[repr(transparent)]
pub struct SharedState(UnsafeCell<core::mem::MaybeUninit<State>>);

// SAFETY: the only access is through the raw pointer that `state` gives.
unsafe impl Sync for SharedState {}

#[unsafe(no_mangle)]
#[unsafe(link_section = ".bss.state")]
pub static STATE: SharedState = SharedState(UnsafeCell::new(core::mem::MaybeUninit::zeroed()));

/// The image's state. Never null, valid for the life of the process.
pub fn state() -> *mut State {
    STATE.0.get().cast()
}

const CAPABILITIES: [u64; 5] = bpftime_helpers::CAPABILITIES.to_words();

global_asm!(
    ".pushsection .bpftime.header, \"a\", @progbits",
    "bpftime_header:",
    ".quad {magic}",
    ".long {version}",
    ".long {header_len}",
    ".quad __image_end - bpftime_header + {place}",
    ".quad STATE - bpftime_header + {place}",
    ".quad {state_len}",
    ".quad bpftime_entry_dispatch - bpftime_header + {place}",
    ".quad bpftime_return_entry_dispatch - bpftime_header + {place}",
    ".quad bpftime_return_dispatch - bpftime_header + {place}",
    ".quad bpftime_find_fde - bpftime_header + {place}",
    ".quad bpftime_find_object - bpftime_header + {place}",
    ".quad {helpers} - bpftime_header + {place}",
    ".quad {c0}, {c1}, {c2}, {c3}, {c4}",
    ".popsection",
    place = const IMAGE_HEADER_OFFSET,
    magic = const IMAGE_MAGIC,
    version = const ABI_VERSION,
    header_len = const size_of::<ImageHeader>(),
    state_len = const size_of::<State>(),
    helpers = sym bpftime_helpers::HELPERS,
    c0 = const CAPABILITIES[0],
    c1 = const CAPABILITIES[1],
    c2 = const CAPABILITIES[2],
    c3 = const CAPABILITIES[3],
    c4 = const CAPABILITIES[4],
);
