//! The soundness mistakes that other verifiers made: for each a wrong program that is refused, and one nearly
//! the same that is right and accepted. The programs are in `cases/soundness.txt`, which `cases.rs` judges;
//! here is looked that none of the mistakes is left out. Helpers that move the packet are asked for one by
//! one, from a list of its own.

mod common;

use std::collections::HashMap;

use bpftime_isa::{MapType, ProgType, asm};
use bpftime_verifier::verify;

/// A mistake, the wrong program and the right one.
const MISTAKES: &[[&str; 3]] = &[
    [
        "`movsx` without zero-extension in 32 bits",
        "movsx 32 bits leaves the upper half zero: index from it is huge, not negative",
        "movsx 32 bits, safe",
    ],
    [
        "32-bit comparisons that constrain the 64-bit view",
        "a 32-bit comparison does not bound the 64-bit register",
        "a 32-bit comparison bounds the lower half",
    ],
    [
        "a 32-bit divisor checked on the 64-bit value",
        "a 32-bit divisor is the lower half: it may be zero",
        "remainder by a 64-bit divisor, safe",
    ],
    [
        "sign extension of store immediates",
        "a stored immediate is sign-extended to 8 bytes",
        "a stored immediate, safe",
    ],
    [
        "a context load that straddles the `data` and `data_end` fields",
        "a context load over two fields",
        "a context load of a whole field",
    ],
    [
        "a write over a context data pointer",
        "a store over the packet's start in the context",
        "a store to a writable context field",
    ],
    [
        "a stale stack cell after an overwrite by an uninitialised register",
        "a stale stack cell after an overwrite by an uninitialised register",
        "a spilled pointer comes back",
    ],
    [
        "type-dependent values kept after a type change",
        "a type change drops what was known of the old type",
        "a type change, and back",
    ],
    [
        "numbers kept after a store over them",
        "what was known of the bytes of a pointer is not known of the number over it",
        "what is known of the number over another",
    ],
    [
        "a region size kept after an ambiguous map lookup",
        "the value size of either map after an ambiguous lookup",
        "the smaller value size after an ambiguous lookup",
    ],
    [
        "caller-saved registers kept after a subprogram returns",
        "caller-saved registers after a subprogram",
        "callee-saved registers after a subprogram",
    ],
    [
        "packet pointers kept after the helpers that may move the packet",
        "packet pointers after a helper that moves the packet",
        "packet pointers loaded again after a helper that moves the packet",
    ],
    [
        "a join or closure that reports a false bottom",
        "0 on one arm, a lookup on the other: the arm with the pointer is checked",
        "0 on one arm, a lookup on the other, in bounds",
    ],
    [
        "an inlined callee that loses a loop's back edge",
        "an inlined callee keeps a loop's back edge",
        "an inlined callee in a loop that ends",
    ],
    [
        "sign-extending loads that keep the unsigned interval",
        "a sign-extending load may be negative",
        "a sign-extending load, both ends compared",
    ],
    [
        "signed division at the interval's ends",
        "the least number divided by -1 wraps",
        "signed division, safe",
    ],
    [
        "32-bit arithmetic on pointers",
        "32-bit arithmetic on a pointer",
        "64-bit arithmetic on a pointer",
    ],
    [
        "null with a non-zero size",
        "null with a size that is not zero",
        "null with size zero",
    ],
    [
        "a termination check that takes `goto self` for terminating",
        "a jump to itself does not end",
        "a jump back that ends",
    ],
    [
        "shift amounts beyond the width",
        "a shift by more than the width is masked",
        "a shift by an amount below the width",
    ],
    [
        "`cmpxchg` on a spilled pointer",
        "cmpxchg on a spilled pointer leaves a number",
        "cmpxchg on a number",
    ],
    [
        "an immediate-offset `lddw` entered half-way",
        "a jump into the second half of a wide load",
        "a jump over a wide load",
    ],
    [
        "jumps across subprograms",
        "a jump into another function",
        "a jump within the other function",
    ],
    [
        "address overflow that wraps",
        "an offset that wraps around the address space",
        "offsets that cancel out",
    ],
    [
        "a 32-bit move that moves 64",
        "a 32-bit move takes 32 bits",
        "a 32-bit move, the copy used",
    ],
];

#[test]
fn each_mistake_has_a_wrong_program_and_a_right_one() {
    let cases: HashMap<&str, &str> = include_str!("cases/soundness.txt")
        .split("\n== ")
        .skip(1)
        .filter_map(|case| {
            let mut lines = case.lines();
            Some((lines.next()?, lines.next()?))
        })
        .collect();
    for [mistake, wrong, right] in MISTAKES {
        let verdict = |name: &str| {
            let found = cases.get(name).copied();
            found.unwrap_or_else(|| panic!("{mistake}: no case is called {name:?}"))
        };
        assert!(verdict(wrong).starts_with("reject "), "{mistake}: {wrong}");
        assert!(verdict(right).starts_with("accept"), "{mistake}: {right}");
    }
}

