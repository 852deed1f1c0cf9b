//! Programs and memory as others give them: bytes, or hexadecimal digits.

use anyhow::{Context, Result, ensure};
use bpftime_isa::{Insn, ProgType, Program};

/// A program for plain memory of nothing but slots: its entry is the first, calls are relative.
///
/// # Errors
///
/// The bytes are no slots of 8.
pub fn program(name: &str, bytes: &[u8]) -> Result<Program> {
    let slots = bytes.chunks_exact(8);
    ensure!(
        slots.remainder().is_empty() && !bytes.is_empty(),
        "a program has 8 bytes for each instruction, this one has {} in all",
        bytes.len()
    );
    let insns = slots
        .map(|slot| slot.try_into().map(Insn::from_le_bytes))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Program {
        name: name.to_owned(),
        license: "GPL".to_owned(),
        ..Program::new(ProgType::Memory, insns)
    })
}

/// Bytes of two hexadecimal digits each, with or without blanks between them.
///
/// # Errors
///
/// What is no such digit, and an odd number of them.
pub fn bytes_of_hex(text: &str) -> Result<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|digit| !digit.is_whitespace())
        .map(|digit| {
            let value = digit.to_digit(16).map(|value| value as u8);
            value.with_context(|| format!("{digit:?} is no hexadecimal digit"))
        })
        .collect::<Result<_>>()?;
    ensure!(
        digits.len().is_multiple_of(2),
        "{} hexadecimal digits are no whole bytes",
        digits.len()
    );
    Ok(digits
        .chunks_exact(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_bytes_may_have_blanks_between_them() {
        assert_eq!(bytes_of_hex("b7 00\n0Fff ").unwrap(), [0xb7, 0, 0x0f, 0xff]);
        assert_eq!(bytes_of_hex("").unwrap(), [0u8; 0]);
        assert!(bytes_of_hex("123").is_err());
        assert!(bytes_of_hex("0x12").is_err());
    }

    #[test]
    fn a_program_is_whole_slots() {
        let exit = [0x95, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(program("p", &exit).unwrap().insns.len(), 1);
        assert!(program("p", &exit[..7]).is_err());
        assert!(program("p", &[]).is_err());
    }
}
