//! The analysis of eBPF programs as a [`Domain`] for the fixpoint iteration.
//!
//! Each block holds a bounded set of states. States of different shape (kinds of registers,
//! maps, nullness) stay apart up to a budget; beyond it they are joined.

mod carry;

use bpftime_isa::{Decoded, Instruction, Operand};
use petgraph::graph::NodeIndex;

use crate::budget::Effort;
use crate::cfg::Cfg;
use crate::check::Failure;
use crate::contract::Global;
use crate::diagnostic::Code;
use crate::domain::join::{How, join};
use crate::domain::order::covers;
use crate::domain::stack::Units;
use crate::domain::state::State;
use crate::domain::value::Kind;
use crate::env::Env;
use crate::facts::Cost;
use crate::fixpoint::{Domain, LoopRule};
use crate::known::Operands;
use crate::liveness::RegSet;
use crate::partition;
use crate::refine::{Refuted, Session};
use crate::structure::{Function, Index};
use crate::termination::{Ending, may_give};
use crate::transfer::Notes;

/// A failure, and where.
pub(crate) struct Located {
    pub(crate) failure: Failure,
    pub(crate) index: Index,
    pub(crate) instance: usize,
    /// State before the instruction, if there is one.
    pub(crate) state: Option<Box<State>>,
    /// What a refiner said, if there is one.
    pub(crate) refuted: Option<Box<Refuted>>,
}

/// The analysis in progress.
pub(crate) struct Engine<'a> {
    env: &'a Env<'a>,
    code: &'a [Decoded],
    cfg: &'a Cfg,
    live: &'a [RegSet],
    live_stack: &'a [Units],
    /// Functions that are judged by their contracts, by number of the function; may be empty.
    pub(crate) globals: &'a [Option<Global>],
    /// For each node, why the loop that it heads ends.
    endings: &'a [Ending],
    /// For each function, the numbers that it compares with.
    stops: Vec<Vec<u64>>,
    /// For each node, whether states from several places meet there.
    meets: Vec<bool>,
    pub(crate) notes: Notes,
    /// For each memory access, what it was seen to go to: the context, an object of the kernel's,
    /// or plain memory (here `Uninit`).
    accessed: Vec<Option<Kind>>,
    /// For each instruction, whether it was reached in a state in which it may be executed.
    pub(crate) reached: Vec<bool>,
    /// What registers held that were read.
    pub(crate) operands: Operands,
    /// For each copy of a function, whether it was entered.
    pub(crate) entered: Vec<bool>,
    /// For each copy of a function, whether it was seen to go on with another program.
    pub(crate) tail_calls: Vec<bool>,
    /// The head of a loop that was gone round with an iterator that has nothing left.
    pub(crate) barren: Option<NodeIndex>,
    /// Bytes of stack by function.
    pub(crate) stack: Vec<u32>,
    /// Greatest number of instructions of a run; `u64::MAX` if not known.
    pub(crate) longest: u64,
    pub(crate) cost: Cost,
    alive: usize,
    effort: Effort,
    /// Whether states were joined, so that more effort could prove more.
    pub(crate) joined: bool,
    /// Where states came from, and whom to ask, if there is somebody.
    pub(crate) session: Option<Session<'a>>,
}

/// Most numbers of a function at which widened numbers may end.
const MAX_STOPS: usize = 48;

/// The numbers that a function compares with, and those after them, in ascending order.
fn compared(code: &[Decoded], function: &Function) -> Vec<u64> {
    let range = function.first as usize..function.end as usize;
    let insns = code.get(range).into_iter().flatten();
    let mut numbers: Vec<u64> = insns
        .filter_map(|decoded| match decoded.insn {
            Instruction::Branch {
                src: Operand::Imm(imm),
                ..
            } => u64::try_from(imm).ok(),
            _ => None,
        })
        .flat_map(|number| [number, number + 1])
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    if numbers.len() > MAX_STOPS {
        numbers.clear();
    }
    numbers
}

impl<'a> Engine<'a> {
    pub(crate) fn new(
        env: &'a Env<'a>,
        code: &'a [Decoded],
        cfg: &'a Cfg,
        (live, live_stack): (&'a [RegSet], &'a [Units]),
        (endings, globals): (&'a [Ending], &'a [Option<Global>]),
        functions: &[Function],
        effort: Effort,
    ) -> Self {
        let meets = cfg
            .graph
            .node_indices()
            .map(|node| {
                cfg.graph
                    .neighbors_directed(node, petgraph::Direction::Incoming)
                    .nth(1)
                    .is_some()
            })
            .collect();
        Self {
            env,
            code,
            cfg,
            live,
            live_stack,
            globals,
            endings,
            stops: functions.iter().map(|of| compared(code, of)).collect(),
            meets,
            notes: Notes::default(),
            accessed: vec![None; code.len()],
            reached: vec![false; code.len()],
            operands: Operands::new(if env.options.record_operands {
                code.len()
            } else {
                0
            }),
            entered: vec![false; cfg.instances.len()],
            tail_calls: vec![false; cfg.instances.len()],
            barren: None,
            stack: vec![0; functions.len()],
            longest: 0,
            cost: Cost::default(),
            alive: 1,
            session: None,
            effort,
            joined: false,
        }
    }

