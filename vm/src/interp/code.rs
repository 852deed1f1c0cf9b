//! Decoded instructions with their place among the slots.

use bpftime_isa::{Decoded, Insn, Instruction};

use super::trap::{Trap, TrapReason};

/// Instructions that can be found by slot.
#[derive(Debug)]
pub(crate) struct Code {
    decoded: Vec<Decoded>,
    /// Index in `decoded` by slot; `None` for the second slot of an instruction.
    index_of_slot: Vec<Option<u32>>,
}

impl Code {
    /// Decodes slots.
    pub(crate) fn from_slots(slots: &[Insn]) -> Result<Self, Trap> {
        let decoded = bpftime_isa::decode(slots).map_err(|error| Trap {
            slot: error.slot(),
            reason: TrapReason::Decode(error),
        })?;
        Ok(Self::from_decoded(decoded))
    }

    /// Takes instructions as `bpftime_isa::decode` gives them: in order, without gaps.
    pub(crate) fn from_decoded(decoded: Vec<Decoded>) -> Self {
        let mut index_of_slot = Vec::with_capacity(decoded.len());
        for (index, item) in (0u32..).zip(&decoded) {
            index_of_slot.push(Some(index));
            index_of_slot.extend((1..item.insn.slots()).map(|_| None));
        }
        Self {
            decoded,
            index_of_slot,
        }
    }

    /// The instruction that starts at a slot.
    pub(crate) fn at(&self, slot: i64) -> Result<(u32, &Instruction), TrapReason> {
        usize::try_from(slot)
            .ok()
            .and_then(|slot| *self.index_of_slot.get(slot)?)
            .and_then(|index| self.decoded.get(index as usize))
            .map(|item| (item.slot, &item.insn))
            .ok_or(TrapReason::BadJump { target: slot })
    }
}
