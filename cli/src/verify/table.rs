//! Verdicts as rows: CSV with veristat's columns, and a table for people.

use std::io::{self, Write};

use bpftime_isa::AttachType;
use bpftime_verifier::Facts;

use crate::report::{BAD, DIM, FileReport, GOOD, ProgramReport, RESET, Verdict};

/// Columns of `veristat --output-format csv`, in its order, then ours.
const COLUMNS: [&str; 21] = [
    "file_name",
    "prog_name",
    "verdict",
    "duration",
    "total_insns",
    "total_states",
    "peak_states",
    "max_states_per_insn",
    "max_mark_read_len",
    "prog_size",
    "prog_size_jited",
    "prog_type",
    "attach_type",
    "stack_depth",
    "mem_peak",
    "section",
    "type_from",
    "code",
    "slot",
    "insns_reached",
    "mem_peak_bytes",
];

/// Writes a file's rows; a file that cannot be read has one, without a program.
pub(super) fn write_csv(
    out: &mut csv::Writer<impl Write>,
    reports: &[FileReport],
) -> anyhow::Result<()> {
    out.write_record(COLUMNS)?;
    for file in reports {
        if file.error.is_some() {
            let mut row = [""; COLUMNS.len()].map(str::to_owned);
            row[0].clone_from(&file.file);
            "failure".clone_into(&mut row[2]);
            "unreadable".clone_into(&mut row[17]);
            out.write_record(&row)?;
        }
        for program in &file.programs {
            out.write_record(row(&file.file, program))?;
        }
    }
    out.flush()?;
    Ok(())
}

fn row(file: &str, program: &ProgramReport) -> [String; COLUMNS.len()] {
    let facts = match &program.verdict {
        Verdict::Accepted(facts) => Some(&**facts),
        _ => None,
    };
    let of_facts = |number: fn(&Facts) -> String| facts.map(number).unwrap_or_default();
    let (steps, slot) = match &program.verdict {
        Verdict::Accepted(facts) => (facts.cost.steps.to_string(), String::new()),
        Verdict::Rejected(rejection) => (rejection.steps.to_string(), rejection.slot.to_string()),
        Verdict::Unreadable(_) => Default::default(),
    };
    let memory = program.measured.memory;
    [
        file.to_owned(),
        program.name.clone(),
        if facts.is_some() {
            "success"
        } else {
            "failure"
        }
        .to_owned(),
        program.measured.time.as_micros().to_string(),
        steps,
        String::new(),
        of_facts(|facts| facts.cost.peak_states.to_string()),
        String::new(),
        String::new(),
        program.instructions.to_string(),
        String::new(),
        program.prog_type.name().to_owned(),
        program
            .attach_type
            .and_then(AttachType::name)
            .unwrap_or_default()
            .to_owned(),
        of_facts(|facts| facts.max_stack.to_string()),
        memory.div_ceil(1 << 20).to_string(),
        program.section.clone(),
        program.type_from.as_str().to_owned(),
        code(program).to_owned(),
        slot,
        of_facts(|facts| facts.reached_count().to_string()),
        memory.to_string(),
    ]
}

/// Stable name of the reason; empty for accepted programs.
fn code(program: &ProgramReport) -> &str {
    match &program.verdict {
        Verdict::Accepted(_) => "",
        Verdict::Rejected(rejection) => rejection.code.as_str(),
        Verdict::Unreadable(_) => "unreadable",
    }
}

/// Writes a table for people.
pub(super) fn write_table(out: &mut impl Write, reports: &[FileReport]) -> io::Result<()> {
    let wide = reports
        .iter()
        .map(|file| file.file.len())
        .max()
        .unwrap_or(0)
        .min(60);
    let programs = reports.iter().flat_map(|file| &file.programs);
    let name_wide = programs
        .map(|program| program.name.len())
        .max()
        .unwrap_or(0)
        .min(40);
    writeln!(
        out,
        "{DIM}{:wide$}  {:name_wide$}  {:8}  {:>10}  {:>8}  {:>9}  {:>9}  code{RESET}",
        "file", "program", "verdict", "time (us)", "insns", "states", "KiB"
    )?;
    for file in reports {
        if let Some(error) = &file.error {
            writeln!(out, "{:wide$}  {BAD}unreadable{RESET} {error}", file.file)?;
        }
        for program in &file.programs {
            let (style, word, steps, states) = match &program.verdict {
                Verdict::Accepted(facts) => (
                    GOOD,
                    "accepted",
                    facts.cost.steps.to_string(),
                    facts.cost.peak_states.to_string(),
                ),
                Verdict::Rejected(rejection) => {
                    (BAD, "rejected", rejection.steps.to_string(), String::new())
                }
                Verdict::Unreadable(_) => (BAD, "no verdict", String::new(), String::new()),
            };
            writeln!(
                out,
                "{:wide$}  {:name_wide$}  {style}{word:8}{RESET}  {:>10}  {steps:>8}  \
                 {states:>9}  {:>9}  {}",
                file.file,
                program.name,
                program.measured.time.as_micros(),
                program.measured.memory.div_ceil(1024),
                code(program)
            )?;
        }
    }
    Ok(())
}
