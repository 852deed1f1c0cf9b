//! Results of `bpftime run` as text and as JSON.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use bpftime_isa::ProgType;
use serde::Serialize;

use crate::report::{DIM, RESET};

/// Inputs that are listed one by one; more are summed up.
const LISTED: usize = 24;

/// Version of the JSON form; raised when a field changes its meaning or goes.
const JSON_VERSION: u32 = 1;

/// What came out of a program.
pub(crate) struct RunReport {
    pub(crate) section: String,
    pub(crate) name: String,
    pub(crate) prog_type: ProgType,
    pub(crate) engine: String,
    /// Runs on each input.
    pub(crate) repeat: u32,
    /// Time to make machine code, if it was made.
    pub(crate) compile: Option<Duration>,
    /// By input.
    pub(crate) outcomes: Vec<Outcome>,
}

/// What came out for one input.
pub(crate) struct Outcome {
    /// Bytes of the input.
    pub(crate) bytes: usize,
    /// `r0` of the last run.
    pub(crate) value: u64,
    /// Whether the program wrote to the input.
    pub(crate) changed: bool,
    /// Of all runs.
    pub(crate) time: Duration,
}

impl RunReport {
    fn nanoseconds(&self, outcome: &Outcome) -> f64 {
        outcome.time.as_nanos() as f64 / f64::from(self.repeat)
    }

    /// The return value as the program means it: 32 bits for kernel types.
    fn returned(&self, value: u64) -> u64 {
        match self.prog_type {
            ProgType::Memory => value,
            _ => u64::from(value as u32),
        }
    }

    fn meaning(&self, value: u64) -> Option<&'static str> {
        const XDP: [&str; 5] = [
            "XDP_ABORTED",
            "XDP_DROP",
            "XDP_PASS",
            "XDP_TX",
            "XDP_REDIRECT",
        ];
        match self.prog_type {
            ProgType::Xdp => XDP
                .get(usize::try_from(self.returned(value)).ok()?)
                .copied(),
            _ => None,
        }
    }

    fn value_text(&self, value: u64) -> String {
        let returned = self.returned(value);
        match self.meaning(value) {
            Some(meaning) => format!("{returned} {meaning}"),
            None => returned.to_string(),
        }
    }
}

/// Writes the results for people.
pub(crate) fn write_text(out: &mut impl io::Write, report: &RunReport) -> io::Result<()> {
    let runs = match report.repeat {
        1 => "1 run".to_owned(),
        repeat => format!("{repeat} runs each"),
    };
    writeln!(
        out,
        "{}/{}: {}, {}, {runs}",
        report.section,
        report.name,
        report.prog_type.name(),
        report.engine
    )?;
    if let Some(compile) = report.compile {
        writeln!(
            out,
            "{DIM}compiled in {:.1} ms{RESET}",
            compile.as_secs_f64() * 1e3
        )?;
    }
    writeln!(
        out,
        "{:>6} {:>7} {:>12}  returned",
        "input", "bytes", "ns per run"
    )?;
    for (index, outcome) in report.outcomes.iter().enumerate().take(LISTED) {
        writeln!(
            out,
            "{:>6} {:>7} {:>12.1}  {}{}",
            index + 1,
            outcome.bytes,
            report.nanoseconds(outcome),
            report.value_text(outcome.value),
            if outcome.changed {
                ", input changed"
            } else {
                ""
            }
        )?;
    }
    if let Some(more) = report
        .outcomes
        .len()
        .checked_sub(LISTED)
        .filter(|more| *more > 0)
    {
        writeln!(out, "{:>6} {more} more", "...")?;
    }
    if report.outcomes.len() > 1 {
        write_sums(out, report)?;
    }
    Ok(())
}

fn write_sums(out: &mut impl io::Write, report: &RunReport) -> io::Result<()> {
    let mut counts: BTreeMap<u64, usize> = BTreeMap::new();
    for outcome in &report.outcomes {
        *counts.entry(outcome.value).or_default() += 1;
    }
    let counts: Vec<String> = counts
        .iter()
        .map(|(value, count)| format!("{count} x {}", report.value_text(*value)))
        .collect();
    let total: f64 = report.outcomes.iter().map(|o| report.nanoseconds(o)).sum();
    let bytes: usize = report.outcomes.iter().map(|outcome| outcome.bytes).sum();
    writeln!(
        out,
        "{:>6} {bytes:>7} {:>12.1}  {}",
        "all",
        total / report.outcomes.len() as f64,
        counts.join(", ")
    )?;
    Ok(())
}

#[derive(Serialize)]
struct JsonReport<'a> {
    version: u32,
    section: &'a str,
    name: &'a str,
    #[serde(rename = "type")]
    prog_type: &'static str,
    engine: &'a str,
    repeat: u32,
    compile_ns: Option<u64>,
    runs: Vec<JsonRun>,
}

#[derive(Serialize)]
struct JsonRun {
    input_bytes: usize,
    return_value: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    meaning: Option<&'static str>,
    input_changed: bool,
    ns_per_run: f64,
}

/// Prints the results for programs, to stdout.
pub(crate) fn print_json(report: &RunReport) -> anyhow::Result<()> {
    let runs = report.outcomes.iter().map(|outcome| JsonRun {
        input_bytes: outcome.bytes,
        return_value: report.returned(outcome.value),
        meaning: report.meaning(outcome.value),
        input_changed: outcome.changed,
        ns_per_run: report.nanoseconds(outcome),
    });
    crate::report::print(&JsonReport {
        version: JSON_VERSION,
        section: &report.section,
        name: &report.name,
        prog_type: report.prog_type.name(),
        engine: &report.engine,
        repeat: report.repeat,
        compile_ns: report.compile.map(|time| time.as_nanos() as u64),
        runs: runs.collect(),
    })
}
