//! States joined where they meet: what is forgotten, and what must not be mixed up.

mod common;

use bpftime_isa::{MapType, ProgType, asm};
use bpftime_verifier::{Code, verify};

/// The verdict if states are kept apart, and if they are joined at once.
fn judge(text: &str) -> [Result<(), Code>; 2] {
    let insns = asm::parse(text).expect("assembles");
    [32, 1].map(|states| {
        let mut options = common::options();
        options.budget.states_per_shape = states;
        options.budget.states_per_block = states;
        let maps = vec![common::map(MapType::RingBuf, 0, 0, 4096)];
        verify(
            common::program(ProgType::Xdp, insns.clone(), maps),
            &options,
        )
        .map(|_| ())
        .map_err(|rejection| rejection.code)
    })
}

/// Two records, in `r6` and `r7` and on the stack; on one path the registers are exchanged.
fn two_records(then: &str) -> [Result<(), Code>; 2] {
    judge(&format!(
        "r9 = r1
        r1 = map_idx(0x0) ll
        r2 = 8
        r3 = 0
        call 131
        if r0 == 0 goto out
        r6 = r0
        *(u64 *)(r10 - 8) = r0
        r1 = map_idx(0x0) ll
        r2 = 8
        r3 = 0
        call 131
        if r0 == 0 goto one
        r7 = r0
        *(u64 *)(r10 - 16) = r0
        r1 = *(u32 *)(r9 + 12)
        if r1 > 3 goto joined
        r8 = r6
        r6 = r7
        r7 = r8
        joined: {then}
        one: r1 = *(u64 *)(r10 - 8)
        r2 = 0
        call 132
        out: r0 = 0
        exit"
    ))
}

const SUBMIT_BOTH: &str = "r1 = *(u64 *)(r10 - 16)
    r2 = 0
    call 132
    r1 = *(u64 *)(r10 - 8)
    r2 = 0
    call 132";

#[test]
fn records_that_were_given_back_are_gone_whichever_they_were() {
    let used = two_records(&format!("{SUBMIT_BOTH}\n*(u64 *)(r6 + 0) = 1\ngoto out"));
    assert!(used.iter().all(Result::is_err), "{used:?}");
    let again = two_records(&format!(
        "{SUBMIT_BOTH}\nr1 = r7\nr2 = 0\ncall 132\ngoto out"
    ));
    assert!(again.iter().all(Result::is_err), "{again:?}");
    let unused = two_records(&format!("{SUBMIT_BOTH}\ngoto out"));
    assert_eq!(unused, [Ok(()), Ok(())]);
    // One is enough if the path is known.
    let [apart, _] = two_records(
        "*(u64 *)(r6 + 0) = 1\nr1 = r6\nr2 = 0\ncall 132\nr1 = r7\nr2 = 0\ncall 132\ngoto out",
    );
    assert_eq!(apart, Ok(()));
}
