//! Stock libbpf tools in C, run unmodified by `bpftime load` as an ordinary user, whose programs
//! run in plain C victims. Where root may, the same tool and victim run on the kernel as well, and
//! what they print has to be the same.
//!
//! - [`lab`]: builds the programs of `tests/c`, runs a tool and a victim, on ours or on the kernel
//! - `buffers`: ring buffers and perf buffers
//! - `maps`: per-CPU maps, global variables, constants, batches
//! - `probes`: static functions, libraries, cookies, returns, recursion, several tools
//! - `kinds`: victims and tools that are static, linked with musl, or not in C
//! - `lives`: forks, execs, exits and kills on either side

mod buffers;
mod kinds;
mod lab;
mod lives;
mod maps;
mod probes;
