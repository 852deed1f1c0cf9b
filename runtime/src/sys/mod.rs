//! Thin wrappers of the system calls that the runtime needs.
//!
//! - [`mod@file`]: anonymous files, seals, file identity
//! - [`futex`]: futex words in shared memory
//! - [`mapping`]: shared mappings
//! - [`pidfd`]: processes by descriptor, and descriptors of other processes
//! - [`process`]: facts about a process from procfs
//! - [`memory`]: memory of another process
//! - [`wire`]: framed JSON messages with descriptors over a socket

pub mod file;
pub mod futex;
pub mod mapping;
pub mod memory;
pub mod pidfd;
pub mod process;
pub mod wire;

/// The error number of an I/O error, `EIO` where there is none.
pub(crate) fn errno_of(error: &std::io::Error) -> bpftime_abi::Errno {
    bpftime_abi::Errno(error.raw_os_error().unwrap_or(libc::EIO))
}
