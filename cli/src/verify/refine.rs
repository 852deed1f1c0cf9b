//! Verdicts, with a solver or without.

use bpftime_isa::Program;
use bpftime_verifier::{Options, Rejection, VerifiedProgram};

/// Judges programs.
pub(super) struct Judge<'a> {
    options: &'a Options,
    /// Whether a solver is asked where a check fails.
    smt: bool,
}

impl<'a> Judge<'a> {
    /// # Errors
    ///
    /// A solver is asked for, and this command was built without one.
    pub(super) fn new(options: &'a Options, smt: bool) -> anyhow::Result<Self> {
        if smt && cfg!(not(feature = "smt")) {
            anyhow::bail!(
                "--smt needs a bpftime that was built with z3: cargo build --features smt"
            );
        }
        Ok(Self { options, smt })
    }

    pub(super) fn verify(&self, program: Program) -> Result<VerifiedProgram, Box<Rejection>> {
        if self.smt {
            return refined(program, self.options);
        }
        bpftime_verifier::verify(program, self.options)
    }
}

#[cfg(feature = "smt")]
fn refined(program: Program, options: &Options) -> Result<VerifiedProgram, Box<Rejection>> {
    bpftime_verifier::verify_refined(program, options, &mut bpftime_smt::Z3Refiner::default())
}

/// There is nobody to ask; [`Judge::new`] says so.
#[cfg(not(feature = "smt"))]
fn refined(program: Program, options: &Options) -> Result<VerifiedProgram, Box<Rejection>> {
    bpftime_verifier::verify(program, options)
}
