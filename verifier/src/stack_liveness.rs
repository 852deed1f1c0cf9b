//! Which bytes of a function's stack may still be read.
//!
//! Reads: decoded instructions, [`Structure`], the program's maps. What is not live is forgotten, so
//! that states which differ only there become one: most of what compilers spill is dead soon. A
//! mistake here makes bytes unreadable, or numbers of which nothing is known, and a program rejected,
//! never accepted.
//!
//! First, forwards: what registers hold as far as it matters here, above all whether they point into
//! the function's own frame, and where. Then, backwards: which units of 4 bytes are read before they
//! are overwritten. A pointer into the frame that is handed to a function or kept in memory, or
//! whose offset is not known, may read all of the frame.

use std::collections::HashMap;

use bpftime_isa::{
    AluOp, ArgType, CallTarget, Decoded, Imm64, Instruction, MapDef, Operand, Reg, Width, helper,
};

use crate::domain::stack::{SIZE, Units};
use crate::structure::{Function, Index, JumpSources, Structure};

/// Bytes of a unit.
const UNIT: i64 = 4;
const ALL: Units = Units::MAX;

/// What a register holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Anything but a pointer into this frame.
    Other,
    /// A number.
    Constant(i32),
    /// A map by index.
    Map(u32),
    /// A pointer into this frame, by offset from `r10`.
    Frame(i32),
    /// Possibly a pointer into this frame.
    FrameSomewhere,
    /// What `r1` held when the function was entered; no pointer into this frame.
    Given,
}

/// What `r1` holds before a call, as far as that is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum FirstArgument {
    /// A pointer into the function's frame, by offset from `r10`.
    Frame(i64),
    /// What the function itself was given in `r1`.
    Given,
}

impl Held {
    fn points_into_frame(self) -> bool {
        matches!(self, Self::Frame(_) | Self::FrameSomewhere)
    }

    fn join(self, other: Self) -> Self {
        if self == other {
            self
        } else if self.points_into_frame() || other.points_into_frame() {
            Self::FrameSomewhere
        } else {
            Self::Other
        }
    }
}

type Registers = [Held; 11];

/// What registers hold, in fewer bytes: there is one for each place where runs of instructions begin.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Packed {
    kinds: [u8; 11],
    numbers: [[u8; 4]; 11],
}

impl Packed {
    fn of(registers: &Registers) -> Self {
        Self {
            kinds: registers.map(|held| match held {
                Held::Other => 0,
                Held::Constant(_) => 1,
                Held::Map(_) => 2,
                Held::Frame(_) => 3,
                Held::FrameSomewhere => 4,
                Held::Given => 5,
            }),
            numbers: registers.map(|held| match held {
                Held::Constant(number) | Held::Frame(number) => number.to_ne_bytes(),
                Held::Map(map) => map.to_ne_bytes(),
                Held::Other | Held::FrameSomewhere | Held::Given => [0; 4],
            }),
        }
    }

    fn registers(self) -> Registers {
        std::array::from_fn(|reg| {
            let number = self.numbers[reg];
            match self.kinds[reg] {
                0 => Held::Other,
                1 => Held::Constant(i32::from_ne_bytes(number)),
                2 => Held::Map(u32::from_ne_bytes(number)),
                3 => Held::Frame(i32::from_ne_bytes(number)),
                5 => Held::Given,
                _ => Held::FrameSomewhere,
            }
        })
    }
}

/// For each instruction of a function, units that it reads, and those that it overwrites: for most
/// none, which takes little memory.
struct Effects {
    /// 0: none; else one more than the position in `some`.
    place: Vec<u32>,
    some: Vec<(Units, Units)>,
}

impl Effects {
    fn new(instructions: usize) -> Self {
        Self {
            place: vec![0; instructions],
            some: Vec::new(),
        }
    }

    fn set(&mut self, at: usize, effect: (Units, Units)) {
        if effect != (0, 0) && self.some.last() != Some(&effect) {
            self.some.push(effect);
        }
        if effect != (0, 0) {
            self.place[at] = self.some.len() as u32;
        }
    }

    fn get(&self, at: usize) -> (Units, Units) {
        let place = (self.place[at] as usize).checked_sub(1);
        place.map_or((0, 0), |place| self.some[place])
    }
}

