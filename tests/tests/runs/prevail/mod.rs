//! The cases of PREVAIL's own tests: sound on all, precision compared fact by fact.
//!
//! A case is run as a program: see [`build`]. Sound means that no run of a program that is
//! accepted traps, whatever it asks for: what was proved of the state after the code holds in
//! every run from the state before it. `prevail.tsv` lists every case that differs: where PREVAIL
//! knows a fact and we do not prove it, where the verdicts differ, and what has no counterpart here,
//! each with the reason. A difference that is not listed fails the test; one that is gone is printed.

mod build;
mod case;
mod question;
mod text;

use std::collections::{BTreeMap, BTreeSet};

use bpftime_isa::{MapDef, MapType, Program, asm};
use bpftime_tests::paths;
use bpftime_verifier::{Options, VerifiedProgram, options::Target, verify};

use super::campaign::{self, Effort};
use build::Built;
use case::Case;

/// Inputs that each accepted program is run on.
const RUNS: usize = 40;

fn map(map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> MapDef {
    MapDef {
        name: String::new(),
        ..MapDef::new(map_type, key_size, value_size, max_entries)
    }
}

fn program(text: &str, built: &Built) -> Result<Program, String> {
    let mut maps = vec![
        map(MapType::Array, 4, 512, 1),
        map(MapType::Hash, 4, 4, 4),
        map(MapType::ProgArray, 4, 4, 4),
    ];
    let regions = built.regions.iter();
    maps.extend(regions.map(|size| map(MapType::Array, 4, *size, 1)));
    Ok(Program {
        name: "case".into(),
        hook: Default::default(),
        license: "GPL".into(),
        maps,
        ..Program::new(
            built.prog_type,
            asm::parse(text).map_err(|error| error.to_string())?,
        )
    })
}

/// What came of a case.
#[derive(Default)]
struct Outcome {
    /// Stable names of the differences.
    differences: BTreeSet<String>,
    detail: String,
    proved: usize,
    not_asked: usize,
    unsound: Option<String>,
}

fn judge(text: &str, built: &Built) -> Result<Result<VerifiedProgram, String>, String> {
    let program = program(text, built)?;
    // What a question leads to, or does not, is no fault of the case's.
    let options = Options {
        target: Target::Bpftime,
        // PREVAIL has no rules for privileged programs.
        allow_ptr_leaks: false,
        allow_uninit_stack: false,
        ..Options::linux()
    };
    Ok(verify(program, &options).map_err(|rejection| {
        format!(
            "{} at {}: {}",
            rejection.code, rejection.slot, rejection.known
        )
    }))
}

/// Whether PREVAIL says that the code is wrong.
fn is_refused(case: &Case) -> bool {
    case.messages
        .iter()
        .any(|message| !message.contains("Code becomes unreachable"))
}

fn compare(case: &Case) -> Outcome {
    let mut outcome = Outcome::default();
    if case.options.iter().any(|option| option == "big_endian") {
        outcome.differences.insert("big-endian".to_owned());
        return outcome;
    }
    let built = match build::build(case) {
        Ok(built) => built,
        Err(why) => {
            outcome.differences.insert("no-counterpart".to_owned());
            outcome.detail = why;
            return outcome;
        }
    };
    let seed = case.name.len() as u64;
    let ask = |question: &str, outcome: &mut Outcome| -> Option<bool> {
        let text = built.program(question);
        match judge(&text, &built) {
            Err(error) => {
                outcome.differences.insert("no-counterpart".to_owned());
                outcome.detail = format!("{error} in\n{text}");
                None
            }
            Ok(Err(rejection)) => {
                outcome.detail = rejection;
                Some(false)
            }
            Ok(Ok(verified)) => {
                let report = campaign::run(&verified, None, Effort::thorough(RUNS), seed);
                if let Some(violation) = report.violation {
                    outcome.unsound = Some(format!("{violation}\n{text}"));
                }
                Some(true)
            }
        }
    };
    let Some(accepted) = ask("", &mut outcome) else {
        return outcome;
    };
    match (is_refused(case), accepted) {
        (true, false) => return outcome,
        (true, true) => {
            outcome.differences.insert("accepted".to_owned());
            outcome.detail = case.messages.join("; ");
            return outcome;
        }
        (false, false) => {
            let code = outcome.detail.split(' ').next().unwrap_or_default();
            outcome.differences.insert(format!("rejected:{code}"));
            return outcome;
        }
        (false, true) => {}
    }
    for fact in &case.post {
        match question::ask(fact, &case.post) {
            None => outcome.not_asked += 1,
            Some(question) => match ask(&question, &mut outcome) {
                None => return outcome,
                Some(true) => outcome.proved += 1,
                Some(false) => {
                    outcome.differences.insert("not-proved".to_owned());
                    outcome.detail = format!("{fact:?}");
                }
            },
        }
    }
    outcome
}

/// The list: file and name, difference, reason.
fn listed() -> BTreeMap<(String, String), String> {
    include_str!("../prevail.tsv")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let parts: Vec<&str> = line.split('\t').collect();
            let [file, name, difference, reason] = parts[..] else {
                panic!("not four columns: {line}");
            };
            assert!(!reason.is_empty(), "no reason: {line}");
            let title = format!("{file}\t{name}");
            ((title, difference.to_owned()), reason.to_owned())
        })
        .collect()
}

#[test]
fn prevails_cases_hold_here() {
    let Some(folder) = paths::vectors() else {
        return;
    };
    let mut files: Vec<_> = std::fs::read_dir(folder.join("prevail"))
        .expect("a folder")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "yaml")
        })
        .collect();
    files.sort();
    let listed = listed();
    // Some cases have the same name.
    let mut there = BTreeSet::new();
    let (mut cases, mut same, mut proved, mut not_asked) = (0, 0, 0, 0);
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let (mut wrong, mut unsound) = (Vec::new(), Vec::new());
    for case in files.iter().flat_map(|path| case::read(path)) {
        cases += 1;
        let outcome = compare(&case);
        proved += outcome.proved;
        not_asked += outcome.not_asked;
        same += usize::from(outcome.differences.is_empty());
        let title = format!("{}\t{}", case.file, case.name);
        unsound.extend(outcome.unsound.map(|what| format!("{title}: {what}")));
        for difference in outcome.differences {
            *counts.entry(difference.clone()).or_default() += 1;
            let key = (title.clone(), difference.clone());
            if !listed.contains_key(&key) {
                let detail = outcome.detail.lines().next().unwrap_or_default();
                wrong.push(format!("{title}\t{difference}\t{detail}"));
            }
            there.insert(key);
        }
    }
    println!(
        "{cases} cases, {same} without a difference; {proved} facts proved, {not_asked} not asked for"
    );
    for (difference, count) in counts {
        println!("{count:4} {difference}");
    }
    assert!(unsound.is_empty(), "{}", unsound.join("\n"));
    for (title, difference) in listed.keys().filter(|key| !there.contains(key)) {
        println!("no longer different, to be taken off the list: {title}\t{difference}");
    }
    assert_eq!(cases, 802, "not the cases that the list is for");
    assert!(
        wrong.is_empty(),
        "{} differences:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
