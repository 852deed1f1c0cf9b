//! Packets: Ethernet, VLAN, IPv4, IPv6, TCP, UDP, tunnels, and damaged ones.

use super::tape::Random;

/// Ports and numbers that datapaths look for.
const PORTS: [u16; 12] = [0, 22, 53, 80, 443, 546, 547, 4789, 6081, 8472, 8080, 51871];

/// A packet, at most some hundred bytes.
pub(crate) fn packet(random: &mut Random, words: &[u64], ethernet: bool) -> Vec<u8> {
    if random.chance(10) {
        let mut bytes = vec![0; random.below(300) as usize];
        random.fill(&mut bytes, words);
        return bytes;
    }
    let mut bytes = Vec::with_capacity(256);
    if ethernet {
        ethernet_header(random, &mut bytes);
    } else if random.chance(2) {
        ipv4(random, &mut bytes, 0);
    } else {
        ipv6(random, &mut bytes, 0);
    }
    let mut payload = vec![0; random.below(128) as usize];
    random.fill(&mut payload, words);
    bytes.append(&mut payload);
    damage(random, &mut bytes, words);
    bytes
}

/// Changes some bytes, or cuts the end off.
pub(crate) fn damage(random: &mut Random, bytes: &mut Vec<u8>, words: &[u64]) {
    for _ in 0..random.below(5) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len() as u64) as usize;
        match random.below(4) {
            0 => bytes[at] = random.next() as u8,
            1 => bytes[at] ^= 1 << random.below(8),
            _ => {
                // A number of the program's, in either byte order.
                let size = 1 << random.below(4);
                let word = random.number(words);
                let le = word.to_le_bytes();
                let be = word.to_be_bytes();
                let part = if random.chance(2) {
                    &le[..size]
                } else {
                    &be[8 - size..]
                };
                let end = (at + size).min(bytes.len());
                bytes[at..end].copy_from_slice(&part[..end - at]);
            }
        }
    }
    if random.chance(6) {
        bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
    }
}

fn push16(bytes: &mut Vec<u8>, number: u16) {
    bytes.extend(number.to_be_bytes());
}

fn push_random(random: &mut Random, bytes: &mut Vec<u8>, count: usize) {
    for _ in 0..count {
        bytes.push(random.next() as u8);
    }
}

fn ethernet_header(random: &mut Random, bytes: &mut Vec<u8>) {
    match random.below(3) {
        0 => bytes.extend([0xff; 6]),
        1 => bytes.extend([0x33, 0x33, 0, 0, 0, 1]),
        _ => push_random(random, bytes, 6),
    }
    push_random(random, bytes, 6);
    for _ in 0..random.below(6).saturating_sub(3) {
        push16(bytes, if random.chance(2) { 0x8100 } else { 0x88a8 });
        push16(bytes, random.next() as u16);
    }
    match random.below(8) {
        0..=2 => {
            push16(bytes, 0x0800);
            ipv4(random, bytes, 0);
        }
        3..=5 => {
            push16(bytes, 0x86dd);
            ipv6(random, bytes, 0);
        }
        6 => {
            push16(bytes, 0x0806);
            bytes.extend([0, 1, 8, 0, 6, 4, 0, 1 + random.below(2) as u8]);
            push_random(random, bytes, 20);
        }
        _ => {
            let kinds = [0x8847, 0x8863, 0x8864, 0x88cc, 0x88f7, 0x0004, 0xffff];
            push16(bytes, kinds[random.below(7) as usize]);
        }
    }
}

fn address4(random: &mut Random, bytes: &mut Vec<u8>) {
    match random.below(4) {
        0 => bytes.extend([10, 0, 0, random.next() as u8]),
        1 => bytes.extend([127, 0, 0, 1]),
        2 => bytes.extend([169, 254, 42, 1]),
        _ => push_random(random, bytes, 4),
    }
}

fn ipv4(random: &mut Random, bytes: &mut Vec<u8>, depth: u32) {
    let words = if random.chance(3) {
        5 + random.below(11)
    } else {
        5
    };
    bytes.push(0x40 | words as u8);
    bytes.push(random.next() as u8);
    push16(bytes, random.below(1500) as u16);
    push16(bytes, random.next() as u16);
    // Fragments are rare.
    let fragment = match random.below(6) {
        0 => random.next() as u16,
        1 => 0x2000,
        _ => 0x4000,
    };
    push16(bytes, fragment);
    bytes.push(random.below(65) as u8);
    let kind = protocol(random, depth);
    bytes.push(kind);
    push16(bytes, random.next() as u16);
    address4(random, bytes);
    address4(random, bytes);
    push_random(random, bytes, (words as usize - 5) * 4);
    upper(random, bytes, kind, depth);
}

