//! Verdicts as text and as JSON.

use std::fmt;
use std::io::{self, Write as _};
use std::time::Duration;

use anstyle::{AnsiColor, Reset, Style};
use bpftime_isa::{AttachType, ProgType, Program, helper};
use bpftime_verifier::refine::{Answer, Refuted};
use bpftime_verifier::{Facts, Rejection};
use serde::Serialize;

use crate::exit::Unwritable;

/// Of what is in order.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();
/// Of what is not.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Of what is beside the point.
pub(crate) const DIM: Style = Style::new().dimmed();
/// Ends a style.
pub(crate) const RESET: Reset = Reset;

/// Version of the JSON form; raised when a field changes its meaning or goes.
const JSON_VERSION: u32 = 1;

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
    pub(crate) verdict: Verdict,
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

/// Prints verdicts for programs, to stdout.
pub(crate) fn print_json(files: &[FileReport]) -> anyhow::Result<()> {
    let files = files.iter().map(JsonFile::from).collect();
    print(&JsonReport {
        version: JSON_VERSION,
        files,
    })
}

/// Prints an object for each program, and for each file without any, on a line of its own.
pub(crate) fn print_json_lines(files: &[FileReport]) -> anyhow::Result<()> {
    for file in files {
        let mut lines = Vec::new();
        if let Some(error) = &file.error {
            lines.push(serde_json::to_string(&JsonLine {
                file: &file.file,
                error: Some(error),
                program: None,
            })?);
        }
        for program in &file.programs {
            lines.push(serde_json::to_string(&JsonLine {
                file: &file.file,
                error: None,
                program: Some(JsonProgram::from(program)),
            })?);
        }
        to_stdout(|out| lines.iter().try_for_each(|line| writeln!(out, "{line}")))?;
    }
    Ok(())
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

#[derive(Serialize)]
struct JsonReport<'a> {
    version: u32,
    files: Vec<JsonFile<'a>>,
}

#[derive(Serialize)]
struct JsonFile<'a> {
    file: &'a str,
    error: Option<&'a str>,
    programs: Vec<JsonProgram<'a>>,
}

#[derive(Serialize)]
struct JsonLine<'a> {
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(flatten)]
    program: Option<JsonProgram<'a>>,
}

#[derive(Serialize)]
struct JsonProgram<'a> {
    section: &'a str,
    name: &'a str,
    #[serde(rename = "type")]
    prog_type: &'a str,
    type_from: &'static str,
    instructions: usize,
    verdict: &'static str,
    duration_us: u128,
    memory_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<JsonFacts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rejection: Option<JsonRejection<'a>>,
}

#[derive(Serialize)]
struct JsonFacts {
    /// `null`: no fixed bound.
    max_executed_instructions: Option<u64>,
    max_stack_bytes: u32,
    reached_instructions: usize,
    /// Of instructions that no run executes.
    unreached_slots: Vec<u32>,
    /// Abstract instruction steps of the analysis.
    steps: u64,
    peak_states: usize,
    helpers: Vec<String>,
    needs_cpu: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    refinement: Option<JsonRefinement>,
}

/// What the verdict needed a solver for.
#[derive(Serialize)]
struct JsonRefinement {
    solver: String,
    proved: Vec<JsonProved>,
}

#[derive(Serialize)]
struct JsonProved {
    slot: u32,
    fact: String,
}

/// What a solver said.
#[derive(Serialize)]
struct JsonRefuted<'a> {
    solver: &'a str,
    fact: &'a str,
    /// `refuted` or `unknown`.
    answer: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    /// A run in which the fact does not hold: what the program is given, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<JsonInput>,
}

#[derive(Serialize)]
struct JsonInput {
    slot: u32,
    origin: String,
    value: u64,
}

#[derive(Serialize)]
struct JsonRejection<'a> {
    code: &'static str,
    title: &'static str,
    slot: u32,
    instruction: &'a str,
    source: Option<JsonSource<'a>>,
    needed: &'a str,
    known: &'a str,
    calls: &'a [u32],
    state: &'a str,
    errno: &'static str,
    kernel_log: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refuted: Option<JsonRefuted<'a>>,
}

