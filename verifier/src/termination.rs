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
//! do so for ever. The last is looked at when states come back ([`may_give`]). An iterator may be in the frame of a
//! caller, whose function was given its address in `r1` and hands it on as it is; calls being inlined, that is one
//! place. Iterators that the loop makes at addresses of which nothing is known count as any.
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
use crate::stack_liveness::FirstArgument;
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
    first: &HashMap<Index, FirstArgument>,
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
            let (instance, at) = at;
            let depth = cfg.depth(instance);
            bounded[node.index()] = Ending::Elements { depth, at };
        }
    }
    bounded
}

/// Places of iterators that are tried for one loop.
const MAX_PLACES: usize = 4;

/// The copy of a function in whose frame an iterator is, and the byte of that at which it is.
type Place = (usize, usize);

/// Where the iterator is that the call is given in `r1`, if that is known.
fn place(
    cfg: &Cfg,
    code: &[Decoded],
    first: &HashMap<Index, FirstArgument>,
    (instance, call): (usize, Index),
) -> Option<Place> {
    let (mut instance, mut call) = (instance, call);
    loop {
        match *first.get(&call)? {
            FirstArgument::Frame(offset) => {
                let at = (SIZE as i64).checked_add(offset)?;
                return Some((instance, usize::try_from(at).ok()?));
            }
            FirstArgument::Given => {
                // What a helper calls back with is another thing than what the helper was given.
                (instance, call) = cfg.instances.get(instance)?.caller?;
                let by = code.get(call as usize)?.insn;
                if !matches!(by, Instruction::Call(CallTarget::Local(_))) {
                    return None;
                }
            }
        }
    }
}

/// Calls that make iterators and go on with them.
struct Iterators {
    /// Nodes that end with going on, and where the iterator is.
    next: HashMap<NodeIndex, Place>,
    /// Nodes that end with making one, and where, if that is known.
    new: HashMap<NodeIndex, Option<Place>>,
}

impl Iterators {
    fn new(
        env: &Env<'_>,
        cfg: &Cfg,
        code: &[Decoded],
        first: &HashMap<Index, FirstArgument>,
    ) -> Self {
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
            let place = place(cfg, code, first, (block.instance, last));
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

    /// The place of an iterator with which all cycles of the loop go on, in the head's copy of a function,
    /// and that none makes anew.
    fn bound(&self, cfg: &Cfg, head: NodeIndex, inside: &HashSet<NodeIndex>) -> Option<Place> {
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
                Some(Some(place)) => {
                    anew.insert(*place);
                }
                None => {}
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
