//! Functions and jumps: the rules that hold for every slot, reached or not.
//!
//! Reads: decoded instructions. Throws: jumps and calls to places where no instruction begins,
//! jumps between functions, functions without an end, recursion, calls too deep.
//! Invariant afterwards: every jump leads to an instruction of its function, and following
//! instructions one by one never leaves a function.

use bpftime_abi::MAX_CALL_FRAMES;
use bpftime_isa::{CallTarget, Decoded, Imm64, Instruction};

use crate::diagnostic::Code;

/// Index of a decoded instruction.
pub(crate) type Index = u32;

/// For each instruction of a function, the instructions that jump to it.
#[derive(Debug)]
pub(crate) struct JumpSources {
    function: Function,
    /// Where the sources of each instruction begin in `sources`, and where the last ones' end.
    starts: Vec<u32>,
    sources: Vec<Index>,
}

impl JumpSources {
    /// Of all instructions of the run, which jumps do not leave.
    pub(crate) fn new(code: &[Decoded], structure: &Structure, function: Function) -> Self {
        let Function { first, end } = function;
        let jumps = || {
            (first..end).filter_map(|index| {
                let target = structure.jump_target(code, index)?;
                Some((target.checked_sub(first)? as usize, index))
            })
        };
        let mut starts = vec![0; (end - first) as usize + 1];
        for (target, _) in jumps() {
            if let Some(count) = starts.get_mut(target + 1) {
                *count += 1;
            }
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut free = starts.clone();
        let mut sources = vec![0; starts.last().copied().unwrap_or(0) as usize];
        for (target, index) in jumps() {
            if let Some(place) = free.get_mut(target)
                && let Some(source) = sources.get_mut(*place as usize)
            {
                *source = index;
                *place += 1;
            }
        }
        Self {
            function,
            starts,
            sources,
        }
    }

    /// The instructions that jump to the instruction.
    pub(crate) fn of(&self, index: Index) -> &[Index] {
        let at = index.saturating_sub(self.function.first) as usize;
        match self.starts.get(at..at + 2) {
            Some([first, end]) => &self.sources[*first as usize..*end as usize],
            _ => &[],
        }
    }
}

/// A structural fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) code: Code,
    pub(crate) index: Index,
    pub(crate) needed: String,
    pub(crate) known: String,
    pub(crate) kernel_message: String,
}

/// A function: a run of instructions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Function {
    /// First instruction.
    pub(crate) first: Index,
    /// One past the last instruction.
    pub(crate) end: Index,
}

/// The functions of a program.
#[derive(Debug)]
pub(crate) struct Structure {
    /// By first instruction; the main program is the first.
    pub(crate) functions: Vec<Function>,
    /// Decoded index by slot; `u32::MAX` for second halves of wide instructions.
    index_of_slot: Vec<Index>,
}

impl Structure {
    /// Finds the functions and checks the rules.
    pub(crate) fn new(code: &[Decoded]) -> Result<Self, Fault> {
        let slots = code
            .last()
            .map_or(0, |last| last.slot as usize + last.insn.slots());
        let mut index_of_slot = vec![Index::MAX; slots];
        for (index, decoded) in code.iter().enumerate() {
            if let Some(entry) = index_of_slot.get_mut(decoded.slot as usize) {
                *entry = index as Index;
            }
        }
        let mut structure = Self {
            functions: Vec::new(),
            index_of_slot,
        };
        structure.find_functions(code)?;
        structure.check_jumps(code)?;
        structure.check_calls(code)?;
        Ok(structure)
    }