fn ipv6(random: &mut Random, bytes: &mut Vec<u8>, depth: u32) {
    bytes.push(0x60);
    push_random(random, bytes, 3);
    push16(bytes, random.below(1500) as u16);
    let mut kind = protocol(random, depth);
    let extensions = random.below(6).saturating_sub(3);
    let next = [0, 43, 44, 51, 60];
    let mut chain: Vec<u8> = (0..extensions)
        .map(|_| next[random.below(5) as usize])
        .collect();
    if kind == 1 {
        kind = 58;
    }
    chain.push(kind);
    bytes.push(chain[0]);
    bytes.push(random.below(65) as u8);
    for _ in 0..2 {
        match random.below(4) {
            0 => bytes.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
            1 => bytes.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1]),
            _ => push_random(random, bytes, 16),
        }
    }
    for following in &chain[1..] {
        bytes.push(*following);
        bytes.push(0);
        push_random(random, bytes, 6);
    }
    upper(random, bytes, kind, depth);
}

fn protocol(random: &mut Random, depth: u32) -> u8 {
    match random.below(12) {
        0..=4 => 6,
        5..=7 => 17,
        8 => 1,
        9 if depth < 2 => 4,
        10 if depth < 2 => 41,
        _ => [132, 47, 50, 58, 2, 255][random.below(6) as usize],
    }
}

fn port(random: &mut Random) -> u16 {
    if random.chance(2) {
        PORTS[random.below(PORTS.len() as u64) as usize]
    } else {
        random.next() as u16
    }
}

fn upper(random: &mut Random, bytes: &mut Vec<u8>, kind: u8, depth: u32) {
    match kind {
        6 => {
            push16(bytes, port(random));
            push16(bytes, port(random));
            push_random(random, bytes, 8);
            let words = 5 + if random.chance(2) {
                random.below(11)
            } else {
                0
            };
            bytes.push((words as u8) << 4);
            bytes.push(if random.chance(2) {
                2
            } else {
                random.next() as u8
            });
            push_random(random, bytes, 6);
            options(random, bytes, (words as usize - 5) * 4);
        }
        17 => {
            push16(bytes, port(random));
            let to = port(random);
            push16(bytes, to);
            push16(bytes, random.below(1500) as u16);
            push16(
                bytes,
                if random.chance(2) {
                    0
                } else {
                    random.next() as u16
                },
            );
            if matches!(to, 4789 | 8472 | 6081) && depth < 2 {
                push_random(random, bytes, 8);
                ethernet_header(random, bytes);
            }
        }
        1 | 58 => {
            let kinds = [0, 3, 8, 11, 128, 129, 135, 136, 1, 2];
            bytes.push(kinds[random.below(10) as usize]);
            bytes.push(random.below(5) as u8);
            push_random(random, bytes, 6);
            if random.chance(2) && depth < 2 {
                // An error holds the packet that it is about.
                if kind == 1 {
                    ipv4(random, bytes, depth + 1);
                } else {
                    ipv6(random, bytes, depth + 1);
                }
            } else {
                push_random(random, bytes, 24);
            }
        }
        4 => ipv4(random, bytes, depth + 1),
        41 => ipv6(random, bytes, depth + 1),
        132 => {
            push16(bytes, port(random));
            push16(bytes, port(random));
            push_random(random, bytes, 8);
        }
        _ => push_random(random, bytes, 8),
    }
}

/// TCP options: sequences of kind, length, bytes.
fn options(random: &mut Random, bytes: &mut Vec<u8>, len: usize) {
    let end = bytes.len() + len;
    while bytes.len() < end {
        match random.below(4) {
            0 => bytes.push(1),
            1 => bytes.push(0),
            _ => {
                let len = 2 + random.below(10) as u8;
                bytes.push(random.below(10) as u8);
                bytes.push(len);
                push_random(random, bytes, len as usize - 2);
            }
        }
    }
    bytes.truncate(end);
}
