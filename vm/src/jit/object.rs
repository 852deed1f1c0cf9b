//! The compiler's output.

use bpftime_verifier::VerifiedProgram;

use super::Native;
use crate::Requirements;

/// Machine code of a verified program. There is no way to make one from bytes.
///
/// The code has the [`bpftime_abi::ProgramFn`] convention at its entry, may be placed at any
/// address that is a multiple of 16, and needs no relocation.
#[derive(Clone, Debug)]
pub struct CodeObject {
    code: Vec<u8>,
    entry: usize,
    stack_bytes: usize,
    requirements: Requirements,
}

impl CodeObject {
    pub(super) fn new(native: Native, program: &VerifiedProgram) -> Self {
        Self {
            code: native.code,
            entry: native.entry,
            stack_bytes: native.stack_bytes,
            requirements: Requirements::of(program),
        }
    }

    /// The machine code.
    pub fn code(&self) -> &[u8] {
        &self.code
    }

    /// Offset of the entry in the code.
    pub fn entry(&self) -> usize {
        self.entry
    }

    /// Native stack that a run needs at most, in bytes, without that of the helpers it calls.
    pub fn stack_bytes(&self) -> usize {
        self.stack_bytes
    }

    /// What the program must be run with.
    pub fn requirements(&self) -> &Requirements {
        &self.requirements
    }
}
