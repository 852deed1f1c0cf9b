//! Programs made to hurt: each ends in a verdict within the budget, without a crash.

mod common;

use bpftime_isa::kernel_types::{KernelTypes, Walked};
use bpftime_isa::{Insn, ProgType, asm};
use bpftime_verifier::{Code, Options, verify};

fn judge(text: &str) -> Result<(), Code> {
    let insns = asm::parse(text).expect("assembles");
    let mut options = common::options();
    options.budget.max_steps = 100_000;
    judge_with(insns, &options)
}

fn judge_with(insns: Vec<Insn>, options: &Options) -> Result<(), Code> {
    let maps = vec![common::map(bpftime_isa::MapType::Array, 4, 48, 1)];
    verify(common::program(ProgType::Xdp, insns, maps), options)
        .map(|_| ())
        .map_err(|rejection| {
            assert!(!rejection.kernel_log().is_empty());
            assert!(!rejection.to_string().is_empty());
            rejection.code
        })
}

#[test]
fn diamonds_do_not_multiply() {
    // Each pair of arms leaves another constant in another register or stack slot.
    let mut text = String::from("r6 = r1\n");
    for number in 0..500 {
        let slot = 8 * (1 + number % 64);
        text += &format!(
            "r1 = *(u32 *)(r6 + 12)\nr2 = {number}\nif r1 > {number} goto +1\nr2 = 1\n*(u64 *)(r10 - {slot}) = r2\n"
        );
    }
    text += "r0 = 0\nexit\n";
    assert_eq!(judge(&text), Ok(()));
}

#[test]
fn diamonds_of_types_do_not_multiply() {
    let mut text = String::from("r6 = r1\n");
    for number in 0..500 {
        let slot = 8 * (1 + number % 64);
        text += &format!(
            "r1 = *(u32 *)(r6 + 12)\nr2 = r10\nif r1 > {number} goto +1\nr2 = 1\n*(u64 *)(r10 - {slot}) = r2\n"
        );
    }
    text += "r0 = 0\nexit\n";
    assert_eq!(judge(&text), Ok(()));
}

#[test]
fn a_long_line_is_judged() {
    let insns = asm::parse(&("r0 = 0\n".repeat(90_000) + "exit\n")).expect("assembles");
    assert_eq!(judge_with(insns, &common::options()), Ok(()));
}

#[test]
fn calls_that_multiply_are_refused() {
    // Seven levels of functions, each calling the next many times.
    let mut text = String::new();
    for level in 0..7 {
        text += &format!("f{level}:\n");
        for _ in 0..40 {
            text += &format!("call f{}\n", level + 1);
        }
        text += "exit\n";
    }
    text += "f7:\nr0 = 0\nexit\n";
    assert_eq!(judge(&text), Err(Code::Complexity));
}

/// So many calls that give so many functions, each another one.
fn callbacks(count: usize, call: &str) -> String {
    let mut text = String::new();
    for number in 0..count {
        text += &format!("r1 = 1\nr2 = func(f{number}) ll\nr3 = 0\nr4 = 0\n{call}\n");
    }
    text += "r0 = 0\nexit\n";
    for number in 0..count {
        text += &format!("f{number}:\nr0 = 0\nexit\n");
    }
    text
}

#[test]
fn callbacks_that_multiply_are_refused() {
    // bpf_loop has a copy of each function for each call, and bpf_timer_set_callback a way to it.
    for call in ["call 181", "call 170"] {
        assert_eq!(
            judge(&callbacks(3000, call)),
            Err(Code::Complexity),
            "{call}"
        );
    }
    assert_eq!(judge(&callbacks(100, "call 181")), Ok(()));
}

#[test]
fn irreducible_loops_are_judged() {
    let text = "r0 = *(u32 *)(r1 + 12)
        if r0 > 5 goto b
        a: r0 += 1
        if r0 > 100 goto out
        b: r0 += 2
        if r0 < 90 goto a
        out: r0 = 0
        exit";
    assert!(matches!(judge(text), Ok(()) | Err(Code::Complexity)));
}