    fn ending(&self, head: NodeIndex) -> Ending {
        let ending = self.endings.get(head.index()).copied();
        ending.unwrap_or(Ending::Unknown)
    }

    fn at(
        &self,
        node: NodeIndex,
        index: Index,
        state: Option<&State>,
        failure: Failure,
    ) -> Located {
        Located {
            failure,
            index,
            instance: self.cfg.graph[node].instance,
            state: state.map(|state| Box::new(state.clone())),
            refuted: None,
        }
    }

    /// Counts a step, and refuses one too many.
    fn count(&mut self, node: NodeIndex, index: Index, state: &mut State) -> Result<(), Located> {
        self.cost.steps += 1;
        state.executed = state.executed.saturating_add(1);
        let limit = self.effort.max_steps;
        if self.cost.steps <= limit {
            return Ok(());
        }
        let failure = Failure::new(
            Code::Complexity,
            format!("at most {limit} abstract steps"),
            "the program needs more",
            format!(
                "BPF program is too large. Processed {} insn",
                self.cost.steps
            ),
        );
        Err(self.at(node, index, None, failure))
    }

    /// How many states are kept apart, of one shape and in all. When much of the budget is
    /// spent, precision is traded for an end: fewer states are kept apart.
    fn states_kept(&self) -> (usize, usize) {
        let budget = &self.effort;
        let share = |divisor: usize| {
            (
                (budget.states_per_shape / divisor).max(1),
                (budget.states_per_block / divisor).max(1),
            )
        };
        let steps = self.cost.steps;
        let comparisons = self.cost.comparisons;
        if steps > budget.max_steps / 4 * 3 || comparisons > budget.max_comparisons / 4 * 3 {
            share(32)
        } else if steps > budget.max_steps / 2 || comparisons > budget.max_comparisons / 2 {
            share(8)
        } else {
            share(1)
        }
    }

    /// Adds what frames used in a block to their functions.
    fn collect_stack(&mut self, node: NodeIndex) {
        let mut chain = Vec::new();
        let mut at = Some(self.cfg.graph[node].instance);
        while let Some(instance) = at.and_then(|at| self.cfg.instances.get(at)) {
            chain.push(instance.function);
            at = instance.caller.map(|(caller, _)| caller);
        }
        for (function, used) in chain.iter().rev().zip(&mut self.notes.stack) {
            if let Some(stack) = self.stack.get_mut(*function) {
                *stack = (*stack).max(*used);
            }
            *used = 0;
        }
    }
}

