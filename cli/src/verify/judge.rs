//! Verdicts for the programs of an object file, and what they cost.

use std::time::Instant;

use bpftime_isa::{ProgType, Reg, section};
use bpftime_loader::{Environment, UnverifiedProgram};
use bpftime_verifier::VerifiedProgram;

use super::refine::Judge;
use super::walk::Found;
use crate::MEMORY;
use crate::report::{FileReport, KnownAt, Measured, ProgramReport, TypeFrom, Verdict};
use crate::source::{self, Selection};

/// Judges all programs of a file that are meant.
pub(super) fn file(
    found: &Found,
    environment: &Environment,
    selection: &Selection,
    rules: &Judge<'_>,
) -> FileReport {
    let mut report = FileReport {
        file: found.path.display().to_string(),
        error: found.error.clone(),
        programs: Vec::new(),
    };
    if report.error.is_some() {
        return report;
    }
    let object = match source::read_object(&found.path, environment) {
        Ok(object) => object,
        Err(error) => {
            report.error = Some(format!("{error:#}"));
            return report;
        }
    };
    let refused = object
        .refused()
        .iter()
        .filter(|program| selection.takes(&program.name, &program.section))
        .map(|program| ProgramReport {
            section: program.section.clone(),
            name: program.name.clone(),
            prog_type: ProgType::Unspec,
            type_from: TypeFrom::Section,
            attach_type: None,
            instructions: 0,
            measured: Measured::default(),
            unreached: Vec::new(),
            known: Vec::new(),
            verdict: Verdict::Unreadable(program.error.to_string()),
        });
    report.programs.extend(refused);
    report.programs.extend(
        object
            .into_programs()
            .into_iter()
            .filter(|program| selection.takes(&program.name, &program.section))
            .map(|program| judge(program, found, selection, rules)),
    );
    if let (true, Some(wanted)) = (report.programs.is_empty(), &selection.program) {
        // In a folder, files without the program are not of interest.
        report.error = (!found.in_folder)
            .then(|| format!("{} has no program `{wanted}`", found.path.display()));
    }
    report
}

/// Slots of instructions that no run executes.
fn unreached(verified: &VerifiedProgram) -> Vec<u32> {
    let instructions = verified.instructions().iter();
    instructions
        .zip(&verified.facts().reached)
        .filter(|(_, reached)| !**reached)
        .flat_map(|(decoded, _)| decoded.slot..decoded.slot + decoded.insn.slots() as u32)
        .collect()
}

/// What is known at each instruction; nothing if it was not recorded.
fn known(verified: &VerifiedProgram) -> Vec<KnownAt> {
    let operands = &verified.facts().operands;
    if operands.is_empty() {
        return Vec::new();
    }
    let reached = verified.instructions().iter().enumerate();
    let reached = reached.filter(|(index, _)| verified.facts().reached.get(*index) == Some(&true));
    reached
        .map(|(index, decoded)| KnownAt {
            slot: decoded.slot,
            instruction: decoded.insn.to_string(),
            reads: Reg::ALL
                .into_iter()
                .filter_map(|reg| Some((reg, operands.get(index, reg)?.to_string())))
                .collect(),
        })
        .collect()
}

fn judge(
    program: UnverifiedProgram,
    found: &Found,
    selection: &Selection,
    rules: &Judge<'_>,
) -> ProgramReport {
    let mut program = program.into_program();
    let mut type_from = TypeFrom::Section;
    if program.prog_type == ProgType::Unspec {
        program.prog_type = selection.type_or(ProgType::Unspec);
        type_from = TypeFrom::Argument;
    }
    if program.prog_type == ProgType::Unspec && found.in_folder {
        let stem = found.path.file_stem().unwrap_or_default();
        program.prog_type = section::guess(&stem.to_string_lossy(), &program.section);
        type_from = TypeFrom::Guess;
    }
    let mut report = ProgramReport {
        section: program.section.clone(),
        name: program.name.clone(),
        prog_type: program.prog_type,
        type_from,
        attach_type: program.attach_type,
        instructions: program.insns.len(),
        measured: Measured::default(),
        unreached: Vec::new(),
        known: Vec::new(),
        verdict: Verdict::Unreadable(
            "the section's name tells no program type; give --type".to_owned(),
        ),
    };
    if program.prog_type == ProgType::Unspec {
        return report;
    }
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let start = Instant::now();
    let judged = rules.verify(program);
    report.measured = Measured {
        time: start.elapsed(),
        memory: MEMORY.peak_usage().saturating_sub(before),
    };
    report.verdict = match judged {
        Ok(verified) => {
            report.unreached = unreached(&verified);
            report.known = known(&verified);
            Verdict::Accepted(Box::new(verified.facts().clone()))
        }
        Err(rejection) => Verdict::Rejected(rejection),
    };
    report
}
