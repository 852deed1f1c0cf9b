//! Global functions that are judged by their contracts.
//!
//! A function that is inlined is analysed once for each call, with what each caller knows. Where that
//! costs too much, a global function is analysed once, with nothing known but what its type says, as
//! the kernel does it; a call checks that the arguments are such, and afterwards knows nothing of what
//! the function may have changed. That proves less, so it is done only if inlining has failed for its
//! cost.
//!
//! Not so judged is a function that, by itself or by what it calls, may go on with another program, end
//! the program for want of a packet's bytes, or call a kernel function: each does something to its
//! caller that no contract tells.

use bpftime_isa::{CallTarget, Contract, Decoded, Instruction, Program, helper};

use crate::structure::{Index, Structure};
use crate::transfer::TAIL_CALL;

/// A function that is judged by its contract.
#[derive(Debug)]
pub(crate) struct Global {
    pub(crate) contract: Contract,
    /// It may change the packet, so that the caller's pointers into it are gone.
    pub(crate) changes_packet: bool,
}

/// What a function does, by itself or by what it calls.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Deeds {
    untold: bool,
    changes_packet: bool,
}

impl Deeds {
    fn of(insn: &Instruction) -> Self {
        match insn {
            Instruction::Call(CallTarget::Helper(id)) => Self {
                untold: *id == TAIL_CALL,
                // Or one that is not known. Dynptrs of packets are made by kernel functions only.
                changes_packet: helper::proto(*id).is_none_or(|proto| proto.changes_packet),
            },
            Instruction::Call(CallTarget::Kfunc { .. } | CallTarget::Register(_))
            | Instruction::LoadPacket { .. } => Self {
                untold: true,
                changes_packet: true,
            },
            _ => Self::default(),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            untold: self.untold || other.untold,
            changes_packet: self.changes_packet || other.changes_packet,
        }
    }
}

/// For each function of the program, how it is judged by its contract, if it can be.
pub(crate) fn globals(
    code: &[Decoded],
    structure: &Structure,
    program: &Program,
) -> Vec<Option<Global>> {
    let count = structure.functions.len();
    let mut deeds = vec![Deeds::default(); count];
    let mut callers: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (index, decoded) in code.iter().enumerate() {
        let index = index as Index;
        let function = structure.function_of(index);
        deeds[function] = deeds[function].and(Deeds::of(&decoded.insn));
        if let Some(callee) = structure.refers_to(code, index) {
            callers[structure.function_of(callee)].push(function);
        }
    }
    let mut work: Vec<usize> = (0..count).collect();
    while let Some(function) = work.pop() {
        for caller in &callers[function] {
            let all = deeds[*caller].and(deeds[function]);
            if all != deeds[*caller] {
                deeds[*caller] = all;
                work.push(*caller);
            }
        }
    }
    let contract_of = |first: Index| {
        let slot = code.get(first as usize)?.slot;
        let at = program
            .subprograms
            .binary_search_by_key(&slot, |subprogram| subprogram.insn);
        let subprogram = program.subprograms.get(at.ok()?)?;
        subprogram.contract.clone().filter(|_| subprogram.global)
    };
    let functions = structure.functions.iter().zip(deeds).enumerate();
    functions
        .map(|(number, (function, deeds))| {
            let contract = contract_of(function.first).filter(|_| number > 0 && !deeds.untold)?;
            (contract.arguments.len() <= 5).then_some(Global {
                contract,
                changes_packet: deeds.changes_packet,
            })
        })
        .collect()
}
