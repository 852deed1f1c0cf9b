//! What the programs must return.

use std::collections::HashMap;

fn words32(memory: &[u8]) -> Vec<u32> {
    let word = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0, |all, b| all << 8 | u32::from(*b))
    };
    memory.chunks_exact(4).map(word).collect()
}

fn words64(memory: &[u8]) -> Vec<u64> {
    let word = |bytes: &[u8]| {
        bytes
            .iter()
            .rev()
            .fold(0, |all, b| all << 8 | u64::from(*b))
    };
    memory.chunks_exact(8).map(word).collect()
}

/// A polynomial of the values, so that their order counts.
fn fold(values: impl IntoIterator<Item = u64>, factor: u64) -> u64 {
    values.into_iter().fold(0u64, |sum, value| {
        sum.wrapping_mul(factor).wrapping_add(value)
    })
}

/// By a sieve.
pub fn prime_count(memory: &[u8]) -> u64 {
    let last = words32(memory)[0].min(255) as usize;
    let mut prime = vec![true; last + 1];
    for number in 2..=last {
        for multiple in (2 * number..=last).step_by(number) {
            prime[multiple] = false;
        }
    }
    prime.iter().skip(2).filter(|prime| **prime).count() as u64
}

/// By the number of leading zeros.
pub fn log2(memory: &[u8]) -> u64 {
    let logs = words64(memory).into_iter().map(|word| (word | 1).ilog2());
    fold(logs.map(u64::from), 3)
}

/// By the processor's way of counting.
pub fn bit_count(memory: &[u8]) -> u64 {
    memory.iter().map(|byte| u64::from(byte.count_ones())).sum()
}

/// By looking at all numbers; of 256, at most 255 are counted.
pub fn binary_search(memory: &[u8]) -> u64 {
    let all = words32(memory);
    let (numbers, keys) = all.split_at(256);
    let less = |key: &u32| numbers[..255].iter().filter(|n| *n < key).count() as u64;
    fold(keys.iter().map(less), 7)
}

/// By the first pair that differs.
pub fn memcmp(memory: &[u8]) -> u64 {
    let (left, right) = memory.split_at(memory.len() / 2);
    let differ = (0..left.len()).find(|at| left[*at] != right[*at]);
    differ.map_or(0, |at| {
        ((at as u64) << 16)
            .wrapping_add(u64::from(left[at]))
            .wrapping_sub(u64::from(right[at]))
    })
}

/// The last word of the first half.
pub fn memcpy(memory: &[u8]) -> u64 {
    words64(&memory[..memory.len() / 2])
        .last()
        .copied()
        .unwrap_or(0)
}

/// The difference of the first characters that differ, taken as one number of 32 bits with the place.
pub fn strcmp(memory: &[u8]) -> u64 {
    let pairs = memory.chunks_exact(128).map(|pair| {
        let (left, right) = pair.split_at(64);
        let end = (0..64).find(|at| left[*at] != right[*at] || left[*at] == 0);
        let at = end.unwrap_or(63);
        let difference = u64::from(left[at]).wrapping_sub(u64::from(right[at]));
        (difference, end.unwrap_or(64) as u64)
    });
    pairs.fold(0u64, |sum, (difference, at)| {
        sum.wrapping_mul(5)
            .wrapping_add(difference)
            .wrapping_add(at)
    })
}

/// FNV-1a in numbers of 128 bits, cut to 64.
pub fn fnv_hash(memory: &[u8]) -> u64 {
    let hash = memory.iter().fold(0xcbf2_9ce4_8422_2325u128, |hash, byte| {
        ((hash ^ u128::from(*byte)) * 0x100_0000_01b3) & u128::from(u64::MAX)
    });
    hash as u64
}

/// With the processor's rotations.
pub fn rotate_hash(memory: &[u8]) -> u64 {
    let mut hash = memory.len() as u32;
    for word in words32(memory) {
        let mixed = word.wrapping_mul(0x9e37_79b1).rotate_left(15);
        hash = (hash ^ mixed.wrapping_mul(0x85eb_ca77)).rotate_left(13);
        hash = hash.wrapping_mul(5).wrapping_add(0x1656_67b1);
    }
    hash = (hash ^ (hash >> 16)).wrapping_mul(0xc2b2_ae3d);
    u64::from(hash ^ (hash >> 13))
}

/// By the standard library's sort of the first 64 numbers.
pub fn sort(memory: &[u8]) -> u64 {
    let mut numbers = words32(&memory[..256]);
    numbers.sort_unstable();
    fold(numbers.into_iter().map(u64::from), 31)
}

/// In numbers of 64 bits, cut to 32.
pub fn matrix_multiply(memory: &[u8]) -> u64 {
    let all: Vec<u64> = words32(memory).into_iter().map(u64::from).collect();
    let cell = |row: usize, column: usize| {
        let terms = (0..16).map(|at| all[row * 16 + at].wrapping_mul(all[256 + at * 16 + column]));
        u64::from(terms.fold(0, u64::wrapping_add) as u32)
    };
    fold((0..256).map(|at| cell(at / 16, at % 16)), 31)
}

