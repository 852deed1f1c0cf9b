//! Writing a relocation's number into an instruction.

use bpftime_isa::Insn;

use super::CoreError;
use super::value::{Extension, Value};

/// Number of the helper that a poisoned instruction calls. No helper has it, so a program that
/// can reach the instruction is rejected, with a number that tells why. The same as libbpf's.
pub(super) const POISON: i32 = 195_896_080;

/// What is to be written.
#[derive(Debug)]
pub(super) enum Change {
    /// The target has no such thing: the instruction becomes one that may not be reached.
    Poison,
    /// A new number, and the one that the compiler should have written.
    Write { old: Option<Value>, new: Value },
}

impl Change {
    pub(super) const fn checked(old: Value, new: Value) -> Self {
        Self::Write {
            old: Some(old),
            new,
        }
    }

    pub(super) const fn unchecked(new: Value) -> Self {
        Self::Write { old: None, new }
    }

    pub(super) fn same_value(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Poison, Self::Poison) => true,
            (Self::Write { new: a, .. }, Self::Write { new: b, .. }) => a.number == b.number,
            _ => false,
        }
    }
}

const CLASS_MASK: u8 = 0x07;
const CLASS_LD: u8 = 0x00;
const CLASS_LDX: u8 = 0x01;
const CLASS_ST: u8 = 0x02;
const CLASS_STX: u8 = 0x03;
const CLASS_ALU: u8 = 0x04;
const CLASS_ALU64: u8 = 0x07;
const SOURCE_REG: u8 = 0x08;
const SIZE_MASK: u8 = 0x18;
const LD_IMM64: u8 = 0x18;
const CALL: u8 = 0x85;

/// Changes the instruction at `slot`.
#[doc(alias = "bpf_core_patch_insn")]
pub(super) fn write(insns: &mut [Insn], slot: usize, change: &Change) -> Result<(), CoreError> {
    let count = insns.len();
    let rest = insns
        .get_mut(slot..)
        .filter(|rest| !rest.is_empty())
        .ok_or_else(|| CoreError::new(format!("beyond the {count} instructions")))?;
    let (insn, next) = match rest {
        [insn, next, ..] => (insn, Some(next)),
        [insn] => (insn, None),
        [] => return Ok(()),
    };
    let wide = insn.opcode == LD_IMM64;
    if wide && next.is_none() {
        return Err(CoreError::new("a 64-bit load without its second half"));
    }
    let poison = Insn {
        opcode: CALL,
        imm: POISON,
        ..Insn::default()
    };
    let Change::Write { old, new } = change else {
        *insn = poison;
        if let Some(next) = next.filter(|_| wide) {
            *next = poison;
        }
        return Ok(());
    };
    let expect = |found: u64| match old {
        Some(old) if found != old.number => Err(CoreError::new(format!(
            "the instruction holds {found:#x} where the types say {:#x}",
            old.number
        ))),
        _ => Ok(()),
    };
    match insn.opcode & CLASS_MASK {
        CLASS_ALU | CLASS_ALU64 if insn.opcode & SOURCE_REG == 0 => {
            expect(u64::from(insn.imm.cast_unsigned())).or_else(|error| {
                // An enumerator's value may be negative.
                expect(i64::from(insn.imm).cast_unsigned()).map_err(|_| error)
            })?;
            insn.imm = new.number as u32 as i32;
        }
        CLASS_LDX | CLASS_ST | CLASS_STX => {
            expect(i64::from(insn.off).cast_unsigned())?;
            let off = i16::try_from(new.number).map_err(|_| {
                CoreError::new(format!(
                    "offset {} is beyond the reach of a load or store",
                    new.number
                ))
            })?;
            let old_access = old.map_or(new.access, |old| old.access);
            if old_access != new.access {
                let extensions = (old.map(|old| old.extension), new.extension);
                if !matches!(
                    extensions,
                    (Some(Extension::Pointer), Extension::Pointer)
                        | (Some(Extension::Unsigned), Extension::Unsigned)
                ) {
                    *insn = poison;
                    return Ok(());
                }
                if bytes(insn.opcode) != old_access {
                    return Err(CoreError::new(format!(
                        "an access of {} bytes to a field of {old_access}",
                        bytes(insn.opcode)
                    )));
                }
                let size = match new.access {
                    1 => 0x10,
                    2 => 0x08,
                    4 => 0x00,
                    8 => 0x18,
                    size => {
                        return Err(CoreError::new(format!(
                            "no load or store takes {size} bytes"
                        )));
                    }
                };
                insn.opcode = insn.opcode & !SIZE_MASK | size;
            }
            insn.off = off;
        }
        CLASS_LD if wide => {
            let Some(next) = next else { return Ok(()) };
            let low = u64::from(insn.imm.cast_unsigned());
            expect(u64::from(next.imm.cast_unsigned()) << 32 | low)?;
            insn.imm = new.number as u32 as i32;
            next.imm = (new.number >> 32) as u32 as i32;
        }
        _ => {
            return Err(CoreError::new(format!(
                "no number to change in an instruction with opcode {:#04x}",
                insn.opcode
            )));
        }
    }
    Ok(())
}

const fn bytes(opcode: u8) -> u64 {
    match opcode & SIZE_MASK {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    }
}
