//! What a check may ask somebody who knows more, such as a solver.
//!
//! [`crate::verify_refined`] judges as [`crate::verify`] does. Where a check fails, it asks a
//! [`Refiner`] whether a [`Fact`] that would let it pass holds in all runs that come to the
//! instruction in the state that was checked; or whether none comes. What is proved is
//! assumed, and the check is made again, by the same code. So a refiner answers questions
//! about numbers and pointers in registers; it never judges a check.
//!
//! - [`history`]: where states came from, for a refiner to go back through
//! - `wanted`: facts that would let a check pass
//! - `assume`: a state in which a fact holds
//! - `session`: questions and answers during an analysis

mod assume;
pub mod history;
mod session;
mod wanted;

use core::fmt;

use bpftime_isa::{Decoded, Program, Reg};

use crate::Options;
use crate::domain::state::State;
use crate::domain::value::Kind;
use history::{History, PointId};

pub(crate) use session::{Refined, Session};

/// Something that may hold before an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fact {
    /// No run comes to the instruction in such a state.
    Unreachable,
    /// The register holds a number within bounds, signed; with `half`, its lower 32 bits as a
    /// signed number are.
    Number {
        /// Register.
        reg: Reg,
        /// Least.
        least: i64,
        /// Greatest.
        most: i64,
        /// Only the lower half counts.
        half: bool,
    },
    /// The register holds a pointer of the kind that is not null, whose whole offset is within
    /// bounds, signed, and is `remainder` modulo `multiple`.
    Pointer {
        /// Register.
        reg: Reg,
        /// Kind.
        kind: Kind,
        /// Least offset.
        least: i64,
        /// Greatest offset.
        most: i64,
        /// A power of two.
        multiple: u8,
        /// Below `multiple`.
        remainder: u8,
    },
    /// The register holds a pointer into the packet, whose whole offset is at least `least`, and
    /// the packet has at least `end` bytes from there.
    InPacket {
        /// Register.
        reg: Reg,
        /// Least offset, not negative.
        least: i64,
        /// Bytes from the offset.
        end: u32,
    },
}

impl Fact {
    /// The register that it tells of.
    pub fn reg(&self) -> Option<Reg> {
        match *self {
            Self::Unreachable => None,
            Self::Number { reg, .. } | Self::Pointer { reg, .. } | Self::InPacket { reg, .. } => {
                Some(reg)
            }
        }
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unreachable => f.write_str("no run comes here"),
            Self::Number {
                reg,
                least,
                most,
                half,
            } => {
                let what = if half { "the lower half of " } else { "" };
                match (least, most) {
                    (i64::MIN, i64::MAX) => write!(f, "{reg} is a number"),
                    _ => write!(f, "{what}{reg} is from {least} to {most}"),
                }
            }
            Self::Pointer {
                reg, least, most, ..
            } => match (least, most) {
                (i64::MIN, i64::MAX) => write!(f, "{reg} is a pointer and not null"),
                _ => write!(f, "{reg} is a pointer at offset {least} to {most}"),
            },
            Self::InPacket { reg, end, .. } => {
                write!(f, "{end} bytes from {reg} are in the packet")
            }
        }
    }
}

/// What a fact is asked of: runs that come to an instruction in a state.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The program.
    pub program: &'a Program,
    /// The rules under which it is judged.
    pub options: &'a Options,
    /// Its instructions.
    pub code: &'a [Decoded],
    /// Where states came from.
    pub history: &'a History,
    /// The arrival at the instruction's block.
    pub point: PointId,
    /// Index of the instruction, within the block.
    pub index: usize,
    /// What is known of registers and stack before the instruction.
    pub state: &'a State,
}

/// What a refiner found out.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// The fact holds.
    Proved,
    /// It does not hold in a run.
    Refuted(Box<Witness>),
    /// Neither was found; why.
    Unknown(String),
}

