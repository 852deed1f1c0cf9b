//! Verdicts as text; as JSON in [`json`].

mod json;

use std::fmt;
use std::io::{self, Write as _};
use std::time::Duration;

use anstyle::{AnsiColor, Reset, Style};
use bpftime_isa::{AttachType, ProgType, Program, Reg};
use bpftime_verifier::{Facts, Rejection};
use serde::Serialize;

pub(crate) use json::{print_json, print_json_lines};

use crate::exit::Unwritable;

/// Of what is in order.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Of what is not.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Of what is beside the point.
pub(crate) const DIM: Style = Style::new().dimmed();
/// Ends a style.
pub(crate) const RESET: Reset = Reset;

/// What is said of a file.
pub(crate) struct FileReport {
    pub(crate) file: String,
    /// Why nothing can be said of its programs.
    pub(crate) error: Option<String>,
    pub(crate) programs: Vec<ProgramReport>,
}

/// What is said of a program.
pub(crate) struct ProgramReport {
    pub(crate) section: String,
    pub(crate) name: String,
    pub(crate) prog_type: ProgType,
    pub(crate) type_from: TypeFrom,
    pub(crate) attach_type: Option<AttachType>,
    /// Slots.
    pub(crate) instructions: usize,
    pub(crate) measured: Measured,
    /// Slots of an accepted program's instructions that no run executes.
    pub(crate) unreached: Vec<u32>,
    /// What is known at an accepted program's instructions, if that is asked for.
    pub(crate) known: Vec<KnownAt>,
    pub(crate) verdict: Verdict,
}

/// What registers hold whenever an instruction reads them.
pub(crate) struct KnownAt {
    pub(crate) slot: u32,
    /// The instruction as text.
    pub(crate) instruction: String,
    /// In the notation of the kernel's log.
    pub(crate) reads: Vec<(Reg, String)>,
}

/// Where a program's type is from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum TypeFrom {
    /// The name of its section.
    Section,
    /// The command line.
    Argument,
    /// Names that are no convention.
    Guess,
}

impl TypeFrom {
    /// Stable name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Section => "section",
            Self::Argument => "argument",
            Self::Guess => "guess",
        }
    }
}

/// What a verdict cost.
#[derive(Clone, Copy, Default)]
pub(crate) struct Measured {
    pub(crate) time: Duration,
    /// Bytes in use at the same time at most, beyond those in use before.
    pub(crate) memory: usize,
}

/// The verdict of a program.
pub(crate) enum Verdict {
    Accepted(Box<Facts>),
    Rejected(Box<Rejection>),
    /// It cannot be judged, and why.
    Unreadable(String),
}

/// Writes verdicts for people; files without any go to stderr.
pub(crate) fn write_text(
    out: &mut impl io::Write,
    files: &[FileReport],
    log: bool,
) -> io::Result<()> {
    for file in files {
        if let Some(error) = &file.error {
            to_stderr(format_args!("{BAD}error:{RESET} {error}\n"));
        }
        for program in &file.programs {
            let at = format!("{}: {}/{}", file.file, program.section, program.name);
            match &program.verdict {
                Verdict::Accepted(facts) => {
                    writeln!(out, "{GOOD}accepted{RESET} {at}")?;
                    writeln!(out, "{DIM}  {}{RESET}", summary(program, facts))?;
                    if let Some(refinement) = &facts.refinement {
                        let (count, solver) = (refinement.proved.len(), &refinement.solver);
                        writeln!(out, "{DIM}  depends on {count} proofs by {solver}{RESET}")?;
                    }
                    if !program.unreached.is_empty() {
                        let slots = ranges(&program.unreached);
                        writeln!(out, "{DIM}  never executed: instructions {slots}{RESET}")?;
                    }
                    for known in &program.known {
                        writeln!(out, "  {}", known_text(known))?;
                    }
                }
                Verdict::Rejected(rejection) => {
                    writeln!(out, "{BAD}rejected{RESET} {at}")?;
                    write!(out, "{}", rejection_text(rejection))?;
                    if log {
                        for line in rejection.kernel_log().lines() {
                            writeln!(out, "  {DIM}|{RESET} {line}")?;
                        }
                    }
                }
                Verdict::Unreadable(why) => {
                    writeln!(out, "{BAD}unreadable{RESET} {at}")?;
                    writeln!(out, "  {why}")?;
                }
            }
        }
    }
    Ok(())
}

