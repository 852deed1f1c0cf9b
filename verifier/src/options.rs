//! What a verdict depends on besides the program.

use std::sync::Arc;

use bpftime_abi::Capabilities;
use bpftime_isa::{KernelTypes, MapType, helper};

use crate::budget::Budget;

/// Whose rules about types of programs apply.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Target {
    /// Linux 6.18, for privileged programs: each type of program may call the helpers that it may
    /// call there.
    Linux6_18,
    /// bpftime's engines: a helper that takes no context may be called by programs of any type,
    /// others by those that may on Linux.
    Bpftime,
}

/// Where the program will run and how much the analysis may cost.
#[derive(Clone, Debug)]
pub struct Options {
    /// Helpers and map types that the environment offers; a program that needs more is rejected.
    pub capabilities: Capabilities,
    /// Whose rules about types of programs apply.
    pub target: Target,
    /// How much the analysis may cost.
    pub budget: Budget,
    /// What pointers to structures of the kernel's lead to. Without it, programs may have such pointers
    /// and hand them on, but read nothing through them.
    pub kernel_types: Option<Arc<dyn KernelTypes>>,
    /// Processors that the machine may have, numbered from 0, if it is known (the kernel's `nr_cpu_ids`).
    pub cpus: Option<u32>,
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
    /// What registers hold at each instruction is recorded ([`crate::Facts::operands`]), which takes a
    /// tenth of the time more.
    pub record_operands: bool,
}

impl Options {
    /// The rules that the kernel applies to privileged programs, where helpers and map types are
    /// concerned those of bpftime's engines, with the default budget.
    pub fn new(capabilities: Capabilities) -> Self {
        Self {
            capabilities,
            target: Target::Bpftime,
            budget: Budget::default(),
            kernel_types: None,
            cpus: None,
            memory_len: None,
            allow_ptr_leaks: true,
            allow_uninit_stack: true,
            record_operands: false,
        }
    }

    /// The rules that Linux 6.18 applies to privileged programs, all its helpers and map types
    /// included, with the default budget.
    pub fn linux() -> Self {
        let helpers = helper::PROTOS
            .iter()
            .fold(Capabilities::NONE, |all, proto| all.with_helper(proto.id));
        let capabilities = MapType::ALL
            .iter()
            .fold(helpers, |all, map_type| all.with_map_type(*map_type));
        Self {
            target: Target::Linux6_18,
            ..Self::new(capabilities)
        }
    }
}
