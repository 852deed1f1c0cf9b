//! What the verifier proved of a program, as far as code gets better by it.
//!
//! Everything is asked of one instruction: what holds whenever it is executed. Where nothing was
//! recorded nothing is known, and the code is right without.

use std::collections::HashMap;

use bpftime_abi::MapType;
use bpftime_isa::{CallTarget, Instruction, MapDef, Reg, Width};
use bpftime_maps::Geometry;
use bpftime_verifier::domain::value::Kind;
use bpftime_verifier::{Known, VerifiedProgram};

use crate::interp::loops::LOOP;

/// `bpf_map_lookup_elem`.
const LOOKUP: u32 = 1;

/// Facts of a program; none for instructions that are only to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Proved<'a> {
    program: Option<&'a VerifiedProgram>,
    /// Maps that lookups are of, by slot of the call.
    lookups: HashMap<u32, u32>,
    /// Bytes of stack that functions use, by first slot.
    stacks: HashMap<u32, u32>,
    /// Some functions were judged by their contracts.
    contracts: bool,
}

/// Memory that nobody else uses during a run. No byte is of two kinds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Private {
    /// The stack of a frame.
    Stack,
    /// The context.
    Context,
    /// The packet and its metadata.
    Packet,
    /// What a memory program works on.
    Memory,
}

/// An array whose values are found without a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct InlineArray {
    /// Index among the program's maps.
    pub(crate) map: u32,
    /// Entries.
    pub(crate) entries: u32,
    /// Bytes from one value to the next.
    pub(crate) value_stride: u64,
    /// Bytes from the values of one CPU to those of the next; none if they have them together.
    pub(crate) cpu_stride: Option<u64>,
}

impl<'a> Proved<'a> {
    pub(crate) fn of(program: &'a VerifiedProgram) -> Self {
        let calls = program.facts().calls.iter();
        let functions = program.facts().functions.iter();
        let lookups = calls.filter(|call| call.helper == LOOKUP);
        Self {
            program: Some(program),
            lookups: lookups
                .filter_map(|call| Some((call.slot, call.map?)))
                .collect(),
            stacks: functions
                .clone()
                .map(|function| (function.entry, function.stack))
                .collect(),
            contracts: functions.clone().any(|function| function.by_contract),
        }
    }

    fn known(&self, index: usize, reg: Reg) -> Option<&Known> {
        self.program?.facts().operands.get(index, reg)
    }

    /// Whether any run executes the instruction.
    pub(crate) fn reaches(&self, index: usize) -> bool {
        let reached = self.program.map(|program| &program.facts().reached);
        reached.is_none_or(|reached| reached.get(index).copied().unwrap_or(true))
    }

    /// The number that the register holds, if it is always the same.
    pub(crate) fn constant(&self, index: usize, reg: Reg) -> Option<u64> {
        let known = self.known(index, reg)?;
        match known.kind {
            Kind::Scalar => known.number.as_constant(),
            _ => None,
        }
    }

    /// Whether the register, in a width, may hold the number.
    pub(crate) fn may_be(&self, index: usize, reg: Reg, width: Width, number: i32) -> bool {
        self.known(index, reg).is_none_or(|known| match width {
            Width::W64 => known.may_be(i64::from(number) as u64),
            Width::W32 => known.low_may_be(number as u32),
        })
    }

    /// The memory that nobody else uses during a run, if the register always points to such.
    pub(crate) fn private(&self, index: usize, reg: Reg) -> Option<Private> {
        match self.known(index, reg)?.kind {
            Kind::Stack { .. } => Some(Private::Stack),
            Kind::Ctx => Some(Private::Context),
            Kind::Packet | Kind::PacketMeta => Some(Private::Packet),
            Kind::Memory => Some(Private::Memory),
            _ => None,
        }
    }

    /// The register's distance from `r10`, if it always points into the own frame, at one place. `depth` is
    /// how many calls lead to the function.
    pub(crate) fn own_frame(&self, index: usize, reg: Reg, depth: u8) -> Option<i16> {
        let known = self.known(index, reg)?;
        match known.kind {
            Kind::Stack { frame } if frame == depth && !known.nullable => {
                i16::try_from(known.number.as_constant()? as i64).ok()
            }
            _ => None,
        }
    }

    /// The function that the instruction, a call of `bpf_loop`, calls back, if it is always the same.
    pub(crate) fn looped(&self, index: usize) -> Option<u32> {
        let called = self.program?.instructions().get(index)?.insn;
        match (called, self.known(index, Reg::R2)?.kind) {
            (Instruction::Call(CallTarget::Helper(LOOP)), Kind::Func { entry }) => Some(entry),
            _ => None,
        }
    }

    /// Bytes of stack that the function at the slot uses.
    pub(crate) fn stack(&self, start: u32) -> Option<u32> {
        self.stacks.get(&start).copied()
    }

    /// Whether frames are counted from the main program: not in functions that were judged by their
    /// contracts, nor in what these call.
    pub(crate) fn counts_frames(&self, start: u32) -> bool {
        self.program.is_some() && (start == 0 || !self.contracts)
    }

    /// The array that the call of a helper looks a value up in.
    pub(crate) fn array(&self, slot: u32) -> Option<InlineArray> {
        let map = *self.lookups.get(&slot)?;
        let definition: &MapDef = self.program?.program().maps.get(map as usize)?;
        if !matches!(definition.map_type, MapType::Array | MapType::PerCpuArray) {
            return None;
        }
        let (value_stride, cpu_stride) =
            Geometry::array_strides(definition.value_size, definition.max_entries)?;
        Some(InlineArray {
            map,
            entries: definition.max_entries,
            value_stride,
            cpu_stride: (definition.map_type == MapType::PerCpuArray).then_some(cpu_stride),
        })
    }
}
