//! `bpftime start`: run a command as a target.

use std::ffi::OsString;
use std::process::ExitCode;

use bpftime_runtime::client::{child, start};

/// Run a command in which the programs of all loaded tools run, from its start on.
///
/// Tools may be loaded before or after. When all of them have ended, the command runs on as if
/// nothing had been. Commands that it starts itself are not followed, but what it executes in its own
/// place is.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    #[arg(value_name = "COMMAND")]
    command: Vec<OsString>,
}

const AFTER_HELP: &str = "\
Examples:
  bpftime start ./examples/malloc/victim
  bpftime start python3 -m http.server

Exit codes: that of the command, 128 + N if signal N ended it, 1 if it could not be run.";

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let status = start::start(&args.command, |sentence| tracing::warn!("{sentence}"))?;
    Ok(child::exit_code(status).into())
}
