//! Deterministic limits of an analysis: counts, never time.

use crate::facts::Cost;

/// How much an analysis may cost. A program that needs more is rejected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Slots of a program.
    pub max_slots: usize,
    /// Instructions over all inlined copies of subprograms.
    pub max_inlined: usize,
    /// Abstract instruction steps of the most thorough attempt; the kernel's limit is one million.
    /// The attempts before it take less than half as many together. All together never take more than twice
    /// as many, however often loops or functions have to be judged in another way.
    pub max_steps: u64,
    /// Passes over one loop before it counts as not terminating.
    pub max_passes: u32,
    /// Comparisons of states where paths meet; a state of many frames or with much on its stack
    /// counts several times.
    pub max_comparisons: u64,
    /// States with the same register types kept apart at one place, in the most thorough attempt.
    pub states_per_shape: usize,
    /// States kept apart at one place, in the most thorough attempt.
    pub states_per_block: usize,
    /// States alive at one time, over all places; bounds memory. Large states count several
    /// times.
    pub max_live_states: usize,
}

/// Passes over a loop before its states are widened, in the most thorough attempt.
const WHOLE_PASSES: u32 = 32;

/// What one attempt may cost.
///
/// Few states kept apart prove most programs in little time. Where they do not, and states were
/// joined, the program is analysed again with more of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Effort {
    pub(crate) max_steps: u64,
    pub(crate) max_comparisons: u64,
    pub(crate) states_per_shape: usize,
    pub(crate) states_per_block: usize,
    /// Passes over a loop that ends by itself before its states are widened.
    pub(crate) whole_passes: u32,
}

/// What is left for all attempts together, and for what has them begin again; without it each loop that is
/// judged in another way would allow as much again. In millionths of what the most thorough attempt may
/// cost, where steps and comparisons count alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Purse {
    left: u64,
}

/// Of the most thorough attempt: all that it may cost.
const WHOLE: u64 = 1_000_000;

/// How much that is of the most, rounded up.
fn share(number: u64, most: u64) -> u64 {
    let share = (u128::from(number) * u128::from(WHOLE)).div_ceil(u128::from(most.max(1)));
    u64::try_from(share).unwrap_or(u64::MAX)
}

impl Purse {
    /// For all attempts; one after the other, they take less of steps.
    pub(crate) const ALL: Self = Self {
        left: WHOLE + WHOLE / 2,
    };

    /// For another way of judging, where the first has taken all.
    pub(crate) const SECOND: Self = Self { left: WHOLE / 2 };

    /// So much of the number, which is what the most thorough attempt may take, rounded down.
    pub(crate) fn of(self, most: u64) -> u64 {
        let part = u128::from(self.left) * u128::from(most) / u128::from(WHOLE);
        u64::try_from(part).unwrap_or(u64::MAX)
    }

    /// The attempt, with no more than is left.
    pub(crate) fn limit(self, budget: &Budget, effort: Effort) -> Effort {
        Effort {
            max_steps: effort.max_steps.min(self.of(budget.max_steps)),
            max_comparisons: effort.max_comparisons.min(self.of(budget.max_comparisons)),
            ..effort
        }
    }

    /// Takes out what an attempt has cost.
    pub(crate) fn pay(&mut self, budget: &Budget, cost: &Cost) {
        let steps = share(cost.steps, budget.max_steps);
        let comparisons = share(cost.comparisons, budget.max_comparisons);
        self.left = self.left.saturating_sub(steps.saturating_add(comparisons));
    }

    /// With as much as the other at least.
    pub(crate) fn at_least(self, other: Self) -> Self {
        Self {
            left: self.left.max(other.left),
        }
    }
}

impl Budget {
    /// The attempts, the quickest first.
    pub(crate) fn attempts(&self) -> [Effort; 3] {
        [self.effort(16, 8), self.effort(4, 4), self.most()]
    }

    /// The most thorough attempt.
    pub(crate) fn most(&self) -> Effort {
        self.effort(1, 1)
    }

    /// An attempt with these shares of the states, and of the steps and comparisons.
    fn effort(&self, states: usize, cost: u64) -> Effort {
        Effort {
            max_steps: (self.max_steps / cost).max(1),
            max_comparisons: (self.max_comparisons / cost).max(1),
            states_per_shape: (self.states_per_shape / states).max(1),
            states_per_block: (self.states_per_block / states.min(4)).max(1),
            // None in the first attempt, which most programs need not.
            whole_passes: if states < 16 {
                WHOLE_PASSES / states as u32
            } else {
                0
            },
        }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            max_slots: 1_000_000,
            // Each takes a step at least, if it is reached.
            max_inlined: 1_000_000,
            max_steps: 1_000_000,
            max_passes: 1 << 20,
            // Of all that an analysis does these take most time; with so many it ends within a second.
            max_comparisons: 3_000_000,
            states_per_shape: 64,
            states_per_block: 256,
            max_live_states: 50_000,
        }
    }
}
