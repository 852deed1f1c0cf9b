//! What is said of accepted programs.

mod common;

use bpftime_isa::{MapType, ProgType, Reg, asm};
use bpftime_verifier::domain::value::Kind;
use bpftime_verifier::refine::{Answer, Fact, Query, Refiner};
use bpftime_verifier::{CallFacts, Facts, verify, verify_refined};

fn facts(text: &str) -> Facts {
    let insns = asm::parse(text).expect("assembles");
    let maps = vec![
        common::map(MapType::Array, 4, 8, 1),
        common::map(MapType::PerCpuArray, 4, 8, 1),
    ];
    let program = common::program(ProgType::Xdp, insns, maps);
    match verify(program, &common::options()) {
        Ok(verified) => verified.facts().clone(),
        Err(rejection) => panic!("{rejection}"),
    }
}

#[test]
fn instructions_are_counted_on_the_longest_path() {
    let counted = facts("r0 = 0\nr0 += 1\nif r0 < 10 goto -2\nexit");
    assert_eq!(counted.max_insns, Some(1 + 10 * 2 + 1));
    let branches = facts("r0 = *(u32 *)(r1 + 12)\nif r0 == 1 goto +2\nr0 = 1\nr0 = 2\nexit");
    assert_eq!(branches.max_insns, Some(5));
    // Nothing changes from one time round to the next, and still nobody knows how many there are.
    let may_goto = facts("r0 = 0\nmay_goto +1\ngoto -2\nexit");
    assert_eq!(may_goto.max_insns, None);
}

#[test]
fn unreached_code_is_listed() {
    let found = facts("r0 = 0\nif r0 == 0 goto +1\nr0 = 1\nexit");
    assert_eq!(found.reached, [true, true, false, true]);
    assert_eq!(found.reached_count(), 3);
}

/// Says that nobody comes to where it is asked, and does not know anything else.
struct NobodyComes;

impl Refiner for NobodyComes {
    fn solver(&self) -> String {
        "a test".to_owned()
    }

    fn kinds(&mut self, _: &Query<'_>, _: Reg) -> Vec<(Kind, Option<i64>)> {
        Vec::new()
    }

    fn prove(&mut self, _: &Query<'_>, facts: &[Fact]) -> Answer {
        if facts.contains(&Fact::Unreachable) {
            Answer::Proved
        } else {
            Answer::Unknown("not asked".to_owned())
        }
    }
}

#[test]
fn what_is_proved_unreachable_is_not_reached() {
    // A square is 0 or 1 modulo 4.
    let text = "r2 = *(u32 *)(r1 + 12)\nr2 *= r2\nr2 &= 3\nr0 = 0\nif r2 == 3 goto +1\nexit\n\
                r0 = *(u64 *)(r0 + 0)\nexit";
    let insns = asm::parse(text).expect("assembles");
    let program = common::program(ProgType::Xdp, insns, Vec::new());
    let verified = verify_refined(program, &common::options(), &mut NobodyComes);
    let verified = verified.unwrap_or_else(|rejection| panic!("{rejection}"));
    let expected = [true, true, true, true, true, true, false, false];
    assert_eq!(verified.facts().reached, expected);
}

#[test]
fn stack_is_measured_by_function() {
    let found =
        facts("*(u64 *)(r10 - 24) = 0\ncall pc+1\nexit\n*(u8 *)(r10 - 3) = 0\nr0 = 0\nexit");
    let stacks: Vec<(u32, u32)> = found.functions.iter().map(|f| (f.entry, f.stack)).collect();
    assert_eq!(stacks, [(0, 24), (3, 3)]);
    assert_eq!(found.max_stack, 32 + 16);
}

#[test]
fn maps_of_calls_are_known_where_paths_agree() {
    let lookup =
        "*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\ncall bpf_map_lookup_elem\nr0 = 0\nexit";
    let one = facts(&format!("r1 = map_idx(0x0) ll\n{lookup}"));
    let expected = CallFacts {
        slot: 5,
        helper: 1,
        map: Some(0),
    };
    assert_eq!(one.calls, [expected]);
    assert!(!one.needs_cpu);
    assert!(one.needs.has_map_type(MapType::Array) && one.needs.has_helper(1));
    let either = facts(&format!(
        "r6 = *(u32 *)(r1 + 12)\nr1 = map_idx(0x0) ll\nif r6 == 0 goto +2\nr1 = map_idx(0x1) ll\n{lookup}"
    ));
    assert_eq!(either.calls.len(), 1);
    assert_eq!(either.calls[0].map, None);
    assert!(either.needs_cpu);
}
