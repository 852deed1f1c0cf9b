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
        end: u32,
    },
    /// A loop ends: again from its head, or on.
    End {
        /// Position of the matching [`Step::Head`].
        head: u32,
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

/// What is yet to be ordered. Small: there is one for each node.
enum Work {
    /// One node.
    Node(NodeIndex),
    /// The nodes of this list are one component.
    Component(u32),
    /// Close the component that was opened at this position.
    End(u32),
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
        let mut builder = Builder::new(graph);
        let reached = builder.reverse_postorder(entry.index() as u32);
        let mut budget = visits(reached.len());
        let mut steps = Vec::with_capacity(reached.len());
        let mut work = Vec::new();
        budget = budget.checked_sub(reached.len()).ok_or(TooDeep)?;
        builder.components(&reached, &mut work);
        drop(reached);
        while let Some(item) = work.pop() {
            match item {
                Work::Node(node) => steps.push(Step::Node(node)),
                Work::End(head) => {
                    let end = steps.len() as u32;
                    if let Some(Step::Head { end: to, .. }) = steps.get_mut(head as usize) {
                        *to = end;
                    }
                    steps.push(Step::End { head });
                }
                Work::Component(list) => {
                    let mut nodes = std::mem::take(&mut builder.lists[list as usize]);
                    // The first in depth-first order is the natural head of a natural loop.
                    let rank = &builder.rank;
                    let Some(position) =
                        (0..nodes.len()).min_by_key(|position| rank[nodes[*position] as usize])
                    else {
                        continue;
                    };
                    let head = nodes.swap_remove(position);
                    builder.scope[head as usize] = u32::MAX;
                    work.push(Work::End(steps.len() as u32));
                    let node = NodeIndex::new(head as usize);
                    steps.push(Step::Head { node, end: 0 });
                    budget = budget.checked_sub(nodes.len()).ok_or(TooDeep)?;
                    builder.components(&nodes, &mut work);
                }
            }
        }
        Ok(Self { steps })
    }
}

/// Not yet known, of a number of a node.
const NEW: u32 = u32::MAX;

struct Builder {
    /// Where the successors of each node begin, and where the last ones' end.
    starts: Vec<u32>,
    /// Successors, node by node, the edges made last first.
    successors: Vec<u32>,
    /// Position in reverse postorder; [`NEW`] if not reached.
    rank: Vec<u32>,
    /// In which scope a node is at the moment; `u32::MAX` once it is a head.
    scope: Vec<u32>,
    scopes: u32,
    /// Position of a node among those of its scope, which keeps the cost of a scope
    /// proportional to it.
    local: Vec<u32>,
    /// Components of several nodes.
    lists: Vec<Vec<u32>>,
}

impl Builder {
    fn new<N, E>(graph: &DiGraph<N, E>) -> Self {
        let count = graph.node_count();
        let mut starts = Vec::with_capacity(count + 1);
        let mut successors = Vec::with_capacity(graph.edge_count());
        for node in graph.node_indices() {
            starts.push(successors.len() as u32);
            let next = graph.neighbors_directed(node, Direction::Outgoing);
            successors.extend(next.map(|to| to.index() as u32));
        }
        starts.push(successors.len() as u32);
        Self {
            starts,
            successors,
            rank: vec![NEW; count],
            scope: vec![0; count],
            scopes: 0,
            local: vec![0; count],
            lists: Vec::new(),
        }
    }

    /// Positions of the node's successors, which are taken from the end: in the order in which the
    /// edges were made.
    fn edges(&self, node: u32) -> (u32, u32) {
        (self.starts[node as usize], self.starts[node as usize + 1])
    }

    fn reverse_postorder(&mut self, entry: u32) -> Vec<u32> {
        let mut seen = vec![false; self.rank.len()];
        let mut order = Vec::with_capacity(seen.len());
        seen[entry as usize] = true;
        let mut stack = vec![(entry, self.edges(entry))];
        while let Some((node, (first, end))) = stack.last_mut() {
            if first == end {
                order.push(*node);
                stack.pop();
                continue;
            }
            *end -= 1;
            let next = self.successors[*end as usize];
            if !std::mem::replace(&mut seen[next as usize], true) {
                stack.push((next, self.edges(next)));
            }
        }
        order.reverse();
        for (rank, node) in order.iter().enumerate() {
            self.rank[*node as usize] = rank as u32;
        }
        order
    }

    /// Strongly connected components of the graph restricted to the nodes (Tarjan), each after
    /// the components that it leads to: sources last, as a stack wants them.
    fn components(&mut self, nodes: &[u32], work: &mut Vec<Work>) {
        self.scopes += 1;
        let scope = self.scopes;
        for (local, node) in nodes.iter().enumerate() {
            self.scope[*node as usize] = scope;
            self.local[*node as usize] = local as u32;
        }
        work.reserve(nodes.len());
        let mut number = vec![NEW; nodes.len()];
        let mut low = vec![0; nodes.len()];
        let mut on_stack = vec![false; nodes.len()];
        let mut stack: Vec<u32> = Vec::new();
        let mut path: Vec<(u32, (u32, u32))> = Vec::new();
        let mut counter = 0;
        for root in 0..nodes.len() as u32 {
            if number[root as usize] != NEW {
                continue;
            }
            let mut enter = Some(root);
            loop {
                if let Some(at) = enter.take() {
                    number[at as usize] = counter;
                    low[at as usize] = counter;
                    counter += 1;
                    stack.push(at);
                    on_stack[at as usize] = true;
                    path.push((at, self.edges(nodes[at as usize])));
                }
                let Some((at, (first, end))) = path.last_mut() else {
                    break;
                };
                let at = *at as usize;
                if first != end {
                    *end -= 1;
                    let to = self.successors[*end as usize] as usize;
                    if self.scope[to] != scope {
                        continue;
                    }
                    let to = self.local[to] as usize;
                    if number[to] == NEW {
                        enter = Some(to as u32);
                    } else if on_stack[to] {
                        low[at] = low[at].min(number[to]);
                    }
                    continue;
                }
                path.pop();
                if let Some((parent, _)) = path.last() {
                    let parent = *parent as usize;
                    low[parent] = low[parent].min(low[at]);
                }
                if low[at] == number[at] {
                    self.close(nodes, at as u32, (&mut stack, &mut on_stack), work);
                }
            }
        }
    }

    /// Takes the component of a node from the stack.
    fn close(
        &mut self,
        nodes: &[u32],
        at: u32,
        (stack, on_stack): (&mut Vec<u32>, &mut [bool]),
        work: &mut Vec<Work>,
    ) {
        let node = nodes[at as usize];
        let (first, end) = self.edges(node);
        let leads_to_itself = || self.successors[first as usize..end as usize].contains(&node);
        if stack.last() == Some(&at) && !leads_to_itself() {
            stack.pop();
            on_stack[at as usize] = false;
            work.push(Work::Node(NodeIndex::new(node as usize)));
            return;
        }
        let mut members = Vec::new();
        while let Some(member) = stack.pop() {
            on_stack[member as usize] = false;
            members.push(nodes[member as usize]);
            if member == at {
                break;
            }
        }
        self.lists.push(members);
        work.push(Work::Component(self.lists.len() as u32 - 1));
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
            let back = matches!(wto.steps[to], Step::Head { end, .. } if from < end as usize);
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