/// For each instruction, the units of its function's frame that may be read from there on; and for
/// calls, the offset from `r10` that `r1` has before it, where that is known.
pub(crate) fn live_stack(
    code: &[Decoded],
    structure: &Structure,
    maps: &[MapDef],
) -> (Vec<Units>, HashMap<Index, FirstArgument>) {
    let mut live = vec![0; code.len()];
    let mut first = HashMap::new();
    for function in &structure.functions {
        let mut pass = Pass::new(code, structure, maps, *function);
        let mut held = pass.forwards();
        if pass.kept {
            // Now loads may give pointers into the frame.
            held = pass.forwards();
        }
        let effects = pass.effects(&held, &mut first);
        drop(held);
        pass.backwards(&effects, &mut live);
    }
    (live, first)
}

struct Pass<'a> {
    code: &'a [Decoded],
    structure: &'a Structure,
    maps: &'a [MapDef],
    function: Function,
    /// First instructions of the runs that are entered at their first only, ascending.
    starts: Vec<Index>,
    /// Whether a pointer into the frame is kept in memory somewhere.
    kept: bool,
}

/// Where an instruction leads.
fn falls_through(insn: &Instruction) -> bool {
    !matches!(insn, Instruction::Exit | Instruction::Jump { .. })
}

impl<'a> Pass<'a> {
    fn new(
        code: &'a [Decoded],
        structure: &'a Structure,
        maps: &'a [MapDef],
        function: Function,
    ) -> Self {
        let mut starts = vec![function.first];
        for index in function.first..function.end {
            let target = structure.jump_target(code, index);
            if target.is_some() || !falls_through(&code[index as usize].insn) {
                starts.extend(target);
                starts.extend((index + 1 < function.end).then_some(index + 1));
            }
        }
        starts.sort_unstable();
        starts.dedup();
        Self {
            code,
            structure,
            maps,
            function,
            starts,
            kept: false,
        }
    }

    /// What registers hold before each run of instructions; nothing if it is not reached.
    fn forwards(&mut self) -> Vec<Option<Packed>> {
        let mut held: Vec<Option<Packed>> = vec![None; self.starts.len()];
        let mut entry = [Held::Other; 11];
        entry[Reg::R10.index()] = Held::Frame(0);
        entry[Reg::R1.index()] = Held::Given;
        if let Some(place) = held.first_mut() {
            *place = Some(Packed::of(&entry));
        }
        let mut work = vec![0];
        while let Some(run) = work.pop() {
            let Some(mut after) = held.get(run).copied().flatten().map(Packed::registers) else {
                continue;
            };
            let (first, end) = self.run(run);
            for index in first..end {
                self.step(&self.code[index as usize].insn, &mut after);
            }
            let last = end - 1;
            let falls = falls_through(&self.code[last as usize].insn);
            let next = (falls && end < self.function.end).then_some(run + 1);
            let target = self.structure.jump_target(self.code, last);
            let target = target.and_then(|target| self.starts.binary_search(&target).ok());
            for to in next.into_iter().chain(target) {
                let Some(place) = held.get_mut(to) else {
                    continue;
                };
                let joined = match place {
                    None => after,
                    Some(before) => {
                        let before = before.registers();
                        std::array::from_fn(|reg| before[reg].join(after[reg]))
                    }
                };
                let joined = Some(Packed::of(&joined));
                if *place != joined {
                    *place = joined;
                    work.push(to);
                }
            }
        }
        held
    }

    /// First instruction of a run, and one past its last.
    fn run(&self, run: usize) -> (Index, Index) {
        let end = self.starts.get(run + 1).copied();
        (self.starts[run], end.unwrap_or(self.function.end))
    }

    /// What each instruction of the function does.
    fn effects(
        &mut self,
        held: &[Option<Packed>],
        first: &mut HashMap<Index, FirstArgument>,
    ) -> Effects {
        let mut effects = Effects::new((self.function.end - self.function.first) as usize);
        for (run, before) in held.iter().enumerate() {
            let (start, end) = self.run(run);
            let Some(mut regs) = before.map(Packed::registers) else {
                continue;
            };
            for index in start..end {
                let insn = &self.code[index as usize].insn;
                effects.set(
                    (index - self.function.first) as usize,
                    self.effect(insn, &regs),
                );
                if matches!(insn, Instruction::Call(_)) {
                    let known = match regs[Reg::R1.index()] {
                        Held::Frame(offset) => Some(FirstArgument::Frame(offset.into())),
                        Held::Given => Some(FirstArgument::Given),
                        _ => None,
                    };
                    first.extend(known.map(|known| (index, known)));
                }
                self.step(insn, &mut regs);
            }
        }
        effects
    }

