//! Tests of maps: against the kernel's, under threads, SIGKILL and garbage.

mod bpf;
mod common;
mod hash;
mod kernel;
mod perf;
mod program_view;
mod ringbuf;
