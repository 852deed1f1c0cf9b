//! A program that was accepted.

use bpftime_isa::{Decoded, Program};

use crate::facts::Facts;

/// A program that [`crate::verify`] accepted. There is no other way to make one, and engines
/// compile and run nothing else.
#[derive(Clone, Debug)]
pub struct VerifiedProgram {
    program: Program,
    instructions: Vec<Decoded>,
    facts: Facts,
}

impl VerifiedProgram {
    pub(crate) fn new(program: Program, instructions: Vec<Decoded>, facts: Facts) -> Self {
        Self {
            program,
            instructions,
            facts,
        }
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// Its instructions in order of slots.
    pub fn instructions(&self) -> &[Decoded] {
        &self.instructions
    }

    /// What the analysis found out.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }
}
