//! The code that enters a target process: dispatchers that trampolines of probed functions jump to,
//! the helpers that programs call, and the maps underneath.
//!
//! Freestanding: no libc, no allocator, no thread-local storage, no relocation but
//! `R_X86_64_RELATIVE`, no xmm or ymm register, no panic (a reachable one does not link). Built by
//!
//! ```console
//! cargo build --release --target x86_64-unknown-none --manifest-path runtime/image/Cargo.toml
//! ```
//!
//! into `$CARGO_TARGET_DIR/x86_64-unknown-none/release/bpftime-image`. Mapped as
//! [`bpftime_abi::target::ImageHeader`] says.
//!
//! - `header`: what the injector reads
//! - `dispatch`: the assembly that saves and restores the probed thread's registers
//! - `slot`: which thread slot a thread may use
//! - `returns`: return addresses that trampolines took off the stack
//! - `prepare`: what some programs need before they run, virtual CPUs above all
//! - `task`: which process and thread this is
//! - `environment`: what helpers ask of their surroundings
//! - `trace`: the ring that takes `bpf_trace_printk`'s text
//! - `sys`: the system calls that helpers need; none is on a probe's own path
//! - `panic`: proof that there is none
#![no_std]
#![no_main]

mod dispatch;
mod environment;
mod header;
mod panic;
mod prepare;
mod returns;
mod slot;
mod sys;
mod task;
mod trace;
