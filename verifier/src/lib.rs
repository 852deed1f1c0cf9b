//! Abstract-interpretation verifier: the only constructor of [`VerifiedProgram`].
//!
//! What it cannot prove it rejects. The pipeline, in order:
//!
//! - [`options`], [`budget`]: what a verdict depends on besides the program
//! - `domain`: tristate numbers, wrapped intervals, scalars
//! - [`facts`], [`verified`]: what comes out for an accepted program
//! - [`diagnostic`]: what comes out for a rejected one
#![forbid(unsafe_code)]

mod analyze;
pub mod budget;
pub mod diagnostic;
pub mod domain;
pub mod facts;
pub mod options;
pub mod verified;

pub use analyze::verify;
pub use budget::Budget;
pub use diagnostic::{Code, Rejection};
pub use facts::{Cost, Facts, FunctionFacts};
pub use options::Options;
pub use verified::VerifiedProgram;
