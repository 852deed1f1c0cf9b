//! Questions to z3.

use bpftime_isa::Reg;
use bpftime_verifier::domain::value::Kind;
use bpftime_verifier::refine::{Answer, Fact, Input, Origin, Query, Refiner, Witness};
use z3::ast::{BV, Bool};
use z3::{Model, Params, SatResult, Solver};

use crate::claim;
use crate::covered;
use crate::path::{Encoded, Window, encode};
use crate::state::Given;
use crate::value::{Atom, constant};

/// How much refinement may cost; all are counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Blocks that are gone back through, one number for each attempt.
    pub blocks: [usize; 3],
    /// Blocks beyond that, to a place where the state is known.
    pub blocks_more: usize,
    /// Instructions of one encoding.
    pub instructions: usize,
    /// z3's resource units for one question.
    pub units: u32,
    /// Questions about one program.
    pub questions: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            blocks: [24, 160, 1200],
            blocks_more: 400,
            instructions: 12_000,
            // Some seconds of work at most.
            units: 1_500_000,
            questions: 400,
        }
    }
}

/// Asks z3.
#[derive(Debug, Default)]
pub struct Z3Refiner {
    limits: Limits,
    /// Questions asked so far.
    asked: u32,
}

impl Z3Refiner {
    /// With limits of one's own, for one program.
    pub fn new(limits: Limits) -> Self {
        Self { limits, asked: 0 }
    }

    /// What is encoded at each attempt: few points one by one, then more of them together.
    fn windows(&self, query: &Query<'_>) -> impl Iterator<Item = Result<Window, String>> {
        let limits = self.limits;
        let mut before = 0;
        limits
            .blocks
            .into_iter()
            .enumerate()
            .map_while(move |(attempt, wanted)| {
                let most = wanted + limits.blocks_more;
                match Window::new(query, attempt > 0, wanted, most) {
                    Ok(window) if attempt > 1 && window.len() <= before => None,
                    Ok(window) => {
                        before = window.len();
                        Some(Ok(window))
                    }
                    Err(refused) => Some(Err(refused.0)),
                }
            })
    }

    fn ask(
        &mut self,
        query: &Query<'_>,
        window: &Window,
        facts: &[Fact],
    ) -> Result<Answer, String> {
        let encoded = encode(query, window, self.limits.instructions).map_err(|why| why.0)?;
        let Some(known) = covered::holds(&encoded.state, query.state) else {
            return Err("the encoding does not fit what is known of a register".to_owned());
        };
        self.asked += 1;
        if self.asked > self.limits.questions {
            return Err(format!("more than {} questions", self.limits.questions));
        }
        let solver = Solver::new_for_logic("QF_BV").unwrap_or_default();
        let mut params = Params::new();
        params.set_u32("rlimit", self.limits.units);
        solver.set_params(&params);
        for always in &encoded.unknowns.always {
            solver.assert(always);
        }
        solver.assert(&encoded.reached);
        solver.assert(&known);
        for fact in facts {
            solver.assert(claim::holds(&encoded.state, fact).not());
        }
        match solver.check() {
            SatResult::Unsat => Ok(Answer::Proved),
            SatResult::Unknown => Err(format!(
                "z3 gave up ({})",
                solver.get_reason_unknown().unwrap_or_default()
            )),
            SatResult::Sat if !window.whole => {
                Err("not excluded by what is known where the search began".to_owned())
            }
            SatResult::Sat => match witness(&solver, &encoded) {
                Some(witness) => Ok(Answer::Refuted(Box::new(witness))),
                None => Err("z3 gave no model".to_owned()),
            },
        }
    }
}

impl Refiner for Z3Refiner {
    fn solver(&self) -> String {
        format!("z3 {}", z3::full_version())
    }

    fn kinds(&mut self, query: &Query<'_>, reg: Reg) -> Vec<(Kind, Option<i64>)> {
        let mut found = Vec::new();
        for window in self.windows(query) {
            let encoded = window
                .ok()
                .and_then(|window| encode(query, &window, self.limits.instructions).ok());
            let Some(encoded) = encoded else { continue };
            found.clear();
            let mut opaque = false;
            for (_, atom) in &encoded.state.reg(reg).0 {
                match atom {
                    Atom::Number(_) => found.push((Kind::Scalar, None)),
                    Atom::Pointer(kind, offset) => {
                        found.push((*kind, offset.as_u64().map(|offset| offset as i64)));
                    }
                    Atom::Opaque => opaque = true,
                }
            }
            if !opaque {
                break;
            }
        }
        found
    }

