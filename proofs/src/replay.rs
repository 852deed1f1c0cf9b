//! Claims on numbers: what z3 says refutes a claim is tried on `u64`, without z3.

use crate::machine::{Machine, SpecWord, Truth};

/// A machine that takes its inputs from a list.
#[derive(Clone, Debug)]
pub struct Replay {
    inputs: std::vec::IntoIter<u64>,
    applies: bool,
    failed: Option<&'static str>,
}

impl Replay {
    /// Inputs in the order in which the claim asks for them.
    pub fn new(inputs: Vec<u64>) -> Self {
        Self {
            inputs: inputs.into_iter(),
            applies: true,
            failed: None,
        }
    }

    /// What did not hold although all assumptions did.
    pub fn failed(&self) -> Option<&'static str> {
        self.failed
    }

    fn next(&mut self) -> u64 {
        self.inputs.next().expect("as many inputs as were recorded")
    }
}

impl<W: SpecWord<Prop = bool>> Machine<W> for Replay {
    fn wide(&mut self) -> W {
        W::constant(self.next())
    }
    fn half(&mut self) -> W::Half {
        bpftime_verifier::domain::bits::BitVec::constant(self.next())
    }
    fn assume(&mut self, condition: bool) {
        self.applies &= condition;
    }
    fn show(&mut self, what: &'static str, condition: bool) {
        if self.applies && condition.negation() && self.failed.is_none() {
            self.failed = Some(what);
        }
    }
    fn follow(&mut self, _: W) {}
    fn forget_arithmetic(&mut self) {}
    fn use_of(&mut self, _: &'static str) {}
}
