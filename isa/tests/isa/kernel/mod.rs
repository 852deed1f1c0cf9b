//! The tables and the decoder against the running kernel, asked through `bpf()`.
//!
//! Needs Linux 6.18, which the tables describe, and `CAP_BPF`, `CAP_PERFMON` and
//! `CAP_NET_ADMIN`; says so and skips otherwise.

mod btf;
mod call;
mod callers;
mod context;
mod decode;
mod load;
mod offers;
mod prototype;
mod returns;
