//! Where states came from.
//!
//! While a program is analysed with a [`super::Refiner`], each state that is carried through a
//! block becomes a *point*: the block, and the points from whose blocks it came. A state that
//! stands for others, because it covers them or is their join, has the parents of all of them. So
//! every run that a state stands for came to its block from one of the point's parents, by way of
//! the parent's block, and the state covers what it holds there.
//!
//! Some points keep their state, so that whoever goes back may stop there: instead of all that
//! happened before, everything that the state covers. A point without parents is where one has to
//! stop: the entry, functions that are called back, and heads of widened loops, where runs arrive
//! that were not known of when the state was carried on.

use std::collections::VecDeque;

use crate::cfg::Cfg;
use crate::domain::state::State;

/// Name of a point; 0 is none.
pub type PointId = u32;

/// A block as the analysis sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// Index of the first decoded instruction.
    pub first: usize,
    /// One past the last.
    pub end: usize,
    /// Block in which execution goes on; after an exit, that after the call.
    pub next: Option<usize>,
    /// Block to which a jump or a call leads.
    pub target: Option<usize>,
    /// Whether a helper that is called at the block's end calls back, or the block's end may return
    /// from the function without an exit.
    pub calls_back: bool,
}

/// The arrival of a state at a block.
#[derive(Clone, Debug)]
pub struct Point {
    /// Index of the block.
    pub block: usize,
    /// From where the state came; none if that is not known.
    pub parents: Vec<PointId>,
    /// Covers all states in which runs arrive here, if it was kept; without parents it was.
    pub state: Option<Box<State>>,
    /// Blocks on the longest way here.
    pub depth: u32,
    /// Points that the analysis carried through their block at one time share a visit; those of
    /// parents are less.
    pub visit: u32,
    /// The program begins here, and nowhere else.
    pub entry: bool,
}

/// States are kept at visits whose first point has a depth that is a multiple of this.
const KEPT: u32 = 8;

/// Points that are remembered; the oldest are forgotten.
const MOST: usize = 200_000;

/// So many parents weigh as much as a point.
const PARENTS: usize = 16;

/// The points of an analysis.
#[derive(Clone, Debug)]
pub struct History {
    blocks: Vec<Block>,
    points: VecDeque<Point>,
    /// Name of the first point in `points`.
    oldest: PointId,
    /// What is remembered, in points.
    weight: usize,
    /// The latest visit, and whether states are kept in it.
    visit: (u32, bool),
}

impl History {
    pub(crate) fn new(cfg: &Cfg) -> Self {
        let index = |node: petgraph::graph::NodeIndex| node.index();
        let blocks = cfg.graph.node_indices().map(|node| {
            let block = &cfg.graph[node];
            Block {
                first: block.first as usize,
                end: block.end as usize,
                next: block.next.map(index),
                target: block.target.map(index),
                calls_back: !cfg.callbacks(node).is_empty() || block.returns_early,
            }
        });
        Self {
            blocks: blocks.collect(),
            points: VecDeque::new(),
            oldest: 1,
            weight: 0,
            visit: (0, true),
        }
    }

    /// A block by index.
    pub fn block(&self, index: usize) -> Option<&Block> {
        self.blocks.get(index)
    }

    /// A point by name, if it is still remembered.
    pub fn point(&self, id: PointId) -> Option<&Point> {
        let position = id.checked_sub(self.oldest)?;
        self.points.get(position as usize)
    }

    fn add(&mut self, point: Point) -> PointId {
        self.weight += 1 + point.parents.len() / PARENTS;
        self.points.push_back(point);
        while self.weight > MOST {
            let Some(oldest) = self.points.pop_front() else {
                break;
            };
            self.weight -= 1 + oldest.parents.len() / PARENTS;
            self.oldest += 1;
        }
        self.oldest + self.points.len() as PointId - 1
    }

    /// A state is about to be carried through a block. At a cut (`cut`) it stands for runs of which its
    /// lineage does not tell. It is the `first` of a visit. Gives the names of point and visit.
    pub(crate) fn arrive(
        &mut self,
        block: usize,
        state: &State,
        cut: bool,
        first: bool,
    ) -> (PointId, u32) {
        let begins = self.oldest == 1 && self.points.is_empty();
        let mut parents: Vec<PointId> = Vec::new();
        if let (Some((points, visits)), false) = (state.lineage.names(), cut) {
            parents.extend(points);
            for visit in visits {
                parents.extend(self.visited(*visit));
            }
        }
        let mut depth = 0;
        let mut followed = !parents.is_empty();
        for parent in &parents {
            match self.point(*parent) {
                Some(parent) if self.leads(parent.block, block) => {
                    depth = depth.max(parent.depth + 1);
                }
                _ => followed = false,
            }
        }
        if first {
            self.visit = (self.visit.0 + 1, depth.is_multiple_of(KEPT));
        }
        let (visit, kept) = self.visit;
        let kept = kept || !followed;
        let point = self.add(Point {
            block,
            parents: if followed { parents } else { Vec::new() },
            state: kept.then(|| Box::new(state.clone())),
            depth,
            visit,
            entry: begins,
        });
        (point, visit)
    }

    /// Points of a visit, which were added one after the other; none if one is forgotten.
    fn visited(&self, visit: u32) -> impl Iterator<Item = PointId> + use<> {
        let first = self.points.partition_point(|point| point.visit < visit);
        let end = self.points.partition_point(|point| point.visit <= visit);
        // A name that is not known makes the place one that nothing is known of.
        let known = first < end && (first > 0 || self.oldest == 1);
        let names = if known { first..end } else { 0..0 };
        let oldest = self.oldest;
        names
            .map(move |position| oldest + position as PointId)
            .chain((!known).then_some(0))
    }

    /// Whether a run may be followed from one block to the other. Into a function that a helper
    /// calls back it is not, nor out of one that returns without an exit.
    fn leads(&self, from: usize, to: usize) -> bool {
        self.block(from)
            .is_some_and(|block| !block.calls_back || block.next == Some(to))
    }
}