    /// The instruction that begins `delta` slots after the slot after `index`.
    fn target(&self, code: &[Decoded], index: Index, delta: i32) -> Result<Index, Fault> {
        let slot = code[index as usize].slot;
        let to = i64::from(slot) + 1 + i64::from(delta);
        let found = usize::try_from(to)
            .ok()
            .and_then(|to| self.index_of_slot.get(to));
        match found {
            None => Err(Fault {
                code: Code::JumpOutOfRange,
                index,
                needed: format!(
                    "a target from 0 to {}",
                    self.index_of_slot.len().wrapping_sub(1)
                ),
                known: format!("the target is {to}"),
                kernel_message: format!("jump out of range from insn {slot} to {to}"),
            }),
            Some(&Index::MAX) => Err(Fault {
                code: Code::JumpIntoWide,
                index,
                needed: "a target where an instruction begins".into(),
                known: format!("{to} is the second half of a 64-bit load"),
                kernel_message: format!("jump into the middle of ldimm64 insn {to}"),
            }),
            Some(&target) => Ok(target),
        }
    }

    /// Target of the jump, if the instruction is one.
    pub(crate) fn jump_target(&self, code: &[Decoded], index: Index) -> Option<Index> {
        let delta = jump_delta(&code.get(index as usize)?.insn)?;
        self.target(code, index, delta).ok()
    }

    /// First instruction of the function that is called.
    pub(crate) fn callee(&self, code: &[Decoded], index: Index) -> Option<Index> {
        let delta = call_delta(&code.get(index as usize)?.insn)?;
        self.target(code, index, delta).ok()
    }

    /// First instruction of the function that the instruction calls, or whose address it takes.
    pub(crate) fn refers_to(&self, code: &[Decoded], index: Index) -> Option<Index> {
        let insn = &code.get(index as usize)?.insn;
        let delta = call_delta(insn).or_else(|| taken_delta(insn))?;
        self.target(code, index, delta).ok()
    }

    /// First instructions of the functions whose addresses are taken, in ascending order.
    pub(crate) fn taken(&self, code: &[Decoded]) -> Vec<Index> {
        let mut taken: Vec<Index> = (0..code.len() as Index)
            .filter_map(|index| {
                let delta = taken_delta(&code[index as usize].insn)?;
                self.target(code, index, delta).ok()
            })
            .collect();
        taken.sort_unstable();
        taken.dedup();
        taken
    }

    /// The first instruction that no jump, call or taken address leads to.
    pub(crate) fn unreachable(&self, code: &[Decoded]) -> Option<Index> {
        let mut reached = vec![false; code.len()];
        let mut work = vec![0];
        while let Some(index) = work.pop() {
            let Some(seen) = reached.get_mut(index as usize) else {
                continue;
            };
            if std::mem::replace(seen, true) {
                continue;
            }
            let insn = &code[index as usize].insn;
            if !matches!(insn, Instruction::Exit | Instruction::Jump { .. }) {
                work.push(index + 1);
            }
            let delta = call_delta(insn)
                .or_else(|| taken_delta(insn))
                .or_else(|| jump_delta(insn));
            work.extend(delta.and_then(|delta| self.target(code, index, delta).ok()));
        }
        let first = reached.iter().position(|reached| !reached)?;
        Some(first as Index)
    }

    /// Which function holds the instruction.
    pub(crate) fn function_of(&self, index: Index) -> usize {
        self.functions
            .partition_point(|function| function.first <= index)
            .saturating_sub(1)
    }

    fn find_functions(&mut self, code: &[Decoded]) -> Result<(), Fault> {
        let mut starts = vec![0];
        for (index, decoded) in code.iter().enumerate() {
            let delta = call_delta(&decoded.insn).or_else(|| taken_delta(&decoded.insn));
            if let Some(delta) = delta {
                starts.push(self.target(code, index as Index, delta)?);
            }
        }
        starts.sort_unstable();
        starts.dedup();
        let ends = starts.iter().skip(1).copied().chain([code.len() as Index]);
        self.functions = starts
            .iter()
            .zip(ends)
            .map(|(&first, end)| Function { first, end })
            .collect();
        Ok(())
    }

