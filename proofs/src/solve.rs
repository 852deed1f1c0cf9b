//! Questions to z3.

use std::collections::HashMap;

use z3::ast::{BV, Bool};
use z3::{Params, SatResult, Solver};

use crate::integers::Integers;
use crate::machine::Truth;
use crate::term::{Node, Op, Prop, node};

/// Answer to whether something always holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    Always,
    /// Not for these values of the inputs.
    Not(Vec<u64>),
    /// z3 gave up within its limit.
    Unknown,
}

/// Answer to a question about integers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Satisfiable {
    No,
    /// Or not known, which is as good where a way is explored for nothing.
    Perhaps,
}

#[derive(Clone)]
enum Ast {
    Bits(BV),
    Truth(Bool),
}

/// Terms as z3 knows them, and two solvers: one that keeps the path for the many questions of
/// which way is possible, and a new one for each question that matters.
pub(crate) struct Oracle {
    asts: HashMap<u32, Ast>,
    paths: Solver,
    asserted: Vec<Prop>,
    integers: Integers,
    /// Whether to ask about integers: with few bits it is not worth it.
    arithmetic: bool,
    /// Whether products, quotients and shifts are taken for unknowns.
    forgetful: bool,
    /// Questions asked.
    pub(crate) asked: u64,
}

/// Whether it is arithmetic that may be forgotten: hard for z3.
pub(crate) fn is_hard(term: &Node) -> bool {
    let by_constant = || node(term.args[1]).op == Op::Const;
    match term.op {
        Op::Mul | Op::Udiv | Op::Urem | Op::Sdiv | Op::Srem => true,
        Op::Shl | Op::Lshr | Op::Ashr => !by_constant(),
        _ => false,
    }
}

/// z3's resource units for a question of which way is possible, on bit vectors.
const PATH_UNITS: u32 = 1_000_000;

/// Milliseconds for such a question on integers. Giving up is harmless: both are.
const PATH_LIMIT: u32 = 200;

impl Oracle {
    pub(crate) fn new(arithmetic: bool) -> Self {
        let paths = Solver::new();
        let mut params = Params::new();
        params.set_u32("rlimit", PATH_UNITS);
        paths.set_params(&params);
        Self {
            asts: HashMap::new(),
            paths,
            asserted: Vec::new(),
            integers: Integers::new(false),
            arithmetic,
            forgetful: false,
            asked: 0,
        }
    }

    /// Takes products, quotients and shifts for unknowns.
    pub(crate) fn forget_arithmetic(&mut self) {
        self.set_forgetful(true);
    }

    /// The opposite.
    pub(crate) fn remember_arithmetic(&mut self) {
        self.set_forgetful(false);
    }

    fn set_forgetful(&mut self, forgetful: bool) {
        if self.forgetful != forgetful {
            self.forgetful = forgetful;
            self.asts.clear();
            self.integers = Integers::new(forgetful);
            self.paths.reset();
            self.asserted.clear();
        }
    }

    /// Whether the path can be gone on with.
    pub(crate) fn possible(&mut self, path: &[Prop], next: Prop) -> bool {
        if let Some(possible) = self.satisfiable(path, next, PATH_LIMIT) {
            return possible == Satisfiable::Perhaps;
        }
        let common = path
            .iter()
            .zip(&self.asserted)
            .take_while(|(a, b)| a == b)
            .count();
        self.paths
            .pop(u32::try_from(self.asserted.len() - common).expect("a short path"));
        self.asserted.truncate(common);
        for prop in &path[common..] {
            let ast = self.truth(*prop);
            self.paths.push();
            self.paths.assert(&ast);
            self.asserted.push(*prop);
        }
        let ast = self.truth(next);
        self.asked += 1;
        self.paths.push();
        self.paths.assert(&ast);
        let answer = self.paths.check();
        self.paths.pop(1);
        answer != SatResult::Unsat
    }

    /// Whether what is claimed holds on the path, for all inputs: as integers, then as bit
    /// vectors, with a limit for each. `inputs` are what a refutation is told in.
    pub(crate) fn always(
        &mut self,
        path: &[Prop],
        claimed: Prop,
        inputs: &[u32],
        limits: (u32, u32),
    ) -> Answer {
        if claimed.as_literal() == Some(true) {
            return Answer::Always;
        }
        let refuted = claimed.negation();
        if self.satisfiable(path, refuted, limits.0) == Some(Satisfiable::No) {
            return Answer::Always;
        }
        let solver = Solver::new_for_logic("QF_BV").expect("z3 knows QF_BV");
        limited(&solver, limits.1);
        for prop in path {
            solver.assert(self.truth(*prop));
        }
        solver.assert(self.truth(refuted));
        self.asked += 1;
        let answer = solver.check();
        match answer {
            SatResult::Unsat => Answer::Always,
            SatResult::Unknown => Answer::Unknown,
            SatResult::Sat => {
                let model = solver.get_model().expect("a model of what is satisfiable");
                let value = |input: &u32| {
                    let ast = self.bits(*input);
                    let value = model.eval(&ast, true).and_then(|value| value.as_u64());
                    value.expect("a model gives numbers")
                };
                Answer::Not(inputs.iter().map(value).collect())
            }
        }
    }

