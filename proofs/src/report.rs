//! Proves the claims, refutes the broken versions and prints a table.

use std::time::Instant;

use crate::broken;
use crate::claims::{self, Claim};
use crate::driver::Outcome;

/// Milliseconds for one question to z3.
pub const LIMIT: u32 = 60_000;

/// Width of the numbers that run.
const RUNNING: u32 = 64;

/// Claims that are not proved at the width that runs, with the widths at which they are.
pub fn not_proved_in_full() -> Vec<String> {
    let narrower = |claim: &Claim| !claim.widths.contains(&RUNNING);
    let mut lines: Vec<String> = claims::all()
        .iter()
        .filter(|claim| narrower(claim))
        .map(|claim| {
            let widths: Vec<String> = claim.widths.iter().map(u32::to_string).collect();
            let at = match widths.is_empty() {
                true => "not proved".to_owned(),
                false => format!("proved at {} bits", widths.join(" and ")),
            };
            format!("{} {}: {at}", claim.group, claim.name)
        })
        .collect();
    lines.sort();
    lines
}

/// Proves a claim at a width and prints a line.
fn proved(claim: &Claim, width: u32) -> bool {
    let start = Instant::now();
    let outcome = claim.prove(width, LIMIT);
    let said = match &outcome {
        Outcome::Proved(effort) => format!("proved, {} questions", effort.questions),
        Outcome::Refuted { what, inputs } => format!("REFUTED: {what}: {inputs:#x?}"),
        Outcome::Unknown { what } => format!("NOT PROVED: {what}"),
    };
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{:9} {:24} {width:2} bits {seconds:7.1} s  {said}",
        claim.group, claim.name
    );
    matches!(outcome, Outcome::Proved(_))
}

/// Refutes a broken version, replays the refutation and prints a line.
fn refuted(claim: &Claim) -> bool {
    let start = Instant::now();
    let outcome = claim.prove(RUNNING, LIMIT);
    let replayed = match &outcome {
        Outcome::Refuted { inputs, .. } => claim.replay(inputs.clone()),
        _ => None,
    };
    let said = match (&outcome, replayed) {
        (Outcome::Refuted { inputs, .. }, Some(_)) => {
            format!("refuted, as replayed with {inputs:x?}")
        }
        (Outcome::Refuted { .. }, None) => "REFUTED BUT NOT WHEN REPLAYED".to_owned(),
        _ => format!("NOT REFUTED: {outcome:?}"),
    };
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{:9} {:24} broken  {seconds:7.1} s  {said}",
        claim.group, claim.name
    );
    replayed.is_some()
}

/// Whether all is as it should be. Takes the claims whose `group name` contains `filter`;
/// `quick` leaves out those that take long.
pub fn run(quick: bool, filter: &str) -> bool {
    let chosen = |claim: &Claim| format!("{} {}", claim.group, claim.name).contains(filter);
    let mut good = true;
    for claim in claims::all().iter().filter(|claim| chosen(claim)) {
        if quick && claim.slow {
            continue;
        }
        for width in claim.widths {
            good &= proved(claim, *width);
        }
    }
    for claim in broken::all().iter().filter(|claim| chosen(claim)) {
        good &= refuted(claim);
    }
    println!("\nNot proved at the width that runs:");
    for line in not_proved_in_full() {
        println!("  {line}");
    }
    good
}
