//! What the command line does.
//!
//! - [`socket`]: where the broker listens, and how it is started
//! - [`load`]: a tool under the broker
//! - [`start`], [`watch`]: a command as a target
//! - [`detach`]: a process given back as it was
//! - [`child`]: a child that waits before its `exec`, and its end
//! - [`ask`]: everything that is one question and one answer

pub mod ask;
pub mod child;
pub mod detach;
pub mod load;
pub mod socket;
pub mod start;
pub mod watch;

/// Why a command of the user's could not be done: one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);
