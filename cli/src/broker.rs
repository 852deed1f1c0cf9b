//! `bpftime broker`: the process behind the commands; they start it.

use std::process::ExitCode;

use bpftime_runtime::client::socket;

use crate::exit::Exit;

pub(crate) fn run() -> anyhow::Result<ExitCode> {
    socket::run_broker(socket::IDLE)?;
    Ok(Exit::Accepted.into())
}
