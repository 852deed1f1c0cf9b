//! Claims on numbers, without z3: what z3 says refutes a claim is tried on `u64`, and so are
//! numbers made up.

use crate::machine::{Machine, SpecWord, Truth};

/// A machine that takes its inputs from a list, or makes them up.
#[derive(Clone, Debug)]
pub struct Replay {
    inputs: Vec<u64>,
    next: usize,
    /// State of the generator of further inputs.
    seed: Option<u64>,
    applies: bool,
    shown: bool,
    failed: Option<&'static str>,
}

impl Replay {
    /// Inputs in the order in which the claim asks for them.
    pub fn new(inputs: Vec<u64>) -> Self {
        Self {
            inputs,
            next: 0,
            seed: None,
            applies: true,
            shown: false,
            failed: None,
        }
    }

    /// Inputs made up from a seed that is not 0.
    pub fn made_up(seed: u64) -> Self {
        Self {
            seed: Some(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            ..Self::new(Vec::new())
        }
    }

    /// What did not hold although all assumptions did.
    pub fn failed(&self) -> Option<&'static str> {
        self.failed
    }

    /// Whether all assumptions held and something was to be shown.
    pub fn applied(&self) -> bool {
        self.applies && self.shown
    }

    /// The inputs that were asked for.
    pub fn into_inputs(self) -> Vec<u64> {
        self.inputs
    }

    fn next(&mut self) -> u64 {
        if self.next == self.inputs.len() {
            let seed = self.seed.expect("as many inputs as were recorded");
            let (seed, made) = make_up(seed, &self.inputs);
            self.seed = Some(seed);
            self.inputs.push(made);
        }
        self.next += 1;
        self.inputs[self.next - 1]
    }
}

/// A number of a kind at which arithmetic tends to fail: small, next to a power of two, with few
/// bits set or clear, or one that there is already.
fn make_up(mut seed: u64, before: &[u64]) -> (u64, u64) {
    let mut random = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let (shape, bits, some) = (random() % 9, random() % 64, random());
    let made = match shape {
        0 => some % 4,
        1 => some % 64,
        2 => (1_u64 << bits).wrapping_sub(some % 3),
        3 => some >> bits,
        4 => some & random() & random(),
        5 => !(some & random() & random()),
        6 if !before.is_empty() => before[(some % before.len() as u64) as usize],
        7 => !(some >> bits),
        _ => some,
    };
    (seed, made)
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
        self.shown = true;
        if self.applies && condition.negation() && self.failed.is_none() {
            self.failed = Some(what);
        }
    }
    fn follow(&mut self, _: W) {}
    fn hide(&mut self, number: W) -> W {
        number
    }
    fn hide_half(&mut self, number: W::Half) -> W::Half {
        number
    }
    fn forget_arithmetic(&mut self) {}
    fn use_of(&mut self, _: &'static str) {}
}