fn summary(program: &ProgramReport, facts: &Facts) -> String {
    let bound = match facts.max_insns {
        Some(count) => format!("at most {count} executed"),
        None => "no fixed bound on those executed".to_owned(),
    };
    format!(
        "{}, {} instructions, {bound}, {} bytes of stack",
        program.prog_type.name(),
        program.instructions,
        facts.max_stack
    )
}

/// An instruction and what is known there.
fn known_text(known: &KnownAt) -> String {
    let (slot, instruction) = (known.slot, &known.instruction);
    if known.reads.is_empty() {
        return format!("{slot:>5}: {instruction}");
    }
    let reads = known.reads.iter();
    let reads = reads.map(|(reg, value)| format!("{reg}={value}"));
    let reads = reads.collect::<Vec<_>>().join(" ");
    format!("{slot:>5}: {instruction:<36} {DIM}{reads}{RESET}")
}

/// Ascending slots, runs of neighbours as `first-last`.
fn ranges(slots: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for slot in slots {
        match runs.last_mut() {
            Some((_, last)) if *slot <= last.saturating_add(1) => *last = *slot,
            _ => runs.push((*slot, *slot)),
        }
    }
    let text = runs.iter().map(|(first, last)| match last {
        last if last == first => first.to_string(),
        last => format!("{first}-{last}"),
    });
    text.collect::<Vec<_>>().join(", ")
}

/// The fields of a rejection, a line each. Streams that are no terminal drop the colours.
pub(crate) fn rejection_text(rejection: &Rejection) -> String {
    let mut text = format!(
        "  {} {DIM}[{}]{RESET}\n  at instruction {}",
        rejection.code.title(),
        rejection.code,
        rejection.slot
    );
    let mut line = |start: &str, rest: &str| {
        text.push_str(start);
        text.push_str(rest);
    };
    if !rejection.instruction.is_empty() {
        line(": ", &rejection.instruction);
    }
    if let Some(source) = &rejection.source {
        let place = format!("{}:{}:{}", source.file, source.line, source.column);
        line("\n  ", &place);
        line("\n      ", source.text.trim());
    }
    for call in rejection.calls.iter().rev() {
        line("\n  called from instruction ", &call.to_string());
    }
    line("\n  needed: ", &rejection.needed);
    line("\n  known:  ", &rejection.known);
    if !rejection.state.is_empty() {
        line("\n  ", &format!("{DIM}state:  {}{RESET}", rejection.state));
    }
    if let Some(refuted) = &rejection.refuted {
        line("\n  solver: ", &refuted.to_string());
    }
    line("\n", "");
    text
}

/// Prints why a program is not run, to stderr.
pub(crate) fn print_rejection(program: &Program, rejection: &Rejection) {
    let (section, name) = (&program.section, &program.name);
    let text = rejection_text(rejection);
    to_stderr(format_args!(
        "{BAD}rejected{RESET} {section}/{name}\n{text}"
    ));
}

/// Prints a value as JSON and a line's end, to stdout.
pub(crate) fn print(value: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(value)?;
    to_stdout(|out| writeln!(out, "{text}"))
}

/// Writes to stdout, with colours if it is a terminal. A reader that went away is no error.
pub(crate) fn to_stdout(
    write: impl FnOnce(&mut anstream::AutoStream<io::StdoutLock<'static>>) -> io::Result<()>,
) -> anyhow::Result<()> {
    let mut out = anstream::stdout().lock();
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Unwritable(error).into()),
        _ => Ok(()),
    }
}

/// Writes to stderr, with colours if it is a terminal. Where that cannot be written, there is
/// nobody to tell.
pub(crate) fn to_stderr(text: fmt::Arguments<'_>) {
    let _ = anstream::stderr().lock().write_fmt(text);
}