/// The machine once more.
pub fn switch_dispatch(memory: &[u8]) -> u64 {
    let (mut value, mut other) = (1u64, 0u64);
    for (at, byte) in (0u64..).zip(memory) {
        match byte % 16 {
            0 => value = value.wrapping_add(13),
            1 => value ^= other,
            2 => value = value.wrapping_mul(17),
            3 => other = other.wrapping_add(value),
            4 => value = value.wrapping_sub(other),
            5 => value = value.rotate_left(7),
            6 => other ^= value / 8,
            7 => value = u64::MAX - value,
            8 => other = other.wrapping_mul(3).wrapping_add(1),
            9 => value = value.wrapping_add(at),
            10 => value |= 256,
            11 => other %= 1 << 40,
            12 => value = value.wrapping_sub(at * 16),
            13 => other = value,
            14 => value /= other % 8 + 1,
            _ => value = value.wrapping_add(other % 1000),
        }
    }
    value ^ other
}

/// The functions as one recursion.
pub fn call_chain(memory: &[u8]) -> u64 {
    fn link(step: u64, value: u64, salt: u64) -> u64 {
        if step == 7 {
            return value ^ (salt >> 7);
        }
        let next = value.wrapping_mul(5).wrapping_add(step);
        link(step + 1, next, salt ^ value).wrapping_add(salt)
    }
    let words = words64(memory).into_iter();
    words.fold(0, |sum, word| link(1, word, sum))
}

/// One loop over all passes.
pub fn nested_loops(memory: &[u8]) -> u64 {
    (0..4096u64).fold(words64(memory)[0], |value, pass| {
        let digit = |place: u32| (pass >> (3 * place)) & 7;
        let terms = digit(3) * digit(2) + digit(1) * digit(0);
        value.wrapping_add((value / 32) ^ terms)
    })
}

/// By slices and iterators.
pub fn packet_parse(memory: &[u8]) -> u64 {
    fn parse(frame: &[u8]) -> u64 {
        let big = |at: usize, len: usize| {
            let bytes = frame[at..at + len].iter();
            bytes.fold(0u64, |all, byte| all * 256 + u64::from(*byte))
        };
        let mut kind_at = 12;
        while kind_at < 20 && [0x8100, 0x88a8].contains(&big(kind_at, 2)) {
            kind_at += 4;
        }
        let ip = kind_at + 2;
        let version = frame[ip] / 16;
        let words = usize::from(frame[ip] % 16);
        let (protocol, addresses, tcp) = match big(kind_at, 2) {
            0x0800 if version != 4 || words < 5 => return 0xdead,
            0x0800 => (frame[ip + 9], [12, 16].as_slice(), ip + words * 4),
            0x86dd if version != 6 => return 0xdead,
            0x86dd => {
                let addresses = [8, 20, 24, 36].as_slice();
                match frame[ip + 6] {
                    0 => (frame[ip + 40], addresses, ip + 48),
                    protocol => (protocol, addresses, ip + 40),
                }
            }
            other => return other,
        };
        if protocol != 6 || tcp + 20 > frame.len() {
            return u64::from(protocol);
        }
        let flow = addresses.iter().fold(0, |all, at| all ^ big(ip + at, 4));
        let found = fold([flow, big(tcp, 4), big(tcp + 13, 1)], 31) as u32;
        (u64::from(found) << 8) + big(tcp + 12, 1) / 16
    }
    fold(memory.chunks_exact(96).map(parse), 31)
}

/// For each bit that is set, the 32 bits of the key that begin there.
pub fn rss_hash(memory: &[u8]) -> u64 {
    let (key, tuples) = memory.split_at(40);
    let bit = |bytes: &[u8], at: usize| u32::from(bytes[at / 8] >> (7 - at % 8) & 1);
    let hash = |tuple: &[u8]| {
        let set = (0..96).filter(|at| bit(tuple, *at) == 1);
        let windows = set.map(|at| (at..at + 32).fold(0u32, |all, at| all << 1 | bit(key, at)));
        u64::from(windows.fold(0, |all, window| all ^ window))
    };
    fold(tuples.chunks_exact(12).map(hash), 31)
}

/// By the remainder that a sum of ones' complements is (RFC 1071).
pub fn checksum(memory: &[u8]) -> u64 {
    let sum: u64 = memory
        .chunks_exact(2)
        .map(|pair| u64::from(pair[0]) + 256 * u64::from(pair[1]))
        .sum();
    let folded = match sum % 0xffff {
        0 if sum > 0 => 0xffff,
        rest => rest,
    };
    0xffff - folded
}

/// By windows.
pub fn string_search(memory: &[u8]) -> u64 {
    let (word, rest) = memory.split_at(8);
    let places = (8u64..).zip(rest.windows(8));
    fold(
        places.filter(|(_, part)| *part == word).map(|(at, _)| at),
        31,
    )
}

/// Bit by bit, without the table.
pub fn crc32(memory: &[u8]) -> u64 {
    let crc = memory[64..].iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ ((crc & 1) * 0xedb8_8320)
        })
    });
    u64::from(!crc)
}

/// Each key's count where it stands first.
pub fn hash_counter(memory: &[u8]) -> u64 {
    let keys = words32(memory);
    let mut counts: HashMap<u32, u64> = HashMap::new();
    for key in &keys {
        *counts.entry(*key).or_default() += 1;
    }
    fold(keys.iter().filter_map(|key| counts.remove(key)), 31)
}

/// By counting the bytes of each remainder.
pub fn array_histogram(memory: &[u8]) -> u64 {
    let count = |bucket: u8| {
        let same = memory.iter().filter(|byte| **byte % 64 == bucket);
        same.count() as u64
    };
    fold((0..64).map(count), 31)
}
