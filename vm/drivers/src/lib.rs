//! What lets others' test runners and benchmarks drive the engines.
//!
//! - [`engine`]: the engines behind one trait; what they run went through the verifier
//! - [`flat`]: programs and memory as others give them
//! - [`clock`]: CPU time of this thread
//!
//! The commands are `bpftime-driver`, for benchmarks, and `bpftime-conformance-plugin`, for the runner of
//! bpf_conformance.

pub mod clock;
pub mod engine;
pub mod flat;

pub use engine::{Engine, Loaded};