#[derive(Serialize)]
struct JsonSource<'a> {
    file: &'a str,
    line: u32,
    column: u32,
    text: &'a str,
}

impl<'a> From<&'a FileReport> for JsonFile<'a> {
    fn from(file: &'a FileReport) -> Self {
        Self {
            file: &file.file,
            error: file.error.as_deref(),
            programs: file.programs.iter().map(JsonProgram::from).collect(),
        }
    }
}

impl<'a> From<&'a ProgramReport> for JsonProgram<'a> {
    fn from(program: &'a ProgramReport) -> Self {
        let mut json = Self {
            section: &program.section,
            name: &program.name,
            prog_type: program.prog_type.name(),
            type_from: program.type_from.as_str(),
            instructions: program.instructions,
            verdict: "accepted",
            duration_us: program.measured.time.as_micros(),
            memory_bytes: program.measured.memory,
            error: None,
            facts: None,
            rejection: None,
        };
        match &program.verdict {
            Verdict::Accepted(facts) => json.facts = Some(JsonFacts::new(program, facts)),
            Verdict::Rejected(rejection) => {
                json.verdict = "rejected";
                json.rejection = Some(JsonRejection::from(rejection.as_ref()));
            }
            Verdict::Unreadable(why) => {
                json.verdict = "unreadable";
                json.error = Some(why);
            }
        }
        json
    }
}

impl JsonFacts {
    fn new(program: &ProgramReport, facts: &Facts) -> Self {
        let name = |number: &u32| match helper::proto(*number) {
            Some(proto) => format!("bpf_{}", proto.name),
            None => number.to_string(),
        };
        Self {
            max_executed_instructions: facts.max_insns,
            max_stack_bytes: facts.max_stack,
            reached_instructions: facts.reached_count(),
            unreached_slots: program.unreached.clone(),
            steps: facts.cost.steps,
            peak_states: facts.cost.peak_states,
            helpers: facts.helpers.iter().map(name).collect(),
            needs_cpu: facts.needs_cpu,
            refinement: facts.refinement.as_ref().map(|refinement| {
                let proved = refinement.proved.iter().map(|(slot, fact)| JsonProved {
                    slot: *slot,
                    fact: fact.clone(),
                });
                JsonRefinement {
                    solver: refinement.solver.clone(),
                    proved: proved.collect(),
                }
            }),
        }
    }
}

impl<'a> From<&'a Rejection> for JsonRejection<'a> {
    fn from(rejection: &'a Rejection) -> Self {
        Self {
            code: rejection.code.as_str(),
            title: rejection.code.title(),
            slot: rejection.slot,
            instruction: &rejection.instruction,
            source: rejection.source.as_ref().map(|line| JsonSource {
                file: &line.file,
                line: line.line,
                column: line.column,
                text: &line.text,
            }),
            needed: &rejection.needed,
            known: &rejection.known,
            calls: &rejection.calls,
            state: &rejection.state,
            errno: rejection.errno().name(),
            kernel_log: rejection.kernel_log(),
            refuted: rejection.refuted.as_ref().map(JsonRefuted::from),
        }
    }
}

impl<'a> From<&'a Refuted> for JsonRefuted<'a> {
    fn from(refuted: &'a Refuted) -> Self {
        let (answer, why, witness) = match &refuted.answer {
            Answer::Refuted(witness) => ("refuted", None, Some(witness)),
            Answer::Unknown(why) => ("unknown", Some(why.as_str()), None),
            Answer::Proved => ("proved", None, None),
        };
        let inputs = witness.iter().flat_map(|witness| &witness.inputs);
        Self {
            solver: &refuted.solver,
            fact: &refuted.fact,
            answer,
            why,
            inputs: inputs
                .map(|input| JsonInput {
                    slot: input.slot,
                    origin: input.origin.to_string(),
                    value: input.value,
                })
                .collect(),
        }
    }
}
