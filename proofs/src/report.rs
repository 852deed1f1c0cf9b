//! Proves the claims, refutes the broken versions and prints a table.

use std::time::Instant;

use crate::driver::Outcome;
use crate::{broken, claims};

/// z3's resource units for one question.
const LIMIT: u32 = 400_000_000;

/// Whether all is as it should be. `filter` is a part of `group name`.
pub fn run(_quick: bool, filter: &str) -> bool {
    let mut good = true;
    for claim in claims::all() {
        if !format!("{} {}", claim.group, claim.name).contains(filter) {
            continue;
        }
        for width in claim.widths {
            let start = Instant::now();
            let outcome = claim.prove(*width, LIMIT);
            good &= matches!(outcome, Outcome::Proved(_));
            println!(
                "{:10} {:24} {width:3} {:7.2} s  {outcome:?}",
                claim.group,
                claim.name,
                start.elapsed().as_secs_f64()
            );
        }
    }
    for claim in broken::all() {
        if !format!("broken {} {}", claim.group, claim.name).contains(filter) {
            continue;
        }
        let start = Instant::now();
        let outcome = claim.prove(64, LIMIT);
        let replayed = match &outcome {
            Outcome::Refuted { inputs, .. } => claim.replay(inputs.clone()),
            _ => None,
        };
        good &= replayed.is_some();
        println!(
            "broken {:10} {:24} {:7.2} s {outcome:?} {replayed:?}",
            claim.group,
            claim.name,
            start.elapsed().as_secs_f64()
        );
    }
    good
}
