//! `bpftime attach`: make a target of a running process.

use std::io::Write as _;
use std::process::ExitCode;

use bpftime_runtime::client::ask;

use crate::exit::Exit;
use crate::report;
use crate::status::hook_line;

/// Run the programs of all loaded tools in a process that runs already.
///
/// The process needs no preparation and no library. It must be yours, must not be traced by a
/// debugger, and has no seccomp filter.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// Process id.
    #[arg(value_name = "PID")]
    pid: i32,
    /// Print JSON to stdout.
    #[arg(long)]
    json: bool,
}

const AFTER_HELP: &str = "\
Examples:
  bpftime attach $(pidof -s victim)

Exit codes: 0 attached, 1 not attached (the process is as it was), 2 wrong usage,
4 attached, but the output cannot be written.";

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let hooks = ask::attach(args.pid)?;
    if args.json {
        report::print(&hooks)?;
    } else {
        report::to_stdout(|out| {
            writeln!(out, "process {} is attached", args.pid)?;
            hooks
                .iter()
                .try_for_each(|hook| writeln!(out, "  {}", hook_line(hook)))
        })?;
    }
    Ok(Exit::Accepted.into())
}
