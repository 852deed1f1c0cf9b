//! Interpreter and Cranelift JIT for verified eBPF programs.
//!
//! - [`interp`]: the executable specification; in checked mode it runs any program and traps
//! - [`jit`]: the compiler, whose only input is a verified program
//! - [`executable`]: machine code mapped for execution in this process
//! - [`requirements`]: what a verified program must be run with
//! - [`host`]: everything a program needs to run in this process: helpers, maps, input

pub mod executable;
pub mod host;
pub mod interp;
pub mod jit;
pub mod requirements;

pub use executable::Executable;
pub use host::{HostEnvironment, Input, InputError, MapError, RunError};
pub use interp::{Interpreter, Trap, TrapReason};
pub use jit::{CodeObject, CompileError};
pub use requirements::Requirements;
