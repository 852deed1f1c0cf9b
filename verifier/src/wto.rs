//! Weak topological order of a graph.
//!
//! Every edge leads forwards in the order, or back to the head of a component that contains its
//! source. Source: Bourdoncle, "Efficient chaotic iteration strategies with widenings", 1993.
//! Built from strongly connected components, again and again without their heads, with explicit
//! stacks: a hostile graph costs its budget, not the call stack.

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};

/// A step of the order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// A node that is visited once each time it is passed.
    Node(NodeIndex),
    /// A loop begins with its head, which is visited.
    Head {
        /// The head.
        node: NodeIndex,
        /// Position of the matching [`Step::End`].
        end: usize,
    },
    /// A loop ends: again from its head, or on.
    End {
        /// Position of the matching [`Step::Head`].
        head: usize,
    },
}

/// A weak topological order of the nodes that the entry reaches.
#[derive(Debug)]
pub(crate) struct Wto {
    pub(crate) steps: Vec<Step>,
}

/// The order would cost more than its budget: loops nest too deeply.
#[derive(Debug)]
pub(crate) struct TooDeep;

enum Work {
    /// Order these nodes among themselves.
    Scope(Vec<NodeIndex>),
    /// These nodes are one component.
    Component(Vec<NodeIndex>),
    Node(NodeIndex),
    /// Close the component that was opened at this position.
    End(usize),
}

/// Visits of a node, over all scopes, per node of the graph.
const MAX_VISITS_PER_NODE: usize = 64;

/// Visits of nodes in all, for graphs of which each node can be visited a few times for less.
const MAX_VISITS: usize = 4_000_000;

/// How many visits the order of so many nodes may take: a hostile nest of loops around many nodes
/// would take seconds otherwise.
fn visits(nodes: usize) -> usize {
    let most = MAX_VISITS.max(nodes.saturating_mul(4));
    nodes.saturating_mul(MAX_VISITS_PER_NODE).min(most)
}

impl Wto {
    /// Orders the nodes that `entry` reaches.
    pub(crate) fn new<N, E>(graph: &DiGraph<N, E>, entry: NodeIndex) -> Result<Self, TooDeep> {
        let mut builder = Builder {
            graph,
            rank: vec![usize::MAX; graph.node_count()],
            scope: vec![0; graph.node_count()],
            scopes: 0,
            local: vec![0; graph.node_count()],
        };
        let reached = builder.reverse_postorder(entry);
        let mut budget = visits(reached.len());
        let mut steps = Vec::with_capacity(reached.len() * 2);
        let mut work = vec![Work::Scope(reached)];
        while let Some(item) = work.pop() {
            match item {
                Work::Node(node) => steps.push(Step::Node(node)),
                Work::End(head) => {
                    let end = steps.len();
                    if let Some(Step::Head { end: to, .. }) = steps.get_mut(head) {
                        *to = end;
                    }
                    steps.push(Step::End { head });
                }
                Work::Scope(nodes) => {
                    budget = budget.checked_sub(nodes.len()).ok_or(TooDeep)?;
                    // Components come sources last, as a stack wants them.
                    work.extend(builder.components(&nodes));
                }
                Work::Component(mut nodes) => {
                    // The first in depth-first order is the natural head of a natural loop.
                    let rank = &builder.rank;
                    let Some(position) =
                        (0..nodes.len()).min_by_key(|position| rank[nodes[*position].index()])
                    else {
                        continue;
                    };
                    let node = nodes.swap_remove(position);
                    builder.scope[node.index()] = usize::MAX;
                    work.push(Work::End(steps.len()));
                    steps.push(Step::Head { node, end: 0 });
                    if !nodes.is_empty() {
                        work.push(Work::Scope(nodes));
                    }
                }
            }
        }
        Ok(Self { steps })
    }
}

struct Builder<'a, N, E> {
    graph: &'a DiGraph<N, E>,
    /// Position in reverse postorder; `usize::MAX` if not reached.
    rank: Vec<usize>,
    /// In which scope a node is at the moment; `usize::MAX` once it is a head.
    scope: Vec<usize>,
    scopes: usize,
    /// Position of a node among those of its scope, which keeps the cost of a scope
    /// proportional to it.
    local: Vec<usize>,
}

