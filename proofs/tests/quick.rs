//! The proofs that take seconds, the broken versions, and what is not proved. `make proofs` does
//! all of them.

use bpftime_proofs::report;

#[test]
fn quick_claims_are_proved_and_broken_versions_refuted() {
    assert!(report::run(true, ""), "see the table");
}

#[test]
fn what_is_not_proved_at_the_width_that_runs_is_listed() {
    let expected: Vec<&str> = include_str!("not_proved.txt").lines().collect();
    assert_eq!(report::not_proved_in_full(), expected);
}
