//! System calls of a tool answered by the broker: seccomp user notification.
//!
//! - [`filter`]: which calls are handed over, which are answered on the spot, which are refused
//! - [`install`]: puts the filter on the calling process and gives its listener
//! - [`listener`]: receives calls and answers them
//!
//! # Why some calls go on natively
//!
//! `SECCOMP_USER_NOTIF_FLAG_CONTINUE` lets the kernel execute the call with whatever the tool's
//! memory holds *then*, which another thread may have changed since the broker looked. It is
//! therefore never an access decision here. It is given only where the broker has nothing to
//! offer: a path or a descriptor that is none of ours. A tool that wins the race gets what the
//! kernel gives it natively, by its own rights, which is what it would have without the broker;
//! nothing of the broker's is reachable by a native call. Everything that the broker does grant
//! (maps, programs, links) is decided on one private copy of the request and never continued.

pub mod filter;
pub mod install;
pub mod listener;

pub use listener::{Call, Listener};
