//! Which instructions belong to which function, and where basic blocks start.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bpftime_abi::MAX_CALL_FRAMES;
use bpftime_isa::{CallTarget, Decoded, Instruction, Operand, Reg};

use super::error::CompileError;
use super::proved::Proved;

/// A function of the program: the main program or a subprogram that is called.
#[derive(Debug)]
pub(crate) struct Function {
    /// Slot of the first instruction.
    pub(crate) start: u32,
    /// Slots where basic blocks start, the first instruction's included.
    pub(crate) leaders: BTreeSet<u32>,
    /// Slots of the functions called.
    pub(crate) callees: BTreeSet<u32>,
    /// Holds a `may_goto`.
    pub(crate) has_may_goto: bool,
    /// Indices of the reachable instructions, in order.
    pub(crate) body: BTreeSet<usize>,
}

/// The functions of a program.
#[derive(Debug)]
pub(crate) struct Functions<'a> {
    decoded: &'a [Decoded],
    pub(crate) proved: &'a Proved<'a>,
    index_of_slot: HashMap<u32, usize>,
    /// By first slot. The main program is at slot 0.
    pub(crate) by_start: BTreeMap<u32, Function>,
    /// By first slot: calls that lead to the function; nothing where chains of calls differ.
    depths: BTreeMap<u32, Option<u8>>,
}

impl<'a> Functions<'a> {
    /// Finds all functions that the main program reaches, as far as runs reach them.
    pub(crate) fn find(
        decoded: &'a [Decoded],
        proved: &'a Proved<'a>,
    ) -> Result<Self, CompileError> {
        let index_of_slot = decoded
            .iter()
            .enumerate()
            .map(|(index, item)| (item.slot, index))
            .collect();
        let mut functions = Self {
            decoded,
            proved,
            index_of_slot,
            by_start: BTreeMap::new(),
            depths: BTreeMap::new(),
        };
        let mut pending = vec![0];
        while let Some(start) = pending.pop() {
            if !functions.by_start.contains_key(&start) {
                let function = functions.trace(start)?;
                pending.extend(&function.callees);
                functions.by_start.insert(start, function);
            }
        }
        functions.find_depths();
        Ok(functions)
    }

    /// Whether any run goes on at a slot.
    pub(crate) fn reaches(&self, slot: Option<i64>) -> bool {
        let index = slot.and_then(|slot| self.index_of_slot.get(&u32::try_from(slot).ok()?));
        index.is_none_or(|index| self.proved.reaches(*index))
    }

    /// Whether `r1`, as the instruction writes it, is read by nothing but a lookup that needs no handle: a
    /// call a few instructions on.
    pub(crate) fn serves_lookup_only(&self, index: usize) -> bool {
        const FAR: usize = 8;
        for item in self.decoded.iter().skip(index + 1).take(FAR) {
            match item.insn {
                Instruction::Call(CallTarget::Helper(_)) => {
                    return self.proved.array(item.slot).is_some();
                }
                // Compilers put these between.
                Instruction::Alu { dst, src, .. }
                    if dst != Reg::R1 && src != Operand::Reg(Reg::R1) => {}
                Instruction::Store { base, src, .. }
                    if base != Reg::R1 && src != Operand::Reg(Reg::R1) => {}
                _ => return false,
            }
        }
        false
    }

