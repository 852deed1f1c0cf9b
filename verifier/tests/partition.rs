//! States kept apart where paths meet: what has to survive when there are many of them, and what
//! they cost.

mod common;

use bpftime_isa::{MapType, ProgType, asm};
use bpftime_verifier::{Budget, Facts, Rejection, verify};

fn judge(text: &str, budget: Budget) -> Result<Facts, Box<Rejection>> {
    let insns = asm::parse(text).expect("assembles");
    let mut options = common::options();
    options.budget = budget;
    let maps = vec![common::map(MapType::Array, 4, 48, 1)];
    verify(common::program(ProgType::Xdp, insns, maps), &options)
        .map(|verified| verified.facts().clone())
}

/// Many paths that leave other constants in the stack, which is read at the end.
fn many_paths(count: usize) -> String {
    let mut text = String::from("r6 = r1\nr2 = 0\n");
    for number in 1..=count {
        text += &format!("*(u64 *)(r10 - {}) = r2\n", 8 * number);
    }
    for number in 1..=count {
        text += &format!(
            "r1 = *(u32 *)(r6 + 12)
            if r1 > {number} goto skip{number}
            r2 = {number}
            *(u64 *)(r10 - {}) = r2
            skip{number}:\n",
            8 * number
        );
    }
    text
}

/// Reads what [`many_paths`] left.
fn read_all(count: usize) -> String {
    (1..=count)
        .map(|number| format!("r1 = *(u64 *)(r10 - {})\n", 8 * number))
        .collect()
}

/// A result that says whether the packet was found to be long enough, and a look at it afterwards.
const CORRELATED: &str = "r7 = *(u32 *)(r6 + 0)
    r3 = *(u32 *)(r6 + 4)
    r2 = r7
    r2 += 14
    if r2 > r3 goto short
    r8 = 0
    goto found
    short: r8 = -22
    found: r0 = 0
    if r8 != 0 goto out
    r0 = *(u8 *)(r7 + 13)
    out:";

#[test]
fn a_result_and_the_bytes_that_it_vouches_for_stay_together() {
    // Far more paths come to the join than states are kept apart.
    let text = format!("{}{CORRELATED}\n{}exit\n", many_paths(20), read_all(20));
    let facts = judge(&text, Budget::default()).expect("safe");
    assert!(facts.cost.steps < 200_000, "{:?}", facts.cost);
    // Keeping one state only forgets it.
    let one = Budget {
        states_per_shape: 1,
        states_per_block: 1,
        ..Budget::default()
    };
    assert!(judge(&text, one).is_err());
}

#[test]
fn the_other_result_does_not_vouch() {
    let wrong = CORRELATED.replace("if r8 != 0", "if r8 == 0");
    let text = format!("{}{wrong}\n{}exit\n", many_paths(3), read_all(3));
    assert!(judge(&text, Budget::default()).is_err());
}

#[test]
fn what_is_not_read_any_more_does_not_keep_states_apart() {
    let dead = judge(
        &format!("{}r0 = 0\nexit\n", many_paths(20)),
        Budget::default(),
    )
    .expect("safe");
    let read = judge(
        &format!("{}{}r0 = 0\nexit\n", many_paths(20), read_all(20)),
        Budget::default(),
    )
    .expect("safe");
    // One state after each join, for nothing that differs is read.
    assert!(dead.cost.steps < 300, "{:?}", dead.cost);
    assert!(read.cost.steps > 2 * dead.cost.steps, "{:?}", read.cost);
}

#[test]
fn stack_that_a_helper_or_a_function_reads_is_remembered() {
    // The key is read through a pointer, the constant by a function that is given an address.
    let text = "r1 = 0
        *(u32 *)(r10 - 4) = r1
        r1 = 40
        *(u64 *)(r10 - 16) = r1
        r1 = map_idx(0x0) ll
        r2 = r10
        r2 += -4
        call 1
        r6 = r0
        r1 = r10
        r1 += -16
        call f
        r1 = r0
        r0 = 0
        if r6 == 0 goto out
        r6 += r1
        r0 = *(u64 *)(r6 + 0)
        out: exit
        f: r0 = *(u64 *)(r1 + 0)
        exit";
    judge(text, Budget::default()).expect("safe");
    let beyond = text.replace("r1 = 40", "r1 = 41");
    assert!(judge(&beyond, Budget::default()).is_err());
}

#[test]
fn an_address_of_the_stack_that_is_kept_in_the_stack_reads_it() {
    let text = "r1 = 40
        *(u64 *)(r10 - 16) = r1
        r1 = r10
        r1 += -16
        *(u64 *)(r10 - 8) = r1
        r6 = map_idx(0x0) + 0x0 ll
        goto next
        next: r2 = *(u64 *)(r10 - 8)
        r1 = *(u64 *)(r2 + 0)
        r6 += r1
        r0 = *(u64 *)(r6 + 0)
        exit";
    judge(text, Budget::default()).expect("safe");
    let beyond = text.replace("r1 = 40", "r1 = 41");
    assert!(judge(&beyond, Budget::default()).is_err());
}
