//! The kernel's own verifier tests, judged by what Linux 6.18 did with them.
//!
//! No program may be accepted that Linux rejects, except those of `kernel_vectors_policy.txt`,
//! where each is given the kernel's rule that is not one of safety. How many of the accepted
//! ones are accepted is printed, and may not fall below a mark.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use bpftime_loader::vectors;
use bpftime_verifier::{Options, verify};
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    file: String,
    name: String,
    actual_6_18: Actual,
}

#[derive(Deserialize)]
struct Actual {
    verdict: String,
    log_last: Option<String>,
}

/// The folder of vectors, if it is there.
fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("BPFTIME_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors"),
        PathBuf::from,
    );
    folder.is_dir().then_some(folder)
}

#[test]
fn no_program_is_accepted_that_linux_rejects() {
    let Some(folder) = folder() else {
        eprintln!("skipped: no vectors; set BPFTIME_VECTORS");
        return;
    };
    let policy: HashMap<&str, &str> = include_str!("kernel_vectors_policy.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once('\t'))
        .collect();
    let verbose = std::env::var_os("VERBOSE").is_some();
    let mut unsound = Vec::new();
    let (mut accepted, mut expected, mut rejected, mut policy_used) = (0, 0, 0, 0);
    let mut same_sentence = 0;
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    for name in ["verifier-6.1.json", "verifier-6.12.json"] {
        let path = folder.join("kernel_verifier").join(name);
        let text = std::fs::read(&path).expect("a file");
        let file: File = serde_json::from_slice(&text).expect("its format");
        let vectors = vectors::read(&path).expect("the same format");
        assert_eq!(vectors.len(), file.tests.len());
        for (test, vector) in file.tests.iter().zip(vectors) {
            let Ok(program) = vector.program else {
                continue;
            };
            let verdict = verify(program, &Options::linux());
            let title = format!("{}: {}", test.file, test.name);
            match (test.actual_6_18.verdict.as_str(), verdict) {
                ("ACCEPT", Ok(_)) => {
                    expected += 1;
                    accepted += 1;
                }
                ("ACCEPT", Err(rejection)) => {
                    expected += 1;
                    *reasons.entry(rejection.code.to_string()).or_default() += 1;
                    if verbose {
                        println!("MISSED {title}\n{rejection}");
                    }
                }
                ("REJECT", Ok(_)) => {
                    if policy.contains_key(title.as_str()) {
                        policy_used += 1;
                    } else {
                        let log = test.actual_6_18.log_last.clone().unwrap_or_default();
                        unsound.push(format!("{title}\t{log}"));
                    }
                }
                ("REJECT", Err(rejection)) => {
                    rejected += 1;
                    let log = rejection.kernel_log();
                    let said = test.actual_6_18.log_last.as_deref().unwrap_or_default();
                    if !said.is_empty() && log.contains(said) {
                        same_sentence += 1;
                    } else if verbose {
                        println!("SENTENCE {said}\n    OURS {}", rejection.kernel_message);
                    }
                }
                _ => {}
            }
        }
    }
    let share = 100.0 * f64::from(accepted) / f64::from(expected);
    println!(
        "accepted {accepted} of {expected} ({share:.1} %), rejected {rejected}, \
         accepted for policy {policy_used}, unexplained {}",
        unsound.len()
    );
    println!("of the rejected, {same_sentence} with the kernel's very sentence");
    for (code, count) in reasons {
        println!("missed: {count:4} {code}");
    }
    assert!(
        unsound.is_empty(),
        "accepted, but Linux rejects:\n{}",
        unsound.join("\n")
    );
    assert!(
        share >= 97.0,
        "only {share:.1} % of what Linux accepts is accepted"
    );
}
