//! The tables and the decoder against the running kernel, asked through `bpf()`.
//!
//! Needs a kernel with eBPF and `CAP_BPF`; says so and skips otherwise. The tables describe
//! Linux 6.18; on another version these tests tell what differs.

mod context;
mod decode;
mod helper;
mod load;
mod prototype;
