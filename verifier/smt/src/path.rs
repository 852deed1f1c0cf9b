//! Which part of a history is encoded, and its encoding.
//!
//! Points are taken back from the instruction in question, the deepest first, until enough are
//! there; where one is not followed further, the state that it kept takes the place of what came
//! before. Each point gets a formula that says whether a run comes there: at the beginning what
//! the state covers, elsewhere that it comes from one of the parents by way of its block. Where
//! several lead to a point, registers and stack are those of the first from which a run comes; as
//! each parent stands for all that its formula allows, a run that comes from several is there once
//! for each.

use std::collections::{BTreeMap, BinaryHeap};

use bpftime_isa::{CallTarget, Instruction, context};
use bpftime_verifier::refine::Query;
use bpftime_verifier::refine::history::{Point, PointId};
use z3::ast::Bool;

use crate::covered;
use crate::memory::World;
use crate::state::{State, Unknowns};
use crate::step::{and, step, taken};
use crate::value::{both, either};

/// Why there is no encoding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refused(pub(crate) String);

/// Points that are encoded, in an order in which parents come first.
pub(crate) struct Window {
    points: Vec<PointId>,
    begins: Vec<PointId>,
    /// Whether all runs are followed back to the program's entry.
    pub(crate) whole: bool,
}

impl Window {
    /// At least `wanted` points, if there are so many, and at most `most`.
    pub(crate) fn new(query: &Query<'_>, wanted: usize, most: usize) -> Result<Self, Refused> {
        let gone = || Refused("what came before is no longer remembered".to_owned());
        let history = query.history;
        let target = history.point(query.point).ok_or_else(gone)?;
        let mut heap = BinaryHeap::from([(target.depth, query.point)]);
        let mut order: Vec<(u32, PointId)> = Vec::new();
        let mut seen = std::collections::HashSet::from([query.point]);
        let mut begins = Vec::new();
        let mut whole = true;
        while let Some((depth, id)) = heap.pop() {
            let point = history.point(id).ok_or_else(gone)?;
            order.push((depth, id));
            if order.len() > most {
                return Err(Refused(format!("more than {most} blocks lead there")));
            }
            let enough = order.len() > wanted && point.state.is_some();
            if enough || point.parents.is_empty() {
                if point.state.is_none() {
                    return Err(gone());
                }
                whole &= point.entry;
                begins.push(id);
                continue;
            }
            for parent in &point.parents {
                if seen.insert(*parent) {
                    let depth = history.point(*parent).ok_or_else(gone)?.depth;
                    heap.push((depth, *parent));
                }
            }
        }
        order.sort_unstable();
        Ok(Self {
            points: order.into_iter().map(|(_, id)| id).collect(),
            begins,
            whole,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.points.len()
    }
}

/// What a block does to a state that arrives at it.
struct Passed {
    state: State,
    /// Whether a run gets through it.
    passes: Bool,
    /// For a branch, whether it is taken.
    taken: Option<Bool>,
}

/// A way to the instruction, for witnesses: at a point, which conditions choose which parent.
pub(crate) type Choices = BTreeMap<PointId, Vec<(Bool, PointId)>>;

/// The encoding: registers and stack before the instruction, and whether a run comes there.
pub(crate) struct Encoded {
    pub(crate) state: State,
    pub(crate) reached: Bool,
    pub(crate) unknowns: Unknowns,
    pub(crate) choices: Choices,
}

/// Encodes the part of the history, at most so many instructions.
pub(crate) fn encode(
    query: &Query<'_>,
    window: &Window,
    most_instructions: usize,
) -> Result<Encoded, Refused> {
    let world = World {
        program: query.program,
        layout: context::of(query.program),
    };
    let mut unknowns = Unknowns::default();
    let mut passed: BTreeMap<PointId, Passed> = BTreeMap::new();
    let mut choices = Choices::new();
    let mut left = most_instructions;
    for id in &window.points {
        let Some(point) = query.history.point(*id) else {
            return Err(Refused("a point is missing".to_owned()));
        };
        unknowns.at.0 = *id;
        let (state, reached) = if window.begins.contains(id) {
            let Some(known) = &point.state else {
                return Err(Refused("a point without a state".to_owned()));
            };
            covered::unknowns(&mut unknowns, known)
        } else {
            arrival(query, &mut unknowns, &passed, (*id, point), &mut choices)?
        };
        let end = (*id == query.point).then_some(query.index);
        let through = pass(
            query,
            &world,
            &mut unknowns,
            point,
            (state, reached),
            end,
            &mut left,
        )?;
        if end.is_some() {
            return Ok(Encoded {
                state: through.state,
                reached: through.passes,
                unknowns,
                choices,
            });
        }
        passed.insert(*id, through);
    }
    Err(Refused(
        "the instruction is not among what leads to it".to_owned(),
    ))
}

/// Carries a state through a block, or to an instruction of it.
fn pass(
    query: &Query<'_>,
    world: &World<'_>,
    unknowns: &mut Unknowns,
    point: &Point,
    (mut state, mut passes): (State, Bool),
    until: Option<usize>,
    left: &mut usize,
) -> Result<Passed, Refused> {
    let Some(block) = query.history.block(point.block) else {
        return Err(Refused("no such block".to_owned()));
    };
    let end = until.unwrap_or(block.end);
    let Some(code) = query.code.get(block.first..end) else {
        return Err(Refused("no such instruction".to_owned()));
    };
    *left = left
        .checked_sub(code.len())
        .ok_or_else(|| Refused("too many instructions lead there".to_owned()))?;
    let mut branch = None;
    for decoded in code {
        unknowns.at.1 = decoded.slot;
        if matches!(decoded.insn, Instruction::Branch { .. }) {
            branch = Some(taken(unknowns, &state, &decoded.insn));
        }
        let known = step(world, unknowns, &mut state, decoded)
            .map_err(|what| Refused(format!("{} is not modelled", what.0)))?;
        and(&mut passes, &known);
    }
    Ok(Passed {
        state,
        passes,
        taken: branch,
    })
}

/// The state that arrives at a point from its parents, and whether one does.
fn arrival(
    query: &Query<'_>,
    unknowns: &mut Unknowns,
    passed: &BTreeMap<PointId, Passed>,
    (id, point): (PointId, &Point),
    choices: &mut Choices,
) -> Result<(State, Bool), Refused> {
    let mut joined: Option<(State, Bool)> = None;
    let mut ways = Vec::new();
    for parent_id in &point.parents {
        let parent = query.history.point(*parent_id).zip(passed.get(parent_id));
        let Some((parent, through)) = parent else {
            return Err(Refused("a parent is missing".to_owned()));
        };
        let (state, way) = leave(query, parent, through, point.block)?;
        // A run that comes from several parents may be followed from any.
        let chosen = if point.parents.len() > 1 {
            both(&unknowns.truth(), &way)
        } else {
            way
        };
        ways.push((chosen.clone(), *parent_id));
        joined = Some(match joined {
            None => (state, chosen),
            Some((others, any)) => {
                if others.frames.len() != state.frames.len() {
                    return Err(Refused("frames differ".to_owned()));
                }
                let state = State::choose(unknowns, &chosen, &state, &others);
                (state, either(&any, &chosen))
            }
        });
    }
    // The last of them that is possible is the one that is chosen.
    ways.reverse();
    choices.insert(id, ways);
    joined.ok_or_else(|| Refused("a point without parents".to_owned()))
}

/// The state that goes on from a parent's block to the block, and whether it does.
fn leave(
    query: &Query<'_>,
    parent: &Point,
    through: &Passed,
    to: usize,
) -> Result<(State, Bool), Refused> {
    let unknown = || Refused("no way from one block to the other".to_owned());
    let block = query.history.block(parent.block).ok_or_else(unknown)?;
    let mut state = through.state.clone();
    let mut way = through.passes.clone();
    let (next, target) = (block.next == Some(to), block.target == Some(to));
    let last = block.end.checked_sub(1).filter(|_| block.first < block.end);
    let insn = last.and_then(|last| query.code.get(last)).map(|d| d.insn);
    match insn {
        Some(Instruction::Branch { .. }) => {
            let taken = through.taken.as_ref().ok_or_else(unknown)?;
            match (next, target) {
                (true, true) => {}
                (false, true) => way = both(&way, taken),
                (true, false) => way = both(&way, &taken.not()),
                (false, false) => return Err(unknown()),
            }
        }
        Some(Instruction::MayGoto { .. }) if next || target => {}
        Some(Instruction::Jump { .. }) if target => {}
        Some(Instruction::Call(CallTarget::Local(_))) if target => state.push(),
        Some(Instruction::Exit) if next => state.pop(),
        Some(
            Instruction::MayGoto { .. }
            | Instruction::Jump { .. }
            | Instruction::Call(CallTarget::Local(_))
            | Instruction::Exit,
        ) => return Err(unknown()),
        _ if next => {}
        _ => return Err(unknown()),
    }
    Ok((state, way))
}
