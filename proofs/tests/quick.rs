//! The proofs that take seconds, the broken versions, and what is not proved. `make proofs` does
//! all of them.

use bpftime_proofs::{claims, report};

#[test]
fn quick_claims_are_proved_and_broken_versions_refuted() {
    assert!(report::run(true, ""), "see the table");
}

#[test]
fn what_is_not_proved_at_the_width_that_runs_is_listed() {
    let expected: Vec<&str> = include_str!("not_proved.txt").lines().collect();
    assert_eq!(report::not_proved_in_full(), expected);
}

/// Without z3: that the claims are no empty ones, and a second opinion on them.
#[test]
fn claims_hold_and_apply_on_numbers_made_up() {
    for claim in claims::all() {
        let (mut applied, mut failed) = claim.try_out(100);
        if applied == 0 {
            (applied, failed) = claim.try_out(20_000);
        }
        let name = format!("{} {}", claim.group, claim.name);
        assert_eq!(failed, None, "{name} does not hold");
        assert!(applied > 0, "{name} never applied");
    }
}
