//! z3 proofs of the verifier's scalar domains, for all inputs, on the code that runs.
//!
//! - [`term`]: bit vectors that stand for all numbers at once
//! - `driver`: explores what code does on them
//! - `modular`: calls of which is known what is proved of the function
//! - `shape`: what the domains' functions return, as terms
//! - `solve`: questions to z3
//! - `integers`: terms as integers, for questions that are easier so
//! - [`machine`]: what claims are written in
//! - [`symbolic`], [`replay`]: the machines on which they are proved, and tried with numbers
//! - [`spec`]: what it means to be in an abstract value
//! - `facts`: what holds of numbers alone
//! - `lemma`: what is proved of functions, as other proofs go by it
//! - `lemmas`: what is proved of the functions of the domains
//! - [`claims`]: what is claimed: the lemmas, and what they lead to
//! - [`broken`]: wrong versions that have to be refuted
//! - [`report`]: proves them and prints a table

pub mod broken;
pub mod claims;
mod driver;
mod facts;
mod integers;
mod lemma;
mod lemmas;
pub mod machine;
mod modular;
pub mod replay;
pub mod report;
mod shape;
mod solve;
pub mod spec;
pub mod symbolic;
pub mod term;
