//! Sessions: unmodified eBPF tools answered by a broker, programs put into processes.
//!
//! - [`client`]: what the command line does: load, start, attach, detach, status, maps
//! - [`notify`]: system calls of a tool answered through seccomp user notification
//! - [`bpf`]: the `bpf()` system call and its surroundings
//! - [`broker`]: the process that owns maps, programs, links and targets
//! - [`guardian`]: the process that does everything that is done to a target
//! - [`sys`]: thin wrappers of the system calls that the runtime needs

pub mod bpf;
pub mod broker;
pub mod client;
pub mod guardian;
pub mod notify;
pub mod sys;
