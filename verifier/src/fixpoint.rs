//! Iteration over a weak topological order. Knows nothing of eBPF.
//!
//! Each node holds a set of states that wait to be carried on. A pass over a loop carries the
//! states at its head once around; what comes back waits there for the next pass. A loop is left
//! when nothing comes back. Without widening that is a proof that it ends: no execution goes
//! round more often than there were passes. With widening, what comes back is only carried on
//! if it was not covered before, and termination must be known otherwise.

use petgraph::graph::{DiGraph, NodeIndex};

use crate::wto::{Step, Wto};

/// How a loop is treated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LoopRule {
    /// Carry states around until none comes back.
    Unroll,
    /// Widen until what comes back is covered; the loop ends for a reason of its own.
    Widen,
}

/// What is iterated.
pub(crate) trait Domain {
    type State;
    type Error;

    /// Carries the states of a node on to its successors.
    fn transfer(
        &mut self,
        node: NodeIndex,
        states: Vec<Self::State>,
        out: &mut Vec<(NodeIndex, Self::State)>,
    ) -> Result<(), Self::Error>;

    /// Adds a state to a set, keeping the set within its bounds.
    fn insert(
        &mut self,
        node: NodeIndex,
        set: &mut Vec<Self::State>,
        state: Self::State,
    ) -> Result<(), Self::Error>;

    /// Whether every state of `special` is covered by one of `general`.
    fn covered(&self, special: &[Self::State], general: &[Self::State]) -> bool;

    /// How the loop with the head is treated.
    fn loop_rule(&self, head: NodeIndex) -> LoopRule;

    /// What comes back to the head of a widened loop, after so many passes, and is not covered by
    /// `seen`, widened; `seen` grows by it. Some passes may be carried on as they are, for their number
    /// is bounded.
    fn widen(
        &mut self,
        head: NodeIndex,
        passes: u32,
        seen: &mut Vec<Self::State>,
        back: Vec<Self::State>,
    ) -> Result<Vec<Self::State>, Self::Error>;

    /// The loop is not seen to end: the states that come back cover those before, or there were
    /// too many passes.
    fn endless(&self, head: NodeIndex, passes: u32) -> Self::Error;

    /// Greatest number of passes over one loop.
    fn max_passes(&self) -> u32;

    /// A copy for later comparison.
    fn remember(&self, states: &[Self::State]) -> Vec<Self::State>;
}

/// Progress of a loop that is being iterated.
struct Loop<S> {
    passes: u32,
    /// Unrolled: states of an earlier pass. Widened: all states so far.
    seen: Vec<S>,
    /// Pass at which `seen` was taken.
    seen_at: u32,
}

/// Carries the entry state through the graph until nothing is left to do.
pub(crate) fn run<D: Domain, N, E>(
    graph: &DiGraph<N, E>,
    wto: &Wto,
    domain: &mut D,
    entry: NodeIndex,
    state: D::State,
) -> Result<(), D::Error> {
    let mut waiting: Vec<Vec<D::State>> = Vec::new();
    waiting.resize_with(graph.node_count(), Vec::new);
    let mut loops: Vec<Loop<D::State>> = Vec::new();
    let mut out = Vec::new();
    waiting[entry.index()].push(state);
    let mut at = 0;
    while let Some(step) = wto.steps.get(at) {
        let node = match *step {
            Step::Node(node) => node,
            Step::Head { node, .. } => {
                let seen = match domain.loop_rule(node) {
                    LoopRule::Widen => domain.remember(&waiting[node.index()]),
                    LoopRule::Unroll => Vec::new(),
                };
                loops.push(Loop {
                    passes: 0,
                    seen,
                    seen_at: 0,
                });
                node
            }
            Step::End { head } => {
                let Some(Step::Head { node, .. }) = wto.steps.get(head as usize) else {
                    at += 1;
                    continue;
                };
                let back = &mut waiting[node.index()];
                if !goes_round_again(domain, *node, back, &mut loops)? {
                    at += 1;
                    continue;
                }
                at = head as usize;
                *node
            }
        };
        let states = std::mem::take(&mut waiting[node.index()]);
        if !states.is_empty() {
            domain.transfer(node, states, &mut out)?;
            for (to, state) in out.drain(..) {
                domain.insert(to, &mut waiting[to.index()], state)?;
            }
        }
        at += 1;
    }
    Ok(())
}

/// Judges what came back to the head of the innermost loop; leaves the loop if that is nothing.
fn goes_round_again<D: Domain>(
    domain: &mut D,
    head: NodeIndex,
    back: &mut Vec<D::State>,
    loops: &mut Vec<Loop<D::State>>,
) -> Result<bool, D::Error> {
    let Some(progress) = loops.last_mut() else {
        return Ok(false);
    };
    let rule = domain.loop_rule(head);
    progress.passes += 1;
    if rule == LoopRule::Widen {
        let passes = progress.passes;
        *back = domain.widen(head, passes, &mut progress.seen, std::mem::take(back))?;
    }
    if back.is_empty() {
        loops.pop();
        return Ok(false);
    }
    if progress.passes >= domain.max_passes() {
        return Err(domain.endless(head, progress.passes));
    }
    if rule == LoopRule::Unroll {
        // If what came back covers what was there some passes before, something will come
        // back for ever. Passes compared with are powers of two (Brent).
        if !progress.seen.is_empty() && domain.covered(&progress.seen, back) {
            return Err(domain.endless(head, progress.passes));
        }
        if progress.passes >= 2 * progress.seen_at {
            progress.seen = domain.remember(back);
            progress.seen_at = progress.passes;
        }
    }
    Ok(true)
}
