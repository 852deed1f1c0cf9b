//! Deterministic limits of an analysis: counts, never time.

/// How much an analysis may cost. A program that needs more is rejected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Budget {
    /// Slots of a program.
    pub max_slots: usize,
    /// Instructions over all inlined copies of subprograms.
    pub max_inlined: usize,
    /// Abstract instruction steps; the kernel's limit is one million.
    pub max_steps: u64,
    /// Passes over one loop before it counts as not terminating.
    pub max_passes: u32,
    /// Comparisons of states where paths meet; a state of many frames or with much on its stack
    /// counts several times.
    pub max_comparisons: u64,
    /// States with the same register types kept apart at one place.
    pub states_per_shape: usize,
    /// States kept apart at one place.
    pub states_per_block: usize,
    /// States alive at one time, over all places; bounds memory. Large states count several
    /// times.
    pub max_live_states: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            max_slots: 1_000_000,
            // Each takes a step at least, if it is reached.
            max_inlined: 1_000_000,
            max_steps: 1_000_000,
            max_passes: 1 << 20,
            max_comparisons: 5_000_000,
            states_per_shape: 32,
            states_per_block: 128,
            max_live_states: 50_000,
        }
    }
}
