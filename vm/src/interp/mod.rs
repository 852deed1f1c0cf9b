//! The interpreter: the executable specification of what programs mean.
//!
//! One core runs over a `Machine`, of which there are two: *direct*, for verified
//! programs, where accesses go straight to memory, and *checked*, for any program, where each
//! access and each helper argument is checked against the regions that the program may use, and
//! a [`Trap`] says which instruction was refused and why. Both use this process's addresses, so
//! that helpers see what the program sees. Neither touches anything outside its regions, whatever
//! the program does.
//!
//! Programs are run through [`crate::HostEnvironment`], or with [`run_on`] on another [`Machine`].

mod alu;
mod arguments;
pub(crate) mod checked;
mod code;
mod direct;
mod execute;
pub(crate) mod loops;
pub mod machine;
mod raw;
pub(crate) mod regions;
mod registers;
mod stack;
mod trap;

use bpftime_abi::VmCtx;
use bpftime_isa::Insn;
use bpftime_verifier::VerifiedProgram;

use checked::Checked;
use code::Code;
use direct::Direct;
use machine::Machine;
pub use trap::{Access, ArgumentProblem, RegionKind, Trap, TrapReason};

#[cfg(test)]
pub(crate) use alu::{alu, byte_order, compare, negate, sign_extend};
pub(crate) use execute::MAY_GOTO_BUDGET;

/// Runs verified programs without further checks.
#[derive(Debug)]
pub struct Interpreter {
    code: Code,
}

impl Interpreter {
    /// Prepares a verified program.
    pub fn new(program: &VerifiedProgram) -> Self {
        Self {
            code: Code::from_decoded(program.instructions().to_vec()),
        }
    }

    /// Runs the program until it exits and gives `r0`. There is no instruction budget: the
    /// verifier proved that the program ends.
    ///
    /// # Errors
    ///
    /// Instructions that the interpreter does not support.
    ///
    /// # Safety
    ///
    /// `vm` is valid and was made for this program (its helpers, its maps), and `r1` and `r2` are
    /// what the program's type asks for.
    pub unsafe fn run(&self, vm: *mut VmCtx, r1: u64, r2: u64) -> Result<u64, Trap> {
        // SAFETY: as this function's caller promises.
        let mut machine = unsafe { Direct::new(vm) };
        execute::execute(&self.code, &mut machine, r1, r2, u64::MAX)
    }
}

/// Slots that were read once, to be run many times on machines.
#[derive(Debug)]
pub struct Prepared {
    code: Code,
}

impl Prepared {
    /// Reads the slots.
    ///
    /// # Errors
    ///
    /// Slots that are no program.
    pub fn new(slots: &[Insn]) -> Result<Self, Trap> {
        let code = Code::from_slots(slots)?;
        Ok(Self { code })
    }

    /// As [`run_on`].
    ///
    /// # Errors
    ///
    /// What the machine refuses.
    pub fn run<M: Machine>(
        &self,
        machine: &mut M,
        r1: u64,
        r2: u64,
        limit: u64,
    ) -> Result<u64, Trap> {
        execute::execute(&self.code, machine, r1, r2, limit)
    }
}

/// Runs any slots on a machine, at most `limit` instructions, and gives `r0`.
///
/// # Errors
///
/// Slots that are no program, and what the machine refuses.
pub fn run_on<M: Machine>(
    slots: &[Insn],
    machine: &mut M,
    r1: u64,
    r2: u64,
    limit: u64,
) -> Result<u64, Trap> {
    Prepared::new(slots)?.run(machine, r1, r2, limit)
}

/// Runs any slots on a checked machine, at most `limit` instructions.
pub(crate) fn run_checked(
    slots: &[Insn],
    mut machine: Checked<'_>,
    r1: u64,
    r2: u64,
    limit: u64,
) -> Result<u64, Trap> {
    run_on(slots, &mut machine, r1, r2, limit)
}

#[cfg(test)]
mod tests;
