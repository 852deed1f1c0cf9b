//! A map to identities, for a few entries mostly and for thousands without harm.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

use super::value::Id;

/// Entries that are searched one by one, which is faster than hashing.
const FEW: usize = 24;

/// A map from `K` to identities.
pub(super) struct Pairs<K> {
    few: Vec<(K, Id)>,
    many: HashMap<K, Id, BuildHasherDefault<Mix>>,
}

/// Multiplies and folds. Identities are counted up by the analysis, so a program cannot choose
/// them to collide.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32((*byte).into());
        }
    }

    fn write_u32(&mut self, part: u32) {
        let product = (self.0 ^ u64::from(part)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product ^ (product >> 32);
    }
}

impl<K> Default for Pairs<K> {
    fn default() -> Self {
        Self {
            few: Vec::new(),
            many: HashMap::default(),
        }
    }
}

impl<K: Eq + Hash> Pairs<K> {
    /// What the key was mapped to.
    pub(super) fn get(&self, key: &K) -> Option<Id> {
        let few = self.few.iter().find(|(known, _)| known == key);
        match few {
            Some((_, id)) => Some(*id),
            None if self.many.is_empty() => None,
            None => self.many.get(key).copied(),
        }
    }

    /// Maps a key that has no entry.
    pub(super) fn insert(&mut self, key: K, id: Id) {
        if self.few.len() < FEW {
            self.few.push((key, id));
        } else {
            self.many.insert(key, id);
        }
    }
}
