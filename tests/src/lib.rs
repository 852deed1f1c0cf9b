//! What the tests of this crate share: where things are, and processes that end with the test.
//!
//! - [`paths`]: the workspace, its examples, the vectors
//! - [`process`]: child processes, run as an ordinary user, ended when dropped
//! - [`samples`]: a corpus of programs, and what Linux says of them

pub mod paths;
pub mod process;
pub mod samples;
