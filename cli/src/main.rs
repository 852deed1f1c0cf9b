//! The `bpftime` command: one module per subcommand.
//!
//! - [`exit`]: exit codes, and errors that carry one
//! - [`report`]: verdicts as text and as JSON
//! - [`source`]: object files and programs named on the command line
//! - [`verify`], [`run`]: program files, in this process
//! - [`run_report`]: results of runs as text and as JSON
//! - [`pcap`]: packets of a capture file
//! - [`load`], [`start`], [`attach`], [`detach`], [`map`], [`status`]: tools and the processes that
//!   their programs run in
//! - [`broker`], [`guardian`]: the processes behind these
#![forbid(unsafe_code)]

mod attach;
mod broker;
mod detach;
mod exit;
mod guardian;
mod load;
mod map;
mod pcap;
mod report;
mod run;
mod run_report;
mod source;
mod start;
mod status;
mod verify;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::{ArgAction, Parser, Subcommand};
use peak_alloc::PeakAlloc;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// The system's allocator, which also counts: `verify` says how much memory a verdict took.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// eBPF in user space: verify, run and trace without root and without kernel eBPF.
#[derive(Parser)]
#[command(name = "bpftime", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    /// Log more to stderr: -v information, -vv debugging, -vvv everything.
    ///
    /// RUST_LOG=FILTER chooses by module and level, and wins.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Log errors only.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  bpftime load ./tool                             an unmodified libbpf tool, without root
  bpftime start ./victim                          its probes run in this command
  bpftime attach PID                              and in a process that runs already
  bpftime status                                  what is really attached where
  bpftime map dump NAME                           what the programs have counted
  bpftime verify prog.bpf.o                       is it safe, and why not?
  bpftime run prog.bpf.o --packet in.pcap         what does it return, and how fast?

Exit codes of verify and run: 0 accepted, 1 rejected, 2 unreadable input or wrong usage,
3 internal error. Of every command: 4 done, but the output cannot be written (a reader that goes
away is no error).";

#[derive(Subcommand)]
enum Command {
    Verify(verify::Args),
    Run(run::Args),
    Load(load::Args),
    Start(start::Args),
    Attach(attach::Args),
    Detach(detach::Args),
    Map(map::Args),
    Status(status::Args),
    /// Serves the other commands, which start it.
    #[command(hide = true)]
    Broker,
    /// Does what is to be done to one process; the broker starts it.
    #[command(hide = true)]
    Guardian,
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return explain(&error),
    };
    start_log(cli.verbose, cli.quiet);
    let result = match &cli.command {
        Command::Verify(args) => verify::run(args),
        Command::Run(args) => run::run(args),
        Command::Load(args) => load::run(args),
        Command::Start(args) => start::run(args),
        Command::Attach(args) => attach::run(args),
        Command::Detach(args) => detach::run(args),
        Command::Map(args) => map::run(args),
        Command::Status(args) => status::run(args),
        Command::Broker => broker::run(),
        Command::Guardian => guardian::run(),
    };
    result.unwrap_or_else(|error| refuse(&error))
}

/// Says what went wrong.
fn refuse(error: &anyhow::Error) -> ExitCode {
    report::to_stderr(format_args!(
        "{}error:{} {error:#}\n",
        report::BAD,
        report::RESET
    ));
    exit::of(error)
}

/// Prints help, the version or what is wrong with the command line.
fn explain(error: &clap::Error) -> ExitCode {
    let code = match error.print() {
        Err(failure) if !error.use_stderr() && failure.kind() != ErrorKind::BrokenPipe => {
            return refuse(&exit::Unwritable(failure).into());
        }
        _ => error.exit_code(),
    };
    u8::try_from(code).unwrap_or(u8::MAX).into()
}

/// Logs go to stderr; stdout belongs to results.
fn start_log(verbose: u8, quiet: bool) {
    let level = match (quiet, verbose) {
        (true, _) => LevelFilter::ERROR,
        (_, 0) => LevelFilter::WARN,
        (_, 1) => LevelFilter::INFO,
        (_, 2) => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .from_env_lossy();
    let colours = anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .log_internal_errors(false)
        .init();
}
