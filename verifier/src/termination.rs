//! Loops that end by themselves.
//!
//! Each frame may pass its `may_goto` instructions a bounded number of times; after that they jump,
//! again and again. A loop all of whose cycles pass, without a jump, a `may_goto` of the frame in
//! which the loop runs ends; its states may be widened. A `may_goto` in a subprogram that the loop
//! calls bounds nothing, since each call has a frame of its own, and neither does one whose jump
//! stays in the loop.
//!
//! A helper that calls back does so a bounded number of times, and nothing but its callbacks leads
//! back to its node; so the loop around it ends, if the callback does. What leads back to the door of
//! a function that is called later ends a run; the next is another.

use bpftime_isa::{Decoded, Instruction};
use petgraph::graph::NodeIndex;

use crate::cfg::Cfg;
use crate::wto::{Step, Wto};

/// For each node, whether it is the head of a loop all of whose cycles through the head pass,
/// without a jump, a `may_goto` in the same copy of a function as the head.
///
/// A head is in the outermost of the copies that its loop runs through: the others are entered by
/// calls in the loop only, which come before them in depth-first order.
pub(crate) fn self_bounded_heads(cfg: &Cfg, wto: &Wto, code: &[Decoded]) -> Vec<bool> {
    let count = cfg.graph.node_count();
    let mut bounded = vec![false; count];
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
        bounded[node.index()] = block.door || !block.callbacks.is_empty();
    }
    if !bounds.contains(&true) {
        return bounded;
    }
    for (start, step) in wto.steps.iter().enumerate() {
        let Step::Head { node, end } = *step else {
            continue;
        };
        let inside: std::collections::HashSet<NodeIndex> = wto.steps[start..end]
            .iter()
            .filter_map(|step| match step {
                Step::Node(node) | Step::Head { node, .. } => Some(*node),
                Step::End { .. } => None,
            })
            .collect();
        bounded[node.index()] |= !returns_without(cfg, node, &inside, &bounds);
    }
    bounded
}

/// Whether the head is reached from itself, within the loop, without passing a `may_goto` of its
/// frame.
fn returns_without(
    cfg: &Cfg,
    head: NodeIndex,
    inside: &std::collections::HashSet<NodeIndex>,
    bounds: &[bool],
) -> bool {
    let frame = cfg.graph[head].instance;
    let mut seen = std::collections::HashSet::new();
    let mut work = vec![head];
    while let Some(node) = work.pop() {
        let block = &cfg.graph[node];
        // The way past a `may_goto` is the one that its budget bounds.
        let bounded = bounds[node.index()] && block.instance == frame;
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
