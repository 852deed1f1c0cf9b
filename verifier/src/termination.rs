//! Loops that end by themselves.
//!
//! Each frame may pass its `may_goto` instructions a bounded number of times; after that they jump,
//! again and again. A loop all of whose cycles pass, without a jump, a `may_goto` of the frame in
//! which the loop runs ends; its states may be widened. A `may_goto` in a subprogram that the loop
//! calls bounds nothing, since each call has a frame of its own, and neither does one whose jump
//! stays in the loop.
//!
//! An iterator gives a bounded number of elements, and null ever after. A loop all of whose cycles go
//! on with the iterator at one place of the frame ends, if none of them makes a new one there, and if
//! the iterator still may give something whenever the loop is gone round: who goes on after null might
//! do so for ever. The last is looked at when states come back ([`may_give`]). A function that the loop
//! calls may make iterators in its own frame only, unless it is given addresses, which count as any.
//!
//! A helper that calls back does so a bounded number of times, and nothing but its callbacks leads
//! back to its node; so the loop around it ends, if the callback does. What leads back to the door of
//! a function that is called later ends a run; the next is another.

use std::collections::{BTreeSet, HashMap, HashSet};

use bpftime_isa::kfunc::KfuncEffect;
use bpftime_isa::{CallTarget, Decoded, Instruction};
use petgraph::graph::NodeIndex;

use crate::cfg::Cfg;
use crate::domain::stack::SIZE;
use crate::domain::state::State;
use crate::domain::value::Kind;
use crate::env::Env;
use crate::structure::Index;
use crate::wto::{Step, Wto};

/// Why a loop ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// Not known; its passes have to be counted.
    Unknown,
    /// All its cycles pass something that bounds them.
    ByItself,
    /// All its cycles pass a `may_goto`; maybe something else ends it sooner.
    MayGoto,
    /// All its cycles go on with the iterator at this byte of the frame with this depth.
    Elements { depth: usize, at: usize },
}

/// Whether the iterator at that place of the frame may give another element.
pub(crate) fn may_give(state: &State, depth: usize, at: usize) -> bool {
    let cells = state.frame(depth).map(|frame| frame.stack.cells());
    let mut cells = cells.unwrap_or_default().iter();
    let cell = cells.find(|cell| usize::from(cell.at) == at);
    let kind = cell.map(|cell| cell.value.kind);
    matches!(kind, Some(Kind::Iterator { drained: false, .. }))
}

/// For each node, why the loop ends that it is the head of: all cycles through the head pass,
/// without a jump, a `may_goto` in the same copy of a function as the head; or all go on with one
/// iterator of it. `first` has the offset from `r10` that `r1` holds before each call, where that is
/// known.
///
/// A head is in the outermost of the copies that its loop runs through: the others are entered by
/// calls in the loop only, which come before them in depth-first order.
pub(crate) fn endings(
    env: &Env<'_>,
    cfg: &Cfg,
    wto: &Wto,
    code: &[Decoded],
    first: &HashMap<Index, i64>,
) -> Vec<Ending> {
    let count = cfg.graph.node_count();
    let mut bounded = vec![Ending::Unknown; count];
    let iterators = Iterators::new(env, cfg, code, first);
    let bounds: Vec<bool> = cfg
        .graph
        .node_weights()
        .map(|block| {
            let last = block.end.saturating_sub(1) as usize;
            block.first < block.end
                && matches!(
                    code.get(last).map(|decoded| decoded.insn),
                    Some(Instruction::MayGoto { .. })
                )
        })
        .collect();
    for node in cfg.graph.node_indices() {
        let block = &cfg.graph[node];
        if block.door || !cfg.callbacks(node).is_empty() {
            bounded[node.index()] = Ending::ByItself;
        }
    }
    if !bounds.contains(&true) && iterators.next.is_empty() {
        return bounded;
    }
    for (start, step) in wto.steps.iter().enumerate() {
        let Step::Head { node, end } = *step else {
            continue;
        };
        let inside: HashSet<NodeIndex> = wto.steps[start..end as usize]
            .iter()
            .filter_map(|step| match step {
                Step::Node(node) | Step::Head { node, .. } => Some(*node),
                Step::End { .. } => None,
            })
            .collect();
        if bounded[node.index()] == Ending::ByItself {
            continue;
        }
        if !returns_without(cfg, node, &inside, |at| bounds[at.index()]) {
            bounded[node.index()] = Ending::MayGoto;
        } else if bounded[node.index()] == Ending::Unknown
            && let Some(at) = iterators.bound(cfg, node, &inside)
        {
            let depth = cfg.depth(cfg.graph[node].instance);
            bounded[node.index()] = Ending::Elements { depth, at };
        }
    }
    bounded
}