#[test]
fn loops_that_nest_deeply_are_judged() {
    let mut text = String::new();
    for depth in 0..200 {
        text += &format!("l{depth}: r1 = *(u32 *)(r10 - 8)\n");
    }
    for depth in (0..200).rev() {
        text += &format!("if r1 == {depth} goto l{depth}\n");
    }
    text += "r0 = 0\nexit\n";
    assert!(judge(&text).is_err());
}

#[test]
fn random_bytes_are_judged() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut options = common::options();
    options.budget.max_steps = 2_000;
    // Opcodes that exist, so that programs get past the decoder.
    let opcodes = [
        0x07, 0x0f, 0x17, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x47, 0x4f, 0x57, 0x5f, 0x67, 0x6f, 0x77,
        0x7f, 0x87, 0x97, 0x9f, 0xa7, 0xaf, 0xb7, 0xbf, 0xc7, 0xcf, 0x04, 0x0c, 0x14, 0x1c, 0x24,
        0x2c, 0x34, 0x3c, 0x64, 0x6c, 0x74, 0x7c, 0xb4, 0xbc, 0xc4, 0xcc, 0x61, 0x69, 0x71, 0x79,
        0x62, 0x6a, 0x72, 0x7a, 0x63, 0x6b, 0x73, 0x7b, 0x05, 0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d,
        0x45, 0x4d, 0x55, 0x5d, 0x65, 0x6d, 0x75, 0x7d, 0xa5, 0xad, 0xb5, 0xbd, 0xc5, 0xcd, 0xd5,
        0xdd, 0x16, 0x1e, 0x85, 0xdb, 0xc3, 0xe5, 0x18,
    ];
    let mut verdicts = std::collections::BTreeMap::new();
    for _ in 0..6_000 {
        let length = 1 + random() % 24;
        let mut insns: Vec<Insn> = (0..length)
            .map(|_| {
                let bits = random();
                let opcode = opcodes[(bits >> 40) as usize % opcodes.len()];
                let source =
                    opcode & 8 != 0 && opcode & 7 > 3 || opcode & 7 == 1 || opcode & 7 == 3;
                let offset = opcode & 7 < 4 || (opcode & 7 > 4 && opcode & 7 < 7 && opcode != 0x85);
                Insn {
                    opcode,
                    dst: (bits % 11) as u8,
                    src: if source { (bits >> 8) as u8 % 11 } else { 0 },
                    off: if offset {
                        ((bits >> 16) % 16) as i16 - 8
                    } else {
                        0
                    },
                    imm: if source { 0 } else { (bits >> 24) as i32 % 64 },
                }
            })
            .collect();
        insns.extend(asm::parse("r0 = 0\nexit").expect("assembles"));
        let code = judge_with(insns, &options).err().map(|code| code.as_str());
        *verdicts.entry(code).or_insert(0) += 1;
    }
    println!("{verdicts:?}");
    assert!(verdicts.len() > 10, "{verdicts:?}");
}

/// Many paths that wait at one time, with so many bytes on the stack that hold different numbers.
fn waiting_paths(bytes: usize, max_live_states: usize) -> Result<(), Code> {
    let mut text = String::from("r6 = r1\nr7 = map_idx(0x0) + 0x0 ll\n");
    for byte in 1..=bytes {
        // The copy gives the number an identity.
        text += &format!("r1 = *(u8 *)(r7 + 0)\nr2 = r1\n*(u8 *)(r10 - {byte}) = r1\n");
    }
    text += "r1 = *(u32 *)(r6 + 12)\n";
    for number in 0..31 {
        text += &format!("r8 = {number}\nif r1 == {number} goto go\n");
    }
    text += "r8 = 31\ngo: r1 = 0\n";
    for number in 0..100 {
        text += &format!("r9 = *(u32 *)(r6 + 12)\nif r9 > {number} goto t{number}\n");
    }
    text += "goto t0\n";
    for number in 0..100 {
        text += &format!("t{number}: r0 = r8\n");
    }
    for byte in 1..=bytes {
        text += &format!("r1 = *(u8 *)(r10 - {byte})\n");
    }
    text += "exit\n";
    let mut options = common::options();
    options.budget.max_live_states = max_live_states;
    // So that the quickest attempt keeps all of them apart.
    options.budget.states_per_shape = 1024;
    options.budget.states_per_block = 1024;
    judge_with(asm::parse(&text).expect("assembles"), &options)
}

