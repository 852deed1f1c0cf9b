//! Sets of helpers.

use super::table::PROTOS;

const WORDS: usize = 4;

/// A set of helpers of [`PROTOS`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct HelperSet([u64; WORDS]);

// Every number has a bit.
const _: () = assert!(PROTOS.len() < 64 * WORDS);

impl HelperSet {
    /// No helper.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// Whether the helper with the number is in the set.
    pub const fn contains(&self, id: u32) -> bool {
        (id as usize) < 64 * WORDS && self.0[id as usize / 64] & (1 << (id % 64)) != 0
    }

    /// The numbers in the set, in ascending order.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (0..64 * WORDS as u32).filter(move |id| self.contains(*id))
    }

    /// The set and the helpers with these names, which have to exist.
    pub(super) const fn and(mut self, names: &[&str]) -> Self {
        let mut index = 0;
        while index < names.len() {
            let id = number(names[index]);
            self.0[id as usize / 64] |= 1 << (id % 64);
            index += 1;
        }
        self
    }
}

/// Number of the helper with the name.
pub(super) const fn number(name: &str) -> u32 {
    let mut index = 0;
    while !equal(PROTOS[index].name, name) {
        index += 1;
    }
    PROTOS[index].id
}

const fn equal(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut index = 0;
    while index < a.len() && index < b.len() && a[index] == b[index] {
        index += 1;
    }
    index == a.len() && index == b.len()
}
