//! Which part of a history is encoded, and its encoding.
//!
//! Points are taken back from the instruction in question, the latest first, until enough are
//! there; where one is not followed further, the state that it kept takes the place of what came
//! before. Points that the analysis carried on at one time differ only in what it knew of them,
//! so they may be taken as one: the numbers on which they depend are encoded anyway, and there are
//! far fewer of them.
//!
//! Each of these nodes gets a formula that says whether a run comes there: at the beginning what
//! the state covers, elsewhere that it comes from one of the parents by way of its block. Where
//! several lead to a node, unknowns choose the one from which registers and stack are taken; so
//! there is a valuation for each way on which a run comes.

use std::collections::{BTreeMap, BTreeSet};

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

/// Points that are encoded as one: by themselves, or all of a visit from which runs lead to the
/// instruction.
#[derive(Default)]
struct Node {
    members: Vec<PointId>,
    /// What came before is not followed.
    begins: bool,
}

/// What is encoded, in an order in which parents come first.
pub(crate) struct Window {
    nodes: BTreeMap<u32, Node>,
    /// Points of a visit are one node.
    grouped: bool,
    /// Whether all runs are followed back to the program's entry.
    pub(crate) whole: bool,
}

impl Window {
    /// At least `wanted` nodes, if there are so many, and at most `most`.
    pub(crate) fn new(
        query: &Query<'_>,
        grouped: bool,
        wanted: usize,
        most: usize,
    ) -> Result<Self, Refused> {
        let gone = || Refused("what came before is no longer remembered".to_owned());
        let point = |id: PointId| query.history.point(id).ok_or_else(gone);
        let name = |id: PointId| -> Result<u32, Refused> {
            Ok(if grouped { point(id)?.visit } else { id })
        };
        let mut nodes: BTreeMap<u32, Node> = BTreeMap::new();
        let mut open = BTreeMap::from([(name(query.point)?, vec![query.point])]);
        let mut whole = true;
        // The latest first: all that leads on from a node is later, so its members are known.
        while let Some((key, members)) = open.pop_last() {
            if nodes.len() >= most {
                return Err(Refused(format!("more than {most} blocks lead there")));
            }
            let mut node = Node {
                members,
                begins: nodes.len() >= wanted,
            };
            for member in &node.members {
                node.begins &= point(*member)?.state.is_some();
            }
            for member in &node.members {
                let member = point(*member)?;
                if node.begins || member.parents.is_empty() {
                    whole &= member.entry;
                    if member.state.is_none() {
                        return Err(gone());
                    }
                    continue;
                }
                for parent in &member.parents {
                    let known = open.entry(name(*parent)?).or_default();
                    if !known.contains(parent) {
                        known.push(*parent);
                    }
                }
            }
            nodes.insert(key, node);
        }
        Ok(Self {
            nodes,
            grouped,
            whole,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Name of the node that the point is in.
    fn node_of(&self, query: &Query<'_>, id: PointId) -> Option<u32> {
        let point = query.history.point(id)?;
        Some(if self.grouped { point.visit } else { id })
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

/// A way to the instruction, for witnesses: at a node, which conditions choose which parent.
pub(crate) type Choices = BTreeMap<u32, Vec<(Bool, Option<u32>)>>;

/// The encoding: registers and stack before the instruction, and whether a run comes there.
pub(crate) struct Encoded {
    pub(crate) state: State,
    pub(crate) reached: Bool,
    pub(crate) unknowns: Unknowns,
    pub(crate) choices: Choices,
    /// Name of the node that the instruction is in.
    pub(crate) target: u32,
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
    let mut passed: BTreeMap<u32, Passed> = BTreeMap::new();
    let mut choices = Choices::new();
    let mut left = most_instructions;
    let target = window.node_of(query, query.point);
    for (key, node) in &window.nodes {
        let point = node.members.first().and_then(|id| query.history.point(*id));
        let Some(point) = point else {
            return Err(Refused("a point is missing".to_owned()));
        };
        unknowns.at = (*key, 0);
        let arrived = arrival(
            query,
            window,
            &mut unknowns,
            &passed,
            (*key, node),
            &mut choices,
        )?;
        let end = (Some(*key) == target).then_some(query.index);
        let through = pass(query, &world, &mut unknowns, point, arrived, end, &mut left)?;
        if end.is_some() {
            return Ok(Encoded {
                state: through.state,
                reached: through.passes,
                unknowns,
                choices,
                target: *key,
            });
        }
        passed.insert(*key, through);
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

/// The state that arrives at a node, and whether one does: what is covered where it begins, or
/// what comes from its parents.
fn arrival(
    query: &Query<'_>,
    window: &Window,
    unknowns: &mut Unknowns,
    passed: &BTreeMap<u32, Passed>,
    (key, node): (u32, &Node),
    choices: &mut Choices,
) -> Result<(State, Bool), Refused> {
    let missing = || Refused("a point is missing".to_owned());
    let mut states = Vec::new();
    let mut parents = BTreeSet::new();
    for id in &node.members {
        let member = query.history.point(*id).ok_or_else(missing)?;
        if node.begins || member.parents.is_empty() {
            let known = member.state.as_ref().ok_or_else(missing)?;
            let (state, holds) = covered::unknowns(unknowns, known);
            states.push((state, holds, None));
            continue;
        }
        for parent_id in &member.parents {
            let parent = window.node_of(query, *parent_id).ok_or_else(missing)?;
            if parents.insert(parent) {
                let through = passed.get(&parent).ok_or_else(missing)?;
                let from = query.history.point(*parent_id).ok_or_else(missing)?;
                let (state, way) = leave(query, from, through, member.block)?;
                states.push((state, way, Some(parent)));
            }
        }
    }
    let several = states.len() > 1;
    let mut joined: Option<(State, Bool)> = None;
    let mut ways = Vec::new();
    for (state, way, parent) in states {
        // A run that comes from several may be followed from any.
        let chosen = if several {
            both(&unknowns.truth(), &way)
        } else {
            way
        };
        ways.push((chosen.clone(), parent));
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
    choices.insert(key, ways);
    joined.ok_or_else(missing)
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
