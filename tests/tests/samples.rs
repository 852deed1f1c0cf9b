//! Verdicts for the programs of `vbpf/ebpf-samples`, compared with those of Linux 6.18.
//!
//! Differences are listed in `samples_differences.tsv`, each with its reason: file, section,
//! function, our verdict, reason. One that is not listed fails the test; one that is gone
//! is printed. Programs without a verdict of the kernel are printed with ours.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use bpftime_isa::ProgType;
use bpftime_tests::samples;
use bpftime_verifier::{Options, verify};

/// Lines of the list, by program: our verdict, reason.
fn listed() -> HashMap<String, (String, String)> {
    include_str!("samples_differences.tsv")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let parts: Vec<&str> = line.split('\t').collect();
            let [file, section, function, verdict, reason] = parts[..] else {
                panic!("not five columns: {line}");
            };
            assert!(!reason.is_empty(), "no reason: {line}");
            (
                format!("{file}\t{section}\t{function}"),
                (verdict.to_owned(), reason.to_owned()),
            )
        })
        .collect()
}

#[test]
fn verdicts_are_those_of_linux() {
    let (Some(folder), Some(table)) = (samples::folder(), samples::table()) else {
        return;
    };
    let mut listed = listed();
    let options = Options::linux();
    let mut wrong = Vec::new();
    let mut times: Vec<(Duration, String)> = Vec::new();
    let mut counts: BTreeMap<(String, String), usize> = BTreeMap::new();
    for sample in samples::read(&folder, table) {
        let title = sample.row.title();
        let mut detail = String::new();
        let ours = match sample.program {
            Err(error) => {
                detail = error;
                "unreadable".to_owned()
            }
            Ok(program) if program.prog_type == ProgType::Unspec => "untyped".to_owned(),
            Ok(program) => {
                let start = Instant::now();
                let judged = verify(program, &options);
                times.push((start.elapsed(), title.clone()));
                match judged {
                    Ok(_) => "accepted".to_owned(),
                    Err(rejection) => {
                        detail = format!(
                            "slot {}: {}: needed {}; known {}",
                            rejection.slot,
                            rejection.instruction,
                            rejection.needed,
                            rejection.known
                        );
                        format!("rejected {}", rejection.code)
                    }
                }
            }
        };
        let kernel = sample.row.verdict.as_str();
        let word = ours.split(' ').next().unwrap_or_default().to_owned();
        *counts.entry((kernel.to_owned(), word.clone())).or_default() += 1;
        let differs = match kernel {
            "accept" => word != "accepted",
            "reject" => word == "accepted",
            _ => {
                if word != "unreadable" {
                    println!("no verdict of Linux: {title}\t{ours}\t{detail}");
                }
                false
            }
        };
        match (differs, listed.remove(&title)) {
            (true, Some((expected, _))) if expected == ours => {}
            (true, known) => wrong.push(format!(
                "{title}\t{ours}\t{} {detail} {}",
                if known.is_some() {
                    "(listed with another verdict)"
                } else {
                    "(not listed)"
                },
                sample.row.message
            )),
            (false, Some(_)) => println!("to be taken off the list: {title}"),
            (false, None) => {}
        }
    }
    for ((kernel, ours), count) in &counts {
        println!("{count:4} Linux: {kernel}, here: {ours}");
    }
    times.sort();
    let sum: Duration = times.iter().map(|(time, _)| *time).sum();
    let median = times
        .get(times.len() / 2)
        .map(|(time, _)| *time)
        .unwrap_or_default();
    println!("{} programs in {sum:?}, median {median:?}", times.len());
    for (time, title) in times.iter().rev().take(5) {
        println!("{time:?}\t{title}");
    }
    wrong.extend(
        listed
            .into_keys()
            .map(|title| format!("{title}\tlisted, but not in the table")),
    );
    assert!(
        wrong.is_empty(),
        "{} differences:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
