//! Tests on living processes: victims in C that check themselves.
//!
//! - [`remote`]: system calls inside a process leave it exactly as it was
//! - [`inject`]: hooks see every call, disturb none, and leave nothing behind
//! - [`startup`]: programs are hooked before their first own instruction
//! - [`stopping`]: a stopped process has no thread that runs
//! - [`special`]: stopped, forked, confined and other unusual processes
//! - [`hostile`]: processes that write into what they share with us
//! - [`unwinding`]: return probes that are refused because of unwinders and stacks that move
//! - [`exceptions`]: exceptions, cancellations and backtraces pass functions whose return is probed
//! - [`unwinders`]: unwinders are told of return points as long as there are any
//! - [`elf`]: symbols as other tools see them
//! - [`support`], [`hooking`]: victims and programs
#![expect(clippy::print_stdout, reason = "tests say why they skip")]

mod elf;
mod exceptions;
mod hooking;
mod hostile;
mod inject;
mod remote;
mod special;
mod startup;
mod stopping;
mod support;
mod unwinders;
mod unwinding;