    /// Whether all of these can hold, as a question about integers; `None` if `last` is not
    /// arithmetic. What else is not is left out: that they cannot hold is sure nevertheless.
    fn satisfiable(&mut self, path: &[Prop], last: Prop, limit: u32) -> Option<Satisfiable> {
        if !self.arithmetic {
            return None;
        }
        let last = self.integers.truth(last)?;
        let solver = Solver::new();
        limited(&solver, limit);
        let mut whole = true;
        for prop in path {
            match self.integers.truth(*prop) {
                Some(ast) => solver.assert(ast),
                None => whole = false,
            }
        }
        for known in self.integers.known() {
            solver.assert(known);
        }
        solver.assert(last);
        self.asked += 1;
        match solver.check() {
            SatResult::Unsat => Some(Satisfiable::No),
            _ if whole => Some(Satisfiable::Perhaps),
            _ => None,
        }
    }

    fn truth(&mut self, prop: Prop) -> Bool {
        match self.ast(prop.0) {
            Ast::Truth(ast) => ast,
            Ast::Bits(_) => unreachable!("a truth value"),
        }
    }

    fn bits(&mut self, number: u32) -> BV {
        match self.ast(number) {
            Ast::Bits(ast) => ast,
            Ast::Truth(_) => unreachable!("a bit vector"),
        }
    }

    fn ast(&mut self, number: u32) -> Ast {
        if let Some(known) = self.asts.get(&number) {
            return known.clone();
        }
        let made = self.make(number);
        self.asts.insert(number, made.clone());
        made
    }

    fn make(&mut self, number: u32) -> Ast {
        let term = node(number);
        let [a, b, c] = term.args;
        if term.width == 0 {
            return Ast::Truth(match term.op {
                Op::Const => Bool::from_bool(term.value == 1),
                Op::Var => Bool::new_const(format!("p{}", term.value)),
                Op::Eq => self.bits(a).eq(self.bits(b)),
                Op::Ult => self.bits(a).bvult(self.bits(b)),
                Op::Slt => self.bits(a).bvslt(self.bits(b)),
                Op::Negation => self.truth(Prop(a)).not(),
                Op::Both => Bool::and(&[self.truth(Prop(a)), self.truth(Prop(b))]),
                _ => unreachable!("no truth value: {term:?}"),
            });
        }
        if self.forgetful && is_hard(&term) {
            return Ast::Bits(BV::new_const(format!("f{number}"), term.width));
        }
        Ast::Bits(match term.op {
            Op::Const => BV::from_u64(term.value, term.width),
            Op::Var => BV::new_const(format!("x{}", term.value), term.width),
            Op::Add => self.bits(a).bvadd(self.bits(b)),
            Op::Sub => self.bits(a).bvsub(self.bits(b)),
            Op::Mul => self.bits(a).bvmul(self.bits(b)),
            Op::Udiv => self.bits(a).bvudiv(self.bits(b)),
            Op::Urem => self.bits(a).bvurem(self.bits(b)),
            Op::Sdiv => {
                let (x, y) = (self.bits(a), self.bits(b));
                let zero = BV::from_u64(0, term.width);
                y.eq(&zero).ite(&zero, &x.bvsdiv(&y))
            }
            // In SMT-LIB too the remainder of a division by zero is the dividend.
            Op::Srem => self.bits(a).bvsrem(self.bits(b)),
            Op::And => self.bits(a).bvand(self.bits(b)),
            Op::Or => self.bits(a).bvor(self.bits(b)),
            Op::Xor => self.bits(a).bvxor(self.bits(b)),
            Op::Not => self.bits(a).bvnot(),
            Op::Shl => self.bits(a).bvshl(self.bits(b)),
            Op::Lshr => self.bits(a).bvlshr(self.bits(b)),
            Op::Ashr => self.bits(a).bvashr(self.bits(b)),
            Op::Ite => self.truth(Prop(a)).ite(&self.bits(b), &self.bits(c)),
            Op::Low => self.bits(a).extract(term.width - 1, 0),
            Op::Extend => self.bits(a).zero_ext(term.width - node(a).width),
            Op::Eq | Op::Ult | Op::Slt | Op::Negation | Op::Both => {
                unreachable!("no bit vector: {term:?}")
            }
        })
    }
}

/// Limits a solver by z3's own measure of work, roughly three thousand units a millisecond: its
/// timers are not deterministic, and those of 4.8 can hang.
fn limited(solver: &Solver, milliseconds: u32) {
    let mut params = Params::new();
    params.set_u32("rlimit", milliseconds.saturating_mul(3_000));
    solver.set_params(&params);
}
