//! `bpftime load`: run an eBPF tool against the broker.

use std::ffi::OsString;
use std::process::ExitCode;

use bpftime_runtime::client::{child, load};

/// Run an eBPF tool whose bpf() system calls are answered in user space.
///
/// The tool (a C, Go or Rust loader, bpftrace, bpftool; static or not) runs unmodified and
/// without any privilege. Its programs are verified, compiled, and run in the processes that
/// `bpftime start` and `bpftime attach` name, and in those that the tool itself names by pid.
#[derive(clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct Args {
    /// The tool and its arguments.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    #[arg(value_name = "TOOL")]
    command: Vec<OsString>,
}

const AFTER_HELP: &str = "\
Examples:
  bpftime load ./examples/malloc/malloc
  bpftime load bpftrace -p 1234 -e 'uprobe:/lib/x86_64-linux-gnu/libc.so.6:malloc { @ = count(); }'

Exit codes: that of the tool, 128 + N if signal N ended it, 1 if it could not be run.";

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    Ok(child::exit_code(load::load(&args.command)?).into())
}
