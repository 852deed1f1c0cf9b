//! `bpftime detach`: give a process back as it was.

use std::process::ExitCode;

use bpftime_runtime::client::detach;

use crate::exit::Exit;

/// Remove everything from a process: its code is what it was before.
///
/// Works without a broker too: what was put into the process is noted down in the process
/// itself, so that nothing else is needed to undo it.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Process id.
    #[arg(value_name = "PID")]
    pid: i32,
}

const AFTER_HELP: &str = "\
Exit codes: 0 detached, 1 not detached, 2 wrong usage.";

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    detach::detach(args.pid)?;
    Ok(Exit::Accepted.into())
}
