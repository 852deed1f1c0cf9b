//! Loops that end by themselves.
//!
//! `may_goto` leaves the loop when its budget is spent, whatever the program does. A loop all of
//! whose cycles pass through one ends; its states may be widened.

use bpftime_isa::{Decoded, Instruction};
use petgraph::graph::NodeIndex;

use crate::cfg::Cfg;
use crate::wto::{Step, Wto};

/// For each node, whether it is the head of a loop all of whose cycles through the head pass
/// through a `may_goto` of the loop.
pub(crate) fn self_bounded_heads(cfg: &Cfg, wto: &Wto, code: &[Decoded]) -> Vec<bool> {
    let count = cfg.graph.node_count();
    let mut bounded = vec![false; count];
    let bounds: Vec<bool> = cfg
        .graph
        .node_weights()
        .map(|block| {
            let last = block.end.saturating_sub(1) as usize;
            matches!(
                code.get(last).map(|decoded| decoded.insn),
                Some(Instruction::MayGoto { .. })
            )
        })
        .collect();
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
        bounded[node.index()] = !returns_without(cfg, node, &inside, &bounds);
    }
    bounded
}

/// Whether the head is reached from itself, within the loop, past no `may_goto`.
fn returns_without(
    cfg: &Cfg,
    head: NodeIndex,
    inside: &std::collections::HashSet<NodeIndex>,
    bounds: &[bool],
) -> bool {
    let mut seen = std::collections::HashSet::new();
    let mut work = vec![head];
    while let Some(node) = work.pop() {
        if bounds[node.index()] {
            continue;
        }
        for next in cfg.graph.neighbors(node) {
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
