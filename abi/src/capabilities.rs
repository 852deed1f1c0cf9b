//! Which helpers and map types an environment offers.

use crate::MapType;
use crate::vmctx::HELPER_SLOTS;

const WORDS: usize = HELPER_SLOTS / 64;

/// The helpers and map types that an environment (interpreter, host JIT, in-target image)
/// offers. A program that needs more is rejected before it is compiled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    helpers: [u64; WORDS],
    map_types: u64,
}

impl Capabilities {
    /// Offers nothing.
    pub const NONE: Self = Self {
        helpers: [0; WORDS],
        map_types: 0,
    };

    /// As numbers: helpers 0 to 255 by bit, then map types by bit.
    pub const fn to_words(self) -> [u64; WORDS + 1] {
        let [a, b, c, d] = self.helpers;
        [a, b, c, d, self.map_types]
    }

    /// The inverse of [`Self::to_words`].
    pub const fn from_words([a, b, c, d, map_types]: [u64; WORDS + 1]) -> Self {
        Self {
            helpers: [a, b, c, d],
            map_types,
        }
    }

    /// Adds a helper by number. Numbers of [`HELPER_SLOTS`] and above are ignored: no
    /// environment can offer them.
    #[must_use]
    pub const fn with_helper(mut self, number: u32) -> Self {
        if (number as usize) < HELPER_SLOTS {
            self.helpers[number as usize / 64] |= 1 << (number % 64);
        }
        self
    }

    /// Takes a helper away.
    #[must_use]
    pub const fn without_helper(mut self, number: u32) -> Self {
        if (number as usize) < HELPER_SLOTS {
            self.helpers[number as usize / 64] &= !(1 << (number % 64));
        }
        self
    }

    /// Whether any helper is offered.
    pub const fn has_any_helper(&self) -> bool {
        let [a, b, c, d] = self.helpers;
        a | b | c | d != 0
    }

    /// Adds a map type.
    #[must_use]
    pub const fn with_map_type(mut self, map_type: MapType) -> Self {
        self.map_types |= 1 << (map_type as u32);
        self
    }

    /// Whether the helper is offered.
    pub const fn has_helper(&self, number: u32) -> bool {
        (number as usize) < HELPER_SLOTS
            && self.helpers[number as usize / 64] & (1 << (number % 64)) != 0
    }

    /// Whether the map type is offered.
    pub const fn has_map_type(&self, map_type: MapType) -> bool {
        self.map_types & (1 << (map_type as u32)) != 0
    }

    /// Whether everything in `needed` is offered here.
    pub fn contains(&self, needed: &Self) -> bool {
        self.helpers
            .iter()
            .zip(&needed.helpers)
            .all(|(have, need)| need & !have == 0)
            && needed.map_types & !self.map_types == 0
    }
}
