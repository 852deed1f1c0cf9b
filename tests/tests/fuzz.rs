//! A short run of what `fuzz/` does for hours: random inputs, and inputs that were right and then damaged.

use bpftime_isa::{asm, encode};
use bpftime_tests::paths;

/// Inputs of each kind.
const INPUTS: usize = 3000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let count = self.below(most);
        (0..count).map(|_| self.next() as u8).collect()
    }

    /// Changes up to four bytes, or cuts the end off.
    fn damage(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.below(5) {
            let at = self.below(bytes.len());
            if let Some(byte) = bytes.get_mut(at) {
                *byte = match self.below(3) {
                    0 => self.next() as u8,
                    1 => byte.wrapping_add(1),
                    _ => *byte ^ 1 << self.below(8),
                };
            }
        }
        if self.below(8) == 0 {
            bytes.truncate(self.below(bytes.len()));
        }
    }
}

/// Programs of memory, packets and maps, all accepted as they are.
const PROGRAMS: &[&str] = &[
    "r0 = *(u64 *)(r1 + 0)\nr2 = *(u8 *)(r1 + 8)\nr2 &= 31\nr1 += r2\nr3 = *(u32 *)(r1 + 16)\nr0 += r3\nexit",
    "r0 = 0\nr2 = 0\nl: r3 = *(u8 *)(r1 + 0)\nr0 += r3\nr1 += 1\nr2 += 1\nif r2 < 64 goto l\nexit",
    "*(u32 *)(r10 - 4) = 2\nr6 = *(u64 *)(r1 + 0)\nr2 = r10\nr2 += -4\nr1 = map_idx(0x0) ll\ncall 1\n\
     if r0 == 0 goto out\nr6 &= 7\nr0 += r6\n*(u64 *)(r0 + 40) = r6\nr0 = *(u64 *)(r0 + 0)\nout: r0 = 0\nexit",
    "*(u64 *)(r10 - 16) = 7\n*(u64 *)(r10 - 8) = 9\n*(u64 *)(r10 - 24) = 5\nr1 = map_idx(0x1) ll\nr2 = r10\n\
     r2 += -24\nr3 = r10\nr3 += -16\nr4 = 0\ncall 2\nr6 = r0\nr1 = map_idx(0x1) ll\nr2 = r10\nr2 += -24\ncall 3\n\
     r0 += r6\nexit",
    "r1 = *(u64 *)(r1 + 0)\nr1 &= 255\ncall f\nr0 *= 3\nexit\nf: r0 = r1\nif r1 > 9 goto g\nr0 <<= 3\ng: r0 += 1\nexit",
    "r2 = func(f) ll\nr1 = 20\nr3 = r10\nr3 += -8\n*(u64 *)(r10 - 8) = 0\nr4 = 0\ncall 181\nr0 = *(u64 *)(r10 - 8)\n\
     exit\nf: r3 = *(u64 *)(r2 + 0)\nr3 += r1\n*(u64 *)(r2 + 0) = r3\nr0 = 0\nexit",
];

#[test]
fn programs_are_judged_and_run_alike() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let seeds: Vec<Vec<u8>> = PROGRAMS
        .iter()
        .map(|text| {
            let slots = asm::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"));
            slots.iter().flat_map(|slot| slot.to_le_bytes()).collect()
        })
        .collect();
    let mut ran = 0;
    for number in 0..INPUTS {
        // What kind, the input, then the slots.
        let mut bytes = vec![random.next() as u8, random.next() as u8];
        bytes.extend((0..64).map(|_| random.next() as u8));
        let mut program = seeds[number % seeds.len()].clone();
        random.damage(&mut program);
        bytes.extend(program);
        ran += usize::from(bpftime_fuzz::slots(&bytes));
        bpftime_fuzz::slots(&random.bytes(300));
    }
    assert!(ran > INPUTS / 10, "{ran} programs were run");
}

#[test]
fn objects_are_read_or_refused() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let objects: Vec<Vec<u8>> = ["examples/malloc/malloc.bpf.o", "examples/xdp/drop.bpf.o"]
        .iter()
        .filter_map(|path| std::fs::read(paths::workspace().join(path)).ok())
        .collect();
    if objects.is_empty() {
        eprintln!("skipped: no objects; run make examples");
        return;
    }
    for number in 0..INPUTS {
        let mut object = objects[number % objects.len()].clone();
        random.damage(&mut object);
        bpftime_fuzz::object(&object);
    }
}

#[test]
fn text_is_read_as_it_is_printed() {
    let mut random = Random(0x5851_f42d_4c95_7f2d);
    for number in 0..INPUTS {
        let mut text = PROGRAMS[number % PROGRAMS.len()].as_bytes().to_vec();
        random.damage(&mut text);
        bpftime_fuzz::text(&text);
    }
    // Whatever instruction there is.
    let mut printed = 0;
    for _ in 0..200 * INPUTS {
        let slots = [random.next(), random.next() & 0xffff_ffff << 32]
            .map(|slot| bpftime_isa::Insn::from_le_bytes(slot.to_le_bytes()));
        let Ok(instruction) = bpftime_isa::decode_one(&slots, 0) else {
            continue;
        };
        printed += 1;
        let text = instruction.to_string();
        let again = asm::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(again, encode(&[instruction]), "{text}");
    }
    assert!(printed > INPUTS / 10, "{printed} instructions");
}
