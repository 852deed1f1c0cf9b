//! Verdicts as text and as JSON.

use std::io::Write as _;

use anstyle::{AnsiColor, Reset, Style};
use bpftime_isa::helper;
use bpftime_verifier::{Facts, Rejection};
use serde::Serialize;

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
    pub(crate) prog_type: &'static str,
    /// Slots.
    pub(crate) instructions: usize,
    pub(crate) verdict: Verdict,
}

/// The verdict of a program.
pub(crate) enum Verdict {
    Accepted(Facts),
    Rejected(Box<Rejection>),
    /// It cannot be judged, and why.
    Unreadable(String),
}

/// Prints verdicts for people, to stdout.
pub(crate) fn print_text(files: &[FileReport], log: bool) {
    for file in files {
        if let Some(error) = &file.error {
            anstream::eprintln!("{BAD}error:{RESET} {error}");
        }
        for program in &file.programs {
            let at = format!("{}: {}/{}", file.file, program.section, program.name);
            match &program.verdict {
                Verdict::Accepted(facts) => {
                    anstream::println!("{GOOD}accepted{RESET} {at}");
                    anstream::println!("{DIM}  {}{RESET}", summary(program, facts));
                }
                Verdict::Rejected(rejection) => {
                    anstream::println!("{BAD}rejected{RESET} {at}");
                    print_rejection(rejection);
                    if log {
                        for line in rejection.kernel_log().lines() {
                            anstream::println!("  {DIM}|{RESET} {line}");
                        }
                    }
                }
                Verdict::Unreadable(why) => {
                    anstream::println!("{BAD}unreadable{RESET} {at}");
                    anstream::println!("  {why}");
                }
            }
        }
    }
}

fn summary(program: &ProgramReport, facts: &Facts) -> String {
    let bound = match facts.max_insns {
        Some(count) => format!("at most {count} executed"),
        None => "no fixed bound on those executed".to_owned(),
    };
    format!(
        "{}, {} instructions, {bound}, {} bytes of stack",
        program.prog_type, program.instructions, facts.max_stack
    )
}

/// The fields of a rejection; the rendering by the verifier is for logs without colour.
pub(crate) fn print_rejection(rejection: &Rejection) {
    anstream::println!(
        "  {} {DIM}[{}]{RESET}",
        rejection.code.title(),
        rejection.code
    );
    if rejection.instruction.is_empty() {
        anstream::println!("  at instruction {}", rejection.slot);
    } else {
        anstream::println!(
            "  at instruction {}: {}",
            rejection.slot,
            rejection.instruction
        );
    }
    if let Some(line) = &rejection.source {
        anstream::println!("  {}:{}:{}", line.file, line.line, line.column);
        anstream::println!("      {}", line.text.trim());
    }
    for call in rejection.calls.iter().rev() {
        anstream::println!("  called from instruction {call}");
    }
    anstream::println!("  needed: {}", rejection.needed);
    anstream::println!("  known:  {}", rejection.known);
    if !rejection.state.is_empty() {
        anstream::println!("  {DIM}state:  {}{RESET}", rejection.state);
    }
}

/// Prints verdicts for programs, to stdout.
pub(crate) fn print_json(files: &[FileReport]) -> anyhow::Result<()> {
    let files = files.iter().map(JsonFile::from).collect();
    print(&JsonReport {
        version: JSON_VERSION,
        files,
    })
}

/// Prints a value as JSON and a line's end, to stdout.
pub(crate) fn print(value: &impl Serialize) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    Ok(())
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
struct JsonProgram<'a> {
    section: &'a str,
    name: &'a str,
    #[serde(rename = "type")]
    prog_type: &'a str,
    instructions: usize,
    verdict: &'static str,
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
    helpers: Vec<String>,
    needs_cpu: bool,
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
            prog_type: program.prog_type,
            instructions: program.instructions,
            verdict: "accepted",
            error: None,
            facts: None,
            rejection: None,
        };
        match &program.verdict {
            Verdict::Accepted(facts) => json.facts = Some(JsonFacts::from(facts)),
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

impl From<&Facts> for JsonFacts {
    fn from(facts: &Facts) -> Self {
        let name = |number: &u32| match helper::proto(*number) {
            Some(proto) => format!("bpf_{}", proto.name),
            None => number.to_string(),
        };
        Self {
            max_executed_instructions: facts.max_insns,
            max_stack_bytes: facts.max_stack,
            reached_instructions: facts.reached_count(),
            helpers: facts.helpers.iter().map(name).collect(),
            needs_cpu: facts.needs_cpu,
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
        }
    }
}