    fn step(&mut self, insn: &Instruction, regs: &mut Registers) {
        let operand = |regs: &Registers, operand: Operand| match operand {
            Operand::Reg(reg) => regs[reg.index()],
            Operand::Imm(imm) => Held::Constant(imm),
        };
        match *insn {
            Instruction::Alu {
                op,
                width,
                dst,
                src,
            } => {
                let (left, right) = (regs[dst.index()], operand(regs, src));
                regs[dst.index()] = arithmetic(op, width, left, right);
            }
            Instruction::MovSx { dst, .. } => regs[dst.index()] = Held::Other,
            Instruction::AddrSpaceCast { dst, src, .. } => {
                regs[dst.index()] = Held::Other.join(regs[src.index()]);
            }
            Instruction::Neg { dst, .. } | Instruction::ByteOrder { dst, .. } => {
                regs[dst.index()] = Held::Other;
            }
            Instruction::LoadImm64 { dst, value } => {
                regs[dst.index()] = match value {
                    Imm64::Value(number) => {
                        i32::try_from(number as i64).map_or(Held::Other, Held::Constant)
                    }
                    Imm64::MapIdx(map) => Held::Map(map),
                    _ => Held::Other,
                };
            }
            Instruction::Load { dst, .. } | Instruction::LoadAcquire { dst, .. } => {
                regs[dst.index()] = self.loaded();
            }
            Instruction::Store { src, .. } => {
                self.kept |= operand(regs, src).points_into_frame();
            }
            Instruction::StoreRelease { src, .. } => {
                self.kept |= regs[src.index()].points_into_frame();
            }
            Instruction::Atomic { src, .. } => {
                self.kept |= regs[src.index()].points_into_frame();
                regs[src.index()] = self.loaded().join(regs[src.index()]);
                regs[0] = self.loaded().join(regs[0]);
            }
            Instruction::Call(_) => {
                let handed = regs[1..=5].iter().any(|held| held.points_into_frame());
                regs[0] = if handed {
                    Held::FrameSomewhere
                } else {
                    Held::Other
                };
                regs[1..=5].fill(Held::Other);
            }
            Instruction::LoadPacket { .. } => regs[0..=5].fill(Held::Other),
            Instruction::Jump { .. }
            | Instruction::MayGoto { .. }
            | Instruction::Branch { .. }
            | Instruction::Exit => {}
        }
    }

    fn loaded(&self) -> Held {
        if self.kept {
            Held::FrameSomewhere
        } else {
            Held::Other
        }
    }

    fn backwards(&self, effects: &Effects, live: &mut [Units]) {
        let Function { first, end } = self.function;
        let sources = JumpSources::new(self.code, self.structure, self.function);
        let mut work: Vec<Index> = (first..end).collect();
        let mut queued = vec![true; (end - first) as usize];
        while let Some(index) = work.pop() {
            let at = (index - first) as usize;
            queued[at] = false;
            let insn = &self.code[index as usize].insn;
            let next = (falls_through(insn) && index + 1 < end).then_some(index + 1);
            let target = self.structure.jump_target(self.code, index);
            let after = next
                .into_iter()
                .chain(target)
                .fold(0, |units, to| units | live[to as usize]);
            let (read, overwritten) = effects.get(at);
            let before = read | (after & !overwritten);
            if before == live[index as usize] {
                continue;
            }
            live[index as usize] = before;
            let above = index.checked_sub(1).filter(|above| *above >= first);
            for source in sources.of(index).iter().copied().chain(above) {
                let place = &mut queued[(source - first) as usize];
                if !*place {
                    *place = true;
                    work.push(source);
                }
            }
        }
    }