/// Helpers that may move the packet, and the registers that they take beside the context in `r1`
/// (`bpf_helper_changes_pkt_data` in `net/core/filter.c`, without those of messages and tunnels, which
/// have no such pointers or cannot read them).
const MOVING: &[(ProgType, &str, &str)] = &[
    (
        ProgType::SchedCls,
        "skb_store_bytes",
        "r2 = 0\nr3 = r10\nr3 += -8\nr4 = 8\nr5 = 0",
    ),
    (
        ProgType::SchedCls,
        "l3_csum_replace",
        "r2 = 0\nr3 = 0\nr4 = 0\nr5 = 2",
    ),
    (
        ProgType::SchedCls,
        "l4_csum_replace",
        "r2 = 0\nr3 = 0\nr4 = 0\nr5 = 2",
    ),
    (ProgType::SchedCls, "clone_redirect", "r2 = 1\nr3 = 0"),
    (ProgType::SchedCls, "skb_vlan_push", "r2 = 0\nr3 = 0"),
    (ProgType::SchedCls, "skb_vlan_pop", ""),
    (ProgType::SchedCls, "skb_change_proto", "r2 = 0\nr3 = 0"),
    (ProgType::SchedCls, "skb_change_tail", "r2 = 64\nr3 = 0"),
    (ProgType::SchedCls, "skb_pull_data", "r2 = 0"),
    (ProgType::SchedCls, "skb_change_head", "r2 = 0\nr3 = 0"),
    (
        ProgType::SchedCls,
        "skb_adjust_room",
        "r2 = 0\nr3 = 0\nr4 = 0",
    ),
    (
        ProgType::LwtXmit,
        "lwt_push_encap",
        "r2 = 0\nr3 = r10\nr3 += -8\nr4 = 8",
    ),
    (ProgType::SkSkb, "skb_adjust_room", "r2 = 0\nr3 = 0\nr4 = 0"),
    (ProgType::Xdp, "xdp_adjust_head", "r2 = -8"),
    (ProgType::Xdp, "xdp_adjust_meta", "r2 = -8"),
    (ProgType::Xdp, "xdp_adjust_tail", "r2 = -8"),
    (ProgType::SkMsg, "msg_pull_data", "r2 = 0\nr3 = 8\nr4 = 0"),
    (ProgType::SkMsg, "msg_push_data", "r2 = 0\nr3 = 8\nr4 = 0"),
    (ProgType::SkMsg, "msg_pop_data", "r2 = 0\nr3 = 8\nr4 = 0"),
];

/// Loads the packet's start and end, and compares 14 bytes.
fn look(prog_type: ProgType) -> String {
    let (size, start, end) = match prog_type {
        ProgType::Xdp => ("u32", 0, 4),
        ProgType::SkMsg => ("u64", 0, 8),
        _ => ("u32", 76, 80),
    };
    format!(
        "r7 = *({size} *)(r6 + {start})\nr8 = *({size} *)(r6 + {end})\nr2 = r7\nr2 += 14\n\
         if r2 > r8 goto out\n"
    )
}

fn accepted(prog_type: ProgType, body: &str) -> bool {
    let text = format!("r6 = r1\n*(u64 *)(r10 - 8) = 0\n{body}out:\nr0 = 0\nexit\n");
    let insns = asm::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let program = common::program(prog_type, insns, vec![common::map(MapType::Array, 4, 8, 1)]);
    verify(program, &common::options()).is_ok()
}

#[test]
fn packet_pointers_are_gone_after_each_helper_that_moves_the_packet() {
    for (prog_type, helper, arguments) in MOVING {
        let look = look(*prog_type);
        let call = format!("r1 = r6\n{arguments}\ncall bpf_{helper}\n").replace("\n\n", "\n");
        let read = "r1 = *(u8 *)(r7 + 13)\n";
        let stays = "call bpf_ktime_get_ns\n";
        assert!(
            accepted(*prog_type, &format!("{look}{stays}{read}")),
            "{helper}: a helper that moves nothing"
        );
        assert!(
            accepted(*prog_type, &format!("{call}{look}{read}")),
            "{helper}: loaded after it"
        );
        assert!(
            !accepted(*prog_type, &format!("{look}{call}{read}")),
            "{helper}: loaded before it"
        );
        let kept = "*(u64 *)(r10 - 16) = r7\n";
        let back = "r7 = *(u64 *)(r10 - 16)\n";
        assert!(
            !accepted(*prog_type, &format!("{look}{kept}{call}{back}{read}")),
            "{helper}: stored before it"
        );
    }
}