impl Domain for Engine<'_> {
    type State = State;
    type Error = Located;

    fn transfer(
        &mut self,
        node: NodeIndex,
        mut states: Vec<State>,
        out: &mut Vec<(NodeIndex, State)>,
    ) -> Result<(), Located> {
        self.no_longer_alive(&states);
        if let Some(entered) = self.entered.get_mut(self.cfg.graph[node].instance) {
            *entered = true;
        }
        let cut = self.ending(node) != Ending::Unknown;
        if let Some(session) = &mut self.session {
            session.arrive(node.index(), &mut states, cut);
        }
        for state in states {
            self.carry(node, state, out)?;
        }
        self.collect_stack(node);
        Ok(())
    }

    fn insert(
        &mut self,
        node: NodeIndex,
        set: &mut Vec<State>,
        mut state: State,
    ) -> Result<(), Located> {
        let first = self.cfg.graph[node].first;
        if let Some(live) = self.live.get(first as usize) {
            state.keep_registers(*live);
        }
        if let Some(live) = self.live_stack.get(first as usize) {
            state.keep_stack(*live);
        }
        let (per_shape, per_block) = self.states_kept();
        if !self.meets[node.index()] && set.len() < per_block {
            self.alive += state.weight();
            set.push(state);
            return self.check_alive(node, first);
        }
        let leaks = self.env.options.allow_ptr_leaks;
        let weight = state.weight();
        self.cost.comparisons += (set.len() * weight) as u64;
        for known in set.iter_mut() {
            if covers(known, &state, leaks) {
                known.executed = known.executed.max(state.executed);
                known.lineage.merge(&state.lineage);
                return Ok(());
            }
            if covers(&state, known, leaks) {
                state.executed = state.executed.max(known.executed);
                state.lineage.merge(&known.lineage);
                self.alive = self.alive.saturating_sub(known.weight()) + weight;
                *known = state;
                return Ok(());
            }
        }
        let limits = partition::Limits {
            per_class: per_shape,
            in_all: per_block,
        };
        let before: usize = set.iter().map(State::weight).sum();
        let added = partition::add(set, state, limits, &mut self.notes.last_id);
        self.joined |= added.joined;
        self.cost.comparisons += added.comparisons * weight as u64;
        let after: usize = set.iter().map(State::weight).sum();
        self.alive = (self.alive + after).saturating_sub(before);
        self.check_alive(node, first)
    }

    fn covered(&self, special: &[State], general: &[State]) -> bool {
        let leaks = self.env.options.allow_ptr_leaks;
        special
            .iter()
            .all(|s| general.iter().any(|g| covers(g, s, leaks)))
    }

    fn loop_rule(&self, head: NodeIndex) -> LoopRule {
        if self.ending(head) != Ending::Unknown {
            LoopRule::Widen
        } else {
            LoopRule::Unroll
        }
    }

    fn widen(
        &mut self,
        head: NodeIndex,
        passes: u32,
        seen: &mut Vec<State>,
        back: Vec<State>,
    ) -> Result<Vec<State>, Located> {
        let leaks = self.env.options.allow_ptr_leaks;
        if !back.is_empty() {
            // Also if nothing of it is new: the loop was gone round.
            self.longest = u64::MAX;
        }
        if let Ending::Elements { depth, at } = self.ending(head)
            && !back.iter().all(|state| may_give(state, depth, at))
        {
            self.barren = Some(head);
            return Err(self.endless(head, 1));
        }
        self.no_longer_alive(&back);
        let stops = self.stops(head);
        let mut fresh: Vec<State> = Vec::new();
        for mut state in back {
            // How often the loop goes round is not known.
            state.executed = u64::MAX;
            if seen.iter().any(|known| covers(known, &state, leaks)) {
                continue;
            }
            // The first passes show more of a loop that ends after few than their widening does: a
            // counter that is compared with one number only would lose its end.
            if passes <= self.effort.whole_passes && seen.len() < self.effort.states_per_block {
                seen.push(state.clone());
                fresh.push(state);
                continue;
            }
            self.joined = true;
            let position = seen
                .iter()
                .rposition(|known| partition::same_shape(known, &state))
                .or_else(|| {
                    let full = seen.len() >= self.effort.states_per_block;
                    full.then_some(seen.len() - 1)
                });
            let widened = position.and_then(|position| {
                let known = &seen[position];
                let wide = join(known, &state, How::Widen(&stops), &mut self.notes.last_id)?;
                Some((position, wide))
            });
            match widened {
                Some((position, mut wide)) => {
                    wide.executed = u64::MAX;
                    seen[position] = wide.clone();
                    fresh.push(wide);
                }
                None if seen.len() > 4 * self.effort.states_per_block => {
                    return Err(self.endless(head, u32::MAX));
                }
                None => {
                    seen.push(state.clone());
                    fresh.push(state);
                }
            }
        }
        self.alive += fresh.iter().map(State::weight).sum::<usize>();
        Ok(fresh)
    }

    fn endless(&self, head: NodeIndex, passes: u32) -> Located {
        let block = &self.cfg.graph[head];
        let slot = self.code[block.first as usize].slot;
        let failure = Failure::new(
            Code::Termination,
            "a loop whose end is proved",
            format!("after {passes} passes it goes on as before"),
            format!("infinite loop detected at insn {slot}"),
        );
        self.at(head, block.first, None, failure)
    }

    fn max_passes(&self) -> u32 {
        self.env.options.budget.max_passes
    }

    fn remember(&self, states: &[State]) -> Vec<State> {
        states.to_vec()
    }
}

impl Engine<'_> {
    /// Where widened numbers of the loop may end, in ascending order: at what its function compares with, as a
    /// bound of a loop is mostly one of these. Numbers end there in few steps, as these are few.
    fn stops(&self, head: NodeIndex) -> Vec<u64> {
        let block = &self.cfg.graph[head];
        let function = self.cfg.instances.get(block.instance);
        let function = function.map_or(0, |instance| instance.function);
        self.stops.get(function).cloned().unwrap_or_default()
    }

    fn no_longer_alive(&mut self, states: &[State]) {
        let weight = states.iter().map(State::weight).sum();
        self.alive = self.alive.saturating_sub(weight);
    }

    fn check_alive(&mut self, node: NodeIndex, first: Index) -> Result<(), Located> {
        self.cost.peak_states = self.cost.peak_states.max(self.alive);
        let budget = &self.env.options.budget;
        let (limit, comparisons) = (budget.max_live_states, self.effort.max_comparisons);
        if self.alive <= limit && self.cost.comparisons <= comparisons {
            return Ok(());
        }
        let failure = Failure::new(
            Code::Complexity,
            format!("at most {limit} states at one time, and {comparisons} comparisons"),
            "the program needs more",
            "BPF program is too large. Too many states",
        );
        Err(self.at(node, first, None, failure))
    }
}
