//! eBPF helpers over maps, for every engine and for the in-target image.
//!
//! A helper is an [`abi::HelperFn`](bpftime_abi::HelperFn). It finds everything through the
//! [`VmCtx`](bpftime_abi::VmCtx) that it is called with: the virtual CPU, and in
//! [`VmCtx::env`](bpftime_abi::VmCtx::env) the [`Env`] of the calling thread, which the engine
//! fills.
//!
//! Helpers trust what the verifier proved about their arguments (that a map handle is one, that
//! memory has its size) and nothing else: not the contents of maps, and not addresses that the
//! verifier knows nothing about, which are read with [`Ops::read_memory`].
//!
//! - [`env`](mod@env): what helpers need from the environment
//! - [`table`]: the table of helpers and what is in it
//! - [`map`]: lookup, update, delete
//! - [`output`]: ring buffer and perf event output
//! - [`memory`]: the `probe_read` family and `strncmp`
//! - [`task`]: who and where the program runs, clocks, random numbers
//! - [`print`]: `trace_printk`, `trace_vprintk`, `snprintf`
//! - [`format`](mod@format): the kernel's subset of `printf`
#![no_std]

pub mod env;
pub mod format;
pub mod map;
pub mod memory;
pub mod output;
pub mod print;
pub mod table;
pub mod task;

pub use env::{Env, OpenRecord, Ops};
pub use table::{CAPABILITIES, HELPERS};
