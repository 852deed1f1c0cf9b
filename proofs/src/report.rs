//! Proves the claims, refutes the broken versions and prints a table.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::broken;
use crate::claims::{self, Claim};
use crate::driver::Outcome;

/// What z3 may spend on one question, in about milliseconds: its own measure of work, so that the
/// outcome is the same each time.
const LIMIT: u32 = 60_000;

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

/// What was proved, and what proofs go by.
#[derive(Default)]
struct Proved {
    /// By name of the function or fact, and width.
    lemmas: BTreeMap<(&'static str, u32), bool>,
    /// What the proofs of a lemma go by.
    goes_by: BTreeMap<(&'static str, u32), BTreeSet<(&'static str, u32)>>,
    /// What other proofs go by.
    used: BTreeSet<(&'static str, u32)>,
    claims: usize,
    failed: usize,
}

impl Proved {
    /// Proves a claim at a width and prints a line.
    fn prove(&mut self, claim: &Claim, width: u32) {
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
        self.claims += 1;
        let proved = matches!(outcome, Outcome::Proved(_));
        self.failed += usize::from(!proved);
        let lemma = (claim.function, width);
        if !claim.function.is_empty() {
            *self.lemmas.entry(lemma).or_insert(true) &= proved;
        }
        if let Outcome::Proved(effort) = outcome {
            self.used.extend(&effort.used);
            self.goes_by.entry(lemma).or_default().extend(effort.used);
        }
    }

    /// What proofs go by although it is not proved.
    fn missing(&self) -> Vec<(&'static str, u32)> {
        let proved = |lemma: &(&'static str, u32)| self.lemmas.get(lemma) == Some(&true);
        self.used
            .iter()
            .filter(|lemma| !proved(lemma))
            .copied()
            .collect()
    }

    /// Lemmas whose proofs go by themselves, or by each other.
    fn circular(&self) -> Vec<(&'static str, u32)> {
        let mut left = self.goes_by.clone();
        left.remove(&("", RUNNING));
        loop {
            let open: BTreeSet<_> = left.keys().copied().collect();
            let before = left.len();
            left.retain(|_, used| used.iter().any(|lemma| open.contains(lemma)));
            if left.len() == before {
                return open.into_iter().collect();
            }
        }
    }
}

/// Inputs made up for each broken version.
const TRIES: u64 = 200_000;

/// As [`LIMIT`] for broken versions.
const LIMIT_OF_BROKEN: u32 = 3_000;

/// Finds that a broken version is not proved, and inputs on which it fails; prints a line.
fn refuted(claim: &Claim) -> bool {
    let start = Instant::now();
    let outcome = claim.prove(RUNNING, LIMIT_OF_BROKEN);
    let found = match &outcome {
        Outcome::Proved(_) => None,
        Outcome::Refuted { inputs, .. } => Some(inputs.clone()),
        // A modular proof that fails says nothing of inputs, nor does one that takes too long.
        Outcome::Unknown { .. } => claim.try_out(TRIES).1,
    };
    let fails = found.filter(|inputs| claim.replay(inputs.clone()).is_some());
    let said = match (&outcome, &fails) {
        (Outcome::Proved(_), _) => "PROVED".to_owned(),
        (Outcome::Refuted { .. }, Some(inputs)) => format!("refuted with {inputs:x?}"),
        (Outcome::Unknown { what }, Some(inputs)) => {
            format!("not proved ({what}), fails with {inputs:x?}")
        }
        (_, None) => "NO INPUTS ON WHICH IT FAILS".to_owned(),
    };
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{:9} {:24} broken  {seconds:7.1} s  {said}",
        claim.group, claim.name
    );
    fails.is_some()
}

/// Whether all is as it should be. Takes the claims whose `group name` contains `filter`;
/// `quick` leaves out those that take long, narrower widths and broken versions of single functions,
/// and then what the others go by may not be proved.
pub fn run(quick: bool, filter: &str) -> bool {
    let start = Instant::now();
    let chosen = |claim: &&Claim| format!("{} {}", claim.group, claim.name).contains(filter);
    let mut proved = Proved::default();
    for claim in claims::all().iter().filter(chosen) {
        if quick && claim.slow {
            continue;
        }
        let widths = if quick {
            &claim.widths[..1]
        } else {
            claim.widths
        };
        for width in widths {
            proved.prove(claim, *width);
        }
    }
    let broken = broken::all();
    let chosen = |claim: &&Claim| chosen(claim) && !(quick && (claim.slow || !claim.modular));
    let broken: Vec<&Claim> = broken.iter().filter(chosen).collect();
    let refuted = broken.iter().filter(|claim| refuted(claim)).count();
    let mut good = proved.failed == 0 && refuted == broken.len();
    if !quick && filter.is_empty() {
        for (name, width) in proved.missing() {
            println!("proofs go by `{name}` at {width} bits, which is NOT PROVED");
            good = false;
        }
    }
    for (name, width) in proved.circular() {
        println!("the proof of `{name}` at {width} bits is CIRCULAR");
        good = false;
    }
    println!(
        "\n{} of {} proved, {refuted} of {} broken versions refuted, in {:.0} s",
        proved.claims - proved.failed,
        proved.claims,
        broken.len(),
        start.elapsed().as_secs_f64()
    );
    println!("Not proved at the width that runs:");
    for line in not_proved_in_full() {
        println!("  {line}");
    }
    good
}
