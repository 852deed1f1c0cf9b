//! What the analysis found out about an accepted program.

use bpftime_abi::Capabilities;

use crate::known::{Known, Operands};
use crate::refine::Refinement;

/// What holds for every run of an accepted program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The main program first, then the subprograms, by first slot.
    pub functions: Vec<FunctionFacts>,
    /// Greatest sum of stack bytes over the frames of any chain of calls; each frame rounded up
    /// to 16.
    pub max_stack: u32,
    /// Greatest number of instructions that a run executes; `None` where a loop is bounded only
    /// by `may_goto`, a callback's repetition, or another count that is not known.
    pub max_insns: Option<u64>,
    /// Helpers and map types that the program needs.
    pub needs: Capabilities,
    /// Numbers of the helpers that are called, ascending.
    pub helpers: Vec<u32>,
    /// Calls of helpers that the analysis reached, ascending by slot.
    pub calls: Vec<CallFacts>,
    /// Names of the kernel functions that are called, ascending.
    pub kfuncs: Vec<String>,
    /// What registers hold whenever an instruction reads them, if it is recorded
    /// ([`crate::Options::record_operands`]).
    pub operands: Operands,
    /// What the program returns, where it does not go on with another program. `None` if it never
    /// returns, or if operands are not recorded.
    pub returns: Option<Known>,
    /// [`crate::Options::memory_len`] that the proof was made with. Engines run the program on
    /// memory of exactly this length.
    pub memory_len: Option<u64>,
    /// Whether a virtual CPU must be leased for a run: it uses per-CPU maps,
    /// `bpf_get_smp_processor_id` or `bpf_perf_event_output`.
    pub needs_cpu: bool,
    /// For each decoded instruction, whether the analysis reached it. What it did not reach,
    /// no run executes.
    pub reached: Vec<bool>,
    /// What the analysis cost.
    pub cost: Cost,
    /// What a solver proved, where the verdict depends on one.
    pub refinement: Option<Refinement>,
}

impl Facts {
    /// How many instructions the analysis reached.
    pub fn reached_count(&self) -> usize {
        self.reached.iter().filter(|reached| **reached).count()
    }
}

/// A function of an accepted program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FunctionFacts {
    /// First slot.
    pub entry: u32,
    /// Bytes of stack that the function uses below `r10`, at most 512.
    pub stack: u32,
    /// Its calls were judged by its type alone, because to analyse each of them would cost too much.
    pub by_contract: bool,
}

/// A call of a helper in an accepted program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallFacts {
    /// Slot of the call.
    pub slot: u32,
    /// Number of the helper.
    pub helper: u32,
    /// Index of the map that is passed, if it takes one and it is the same on every path.
    pub map: Option<u32>,
}

/// What an analysis cost, in deterministic units.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Abstract instruction steps.
    pub steps: u64,
    /// Comparisons of states where paths meet.
    pub comparisons: u64,
    /// Greatest number of states alive at one time.
    pub peak_states: usize,
}

impl Cost {
    /// Adds what another attempt cost.
    pub(crate) fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.comparisons += other.comparisons;
        self.peak_states = self.peak_states.max(other.peak_states);
    }
}
