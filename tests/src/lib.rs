//! What the tests of this crate share: where things are, and processes that end with the test.
//!
//! - [`paths`]: the workspace, its examples, the vectors
//! - [`process`]: child processes, run as an ordinary user, ended when dropped

pub mod paths;
pub mod process;
