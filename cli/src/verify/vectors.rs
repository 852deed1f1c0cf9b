//! Verdicts for verifier tests given as raw instructions.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bpftime_loader::TargetTypes;
use bpftime_loader::vectors::{self, Expected, Vector};
use bpftime_verifier::Code;
use serde::Serialize;

use super::refine::Judge;
use crate::exit::{Exit, Unreadable};
use crate::report;

/// What is said of a test.
#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    name: &'a str,
    expected: Option<&'static str>,
    verdict: &'static str,
    code: Option<&'static str>,
    message: String,
}

/// Tests by what is expected and by what was found.
#[derive(Default)]
struct Counts {
    agreed: [usize; 2],
    /// Accepted, but expected to be rejected.
    unsound: usize,
    /// Not accepted, but expected to be.
    missed: usize,
    unsupported: usize,
    unknown: usize,
    internal: usize,
}

/// Judges all tests of files.
pub(super) fn run(
    files: &[PathBuf],
    types: &TargetTypes,
    rules: &Judge<'_>,
) -> anyhow::Result<Exit> {
    let mut counts = Counts::default();
    for file in files {
        judge_file(file, types, rules, &mut counts)?;
    }
    let [accepted, rejected] = counts.agreed;
    let total = accepted + rejected + counts.unsound + counts.missed + counts.unknown;
    report::to_stderr(format_args!(
        "{total} tests: {accepted} accepted and {rejected} rejected as expected, {} accepted that \
         are expected to be rejected, {} not accepted that are expected to be, {} without an \
         expectation; {} of all are unsupported\n",
        counts.unsound, counts.missed, counts.unknown, counts.unsupported
    ));
    Ok(if counts.internal > 0 {
        Exit::Internal
    } else if counts.unsound + counts.missed > 0 {
        Exit::Rejected
    } else {
        Exit::Accepted
    })
}

fn judge_file(
    path: &Path,
    types: &TargetTypes,
    rules: &Judge<'_>,
    counts: &mut Counts,
) -> anyhow::Result<()> {
    let vectors = vectors::read(path)
        .with_context(|| format!("cannot read {}", path.display()))
        .map_err(Unreadable::mark)?;
    // Line by line, so that a reader sees how far it is.
    for mut vector in vectors {
        if let Ok(program) = &mut vector.program {
            types.describe(program);
        }
        let (file, name, expected) = (vector.file.clone(), vector.name.clone(), vector.expected);
        let (verdict, code, message) = judge(vector, rules, counts);
        let expected_accepted = expected.map(|expected| expected == Expected::Accepted);
        let accepted = verdict == "accepted";
        match expected_accepted {
            None => counts.unknown += 1,
            Some(wanted) if wanted == accepted => counts.agreed[usize::from(!wanted)] += 1,
            Some(true) => counts.missed += 1,
            Some(false) => counts.unsound += 1,
        }
        let line = serde_json::to_string(&Line {
            file: &file,
            name: &name,
            expected: expected_accepted.map(word),
            verdict,
            code,
            message,
        })?;
        report::to_stdout(|out| writeln!(out, "{line}"))?;
    }
    Ok(())
}

fn word(accepted: bool) -> &'static str {
    if accepted { "accepted" } else { "rejected" }
}

fn judge(
    vector: Vector,
    rules: &Judge<'_>,
    counts: &mut Counts,
) -> (&'static str, Option<&'static str>, String) {
    let program = match vector.program {
        Ok(program) => program,
        Err(why) => {
            counts.unsupported += 1;
            return ("unsupported", None, why.to_string());
        }
    };
    let Err(rejection) = rules.verify(program) else {
        return ("accepted", None, String::new());
    };
    let verdict = if rejection.code == Code::ProgramType {
        counts.unsupported += 1;
        "unsupported"
    } else {
        "rejected"
    };
    counts.internal += usize::from(rejection.code == Code::Internal);
    let message = format!(
        "at instruction {}: needed {}; known {}",
        rejection.slot, rejection.needed, rejection.known
    );
    (verdict, Some(rejection.code.as_str()), message)
}