    fn prove(&mut self, query: &Query<'_>, facts: &[Fact]) -> Answer {
        let mut why = "what came before is not known".to_owned();
        let windows: Vec<_> = self.windows(query).collect();
        for window in windows {
            let window = match window {
                Ok(window) => window,
                Err(reason) => {
                    why = reason;
                    continue;
                }
            };
            match self.ask(query, &window, facts) {
                Ok(answer) => return answer,
                Err(reason) => why = reason,
            }
            if window.whole {
                break;
            }
        }
        Answer::Unknown(why)
    }
}

fn number(model: &Model, term: &BV) -> u64 {
    model
        .eval(term, true)
        .and_then(|value| value.as_u64())
        .unwrap_or_default()
}

fn truth(model: &Model, term: &Bool) -> bool {
    model
        .eval(term, true)
        .and_then(|value| value.as_bool())
        .unwrap_or_default()
}

/// What the run of a model is given, in order.
fn given<'a>(model: &Model, encoded: &'a Encoded) -> Vec<&'a Given> {
    let mut path = vec![encoded.target];
    while let Some(ways) = path.last().and_then(|at| encoded.choices.get(at)) {
        match ways.iter().find(|(way, _)| truth(model, way)) {
            Some((_, Some(parent))) => path.push(*parent),
            _ => break,
        }
    }
    let here = |node: u32| {
        let all = encoded.unknowns.given.iter();
        all.filter(move |given| given.node == node)
    };
    path.into_iter().rev().flat_map(here).collect()
}

/// A run in which the assertions of the solver hold: if there is one, a run in which memory that
/// nobody is known to change stays as it is, and the packet lies low.
fn witness(solver: &Solver, encoded: &Encoded) -> Option<Witness> {
    let mut model = solver.get_model()?;
    let first = given(&model, encoded);
    let mut same = Vec::new();
    for (position, later) in first.iter().enumerate().take(STEADY) {
        // The context of most types of programs has 32 bits for it.
        if matches!(later.origin, Origin::PacketStart | Origin::PacketEnd) {
            same.push(later.term.bvule(constant(u32::MAX.into())));
        }
        for earlier in &first[..position] {
            same.extend(alike(earlier, later));
        }
    }
    let mut steady = true;
    if !same.is_empty() {
        solver.push();
        for constraint in &same {
            solver.assert(constraint);
        }
        match (solver.check(), solver.get_model()) {
            (SatResult::Sat, Some(better)) => model = better,
            _ => steady = false,
        }
        solver.pop(1);
    }
    let inputs = given(&model, encoded).into_iter().map(|given| Input {
        slot: given.slot,
        origin: placed(&model, given),
        value: number(&model, &given.term),
    });
    Some(Witness {
        inputs: inputs.collect(),
        steady,
    })
}

/// Inputs that are compared with one another.
const STEADY: usize = 48;

/// That two loads of one place give one value, if they are of the same size and not of what
/// others share.
fn alike(a: &Given, b: &Given) -> Option<Bool> {
    let of_one = match (a.origin, b.origin) {
        (Origin::Context { size, .. }, Origin::Context { size: other, .. })
        | (Origin::Packet { size, .. }, Origin::Packet { size: other, .. }) => size == other,
        _ => false,
    };
    let (x, y) = (a.offset.as_ref()?, b.offset.as_ref()?);
    of_one.then(|| Bool::or(&[x.eq(y).not(), a.term.eq(&b.term)]))
}

/// The origin, with the offset that it has in the model.
fn placed(model: &Model, given: &Given) -> Origin {
    let at = given
        .offset
        .as_ref()
        .map(|offset| number(model, offset) as i64);
    match (given.origin, at) {
        (Origin::Packet { size, .. }, Some(offset)) => Origin::Packet { offset, size },
        (Origin::MapValue { map, size, .. }, Some(offset)) => {
            Origin::MapValue { map, offset, size }
        }
        (origin, _) => origin,
    }
}
