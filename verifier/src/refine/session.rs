//! Questions and answers during an analysis.

use std::collections::BTreeSet;

use super::assume::assume;
use super::history::History;
use super::wanted::wanted;
use super::{Answer, Fact, Query, Refinement, Refiner, Refuted};
use crate::assertion::Assertion;
use crate::cfg::Cfg;
use crate::check::check;
use crate::domain::lineage::Lineage;
use crate::domain::state::State;
use crate::domain::value::{Id, Kind};
use crate::env::Env;
use bpftime_isa::Decoded;

/// Questions about one check.
const MOST_QUESTIONS: usize = 12;

/// An analysis with a refiner.
pub(crate) struct Session<'a> {
    history: History,
    refiner: &'a mut dyn Refiner,
    proved: BTreeSet<(u32, String)>,
}

/// What became of a failed check.
pub(crate) enum Refined {
    /// It passes in the state, which is sharper now.
    Passes,
    /// No run comes here in the state.
    Unreachable,
    /// It fails still.
    Fails(Refuted),
}

impl<'a> Session<'a> {
    pub(crate) fn new(cfg: &Cfg, refiner: &'a mut dyn Refiner) -> Self {
        Self {
            history: History::new(cfg),
            refiner,
            proved: BTreeSet::new(),
        }
    }

    pub(crate) fn into_refinement(self) -> Refinement {
        Refinement {
            solver: self.refiner.solver(),
            proved: self.proved.into_iter().collect(),
        }
    }

    /// States are about to be carried through a block.
    pub(crate) fn arrive(&mut self, block: usize, states: &mut [State], cut: bool) {
        for (position, state) in states.iter_mut().enumerate() {
            let (point, visit) = self.history.arrive(block, state, cut, position == 0);
            state.lineage = Lineage::of(point, visit);
        }
    }

    /// Asks for facts that let the check pass, until it does.
    pub(crate) fn refine(
        &mut self,
        env: &Env<'_>,
        code: &[Decoded],
        index: usize,
        state: &mut State,
        assertion: &Assertion,
        last_id: &mut Id,
    ) -> Refined {
        let mut asked: Vec<Fact> = Vec::new();
        let mut failed: Vec<(Fact, Answer)> = Vec::new();
        let point = state.lineage.point().unwrap_or_default();
        let slot = code.get(index).map_or(0, |decoded| decoded.slot);
        while asked.len() < MOST_QUESTIONS {
            let query = Query {
                program: env.program,
                options: env.options,
                code,
                history: &self.history,
                point,
                index,
                state: &*state,
            };
            let refiner = &mut *self.refiner;
            let facts = wanted(env, state, assertion, &mut |reg| refiner.kinds(&query, reg));
            let is_refuted = |(_, answer): &(Fact, Answer)| matches!(answer, Answer::Refuted(_));
            let comes_here = failed.iter().any(is_refuted);
            let fact = facts
                .into_iter()
                .chain((!comes_here).then_some(Fact::Unreachable))
                .find(|fact| !asked.contains(fact));
            let Some(fact) = fact else {
                let (fact, answer) = refutation(refiner, &query, failed);
                return Refined::Fails(Refuted {
                    solver: refiner.solver(),
                    fact: fact.map_or_else(String::new, |fact| fact.to_string()),
                    answer,
                });
            };
            asked.push(fact);
            match refiner.prove(&query, &[fact]) {
                Answer::Proved => {
                    self.proved.insert((slot, fact.to_string()));
                    if !assume(state, &fact, last_id) {
                        return Refined::Unreachable;
                    }
                    if check(env, state, assertion).is_ok() {
                        return Refined::Passes;
                    }
                }
                answer => failed.push((fact, answer)),
            }
        }
        Refined::Fails(Refuted {
            solver: self.refiner.solver(),
            fact: String::new(),
            answer: Answer::Unknown(format!("not proved with {MOST_QUESTIONS} questions")),
        })
    }
}

/// What to say of facts that were not proved. That runs come to the instruction says nothing
/// against a fact that is not decided, and nothing against one of several kinds that a register
/// may have on different paths.
fn refutation(
    refiner: &mut dyn Refiner,
    query: &Query<'_>,
    failed: Vec<(Fact, Answer)>,
) -> (Option<Fact>, Answer) {
    let wanted = |fact: &Fact| *fact != Fact::Unreachable;
    let undecided = |fact: &Fact| {
        let kind = fact.reg().map(|reg| query.state.reg(reg).kind);
        matches!(kind, Some(Kind::Any | Kind::Uninit))
    };
    let either: Vec<Fact> = failed
        .iter()
        .map(|(fact, _)| *fact)
        .filter(|fact| wanted(fact) && undecided(fact))
        .collect();
    if let [first, _, ..] = either.as_slice()
        && either.iter().all(|fact| fact.reg() == first.reg())
    {
        let answer = match refiner.prove(query, &either) {
            Answer::Proved => Answer::Unknown("it is not the same on all paths".to_owned()),
            answer => answer,
        };
        return (Some(*first), answer);
    }
    let is_refuted =
        |(fact, answer): &(Fact, Answer)| wanted(fact) && matches!(answer, Answer::Refuted(_));
    let position = failed.iter().position(is_refuted).unwrap_or(0);
    match failed.into_iter().nth(position) {
        Some((fact, answer)) => (Some(fact), answer),
        None => (
            None,
            Answer::Unknown("no fact that would help is known".to_owned()),
        ),
    }
}
