//! `bpftime status`: what is loaded, and where it runs.

use std::io::{self, Write as _};
use std::process::ExitCode;

use bpftime_runtime::broker::protocol::{Status, TargetHook};
use bpftime_runtime::client::ask;

use crate::exit::Exit;
use crate::report::{self, BAD, DIM, GOOD, RESET};

/// Show loaded tools, their programs, where these are to run, and whether they really do.
///
/// That a program is attached is read from the memory of the process, not from what is believed.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print JSON to stdout.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let status = ask::status()?;
    if args.json {
        let empty = Status {
            broker_pid: 0,
            sessions: Vec::new(),
            programs: Vec::new(),
            links: Vec::new(),
            targets: Vec::new(),
        };
        let status = status.unwrap_or(empty);
        report::print(&status)?;
    } else {
        report::to_stdout(|out| match &status {
            Some(status) => write_text(out, status),
            None => writeln!(out, "nothing is loaded, no process is attached"),
        })?;
    }
    Ok(Exit::Accepted.into())
}

fn write_text(out: &mut impl io::Write, status: &Status) -> io::Result<()> {
    writeln!(out, "sessions")?;
    for session in &status.sessions {
        writeln!(
            out,
            "  {} pid {}: {}",
            session.id,
            session.pid,
            session.command.join(" ")
        )?;
    }
    writeln!(out, "programs")?;
    for program in &status.programs {
        writeln!(
            out,
            "  {} {} ({}), {} instructions, {} bytes of machine code",
            program.id, program.name, program.prog_type, program.instructions, program.code_bytes
        )?;
    }
    writeln!(out, "links")?;
    for link in &status.links {
        let only = link
            .pid
            .map(|pid| format!(", only in process {pid}"))
            .unwrap_or_default();
        writeln!(
            out,
            "  {} program {} at {}{only}",
            link.id,
            link.program_name,
            place(&link.path, link.offset, link.at_return)
        )?;
    }
    writeln!(out, "targets")?;
    for target in &status.targets {
        writeln!(out, "  {}: {}", target.pid, target.command)?;
        if let Some(problem) = &target.problem {
            writeln!(out, "    {BAD}{problem}{RESET}")?;
        }
        for hook in &target.hooks {
            writeln!(out, "    {}", hook_line(hook))?;
        }
    }
    Ok(())
}

/// One line about a program in a process.
pub(crate) fn hook_line(hook: &TargetHook) -> String {
    let at = place(&hook.path, hook.offset, hook.at_return);
    let program = &hook.program;
    match (&hook.failure, hook.attached) {
        (_, true) => format!(
            "{GOOD}attached{RESET} {program} at {at} {DIM}({} runs, {} left out){RESET}",
            hook.hits, hook.missed
        ),
        (Some(why), false) => format!("{BAD}not attached{RESET} {program} at {at}: {why}"),
        (None, false) => format!("{BAD}not attached{RESET} {program} at {at}"),
    }
}

fn place(path: &str, offset: u64, at_return: bool) -> String {
    let returning = if at_return { " (return)" } else { "" };
    format!("{path}+{offset:#x}{returning}")
}