/// A run in which a fact does not hold.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Witness {
    /// Values that the program is given, in order. Where more are asked for than are there, any
    /// will do.
    pub inputs: Vec<Input>,
    /// Loads of one place of the context or the packet give one value. Otherwise the run
    /// needs somebody else to change them meanwhile.
    pub steady: bool,
}

/// A value that the program was given by what surrounds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Input {
    /// Slot of the instruction that received it.
    pub slot: u32,
    /// What it is.
    pub origin: Origin,
    /// The value.
    pub value: u64,
}

/// Where an input comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The context, at an offset.
    Context {
        /// Offset in bytes.
        offset: i64,
        /// Bytes.
        size: u8,
    },
    /// The context's address of the packet.
    PacketStart,
    /// The context's address of the packet's end.
    PacketEnd,
    /// The packet.
    Packet {
        /// Offset in bytes.
        offset: i64,
        /// Bytes.
        size: u8,
    },
    /// A value of a map.
    MapValue {
        /// Map.
        map: u32,
        /// Offset in bytes.
        offset: i64,
        /// Bytes.
        size: u8,
    },
    /// What a helper returned. For one that returns a pointer or null, 0 is null.
    Helper {
        /// Number of the helper.
        helper: u32,
    },
    /// The stack, where the program has not written or a helper has.
    Stack {
        /// Bytes.
        size: u8,
    },
    /// Other memory.
    Memory {
        /// Bytes.
        size: u8,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Context { offset, .. } => write!(f, "context at {offset}"),
            Self::PacketStart => f.write_str("packet's start"),
            Self::PacketEnd => f.write_str("packet's end"),
            Self::Packet { offset, .. } => write!(f, "packet at {offset}"),
            Self::MapValue { map, offset, .. } => write!(f, "map {map} at {offset}"),
            Self::Helper { helper } => write!(f, "result of helper {helper}"),
            Self::Stack { .. } => f.write_str("stack"),
            Self::Memory { .. } => f.write_str("memory"),
        }
    }
}

/// Inputs that are printed.
const PRINTED: usize = 12;

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.inputs.is_empty() {
            return f.write_str("any input");
        }
        for (position, input) in self.inputs.iter().take(PRINTED).enumerate() {
            if position > 0 {
                f.write_str(", ")?;
            }
            let Input {
                slot,
                origin,
                value,
            } = input;
            write!(f, "{value:#x} at {slot} ({origin})")?;
        }
        if self.inputs.len() > PRINTED {
            write!(f, ", and {} more", self.inputs.len() - PRINTED)?;
        }
        Ok(())
    }
}

/// Proves facts.
pub trait Refiner {
    /// Name and version, for verdicts.
    fn solver(&self) -> String;

    /// Kinds of pointers (and numbers, as [`Kind::Scalar`]) that the register may hold, with the
    /// offset if there is one only; no more than a hint which facts are worth asking for.
    fn kinds(&mut self, query: &Query<'_>, reg: Reg) -> Vec<(Kind, Option<i64>)>;

    /// Whether in all runs that come to the instruction through the point one of the facts holds.
    fn prove(&mut self, query: &Query<'_>, facts: &[Fact]) -> Answer;
}

/// What refinement did for an accepted program.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Refinement {
    /// The solver on which the verdict depends.
    pub solver: String,
    /// Facts that were proved, in words, with the slots of the instructions that need them.
    pub proved: Vec<(u32, String)>,
}

/// Why refinement did not help a rejected program.
#[derive(Clone, PartialEq, Debug)]
pub struct Refuted {
    /// The solver that was asked.
    pub solver: String,
    /// The fact that was not proved, in words; empty if none was asked for.
    pub fact: String,
    /// Its answer.
    pub answer: Answer,
}

impl fmt::Display for Refuted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            solver,
            fact,
            answer,
        } = self;
        match answer {
            Answer::Refuted(witness) => {
                write!(f, "it is not so that {fact} ({solver}): {witness}")
            }
            Answer::Unknown(why) => write!(f, "not proved ({solver}): {why}"),
            Answer::Proved => write!(f, "{fact} ({solver})"),
        }
    }
}
