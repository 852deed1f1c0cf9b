//! Assembler: instructions from text, in either of two notations, line by line.
//!
//! - that of LLVM, which `llvm-objdump -d` and [`crate::Instruction`]'s `Display` print, with the
//!   kernel log's variants: `r0 = *(u32 *)(r1 + 0x4)`, `if w1 s> -0x1 goto +0x3`, `goto pc+3`
//! - that of ubpf and bpf_conformance: `mov32 %r0, 0`, `ldxdw %r0, [%r10-8]`, `jne %r0, %r1, out`
//!
//! A target is a distance in slots (`+3`, `pc+3`) or a label, defined as `label:`; in the second
//! notation `exit` as a target is the last `exit` of the text unless such a label is defined.
//! Comments begin with `#`, `//` or `;`. The slot numbers, opcodes and bytes that begin the lines of
//! a dump or of a kernel log are skipped.
//!
//! ```
//! use bpftime_isa::{asm, decode};
//!
//! let slots = asm::parse(
//!     "r0 = 0x0
//!      if r2 == 0x0 goto out
//!      ldxb %r0, [%r1+0]
//!      out: exit",
//! )?;
//! let text: Vec<String> = decode(&slots)?.iter().map(|d| d.insn.to_string()).collect();
//! assert_eq!(text[1], "if r2 == 0x0 goto +0x1");
//! assert_eq!(text[2], "w0 = *(u8 *)(r1 + 0x0)");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cursor;
mod error;
mod llvm;
mod mnemonic;
mod token;
mod value;

use std::collections::HashMap;

use crate::{CallTarget, Imm64, Insn, Instruction, encode};
use cursor::Cursor;
pub use error::{AsmError, AsmErrorKind};

/// A line of code: an instruction, and the label that its distance is to be computed from.
struct Parsed<'a> {
    insn: Instruction,
    label: Option<&'a str>,
}

impl From<Instruction> for Parsed<'_> {
    fn from(insn: Instruction) -> Self {
        Self { insn, label: None }
    }
}

/// Where a jump goes.
#[derive(Clone, Copy)]
enum Target<'a> {
    Delta(i64),
    Label(&'a str),
}

/// An instruction with its place.
struct Placed<'a> {
    parsed: Parsed<'a>,
    slot: i64,
    line: u32,
}

/// Assembles a text. The result is what [`crate::decode()`] accepts.
///
/// # Errors
///
/// The first thing, in order of lines, that cannot be understood; then the first label that is
/// not defined or too far away.
pub fn parse(text: &str) -> Result<Vec<Insn>, AsmError> {
    Ok(encode(&parse_instructions(text)?))
}

/// As [`parse`], before encoding.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_instructions(text: &str) -> Result<Vec<Instruction>, AsmError> {
    let mut labels: HashMap<&str, i64> = HashMap::new();
    let mut placed: Vec<Placed<'_>> = Vec::new();
    let mut last_exit = None;
    let mut slot = 0i64;
    for (line, text) in (1..).zip(text.lines()) {
        let mut cursor = Cursor::new(text, line)?;
        while let Some(name) = cursor.label() {
            if labels.insert(name, slot).is_some() {
                return Err(cursor.error(AsmErrorKind::DuplicateLabel(name.to_owned())));
            }
        }
        if cursor.at_end() {
            continue;
        }
        let parsed = instruction(&mut cursor)?;
        cursor.end()?;
        if parsed.insn == Instruction::Exit {
            last_exit = Some(slot);
        }
        let slots = parsed.insn.slots();
        placed.push(Placed { parsed, slot, line });
        slot += slots as i64;
    }
    if let Some(slot) = last_exit {
        labels.entry("exit").or_insert(slot);
    }
    placed
        .into_iter()
        .map(|placed| resolve(placed, &labels))
        .collect()
}

fn instruction<'a>(cursor: &mut Cursor<'a>) -> Result<Parsed<'a>, AsmError> {
    match mnemonic::instruction(cursor)? {
        Some(parsed) => Ok(parsed),
        None => llvm::instruction(cursor),
    }
}

fn resolve(placed: Placed<'_>, labels: &HashMap<&str, i64>) -> Result<Instruction, AsmError> {
    let Placed { parsed, slot, line } = placed;
    let Some(name) = parsed.label else {
        return Ok(parsed.insn);
    };
    let error = |kind| AsmError {
        line,
        column: 0,
        kind,
    };
    let target = labels
        .get(name)
        .ok_or_else(|| error(AsmErrorKind::UndefinedLabel(name.to_owned())))?;
    let mut insn = parsed.insn;
    set_delta(&mut insn, target - (slot + 1)).map_err(error)?;
    Ok(insn)
}

/// Sets the distance of an instruction that has one.
fn set_delta(insn: &mut Instruction, distance: i64) -> Result<(), AsmErrorKind> {
    let too_far = || AsmErrorKind::TooFar(distance);
    let short = || i16::try_from(distance).map_err(|_| too_far());
    let long = || i32::try_from(distance).map_err(|_| too_far());
    match insn {
        Instruction::Jump { long: false, delta } => *delta = short()?.into(),
        Instruction::Jump { long: true, delta }
        | Instruction::Call(CallTarget::Local(delta))
        | Instruction::LoadImm64 {
            value: Imm64::Func { delta },
            ..
        } => *delta = long()?,
        Instruction::Branch { delta, .. } | Instruction::MayGoto { delta } => *delta = short()?,
        _ => {}
    }
    Ok(())
}

/// An instruction with its target filled in, as far as it is known now.
fn targeted<'a>(
    mut insn: Instruction,
    target: Target<'a>,
    cursor: &Cursor<'a>,
) -> Result<Parsed<'a>, AsmError> {
    let label = match target {
        Target::Label(name) => Some(name),
        Target::Delta(delta) => {
            set_delta(&mut insn, delta).map_err(|kind| cursor.error(kind))?;
            None
        }
    };
    Ok(Parsed { insn, label })
}
