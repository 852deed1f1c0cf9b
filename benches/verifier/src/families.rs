//! Generated programs of growing size.

use std::fmt::Write;

use bpftime_isa::{MapDef, MapType, ProgType, Program, asm};

/// A kind of program that can be made as large as one likes.
pub(crate) struct Family {
    /// What grows.
    pub(crate) name: &'static str,
    /// What `n` counts.
    pub(crate) unit: &'static str,
    /// Sizes that are measured.
    pub(crate) sizes: &'static [usize],
    /// Text and number of maps of the program of a size.
    text: fn(usize) -> (String, usize),
}

/// All families.
pub(crate) const FAMILIES: [Family; 7] = [
    Family {
        name: "straight line",
        unit: "instructions",
        sizes: &[1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18],
        text: |n| (format!("r0 = 0\n{}exit\n", "r0 += 1\n".repeat(n)), 0),
    },
    Family {
        name: "diamonds",
        unit: "branches",
        sizes: &[1 << 7, 1 << 9, 1 << 11, 1 << 13, 1 << 15],
        text: diamonds,
    },
    Family {
        name: "loops in sequence",
        unit: "loops of 10 passes",
        sizes: &[1 << 5, 1 << 7, 1 << 9, 1 << 11, 1 << 13],
        text: loops,
    },
    Family {
        name: "loops of growing length",
        unit: "passes",
        sizes: &[1 << 7, 1 << 9, 1 << 11, 1 << 13, 1 << 15],
        text: |n| (nested(1, n), 0),
    },
    Family {
        name: "four nested loops",
        unit: "passes in all",
        sizes: &[256, 1296, 4096, 10_000, 20_736],
        text: |n| (nested(4, (n as f64).powf(0.25).round() as usize), 0),
    },
    Family {
        name: "maps",
        unit: "maps, each looked up",
        sizes: &[1, 4, 16, 64, 256, 1024],
        text: lookups,
    },
    Family {
        name: "subprogram calls",
        unit: "calls of a function of 8 instructions",
        sizes: &[1, 10, 100, 1000, 10_000],
        text: calls,
    },
];

impl Family {
    /// The program of a size.
    pub(crate) fn program(&self, size: usize) -> anyhow::Result<Program> {
        let (text, maps) = (self.text)(size);
        Ok(Program {
            name: self.name.to_owned(),
            section: "xdp".to_owned(),
            license: "GPL".to_owned(),
            maps: (0..maps).map(array).collect(),
            ..Program::new(ProgType::Xdp, asm::parse(&text)?)
        })
    }
}

/// Joins of two different constants, a register and a stack slot each.
fn diamonds(n: usize) -> (String, usize) {
    let mut text = String::from("r6 = r1\n");
    for number in 0..n {
        let slot = 8 * (1 + number % 32);
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "r1 = *(u32 *)(r6 + 12)\nr2 = {number}\nif r1 > {number} goto +1\nr2 = 1\n\
             *(u64 *)(r10 - {slot}) = r2\n"
        );
    }
    (text + "r0 = 0\nexit\n", 0)
}

fn loops(n: usize) -> (String, usize) {
    let mut text = String::new();
    for number in 0..n {
        let _ = write!(
            text,
            "r6 = 0\nl{number}:\nr6 += 1\nif r6 < 10 goto l{number}\n"
        );
    }
    (text + "r0 = 0\nexit\n", 0)
}

/// Loops in each other, of as many passes each; the innermost adds.
fn nested(depth: usize, passes: usize) -> String {
    let mut text = String::from("r0 = 0\n");
    for level in 0..depth {
        let _ = write!(text, "r{} = 0\nl{level}:\n", 6 + level);
    }
    text += "r0 += 1\n";
    for level in (0..depth).rev() {
        let register = 6 + level;
        let _ = write!(
            text,
            "r{register} += 1\nif r{register} < {passes} goto l{level}\n"
        );
    }
    text + "r0 = 0\nexit\n"
}

fn lookups(n: usize) -> (String, usize) {
    let mut text = String::from("*(u32 *)(r10 - 4) = 0\n");
    for map in 0..n {
        let _ = write!(
            text,
            "r1 = map_idx({map}) ll\nr2 = r10\nr2 += -4\ncall 1\nif r0 == 0 goto +1\nr1 = *(u64 *)(r0 + 0)\n"
        );
    }
    (text + "r0 = 0\nexit\n", n)
}

fn calls(n: usize) -> (String, usize) {
    let callee = "f:\nr0 = r1\nr0 &= 7\nif r0 > 3 goto +1\nr0 += 1\nr0 *= 2\nr0 += 3\nexit\n";
    let text = format!("{}r0 = 0\nexit\n{callee}", "r1 = 5\ncall f\n".repeat(n));
    (text, 0)
}

fn array(number: usize) -> MapDef {
    MapDef {
        name: format!("m{number}"),
        ..MapDef::new(MapType::Array, 4, 8, 1)
    }
}
