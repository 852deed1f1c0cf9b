//! Abstract-interpretation verifier: the only constructor of [`VerifiedProgram`].
//!
//! What it cannot prove it rejects. The pipeline, in order:
//!
//! - [`options`], [`budget`]: what a verdict depends on besides the program
//! - `structure`: functions and jumps, the rules that hold for every slot
//! - `cfg`: the control-flow graph, subprograms inlined by call string
//! - `contract`: global functions that are judged by their types alone
//! - `wto`: its weak topological order
//! - `liveness`, `stack_liveness`: which registers and stack bytes may still be read
//! - `termination`: loops that end by themselves
//! - `assertion`: what must hold before an instruction, as data
//! - [`domain`]: numbers, values, stack, states, their order and joins
//! - `check`: judges assertions on states
//! - `transfer`: what an instruction makes of a state
//! - `fixpoint`: iteration over the order; knows nothing of eBPF
//! - `partition`: which states are kept apart where paths meet
//! - [`known`]: what registers hold, for those who compile the program
//! - `engine`: the analysis of eBPF programs as a domain for it
//! - [`refine`]: what a failed check may ask a solver
//! - `stack_depth`: stack of chains of calls
//! - `analyze`: from a program to a verdict
//! - [`facts`], [`verified`]: what comes out for an accepted program
//! - [`diagnostic`]: what comes out for a rejected one
#![forbid(unsafe_code)]

mod analyze;
mod assertion;
pub mod budget;
mod cfg;
mod check;
mod contract;
pub mod diagnostic;
pub mod domain;
mod engine;
mod env;
pub mod facts;
mod fixpoint;
pub mod known;
mod liveness;
pub mod options;
mod partition;
pub mod refine;
mod stack_depth;
mod stack_liveness;
mod struct_ops;
mod structure;
mod termination;
mod transfer;
pub mod verified;
mod wto;

pub use analyze::{verify, verify_refined};
pub use budget::Budget;
pub use diagnostic::{Code, Rejection};
pub use facts::{CallFacts, Cost, Facts, FunctionFacts};
pub use known::{Known, Operands};
pub use options::{Options, Target};
pub use verified::VerifiedProgram;
