//! Random programs around one access that depends on numbers.

use std::fmt::Write as _;

/// A generator with a fixed seed (xorshift64*).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        random.next();
        random
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below the limit, which is not 0.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }

    /// A number, mostly a small one.
    pub(crate) fn number(&mut self) -> u64 {
        match self.below(8) {
            0..=3 => self.below(64),
            4 => self.below(1 << 12),
            5 => self.below(64).wrapping_neg(),
            6 => 1 << self.below(64),
            _ => self.next(),
        }
    }

    fn of<'a>(&mut self, list: &[&'a str]) -> &'a str {
        list[self.below(list.len() as u64) as usize]
    }
}

/// Numbers in `r7` to `r9`.
const NUMBERS: [&str; 3] = ["r7", "r8", "r9"];

fn operation(random: &mut Random, out: &mut Vec<String>) {
    let (a, b) = (random.of(&NUMBERS), random.of(&NUMBERS));
    let small = random.below(70);
    let half = |reg: &str| reg.replace('r', "w");
    let last = match random.below(20) {
        0 | 1 => format!("{a} += {b}"),
        2 => format!("{a} -= {b}"),
        3 => format!("{a} &= {b}"),
        4 => format!("{a} |= {b}"),
        5 => format!("{a} ^= {b}"),
        6 => format!("{a} *= {}", random.below(9)),
        7 => format!("{a} /= {}", 1 + random.below(9)),
        8 => format!("{a} %= {}", 1 + random.below(60)),
        9 => format!("{a} <<= {}", random.below(40)),
        10 => format!("{a} >>= {}", random.below(40)),
        11 => format!("{a} &= {small}"),
        12 => format!("{a} = {b}"),
        13 => format!("{} += {}", half(a), half(b)),
        14 => format!("{} -= {small}", half(a)),
        15 => format!("{} = {}", half(a), half(b)),
        16 => format!("{a} = be16 {a}"),
        17 => {
            let place = 8 * (1 + random.below(2));
            let size = random.of(&["u8", "u16", "u32", "u64"]);
            out.push(format!("*(u64 *)(r10 - {place}) = {b}"));
            if random.below(2) == 0 {
                let part = random.of(&["u8", "u16", "u32"]);
                out.push(format!(
                    "*({part} *)(r10 - {}) = {a}",
                    place - 4 * random.below(2)
                ));
            }
            format!("{a} = *({size} *)(r10 - {place})")
        }
        18 => format!("{a} s>>= {}", random.below(64)),
        _ => format!("{a} -= {small}"),
    };
    out.push(last);
}

/// A program that accesses a map's value, its stack or a packet at an offset that it computes from
/// numbers of its context.
pub(crate) fn program(random: &mut Random) -> String {
    let mut body = Vec::new();
    let (by, bound) = (random.of(&NUMBERS), random.below(40));
    let of_two = random.below(2) == 0;
    if of_two {
        one_of_two(&mut body, by, bound);
    }
    for _ in 0..random.below(7) {
        operation(random, &mut body);
        if random.below(4) == 0 {
            let (a, b) = (random.of(&NUMBERS), random.of(&NUMBERS));
            let cond = random.of(&["<", "<=", ">", ">=", "s<", "s>", "==", "!="]);
            let (a, b) = match random.below(3) {
                0 => (a.to_owned(), b.to_owned()),
                1 => (a.to_owned(), random.below(60).to_string()),
                _ => (a.replace('r', "w"), random.below(60).to_string()),
            };
            // Over one operation, or out.
            let away = if random.below(3) == 0 { "out" } else { "over" };
            body.push(format!("if {a} {cond} {b} goto {away}"));
            body.push(format!("{} += {}", random.of(&NUMBERS), random.below(20)));
        }
    }
    if of_two {
        let again = if random.below(3) == 0 {
            random.of(&NUMBERS)
        } else {
            by
        };
        let bound = bound + random.below(3) - random.below(2).min(bound);
        use_of_two(&mut body, again, bound);
    }
    let (a, b) = (random.of(&NUMBERS), random.of(&NUMBERS));
    let limit = 20 + random.below(40);
    match random.below(4) {
        0 => {
            body.push(format!("r2 = {a}"));
            body.push(format!("r2 += {b}"));
        }
        1 => {
            body.push(format!("r2 = {a}"));
            body.push(format!("r2 -= {b}"));
        }
        2 => {
            body.push(format!("r2 = {a}"));
            body.push(format!("r2 ^= {b}"));
        }
        _ => body.push(format!("r2 = {a}")),
    }
    body.push(format!("if r2 > {limit} goto out"));
    let size = random.of(&["u8", "u16", "u32", "u64"]);
    match random.below(4) {
        0 => {
            body.push("r3 = r10".to_owned());
            body.push("r3 += -48".to_owned());
            access_at(&mut body, a, b, "*(u8 *)(r3 + 0) = 7");
        }
        1 => {
            body.push("r4 = r3".to_owned());
            body.push("r5 = *(u32 *)(r1 + 4)".to_owned());
            body.push("r5 -= r3".to_owned());
            body.push(format!("if r5 s< {} goto out", 20 + random.below(50)));
            access_at(&mut body, a, b, "r0 = *(u8 *)(r3 + 0)");
        }
        _ => {
            body.push("r3 = r6".to_owned());
            access_at(&mut body, a, b, &format!("r0 = *({size} *)(r3 + 0)"));
        }
    }
    let mut text = String::from(
        "r6 = map_idx(0x0) + 0x0 ll\nr3 = *(u32 *)(r1 + 0)\nr7 = *(u32 *)(r1 + 12)\n\
         r8 = *(u32 *)(r1 + 16)\nr9 = 3\n",
    );
    for (position, line) in body.iter().enumerate() {
        let line = match line.strip_suffix(" out") {
            Some(start) => format!("{start} +{}", body.len() - 1 - position),
            None => line.replace(" over", " +1"),
        };
        let _ = writeln!(text, "{line}");
    }
    text.push_str("r0 = 0\nexit\n");
    text
}

/// Stores a pointer to the map's value, or to the stack if a number is above a bound.
fn one_of_two(body: &mut Vec<String>, number: &str, bound: u64) {
    body.extend([
        "r2 = r6".to_owned(),
        format!("if {number} <= {bound} goto +2"),
        "r2 = r10".to_owned(),
        "r2 += -40".to_owned(),
        "*(u64 *)(r10 - 24) = r2".to_owned(),
    ]);
}

/// Uses what [`one_of_two`] stored in a way that only the map's value allows, if a number is not
/// above a bound.
fn use_of_two(body: &mut Vec<String>, number: &str, bound: u64) {
    body.extend([
        format!("if {number} > {bound} goto +2"),
        "r2 = *(u64 *)(r10 - 24)".to_owned(),
        "*(u8 *)(r2 + 44) = 1".to_owned(),
    ]);
}

/// The access at an offset that was compared, if one is as it was.
fn access_at(body: &mut Vec<String>, a: &str, b: &str, access: &str) {
    let sum = body.iter().any(|line| line == &format!("r2 += {b}"));
    body.push(format!("r3 += {a}"));
    if sum {
        body.push(format!("r3 += {b}"));
    }
    body.push(access.to_owned());
}
