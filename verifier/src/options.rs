//! What a verdict depends on besides the program.

use bpftime_abi::Capabilities;

use crate::budget::Budget;

/// Where the program will run and how much the analysis may cost.
#[derive(Clone, Debug)]
pub struct Options {
    /// Helpers and map types that the environment offers; a program that needs more is rejected.
    pub capabilities: Capabilities,
    /// How much the analysis may cost.
    pub budget: Budget,
    /// Exact length in bytes of the memory that a program of type
    /// [`bpftime_isa::ProgType::Memory`] is given, if it is known. Without it, each access
    /// through `r1` needs a comparison with `r2` before it, which this version does not track.
    pub memory_len: Option<u64>,
    /// Pointers may be returned, stored where user space sees them, and compared with numbers,
    /// as the kernel lets privileged programs.
    pub allow_ptr_leaks: bool,
    /// Stack bytes that were never written may be read (any value), as the kernel lets
    /// privileged programs.
    pub allow_uninit_stack: bool,
}

impl Options {
    /// The rules that the kernel applies to privileged programs, with the default budget.
    pub fn new(capabilities: Capabilities) -> Self {
        Self {
            capabilities,
            budget: Budget::default(),
            memory_len: None,
            allow_ptr_leaks: true,
            allow_uninit_stack: true,
        }
    }
}
