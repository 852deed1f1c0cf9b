//! What a verified program must be run with.

use std::sync::Arc;

use bpftime_abi::Capabilities;
use bpftime_isa::{AttachType, MapDef, ProgType};
use bpftime_verifier::VerifiedProgram;

/// What was taken for granted when a program was verified, so that it is never run with
/// something else.
#[derive(Clone, PartialEq, Debug)]
pub struct Requirements {
    /// Type, which fixes the context.
    pub prog_type: ProgType,
    /// Attach type where the program type has several.
    pub attach_type: Option<AttachType>,
    /// The program's maps, by index.
    pub maps: Arc<[MapDef]>,
    /// Helpers and map types.
    pub capabilities: Capabilities,
    /// Exact length of the memory of a memory program, where the proof depends on it.
    pub memory_len: Option<u64>,
    /// Whether the run needs a virtual CPU of its own.
    pub needs_cpu: bool,
}

impl Requirements {
    /// Of a verified program.
    pub fn of(verified: &VerifiedProgram) -> Self {
        let program = verified.program();
        Self {
            prog_type: program.prog_type,
            attach_type: program.attach_type,
            maps: program.maps.clone().into(),
            capabilities: verified.facts().needs,
            memory_len: verified.facts().memory_len,
            needs_cpu: verified.facts().needs_cpu,
        }
    }
}
