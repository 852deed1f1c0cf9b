//! What the programs are given. All of it is the same in each run and on each machine.

/// Numbers that look random (xorshift, Marsaglia 2003).
struct Numbers(u64);

impl Numbers {
    fn new() -> Self {
        Self(0x0123_4567_89ab_cdef)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }
}

/// So many bytes that look random.
pub fn random(len: usize) -> Vec<u8> {
    let mut numbers = Numbers::new();
    let words = std::iter::from_fn(|| Some(numbers.next().to_le_bytes()));
    words.flatten().take(len).collect()
}

/// The number up to which primes are counted.
pub fn prime_count() -> Vec<u8> {
    let mut memory = vec![0; 16];
    memory[0] = 250;
    memory
}

/// Words of all lengths.
pub fn log2() -> Vec<u8> {
    let mut numbers = Numbers::new();
    let words = (0..128).map(|_| {
        let shift = numbers.below(64);
        numbers.next() >> shift
    });
    words.flat_map(u64::to_le_bytes).collect()
}

/// 256 numbers that ascend, and 64 keys, half of which are among them.
pub fn binary_search() -> Vec<u8> {
    let mut numbers = Numbers::new();
    let mut all: Vec<u32> = (0..256).map(|_| numbers.next() as u32).collect();
    all.sort_unstable();
    for key in 0..64 {
        let number = numbers.next() as u32;
        let known = all[numbers.below(256) as usize];
        all.push(if key % 2 == 0 { known } else { number });
    }
    all.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// Two halves that differ in their last but one byte.
pub fn memcmp() -> Vec<u8> {
    let mut memory = random(1024).repeat(2);
    memory[2046] ^= 0x55;
    memory
}

/// Pairs of strings: some equal, some differing late, some of other length.
pub fn strcmp() -> Vec<u8> {
    let mut numbers = Numbers::new();
    let mut memory = Vec::new();
    for pair in 0..16 {
        let len = 30 + numbers.below(33) as usize;
        let left: Vec<u8> = (0..len).map(|_| b'a' + numbers.below(26) as u8).collect();
        let mut right = left.clone();
        match pair % 4 {
            0 => right[len - 1] ^= 1,
            1 => right.truncate(len - 5),
            2 => right[len / 2] ^= 4,
            _ => {}
        }
        for mut text in [left, right] {
            text.resize(64, 0);
            memory.extend(text);
        }
    }
    memory
}

/// 32 frames of 96 bytes of several kinds.
pub fn packets() -> Vec<u8> {
    let mut numbers = Numbers::new();
    let mut memory = Vec::new();
    for number in 0..32 {
        let mut frame: Vec<u8> = (0..12).map(|_| numbers.next() as u8).collect();
        for _ in 0..[0, 0, 1, 2][number % 4] {
            frame.extend([0x81, 0x00, 0, numbers.next() as u8]);
        }
        let protocol = if number % 8 == 5 { 17 } else { 6 };
        match number % 5 {
            // IPv4, some with options.
            0..=2 => {
                frame.extend([0x08, 0x00]);
                let words = 5 + (number % 3) as u8;
                let start = frame.len();
                frame.push(0x40 | words);
                frame.extend((0..8).map(|_| numbers.next() as u8));
                frame.push(protocol);
                frame.resize_with(start + usize::from(words) * 4, || numbers.next() as u8);
            }
            // IPv6, some with an extension header of 8 bytes.
            3 => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20]);
                let extended = number % 2 == 0;
                frame.extend([if extended { 0 } else { protocol }, 64]);
                frame.extend((0..32).map(|_| numbers.next() as u8));
                if extended {
                    frame.extend([protocol, 0, 1, 4, 0, 0, 0, 0]);
                }
            }
            // ARP.
            _ => frame.extend([0x08, 0x06]),
        }
        frame.resize_with(96, || numbers.next() as u8);
        memory.extend(frame);
    }
    memory
}

/// A word of 8 characters, and a text in which it and its beginnings stand often.
pub fn text() -> Vec<u8> {
    let mut numbers = Numbers::new();
    let word = b"abacabad";
    let mut memory = word.to_vec();
    while memory.len() < 1032 {
        match numbers.below(4) {
            0 => memory.extend(word),
            1 => memory.extend(&word[..numbers.below(8) as usize]),
            _ => memory.push(b'a' + numbers.below(4) as u8),
        }
    }
    memory.truncate(1032);
    memory
}

/// The table of the checksum for each half of a byte, and the bytes.
pub fn crc32() -> Vec<u8> {
    let entry = |index: u32| {
        (0..4).fold(index, |value, _| {
            (value >> 1) ^ if value & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    };
    let mut memory: Vec<u8> = (0..16).flat_map(|at| entry(at).to_le_bytes()).collect();
    memory.extend(random(1024));
    memory
}

/// 128 keys, of which many are the same.
pub fn keys() -> Vec<u8> {
    let mut numbers = Numbers::new();
    let keys = (0..128).map(|_| numbers.below(60) as u32 * 0x0101_0107);
    keys.flat_map(u32::to_le_bytes).collect()
}
