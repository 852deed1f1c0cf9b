//! Refinement with z3, against runs: what it refutes can be seen to go wrong, and what it proves
//! does not.

mod command;
mod random;
mod replay;

use bpftime_isa::{MapDef, MapType, ProgType, Program, asm};
use bpftime_smt::{Answer, Witness, Z3Refiner};
use bpftime_verifier::{Code, Options, verify_refined};

use random::Random;
use replay::{Replayed, anything, replay};

fn map(map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> MapDef {
    MapDef {
        name: map_type.name().into(),
        ..MapDef::new(map_type, key_size, value_size, max_entries)
    }
}

fn program(text: &str) -> Program {
    Program {
        name: "test".into(),
        license: "GPL".into(),
        maps: vec![map(MapType::Array, 4, 48, 1), map(MapType::Hash, 8, 8, 16)],
        ..Program::new(ProgType::Xdp, asm::parse(text).expect("a program"))
    }
}

/// Name, verdict and program of each case that the crate tests.
fn cases() -> impl Iterator<Item = (&'static str, &'static str, Program)> {
    let text = include_str!("../../../verifier/smt/tests/cases.txt");
    text.split("\n== ").skip(1).map(|case| {
        let (name, rest) = case.split_once('\n').expect("a body");
        let (verdict, body) = rest.split_once('\n').expect("a program");
        (name, verdict, program(body))
    })
}

/// What the refiner says against a program.
fn refuted(program: &Program) -> Option<(u32, Witness)> {
    let refined = verify_refined(
        program.clone(),
        &Options::linux(),
        &mut Z3Refiner::default(),
    );
    let rejection = refined.err()?;
    match rejection.refuted?.answer {
        Answer::Refuted(witness) => Some((rejection.slot, *witness)),
        _ => None,
    }
}

#[test]
fn witnesses_go_wrong_in_the_interpreter() {
    let mut failures = Vec::new();
    let mut seen = 0;
    for (name, verdict, program) in cases() {
        if verdict != "reject" {
            continue;
        }
        let Some((slot, witness)) = refuted(&program) else {
            failures.push(format!("{name}: no witness"));
            continue;
        };
        match replay(&program, &witness) {
            Replayed::Violation(at, _) if at == slot => seen += 1,
            other => failures.push(format!("{name}: at {slot}, {witness}, but {other}")),
        }
        if !witness.steady {
            failures.push(format!("{name}: needs somebody to change the context"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(seen >= 8, "only {seen} witnesses");
}

/// Programs of the random test; each costs some milliseconds.
const PROGRAMS: u64 = 500;

#[test]
fn what_is_proved_does_not_go_wrong_and_what_is_refuted_does() {
    let programs = std::env::var("BPFTIME_RUNS").ok();
    let programs = programs.and_then(|n| n.parse().ok()).unwrap_or(PROGRAMS);
    let (mut proved, mut refuted, mut without, mut neither) = (0, 0, 0, 0);
    let mut failures = Vec::new();
    for seed in 1..=programs {
        let mut options = Options::linux();
        if seed % 2 == 0 {
            // Everything is joined, so that there is more to ask.
            options.budget.states_per_shape = 1;
            options.budget.states_per_block = 1;
        }
        let text = random::program(&mut Random::new(seed));
        let program = program(&text);
        match verify_refined(program.clone(), &options, &mut Z3Refiner::default()) {
            Ok(verified) if verified.facts().refinement.is_none() => without += 1,
            Ok(_) => {
                proved += 1;
                for run in 0..300 {
                    let random = Random::new(seed << 20 | run);
                    if let Replayed::Violation(slot, what) = anything(&program, random) {
                        failures.push(format!("{what} at {slot} of seed {seed}:\n{text}"));
                        break;
                    }
                }
            }
            Err(rejection) => match rejection.refuted.map(|refuted| refuted.answer) {
                Some(Answer::Refuted(witness)) => {
                    refuted += 1;
                    let replayed = replay(&program, &witness);
                    let at = rejection.slot;
                    // An offset that may be too large is refused before there is an access.
                    let early = rejection.code == Code::PointerArithmetic;
                    let wrong = match replayed {
                        Replayed::Violation(slot, _) if early => slot > at,
                        Replayed::Violation(slot, _) => slot == at,
                        Replayed::Ended(_) => early,
                    };
                    if !wrong {
                        failures.push(format!(
                            "seed {seed}: not at {at}, but {replayed}: {witness}\n{text}"
                        ));
                    }
                }
                _ => neither += 1,
            },
        }
    }
    println!("{proved} proved, {refuted} refuted, {without} need no refinement, {neither} unknown");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(
        proved * 50 > programs && refuted * 10 > programs,
        "too few were judged"
    );
}