/// Places of iterators that are tried for one loop.
const MAX_PLACES: usize = 4;

/// Calls that make iterators and go on with them.
struct Iterators {
    /// Nodes that end with going on, and the byte of the frame that the iterator is at.
    next: HashMap<NodeIndex, usize>,
    /// Nodes that end with making one, and where, if that is known.
    new: HashMap<NodeIndex, Option<usize>>,
}

impl Iterators {
    fn new(env: &Env<'_>, cfg: &Cfg, code: &[Decoded], first: &HashMap<Index, i64>) -> Self {
        let mut found = Self {
            next: HashMap::new(),
            new: HashMap::new(),
        };
        for node in cfg.graph.node_indices() {
            let block = &cfg.graph[node];
            let Some(last) = block.end.checked_sub(1).filter(|last| *last >= block.first) else {
                continue;
            };
            let at = last as usize;
            let Some(Instruction::Call(CallTarget::Kfunc { id, btf_idx })) =
                code.get(at).map(|decoded| decoded.insn)
            else {
                continue;
            };
            let place = first.get(&last).copied();
            let place = place.and_then(|offset| (SIZE as i64).checked_add(offset));
            let place = place.and_then(|place| usize::try_from(place).ok());
            match env.kfunc(id, btf_idx).map(|proto| proto.effect) {
                Some(KfuncEffect::IteratorNext) => {
                    found.next.extend(place.map(|place| (node, place)));
                }
                Some(KfuncEffect::IteratorNew) => {
                    found.new.insert(node, place);
                }
                _ => {}
            }
        }
        found
    }

    /// The place of an iterator of the head's frame with which all cycles of the loop go on, and
    /// that none makes anew.
    fn bound(&self, cfg: &Cfg, head: NodeIndex, inside: &HashSet<NodeIndex>) -> Option<usize> {
        let frame = cfg.graph[head].instance;
        let own = |node: NodeIndex| cfg.graph[node].instance == frame;
        let mut places = BTreeSet::new();
        let mut anew = BTreeSet::new();
        for node in inside {
            if let Some(place) = self.next.get(node)
                && own(*node)
            {
                places.insert(*place);
            }
            match self.new.get(node) {
                // Wherever its address came from.
                Some(None) => return None,
                Some(Some(place)) if own(*node) => {
                    anew.insert(*place);
                }
                _ => {}
            }
        }
        let mut places = places.difference(&anew).copied().take(MAX_PLACES);
        places.find(|place| {
            let bounds = |node: NodeIndex| self.next.get(&node) == Some(place);
            !returns_without(cfg, head, inside, bounds)
        })
    }
}

/// Whether the head is reached from itself, within the loop, without passing a bound of its frame.
fn returns_without(
    cfg: &Cfg,
    head: NodeIndex,
    inside: &HashSet<NodeIndex>,
    bounds: impl Fn(NodeIndex) -> bool,
) -> bool {
    let frame = cfg.graph[head].instance;
    let mut seen = HashSet::new();
    let mut work = vec![head];
    while let Some(node) = work.pop() {
        let block = &cfg.graph[node];
        // The way past a bound is the next instruction: a `may_goto` that does not jump, the return of
        // a call.
        let bounded = bounds(node) && block.instance == frame;
        let past = block.next.filter(|_| !bounded);
        for next in past.into_iter().chain(block.target) {
            if next == head {
                return true;
            }
            if inside.contains(&next) && seen.insert(next) {
                work.push(next);
            }
        }
    }
    false
}