    fn check_jumps(&self, code: &[Decoded]) -> Result<(), Fault> {
        for (number, function) in self.functions.iter().enumerate() {
            for index in function.first..function.end {
                let Some(delta) = jump_delta(&code[index as usize].insn) else {
                    continue;
                };
                let target = self.target(code, index, delta)?;
                if !(function.first..function.end).contains(&target) {
                    let slot = code[index as usize].slot;
                    return Err(Fault {
                        code: Code::JumpAcrossFunctions,
                        index,
                        needed: "a target in the same function".into(),
                        known: format!(
                            "the target {} is in function {}, the jump in function {number}",
                            code[target as usize].slot,
                            self.function_of(target)
                        ),
                        kernel_message: format!(
                            "jump out of range from insn {slot} to {}",
                            code[target as usize].slot
                        ),
                    });
                }
            }
            let last = function.end.saturating_sub(1);
            let ends = matches!(
                code[last as usize].insn,
                Instruction::Exit | Instruction::Jump { .. }
            );
            if !ends {
                return Err(Fault {
                    code: Code::FallsOff,
                    index: last,
                    needed: "an exit or a jump as the last instruction of the function".into(),
                    known: "execution would go on after the end".into(),
                    kernel_message: "last insn is not an exit or jmp".into(),
                });
            }
        }
        Ok(())
    }

    /// Local calls: no recursion, and chains not longer than the frames that there are. Callbacks are
    /// followed where the graph is built.
    fn check_calls(&self, code: &[Decoded]) -> Result<(), Fault> {
        let count = self.functions.len();
        let mut callees: Vec<Vec<(usize, Index)>> = vec![Vec::new(); count];
        for (index, _) in code.iter().enumerate() {
            if let Some(target) = self.callee(code, index as Index) {
                let caller = self.function_of(index as Index);
                callees[caller].push((self.function_of(target), index as Index));
            }
        }
        // Depth-first over functions with an explicit stack. `height` is the longest chain of
        // calls that starts in a function, known once all its callees are.
        let mut height: Vec<Option<usize>> = vec![None; count];
        let mut open = vec![false; count];
        for root in 0..count {
            let mut path = vec![(root, 0)];
            while let Some((function, next)) = path.pop() {
                if height[function].is_some() {
                    continue;
                }
                open[function] = true;
                let Some(&(callee, site)) = callees[function].get(next) else {
                    let deepest = callees[function]
                        .iter()
                        .filter_map(|(callee, _)| height[*callee])
                        .max();
                    height[function] = Some(deepest.map_or(1, |below| below + 1));
                    open[function] = false;
                    continue;
                };
                path.push((function, next + 1));
                if open[callee] {
                    return Err(Fault {
                        code: Code::Recursion,
                        index: site,
                        needed: "functions that do not call themselves, directly or not".into(),
                        known: format!(
                            "function at {} is called while it runs",
                            code[self.functions[callee].first as usize].slot
                        ),
                        kernel_message: format!(
                            "recursive call from insn {} to {}",
                            code[site as usize].slot,
                            code[self.functions[callee].first as usize].slot
                        ),
                    });
                }
                if height[callee].is_none() {
                    path.push((callee, 0));
                }
            }
        }
        match height.first() {
            Some(Some(frames)) if *frames > MAX_CALL_FRAMES => Err(Fault {
                code: Code::CallDepth,
                index: 0,
                needed: format!("at most {MAX_CALL_FRAMES} frames"),
                known: format!("a chain of calls needs {frames}"),
                kernel_message: format!("the call stack of {frames} frames is too deep !"),
            }),
            _ => Ok(()),
        }
    }
}

fn jump_delta(insn: &Instruction) -> Option<i32> {
    match *insn {
        Instruction::Jump { delta, .. } => Some(delta),
        Instruction::Branch { delta, .. } | Instruction::MayGoto { delta } => Some(delta.into()),
        _ => None,
    }
}

fn call_delta(insn: &Instruction) -> Option<i32> {
    match *insn {
        Instruction::Call(CallTarget::Local(delta)) => Some(delta),
        _ => None,
    }
}

fn taken_delta(insn: &Instruction) -> Option<i32> {
    match *insn {
        Instruction::LoadImm64 {
            value: Imm64::Func { delta },
            ..
        } => Some(delta),
        _ => None,
    }
}
