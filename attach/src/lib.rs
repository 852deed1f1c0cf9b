//! Take over a place in a process and give it back.
//!
//! Everything is done from outside with `ptrace(2)`: no library enters the process, and it may be
//! killed, or this process may be killed, at any moment without harm to the other. Linux
//! on x86-64 only.
//!
//! - [`elf`]: functions of executables and libraries, file offsets and addresses
//! - [`process`]: what `/proc` says about a process
//! - [`target`]: stop all threads, read and write memory, make system calls inside
//! - [`inject`]: the in-target image, hooks, detach
//! - [`startup`]: a program from before its `exec` to its first own instruction
//! - [`trampoline`]: the patch of a function and the code that it jumps to
//! - [`error`]: what can go wrong and what the user can do about it

pub mod elf;
pub mod error;
pub mod inject;
mod memfd;
mod patch;
pub mod process;
mod ptrace;
pub mod startup;
pub mod target;
pub mod trampoline;

pub use elf::{Elf, ElfError, Function};
pub use error::{Error, Result};
pub use inject::{Injection, detach};
pub use memfd::NAME_PREFIX;
pub use process::{FileId, Mapping, Maps};
pub use startup::Startup;
pub use target::{Options, Stopped, Target};
