//! Programs that need refinement, and their broken twins, in `cases.txt`.
//!
//! A case is `== name`, a line `accept` or `reject`, and the program, of which `verify` alone
//! accepts none. XDP with maps: 0 an array of 48-byte values (one entry), 1 a hash of 8-byte keys
//! and values. What is rejected has a witness, which is replayed (`replay`).

use bpftime_isa::{MapDef, MapType, ProgType, Program, asm};
use bpftime_smt::{Answer, Z3Refiner};
use bpftime_verifier::{Options, verify, verify_refined};

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

#[test]
fn what_needs_refinement_is_accepted_and_what_is_wrong_has_a_witness() {
    let options = Options::linux();
    let mut failures = Vec::new();
    for case in include_str!("cases.txt").split("\n== ").skip(1) {
        let (name, rest) = case.split_once('\n').expect("a body");
        let (verdict, body) = rest.split_once('\n').expect("a program");
        if verify(program(body), &options).is_ok() {
            failures.push(format!("{name}: needs no refinement"));
        }
        let refined = verify_refined(program(body), &options, &mut Z3Refiner::default());
        match (verdict, refined) {
            ("accept", Ok(verified)) => {
                let refinement = verified.facts().refinement.clone().unwrap_or_default();
                if refinement.proved.is_empty() || !refinement.solver.starts_with("z3 4") {
                    failures.push(format!("{name}: does not say what was proved"));
                }
            }
            ("reject", Err(rejection)) => {
                let answer = rejection.refuted.as_ref().map(|refuted| &refuted.answer);
                if !matches!(answer, Some(Answer::Refuted(_))) {
                    failures.push(format!("{name}: no witness\n{rejection}"));
                }
            }
            (_, Ok(_)) => failures.push(format!("{name}: accepted")),
            (_, Err(rejection)) => failures.push(format!("{name}: {rejection}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
