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
//! - `unwind`: what unwinders are told of return points
//! - `trace`: the ring that takes `bpf_trace_printk`'s text
//! - `sys`: the system calls that helpers need; none is on a probe's own path
//! - `panic`: proof that there is none
//!
//! # What a target can notice
//!
//! - A signal that arrives while a program runs (nanoseconds to microseconds) is handled on the
//!   private stack, unless the handler has an alternate one. Probes that the handler hits run no
//!   program and are counted (`missed_nested`). A handler that leaves with `siglongjmp` leaves the slot
//!   claimed: that thread's probes are counted as missed from then on. A garbage collector that
//!   scans stacks from a signal handler must use an alternate stack.
//! - Between entry and return of a function with return programs, its return address on the
//!   stack is a trampoline's. Unwinders of libgcc are told what it stands for (`unwind`); for others,
//!   as with the kernel's uretprobes, an exception that is thrown through such a frame cannot be
//!   unwound, and backtraces end there.
//! - A forked child goes on with its own copy of the state and the same maps and switches. In a
//!   child, slots of threads that ran a program at the moment of the fork stay claimed.
//! - Threads that share an FS base (`CLONE_VM` without `CLONE_SETTLS`) share a slot: one runs
//!   programs at a time, the others' probes are counted as nested.
//! - A seccomp filter that is installed after the injection may forbid a helper's system call
//!   (see `sys`); the guardian tells the image of one that was there before.
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
mod unwind;
