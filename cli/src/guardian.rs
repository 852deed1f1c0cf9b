//! `bpftime guardian`: the process beside a target; the broker starts it.

use std::process::ExitCode;

use bpftime_runtime::guardian;

use crate::exit::Exit;

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    guardian::run()?;
    Ok(Exit::Accepted.into())
}