    /// Units that the instruction reads, and those that it overwrites.
    fn effect(&self, insn: &Instruction, regs: &Registers) -> (Units, Units) {
        match *insn {
            Instruction::Load {
                base, off, size, ..
            }
            | Instruction::LoadAcquire {
                base, off, size, ..
            } => (
                reads(regs[base.index()], off.into(), size.bytes().into()),
                0,
            ),
            Instruction::Store {
                base, off, size, ..
            }
            | Instruction::StoreRelease {
                base, off, size, ..
            } => match regs[base.index()] {
                Held::Frame(at) => (
                    0,
                    inside(i64::from(at) + i64::from(off), size.bytes().into()),
                ),
                _ => (0, 0),
            },
            Instruction::Atomic { base, off, .. } => (reads(regs[base.index()], off.into(), 8), 0),
            Instruction::Call(CallTarget::Helper(id)) => (self.helper_reads(id, regs), 0),
            Instruction::Call(_) => {
                let handed = regs[1..=5].iter().any(|held| held.points_into_frame());
                (if handed { ALL } else { 0 }, 0)
            }
            _ => (0, 0),
        }
    }

    fn helper_reads(&self, id: u32, regs: &Registers) -> Units {
        let Some(proto) = helper::proto(id) else {
            return ALL;
        };
        let map = match regs[1..=5].iter().find(|held| matches!(held, Held::Map(_))) {
            Some(Held::Map(map)) => self.maps.get(*map as usize),
            _ => None,
        };
        let mut units = 0;
        for (position, argument) in proto.args.into_iter().enumerate() {
            let held = regs[position + 1];
            if !held.points_into_frame() {
                continue;
            }
            let size = match argument {
                // Not memory, or memory that is only written.
                ArgType::None
                | ArgType::Anything
                | ArgType::Scalar
                | ArgType::ConstMapPtr
                | ArgType::UninitMapValue
                | ArgType::UninitMem
                | ArgType::UninitMemOrNull
                | ArgType::FixedMemWrite(_)
                | ArgType::Ctx
                | ArgType::ConstSize
                | ArgType::ConstSizeOrZero => continue,
                ArgType::MapKey => map.map(|map| map.key_size),
                ArgType::MapValue | ArgType::MapValueOrNull => map.map(|map| map.value_size),
                ArgType::FixedMemRead(size) | ArgType::FixedMemReadWrite(size) => Some(size),
                ArgType::MemRead
                | ArgType::MemReadOrNull
                | ArgType::MemWrite
                | ArgType::MemWriteOrNull => match regs.get(position + 2) {
                    Some(Held::Constant(size)) => u32::try_from(*size).ok(),
                    _ => None,
                },
                _ => None,
            };
            units |= match size {
                Some(size) => reads(held, 0, size.into()),
                None => ALL,
            };
        }
        units
    }
}

fn arithmetic(op: AluOp, width: Width, left: Held, right: Held) -> Held {
    match (op, left, right) {
        (AluOp::Mov, _, right) if width == Width::W64 => right,
        (AluOp::Mov, _, Held::Constant(number)) if number >= 0 => Held::Constant(number),
        (AluOp::Mov, ..) => Held::Other,
        (AluOp::Add, Held::Frame(at), Held::Constant(by)) => moved(at.checked_add(by)),
        (AluOp::Sub, Held::Frame(at), Held::Constant(by)) => moved(at.checked_sub(by)),
        _ if left.points_into_frame() || right.points_into_frame() => Held::FrameSomewhere,
        _ => Held::Other,
    }
}

fn moved(at: Option<i32>) -> Held {
    at.map_or(Held::FrameSomewhere, Held::Frame)
}

/// Units that an access of so many bytes reads.
fn reads(base: Held, off: i64, size: i64) -> Units {
    match base {
        Held::Frame(at) => {
            let first = i64::from(at)
                .saturating_add(off)
                .saturating_add(SIZE as i64);
            let end = first.saturating_add(size);
            between(
                first.div_euclid(UNIT),
                end.saturating_add(UNIT - 1).div_euclid(UNIT),
            )
        }
        Held::FrameSomewhere => ALL,
        _ => 0,
    }
}

/// Units that lie wholly within so many bytes.
fn inside(at: i64, size: i64) -> Units {
    let first = at.saturating_add(SIZE as i64);
    let end = first.saturating_add(size);
    between(
        first.saturating_add(UNIT - 1).div_euclid(UNIT),
        end.div_euclid(UNIT),
    )
}

fn between(first: i64, end: i64) -> Units {
    let units = SIZE as i64 / UNIT;
    let (first, end) = (first.clamp(0, units), end.clamp(0, units));
    if first >= end {
        return 0;
    }
    let below = |end: i64| match end {
        128.. => ALL,
        _ => (1 << end) - 1,
    };
    below(end) & !below(first)
}
