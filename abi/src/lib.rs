//! What compiled eBPF code, helpers and hooks agree on.
//!
//! Compiled code refers to nothing outside itself but the [`VmCtx`] pointer that it is called
//! with, so the same bytes run in the process that compiled them and in any target.
//!
//! - [`vmctx`]: the context pointer, the calling convention of programs and helpers
//! - [`entry`]: the opaque code address that a hook calls
//! - [`capabilities`]: which helpers and map types an environment offers
//! - [`map_type`]: map types, map flags and update flags with the kernel's numbers
//! - [`errno`]: error numbers as helpers and maps return them
//! - [`target`]: records in a target process, shared by image, guardian and broker
#![no_std]
#![forbid(unsafe_code)]

pub mod capabilities;
pub mod entry;
pub mod errno;
pub mod map_type;
pub mod target;
pub mod vmctx;

pub use capabilities::Capabilities;
pub use entry::EntryPoint;
pub use errno::Errno;
pub use map_type::MapType;
pub use vmctx::{HelperFn, ProgramFn, VmCtx};

/// Version of everything in this crate; raised when a layout or a convention changes, so that
/// code compiled for another version is never run.
pub const ABI_VERSION: u32 = 2;

/// Bytes of stack that one BPF frame may use (kernel `MAX_BPF_STACK`).
#[doc(alias = "MAX_BPF_STACK")]
pub const STACK_SIZE: usize = 512;

/// Greatest depth of BPF-to-BPF calls, the main program included (kernel `MAX_CALL_FRAMES`).
pub const MAX_CALL_FRAMES: usize = 8;
