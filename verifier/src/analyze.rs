//! From a program to a verdict.

use bpftime_isa::{Program, decode};

use crate::{Code, Options, Rejection, VerifiedProgram};

/// Judges a program.
///
/// # Errors
///
/// A [`Rejection`] says which instruction is not proved safe, what it needs and what is known.
/// What this version cannot analyse it rejects.
pub fn verify(program: Program, options: &Options) -> Result<VerifiedProgram, Box<Rejection>> {
    if program.insns.is_empty() || program.insns.len() > options.budget.max_slots {
        return Err(early(
            Code::ProgramSize,
            0,
            format!("between 1 and {} slots", options.budget.max_slots),
            format!("{} slots", program.insns.len()),
        ));
    }
    match decode(&program.insns) {
        Err(error) => Err(early(
            Code::Decode,
            0,
            "instructions of RFC 9669 and Linux 6.18".into(),
            error.to_string(),
        )),
        Ok(instructions) => Err(early(
            Code::UnsupportedInstruction,
            instructions.first().map_or(0, |first| first.slot),
            "a program that this version analyses".into(),
            "no analysis".into(),
        )),
    }
}

fn early(code: Code, slot: u32, needed: String, known: String) -> Box<Rejection> {
    Box::new(Rejection {
        code,
        slot,
        instruction: String::new(),
        source: None,
        kernel_message: known.clone(),
        needed,
        known,
        calls: Vec::new(),
        state: String::new(),
        steps: 0,
    })
}
