//! Where the choices of a run come from: numbers that can be replayed and changed.

/// A generator with a fixed seed (xorshift64*).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below the limit, which is not 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }

    pub(crate) fn chance(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }

    /// A number such as programs compare with: small, extreme, from the program, or any.
    pub(crate) fn number(&mut self, words: &[u64]) -> u64 {
        match self.below(8) {
            0 => 0,
            1 => self.below(16),
            2 => self.below(16).wrapping_neg(),
            3 => 1 << self.below(64),
            4 => self.below(1 << 16),
            5 | 6 if !words.is_empty() => words[self.below(words.len() as u64) as usize],
            _ => self.next(),
        }
    }

    /// Fills bytes with numbers of all sizes.
    pub(crate) fn fill(&mut self, bytes: &mut [u8], words: &[u64]) {
        match self.below(4) {
            0 => bytes.fill(0),
            1 => {
                for chunk in bytes.chunks_mut(8) {
                    let word = self.next().to_le_bytes();
                    chunk.copy_from_slice(&word[..chunk.len()]);
                }
            }
            _ => {
                let mut at = 0;
                while at < bytes.len() {
                    let size = 1 << self.below(4);
                    let word = self.number(words).to_le_bytes();
                    let end = (at + size).min(bytes.len());
                    bytes[at..end].copy_from_slice(&word[..end - at]);
                    at = end;
                }
            }
        }
    }
}

/// The choices of one run in order: those given first, then made up, and all remembered.
#[derive(Clone, Debug)]
pub(crate) struct Tape {
    choices: Vec<u64>,
    at: usize,
    random: Random,
}

/// Choices that are remembered; a run makes more only if it goes round loops.
const REMEMBERED: usize = 4096;

impl Tape {
    pub(crate) fn new(choices: Vec<u64>, seed: u64) -> Self {
        Self {
            choices,
            at: 0,
            random: Random::new(seed),
        }
    }

    /// The next choice; `make` makes one up where none is given.
    pub(crate) fn choose(&mut self, make: impl FnOnce(&mut Random) -> u64) -> u64 {
        let at = self.at;
        self.at += 1;
        if let Some(given) = self.choices.get(at) {
            return *given;
        }
        let made = make(&mut self.random);
        if at < REMEMBERED {
            self.choices.push(made);
        }
        made
    }

    /// A choice below the limit, which is not 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.choose(|random| random.below(limit)) % limit
    }

    /// A choice that is often true.
    pub(crate) fn often(&mut self) -> bool {
        self.below(4) != 0
    }

    /// The choices that the run made.
    pub(crate) fn into_choices(mut self) -> Vec<u64> {
        self.choices.truncate(self.at);
        self.choices
    }
}
