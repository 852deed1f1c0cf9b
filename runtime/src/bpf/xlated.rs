//! What tools see of a program's instructions: its tag, and the instructions themselves.
//!
//! As the kernel shows them, with two differences: calls of helpers keep the helper's number, where
//! the kernel has an address, and nothing is optimised away.

use std::collections::BTreeSet;

use bpftime_isa::Insn;
use sha2::{Digest, Sha256};

use super::prog_load::{LOAD_IMM64, pseudo};

/// Operation of a call, of helpers and of subprograms.
const CALL: u8 = 0x85;

/// Hash of the instructions as a tool gave them, with descriptors of maps left out: the first
/// bytes of their SHA-256, as since Linux 6.18 (SHA-1 before).
#[doc(alias = "bpf_prog_calc_tag")]
pub fn tag(insns: &[Insn]) -> [u8; 8] {
    let mut hash = Sha256::new();
    let mut names_map = false;
    for insn in insns {
        let second = Insn {
            imm: 0,
            ..Insn::default()
        };
        let is_second = names_map && Insn { imm: 0, ..*insn } == second;
        names_map = !names_map
            && insn.opcode == LOAD_IMM64
            && matches!(insn.src, pseudo::MAP_FD | pseudo::MAP_VALUE);
        let imm = if names_map || is_second { 0 } else { insn.imm };
        hash.update(Insn { imm, ..*insn }.to_le_bytes());
    }
    let hash: [u8; 32] = hash.finalize().into();
    hash.first_chunk().copied().unwrap_or_default()
}

/// The instructions as tools are shown them, in their binary form. `insns` name maps by their
/// index in `map_ids`.
#[doc(alias = "bpf_insn_prepare_dump")]
pub fn shown(insns: &[Insn], map_ids: &[u32]) -> Vec<u8> {
    let subprograms = subprograms(insns);
    let mut bytes = Vec::with_capacity(insns.len() * Insn::SIZE);
    let mut second = false;
    for (at, insn) in insns.iter().enumerate() {
        let mut insn = *insn;
        let first = !second && insn.opcode == LOAD_IMM64;
        if first && matches!(insn.src, pseudo::MAP_IDX | pseudo::MAP_IDX_VALUE) {
            let id = map_ids.get(insn.imm as usize).copied().unwrap_or_default();
            insn.imm = id as i32;
            insn.src = if insn.src == pseudo::MAP_IDX {
                pseudo::MAP_FD
            } else {
                pseudo::MAP_VALUE
            };
        }
        if !second && let Some(target) = call_target(at, &insn) {
            insn.off = insn.imm as i16;
            // One more than the last that starts before it.
            insn.imm = subprograms.range(..target).count() as i32 + 1;
        }
        bytes.extend(insn.to_le_bytes());
        second = first;
    }
    bytes
}

/// The slot that a call of a subprogram goes to.
fn call_target(at: usize, insn: &Insn) -> Option<i64> {
    (insn.opcode == CALL && insn.src == pseudo::CALL).then(|| at as i64 + 1 + i64::from(insn.imm))
}

/// Slots where subprograms start, the first one left out.
fn subprograms(insns: &[Insn]) -> BTreeSet<i64> {
    let mut starts = BTreeSet::new();
    let mut second = false;
    for (at, insn) in insns.iter().enumerate() {
        let first = !second && insn.opcode == LOAD_IMM64;
        if first && insn.src == pseudo::FUNC {
            starts.insert(at as i64 + 1 + i64::from(insn.imm));
        } else if !second {
            starts.extend(call_target(at, insn));
        }
        second = first;
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn(opcode: u8, src: u8, imm: i32) -> Insn {
        Insn {
            opcode,
            src,
            imm,
            ..Insn::default()
        }
    }

    /// `r0 = 0; exit`, as Linux 6.18 has it.
    #[test]
    fn the_smallest_program_has_its_known_tag() {
        let known = 0x59f4_a931_744d_cdc6_u64.to_be_bytes();
        assert_eq!(tag(&[insn(0xb7, 0, 0), insn(0x95, 0, 0)]), known);
    }

    #[test]
    fn descriptors_do_not_change_the_tag_and_numbers_do() {
        let program = |src, low, high| {
            tag(&[
                insn(LOAD_IMM64, src, low),
                insn(0, 0, high),
                insn(0x95, 0, 0),
            ])
        };
        for src in [pseudo::MAP_FD, pseudo::MAP_VALUE] {
            assert_eq!(program(src, 3, 8), program(src, 4, 16));
        }
        for src in [0, pseudo::MAP_IDX, pseudo::MAP_IDX_VALUE] {
            assert_ne!(program(src, 3, 8), program(src, 4, 8));
            assert_ne!(program(src, 3, 8), program(src, 3, 9));
        }
    }

    #[test]
    fn any_slots_are_shown() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            (state >> 33) as u32
        };
        for _ in 0..2000 {
            let slots: Vec<Insn> = (0..next() % 8)
                .map(|_| {
                    let opcode = [LOAD_IMM64, CALL, 0, 0x95][next() as usize % 4];
                    insn(opcode, next() as u8 % 8, next() as i32 - (1 << 30))
                })
                .collect();
            assert_eq!(shown(&slots, &[7, 9]).len(), slots.len() * Insn::SIZE);
            tag(&slots);
        }
    }
}
