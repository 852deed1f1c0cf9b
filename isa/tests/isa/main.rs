//! Tests of the crate as others use it.
//!
//! - `round_trip`: slots, instructions and text come back as they went
//! - `conformance`: the programs of bpf_conformance assemble
//! - `llvm`: text and slots are LLVM's
//! - `kernel`: tables, text and strictness are the running kernel's

mod conformance;
mod generate;
mod kernel;
mod llvm;
mod mnemonic;
mod round_trip;
