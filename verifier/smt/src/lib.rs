//! Refinement of failed checks of the verifier with z3.
//!
//! [`Z3Refiner`] answers whether a [`Fact`] holds in all runs that come to an instruction. It goes
//! back through the [`bpftime_verifier::refine::history`] of the state that was checked, encodes in
//! bit vectors every way on which runs come from there, and asks whether the fact's contrary is
//! possible on one. What it goes back to is the program's entry, or a place where the state is
//! known: there, registers and stack hold anything that the state covers.
//!
//! Why a proof is one: each run that the checked state stands for goes through a chain of the
//! history's points to its entry, or to a point at which the encoding begins; the encoding has
//! a valuation for each such run, since it says of an instruction only what holds in every run
//! (loads, results of helpers and whatever is not modelled are unknowns, each its own), and it
//! relies on earlier checks having passed, as they have on this chain. So if no valuation
//! contradicts the fact, no run does.
//!
//! Limits are deterministic: points, instructions, questions and z3's resource units. What they
//! do not suffice for is not proved.
//!
//! - `value`, `stack`, `state`: what registers and stack hold, as terms
//! - `alu`: arithmetic and comparisons
//! - `covered`: everything that a state of the verifier covers
//! - `step`, `memory`, `call`: what an instruction does
//! - `path`: which part of a history is encoded, and its encoding
//! - `claim`: facts as formulas
//! - `refiner`: questions to z3
#![forbid(unsafe_code)]

mod alu;
mod call;
mod claim;
mod covered;
mod memory;
mod path;
mod refiner;
mod stack;
mod state;
mod step;
mod value;

pub use bpftime_verifier::refine::{Answer, Fact, Witness};
pub use refiner::{Limits, Z3Refiner};
