//! Exit codes, and errors that carry one.

use std::process::ExitCode;

use bpftime_verifier::{Code, Rejection};

/// Why a command ends with something else than 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done; all programs accepted.
    Accepted = 0,
    /// A program was rejected, or what was asked for was refused.
    Rejected = 1,
    /// The input cannot be read, or the command line is wrong.
    Unreadable = 2,
    /// A defect of ours.
    Internal = 3,
    /// What was asked for is done, but its output cannot be written.
    Unwritable = 4,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Marks an error as one of input that cannot be read. It adds no text of its own.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub(crate) struct Unreadable(anyhow::Error);

impl Unreadable {
    pub(crate) fn mark(error: anyhow::Error) -> anyhow::Error {
        Self(error).into()
    }
}

/// Marks an error as a defect of ours. It adds no text of its own.
#[derive(Debug, thiserror::Error)]
#[error("{0:#}")]
pub(crate) struct Internal(anyhow::Error);

impl Internal {
    pub(crate) fn mark(error: anyhow::Error) -> anyhow::Error {
        Self(error).into()
    }
}

/// Marks an error as one of output that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub(crate) struct Unwritable(#[from] pub(crate) std::io::Error);

impl Exit {
    /// Of a program that the verifier rejects.
    pub(crate) fn of_rejection(rejection: &Rejection) -> Self {
        if rejection.code == Code::Internal {
            Self::Internal
        } else {
            Self::Rejected
        }
    }
}

/// The exit code of an error: what it is marked with, else 1.
pub(crate) fn of(error: &anyhow::Error) -> ExitCode {
    let exit = if error.is::<Unreadable>() {
        Exit::Unreadable
    } else if error.is::<Internal>() {
        Exit::Internal
    } else if error.is::<Unwritable>() {
        Exit::Unwritable
    } else {
        Exit::Rejected
    };
    exit.into()
}
