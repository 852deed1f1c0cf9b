//! From slots to instructions.
//!
//! Decoding is strict: a slot is accepted only if the interpreter, the JIT and Linux 6.18 agree
//! on what it means. Fields that an instruction does not use must be zero, as the kernel asks, so
//! [`crate::encode()`] gives back exactly the slots that were decoded.

mod slot;

use crate::{Insn, Instruction};
use slot::decode_slot;

/// An instruction and where it stands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Decoded {
    /// Index of its first slot.
    pub slot: u32,
    /// The instruction.
    pub insn: Instruction,
}

/// A field of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Field {
    /// The opcode.
    Opcode,
    /// Destination register.
    Dst,
    /// Source register.
    Src,
    /// Offset.
    Off,
    /// Immediate.
    Imm,
}

impl core::fmt::Display for Field {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Opcode => "opcode",
            Self::Dst => "dst",
            Self::Src => "src",
            Self::Off => "off",
            Self::Imm => "imm",
        })
    }
}

/// Why a slot is not an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum DecodeError {
    /// No instruction has this opcode.
    #[error("instruction {slot}: no instruction has opcode {opcode:#04x}")]
    UnknownOpcode {
        /// Where.
        slot: u32,
        /// The opcode.
        opcode: u8,
    },
    /// A register number above 10.
    #[error("instruction {slot}: {field} register is r{value}, but there are only r0 to r10")]
    BadRegister {
        /// Where.
        slot: u32,
        /// [`Field::Dst`] or [`Field::Src`].
        field: Field,
        /// The number.
        value: u8,
    },
    /// A field that the instruction does not use is not zero.
    #[error(
        "instruction {slot} (opcode {opcode:#04x}): reserved field {field} must be 0, not {value}"
    )]
    ReservedField {
        /// Where.
        slot: u32,
        /// The instruction's opcode.
        opcode: u8,
        /// The field.
        field: Field,
        /// What it holds.
        value: i64,
    },
    /// A field that selects a variant of the instruction holds none that exists.
    #[error("instruction {slot} (opcode {opcode:#04x}): no such variant: {field} is {value:#x}")]
    UnknownVariant {
        /// Where.
        slot: u32,
        /// The instruction's opcode.
        opcode: u8,
        /// The field.
        field: Field,
        /// What it holds.
        value: i64,
    },
    /// A 64-bit immediate load in the last slot.
    #[error(
        "instruction {slot}: a 64-bit immediate load takes two slots, but the program ends here"
    )]
    MissingSecondSlot {
        /// Where the first half is.
        slot: u32,
    },
    /// The slot after the first half of a 64-bit immediate load is not a second half.
    #[error(
        "instruction {slot}: second slot of the 64-bit immediate load must have {field} 0, not {value}"
    )]
    BadSecondSlot {
        /// Where the second half is.
        slot: u32,
        /// The field.
        field: Field,
        /// What it holds.
        value: i64,
    },
    /// Opcode 0: the second half of a 64-bit immediate load, without its first half.
    #[error("instruction {slot}: second half of a 64-bit immediate load without its first half")]
    LoneSecondSlot {
        /// Where.
        slot: u32,
    },
    /// There is no such slot.
    #[error("instruction {slot} is outside the program of {len} slots")]
    OutOfRange {
        /// The slot asked for.
        slot: u32,
        /// Slots of the program.
        len: usize,
    },
    /// More slots than a slot number can count.
    #[error("program of {len} slots is too long")]
    TooLong {
        /// Slots of the program.
        len: usize,
    },
}

impl DecodeError {
    /// The slot that the error is about.
    pub const fn slot(&self) -> u32 {
        match *self {
            Self::UnknownOpcode { slot, .. }
            | Self::BadRegister { slot, .. }
            | Self::ReservedField { slot, .. }
            | Self::UnknownVariant { slot, .. }
            | Self::MissingSecondSlot { slot }
            | Self::BadSecondSlot { slot, .. }
            | Self::LoneSecondSlot { slot }
            | Self::OutOfRange { slot, .. } => slot,
            Self::TooLong { .. } => 0,
        }
    }
}

/// Decodes a program from its first slot to its last.
///
/// # Errors
///
/// The first slot, in order, that is not an instruction.
pub fn decode(insns: &[Insn]) -> Result<Vec<Decoded>, DecodeError> {
    if u32::try_from(insns.len()).is_err() {
        return Err(DecodeError::TooLong { len: insns.len() });
    }
    let mut decoded = Vec::with_capacity(insns.len());
    let mut rest = insns;
    let mut slot = 0u32;
    while let Some((&first, after)) = rest.split_first() {
        let insn = decode_slot(first, after.first(), slot)?;
        decoded.push(Decoded { slot, insn });
        // Only an instruction that found its second slot takes two.
        let taken = insn.slots();
        slot += taken as u32;
        rest = rest.get(taken..).unwrap_or_default();
    }
    Ok(decoded)
}

/// Decodes the instruction that begins at `slot`.
///
/// # Errors
///
/// [`DecodeError::OutOfRange`] if there is no such slot; else as [`decode`].
pub fn decode_one(insns: &[Insn], slot: u32) -> Result<Instruction, DecodeError> {
    let out_of_range = DecodeError::OutOfRange {
        slot,
        len: insns.len(),
    };
    let rest = insns.get(slot as usize..).ok_or(out_of_range)?;
    let (&first, after) = rest.split_first().ok_or(out_of_range)?;
    decode_slot(first, after.first(), slot)
}
