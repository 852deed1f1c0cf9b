//! What registers hold whenever an instruction reads them.
//!
//! Recorded while states are carried: each state that passes an instruction adds what it has in the
//! registers that the instruction reads. Sound for the reason that the analysis is: every run
//! passes the instruction in a state that some recorded one covers.

use std::fmt;

use bpftime_isa::Reg;

use crate::domain::state::State;
use crate::domain::value::{Kind, Number, Value};
use crate::liveness::RegSet;
use crate::structure::Index;

/// Of longer programs nothing is recorded, so that memory stays within what is promised.
const MAX_INSTRUCTIONS: usize = 1 << 16;

/// What a register holds in all runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Kind; [`Kind::Any`] if it is one thing in one run and another in another.
    pub kind: Kind,
    /// A pointer that may be null instead.
    pub nullable: bool,
    /// The number, or a pointer's offset from the start of what it points into (of a frame: from its
    /// `r10`). Not known where the kind is not.
    pub number: Number,
}

impl Known {
    fn of(value: &Value) -> Self {
        Self {
            kind: value.kind,
            nullable: value.nullable,
            number: value.offset(),
        }
    }

    /// The number 0.
    pub(crate) fn zero() -> Self {
        Self::of(&Value::constant(0))
    }

    pub(crate) fn join(self, other: Self) -> Self {
        if self.kind == other.kind {
            return Self {
                kind: self.kind,
                nullable: self.nullable || other.nullable,
                number: self.number.join(other.number),
            };
        }
        Self {
            kind: Kind::Any,
            nullable: true,
            number: Number::unknown(),
        }
    }

    /// Whether the register may be this number: always, if it is no number that is known.
    pub fn may_be(&self, number: u64) -> bool {
        self.kind != Kind::Scalar || self.number.contains(number)
    }

    /// Whether its lower half may be this number.
    pub fn low_may_be(&self, number: u32) -> bool {
        let bits = self.number.bits;
        self.kind != Kind::Scalar
            || self.number.narrow.contains(number)
                && (bits.value as u32 ^ number) & !(bits.mask as u32) == 0
    }
}

/// As the kernel's log has it.
impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = Value::unknown();
        value.kind = self.kind;
        value.nullable = self.nullable && self.kind != Kind::Any;
        let offset = self.number.as_constant();
        match offset.and_then(|offset| i32::try_from(offset as i64).ok()) {
            Some(offset) if !value.is_scalar() => {
                (value.delta, value.number) = (offset, Number::constant(0));
            }
            _ => value.number = self.number,
        }
        value.fmt(f)
    }
}

/// By instruction and register, what is known when the instruction reads the register.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Operands {
    /// For each decoded instruction, one more than where its own begin; 0 if nothing is known.
    first: Vec<u32>,
    all: Vec<(u32, Reg, Known)>,
}

impl Operands {
    pub(crate) fn new(instructions: usize) -> Self {
        let recorded = instructions <= MAX_INSTRUCTIONS;
        Self {
            first: vec![0; if recorded { instructions } else { 0 }],
            all: Vec::new(),
        }
    }

    /// Whether nothing is recorded.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Adds what a state has in the registers that the instruction reads.
    pub(crate) fn record(&mut self, index: Index, reads: RegSet, state: &State) {
        let Some(first) = self.first.get_mut(index as usize) else {
            return;
        };
        let known = Reg::ALL
            .into_iter()
            .filter(|reg| reads & (1 << reg.index()) != 0 && *reg != Reg::R10)
            .map(|reg| (reg, Known::of(state.reg(reg))));
        if *first == 0 {
            *first = self.all.len() as u32 + 1;
            self.all
                .extend(known.map(|(reg, known)| (index, reg, known)));
            return;
        }
        let from = *first as usize - 1;
        for (entry, (_, known)) in self.all[from..].iter_mut().zip(known) {
            entry.2 = entry.2.join(known);
        }
    }

    /// What the register holds whenever the instruction, by its place among the decoded ones, reads
    /// it. `None` if it does not, is not reached, or if nothing is recorded: it was not asked for, or
    /// the program has more than 65536 instructions.
    pub fn get(&self, instruction: usize, reg: Reg) -> Option<&Known> {
        let from = (*self.first.get(instruction)? as usize).checked_sub(1)?;
        let own = self.all.get(from..)?.iter();
        own.take_while(|entry| entry.0 as usize == instruction)
            .find(|entry| entry.1 == reg)
            .map(|entry| &entry.2)
    }
}