#[test]
fn states_with_much_on_the_stack_count_more() {
    assert_eq!(waiting_paths(0, 5_000), Ok(()));
    assert_eq!(waiting_paths(30, 5_000), Ok(()));
    assert_eq!(waiting_paths(512, 5_000), Err(Code::Complexity));
    // Of 512 bytes not more is remembered than of 128.
    assert_eq!(waiting_paths(128, 20_000), Ok(()));
    assert_eq!(waiting_paths(512, 20_000), Ok(()));
}

/// Steps of the program's rejection with the budget of 100 000, and what was needed.
fn refused(text: &str) -> (Code, u64, String) {
    let insns = asm::parse(text).expect("assembles");
    let mut options = common::options();
    options.budget.max_steps = 100_000;
    let rejection = verify(common::program(ProgType::Xdp, insns, Vec::new()), &options)
        .expect_err("it does not end in the budget");
    (rejection.code, rejection.steps, rejection.needed)
}

#[test]
fn the_strongest_attempt_says_why() {
    // Nothing is joined, so the second attempt is the strongest; no third follows that may do less.
    let text = "r2 = 8388608\nagain: r2 += -1\nif r2 != 0 goto again\nr0 = 0\nexit";
    let (code, steps, needed) = refused(text);
    assert_eq!(code, Code::Complexity);
    assert_eq!(needed, "at most 100000 abstract steps");
    assert!((100_000..=115_000).contains(&steps), "{steps}");
}

/// A loop over an iterator that never looks at what the iterator gives: its passes are counted after all, each
/// time with another analysis of what comes before.
#[test]
fn what_has_an_analysis_begin_again_is_paid_for() {
    let loops = |count: usize| {
        let mut text = String::from("r9 = 0\npre: r9 += 1\nif r9 != 10000 goto pre\n");
        for number in 0..count {
            text += &format!(
                "r1 = r10\nr1 += -8\nr2 = 0\nr3 = 10\ncall kfunc(0x1)\nr8 = 0\nl{number}: r1 = r10\nr1 += -8\n\
                 call kfunc(0x2)\nr8 += 1\nif r8 != 5 goto l{number}\nr1 = r10\nr1 += -8\ncall kfunc(0x3)\n"
            );
        }
        text + "r0 = 0\nexit"
    };
    let judged = |count, max_steps| {
        let insns = asm::parse(&loops(count)).expect("assembles");
        let mut options = common::options();
        options.budget.max_steps = max_steps;
        options.kernel_types = Some(std::sync::Arc::new(Iterators));
        verify(common::program(ProgType::Xdp, insns, Vec::new()), &options)
    };
    let accepted = judged(4, 200_000).expect("four analyses and the last");
    assert!(accepted.facts().cost.steps > 4 * 20_000);
    let rejection = judged(8, 100_000).expect_err("more than all attempts may cost");
    assert_eq!(rejection.code, Code::Complexity, "{rejection}");
    assert!(rejection.steps <= 150_000 + 100, "{}", rejection.steps);
    assert!(
        rejection.needed.contains("over all attempts"),
        "{rejection}"
    );
}

/// A kernel that has iterators over numbers.
#[derive(Debug)]
struct Iterators;

impl KernelTypes for Iterators {
    fn read(&self, _: u32, _: u32, _: u32) -> Option<Walked> {
        None
    }

    fn contains(&self, _: u32, _: u32, _: &str) -> bool {
        false
    }

    fn structure(&self, _: &str) -> Option<u32> {
        None
    }

    fn name(&self, type_id: u32) -> Option<String> {
        let names = [
            "bpf_iter_num_new",
            "bpf_iter_num_next",
            "bpf_iter_num_destroy",
        ];
        let at = usize::try_from(type_id).ok()?.checked_sub(1)?;
        names.get(at).map(|name| (*name).to_owned())
    }
}