impl<N, E> Builder<'_, N, E> {
    fn successors(&self, node: NodeIndex) -> impl Iterator<Item = NodeIndex> + use<'_, N, E> {
        self.graph.neighbors_directed(node, Direction::Outgoing)
    }

    fn reverse_postorder(&mut self, entry: NodeIndex) -> Vec<NodeIndex> {
        let mut seen = vec![false; self.graph.node_count()];
        let mut order = Vec::new();
        seen[entry.index()] = true;
        let mut stack = vec![(entry, self.successors(entry).collect::<Vec<_>>())];
        while let Some((node, rest)) = stack.last_mut() {
            let node = *node;
            match rest.pop() {
                Some(next) if !seen[next.index()] => {
                    seen[next.index()] = true;
                    let after = self.successors(next).collect();
                    stack.push((next, after));
                }
                Some(_) => {}
                None => {
                    order.push(node);
                    stack.pop();
                }
            }
        }
        order.reverse();
        for (rank, node) in order.iter().enumerate() {
            self.rank[node.index()] = rank;
        }
        order
    }

    /// Strongly connected components of the graph restricted to the nodes (Tarjan), each after
    /// the components that it leads to.
    fn components(&mut self, nodes: &[NodeIndex]) -> Vec<Work> {
        self.scopes += 1;
        let scope = self.scopes;
        for (local, node) in nodes.iter().enumerate() {
            self.scope[node.index()] = scope;
            self.local[node.index()] = local;
        }
        let mut found = Vec::new();
        const NEW: usize = usize::MAX;
        let mut number = vec![NEW; nodes.len()];
        let mut low = vec![0; nodes.len()];
        let mut on_stack = vec![false; nodes.len()];
        let mut stack = Vec::new();
        let mut counter = 0;
        for root in 0..nodes.len() {
            if number[root] != NEW {
                continue;
            }
            let mut path: Vec<(usize, Vec<usize>)> = Vec::new();
            let mut enter = Some(root);
            loop {
                if let Some(at) = enter.take() {
                    number[at] = counter;
                    low[at] = counter;
                    counter += 1;
                    stack.push(at);
                    on_stack[at] = true;
                    let next = self
                        .successors(nodes[at])
                        .filter(|to| self.scope[to.index()] == scope)
                        .map(|to| self.local[to.index()])
                        .collect();
                    path.push((at, next));
                }
                let Some((at, rest)) = path.last_mut() else {
                    break;
                };
                let at = *at;
                if let Some(to) = rest.pop() {
                    if number[to] == NEW {
                        enter = Some(to);
                    } else if on_stack[to] {
                        low[at] = low[at].min(number[to]);
                    }
                    continue;
                }
                path.pop();
                if let Some((parent, _)) = path.last() {
                    low[*parent] = low[*parent].min(low[at]);
                }
                if low[at] != number[at] {
                    continue;
                }
                let mut members = Vec::new();
                while let Some(member) = stack.pop() {
                    on_stack[member] = false;
                    members.push(nodes[member]);
                    if member == at {
                        break;
                    }
                }
                let node = nodes[at];
                let alone = members.len() == 1 && !self.successors(node).any(|to| to == node);
                found.push(if alone {
                    Work::Node(node)
                } else {
                    Work::Component(members)
                });
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The defining property: an edge leads forwards, or back to the head of a component that
    /// holds its source.
    fn assert_weak_topological<N, E>(graph: &DiGraph<N, E>, wto: &Wto) {
        let mut position = vec![usize::MAX; graph.node_count()];
        for (at, step) in wto.steps.iter().enumerate() {
            if let Step::Node(node) | Step::Head { node, .. } = step {
                assert_eq!(position[node.index()], usize::MAX, "visited twice");
                position[node.index()] = at;
            }
        }
        for edge in graph.edge_indices() {
            let (from, to) = graph.edge_endpoints(edge).expect("an edge");
            let (from, to) = (position[from.index()], position[to.index()]);
            if from == usize::MAX {
                continue;
            }
            assert_ne!(to, usize::MAX);
            let back = matches!(wto.steps[to], Step::Head { end, .. } if from < end);
            assert!(from < to || back, "{from} -> {to} in {:?}", wto.steps);
        }
    }

    #[test]
    fn random_graphs_are_ordered() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = move |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed >> 20) as usize % below
        };
        for _ in 0..3000 {
            let nodes = 1 + random(12);
            let mut graph = DiGraph::<(), ()>::new();
            for _ in 0..nodes {
                graph.add_node(());
            }
            for _ in 0..random(3 * nodes + 1) {
                let (from, to) = (random(nodes), random(nodes));
                graph.add_edge(NodeIndex::new(from), NodeIndex::new(to), ());
            }
            let wto = Wto::new(&graph, NodeIndex::new(0)).expect("small");
            assert_weak_topological(&graph, &wto);
        }
    }

    #[test]
    fn deep_graphs_do_not_overflow_the_stack() {
        let mut graph = DiGraph::<(), ()>::new();
        let nodes: Vec<_> = (0..200_000).map(|_| graph.add_node(())).collect();
        for pair in nodes.windows(2) {
            graph.add_edge(pair[0], pair[1], ());
        }
        let wto = Wto::new(&graph, nodes[0]).expect("no loops");
        assert_eq!(wto.steps.len(), nodes.len());
    }

    #[test]
    fn a_nest_around_many_nodes_is_refused() {
        let mut graph = DiGraph::<(), ()>::new();
        let nodes: Vec<_> = (0..200_000).map(|_| graph.add_node(())).collect();
        let last = nodes[nodes.len() - 1];
        for (at, pair) in nodes.windows(2).enumerate() {
            graph.add_edge(pair[0], pair[1], ());
            if at < 30 {
                graph.add_edge(last, nodes[at], ());
            }
        }
        assert!(Wto::new(&graph, nodes[0]).is_err());
    }

    #[test]
    fn a_nest_that_is_too_deep_is_refused() {
        let mut graph = DiGraph::<(), ()>::new();
        let nodes: Vec<_> = (0..500).map(|_| graph.add_node(())).collect();
        for (at, pair) in nodes.windows(2).enumerate() {
            graph.add_edge(pair[0], pair[1], ());
            graph.add_edge(nodes[nodes.len() - 1], nodes[at], ());
        }
        assert!(Wto::new(&graph, nodes[0]).is_err());
    }
}