    /// The instruction with an index out of [`Function::body`].
    pub(crate) fn get(&self, index: usize) -> Option<&'a Decoded> {
        self.decoded.get(index)
    }

    /// Index of the instruction that starts at `target`, which `from` goes to.
    fn index(&self, from: u32, target: i64) -> Result<usize, CompileError> {
        u32::try_from(target)
            .ok()
            .and_then(|slot| self.index_of_slot.get(&slot).copied())
            .ok_or(CompileError::BadTarget { slot: from, target })
    }

    /// Follows control from the first instruction of a function.
    fn trace(&self, start: u32) -> Result<Function, CompileError> {
        let mut function = Function {
            start,
            leaders: BTreeSet::from([start]),
            callees: BTreeSet::new(),
            has_may_goto: false,
            body: BTreeSet::new(),
        };
        let mut pending = vec![self.index(start, start.into())?];
        while let Some(index) = pending.pop() {
            if !function.body.insert(index) {
                continue;
            }
            let item = &self.decoded[index];
            if let Instruction::Call(CallTarget::Local(delta)) = item.insn {
                let callee = next_slot(item) + i64::from(delta);
                let callee = self.decoded[self.index(item.slot, callee)?].slot;
                function.callees.insert(callee);
            }
            if let Some(callee) = self.proved.looped(index) {
                let callee = self.decoded[self.index(item.slot, callee.into())?].slot;
                function.callees.insert(callee);
            }
            function.has_may_goto |= matches!(item.insn, Instruction::MayGoto { .. });
            let successors = successors(item);
            for target in successors.jump.into_iter().chain(successors.fall_through) {
                let index = self.index(item.slot, target)?;
                if !self.proved.reaches(index) {
                    continue;
                }
                pending.push(index);
                if successors.jump.is_some() {
                    function.leaders.insert(self.decoded[index].slot);
                }
            }
        }
        Ok(function)
    }

    /// For each function how many calls lead to it, if that is the same for all chains of calls.
    fn find_depths(&mut self) {
        let mut level = BTreeSet::from([0]);
        for depth in 0..MAX_CALL_FRAMES as u8 {
            for start in &level {
                self.depths
                    .entry(*start)
                    .and_modify(|found| *found = None)
                    .or_insert(Some(depth));
            }
            let functions = level.iter().filter_map(|start| self.by_start.get(start));
            level = functions
                .flat_map(|function| function.callees.iter().copied())
                .collect();
        }
    }

    /// How many calls lead to the function, if that is the same for all chains of calls.
    pub(crate) fn depth(&self, start: u32) -> Option<u8> {
        self.depths.get(&start).copied().flatten()
    }

    /// Greatest sum of `bytes` over the functions on a chain of calls.
    pub(crate) fn deepest(&self, bytes: &BTreeMap<u32, usize>) -> Result<usize, CompileError> {
        let own = |start: &u32| bytes.get(start).copied().unwrap_or(0);
        // Frames and bytes of the deepest chain that starts at each function, for chains of at
        // most one more call each round; recursion is what still grows after the last.
        let mut chains: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
        for _ in 0..=MAX_CALL_FRAMES {
            chains = self
                .by_start
                .iter()
                .map(|(start, function)| {
                    let callees = || function.callees.iter().filter_map(|slot| chains.get(slot));
                    let frames = callees().map(|chain| chain.0).max().unwrap_or(0);
                    let below = callees().map(|chain| chain.1).max().unwrap_or(0);
                    (*start, (frames + 1, below + own(start)))
                })
                .collect();
        }
        let frames = chains.values().map(|chain| chain.0).max().unwrap_or(0);
        if frames > MAX_CALL_FRAMES {
            return Err(CompileError::CallDepth);
        }
        Ok(chains.values().map(|chain| chain.1).max().unwrap_or(0))
    }
}

/// Where control goes after an instruction, within its function.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Successors {
    /// Slot that a jump goes to.
    pub(crate) jump: Option<i64>,
    /// The next instruction's slot, if control can go there.
    pub(crate) fall_through: Option<i64>,
}

/// The slot after an instruction.
pub(crate) fn next_slot(item: &Decoded) -> i64 {
    i64::from(item.slot) + item.insn.slots() as i64
}

/// Where control goes after an instruction.
pub(crate) fn successors(item: &Decoded) -> Successors {
    let next = next_slot(item);
    match item.insn {
        Instruction::Exit => Successors::default(),
        Instruction::Jump { delta, .. } => Successors {
            jump: Some(next + i64::from(delta)),
            fall_through: None,
        },
        Instruction::Branch { delta, .. } | Instruction::MayGoto { delta } => Successors {
            jump: Some(next + i64::from(delta)),
            fall_through: Some(next),
        },
        _ => Successors {
            jump: None,
            fall_through: Some(next),
        },
    }
}

impl Successors {
    /// Whether control always goes on to the next instruction.
    pub(crate) fn falls_through_only(self) -> bool {
        self.jump.is_none() && self.fall_through.is_some()
    }
}
