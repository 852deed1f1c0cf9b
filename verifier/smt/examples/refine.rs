//! Judges programs with refinement, those that `verify` rejects.
//!
//! `cargo run --release --example refine -- FOLDER --table TABLE` for objects below a folder and a
//! table of the kernel's verdicts as in `verifier/examples/corpus.rs`;
//! `... -- FILE.json...` for vectors of the kernel's verifier tests.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Instant;

use bpftime_isa::{ProgType, Program};
use bpftime_loader::{Object, vectors};
use bpftime_smt::Z3Refiner;
use bpftime_verifier::{Options, verify, verify_refined};

/// Counts by what the kernel says and what we say.
type Counts = BTreeMap<(String, &'static str), usize>;

fn judge(title: &str, kernel: &str, program: Program, counts: &mut Counts) {
    let options = Options::linux();
    let ours = match verify(program.clone(), &options) {
        Ok(_) => "accepted",
        Err(base) => {
            let start = Instant::now();
            let refined = verify_refined(program, &options, &mut Z3Refiner::default());
            let time = start.elapsed();
            match refined {
                Ok(verified) => {
                    println!("REFINED (kernel {kernel}) {title} {time:?}");
                    let refinement = verified.facts().refinement.clone().unwrap_or_default();
                    for (slot, fact) in refinement.proved.iter().take(8) {
                        println!("    {slot}: {fact}");
                    }
                    "refined"
                }
                Err(rejection) => {
                    if kernel.eq_ignore_ascii_case("accept") {
                        println!(
                            "REJECTED {title} {time:?} (base {} at {})\n{rejection}",
                            base.code, base.slot
                        );
                    }
                    "rejected"
                }
            }
        }
    };
    *counts.entry((kernel.to_owned(), ours)).or_default() += 1;
}

fn objects(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "o") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn main() {
    let mut table = None;
    let mut paths = Vec::new();
    let mut given = std::env::args().skip(1);
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--table" => table = given.next(),
            path => paths.push(PathBuf::from(path)),
        }
    }
    let known: HashMap<(String, String, String), (String, String)> = table
        .map(|table| {
            let text = std::fs::read_to_string(table).expect("the table is readable");
            let mut rows = text.lines().map(|row| row.split('\t').collect::<Vec<_>>());
            let header = rows.next().expect("a header");
            let column = |name: &str| header.iter().position(|h| *h == name).expect("a column");
            let at = [
                "file",
                "section",
                "function",
                "kernel_verdict",
                "kernel_type",
            ]
            .map(column);
            rows.map(|row| {
                let [file, section, function, verdict, prog_type] = at.map(|c| row[c].to_owned());
                ((file, section, function), (verdict, prog_type))
            })
            .collect()
        })
        .unwrap_or_default();
    let mut counts = Counts::new();
    for path in &paths {
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            for vector in vectors::read(path).expect("vectors") {
                let kernel = match vector.expected {
                    Some(vectors::Expected::Accepted) => "accept",
                    Some(vectors::Expected::Rejected) => "reject",
                    None => "unknown",
                };
                let title = format!("{}: {}", vector.file, vector.name);
                if let Ok(program) = vector.program {
                    judge(&title, kernel, program, &mut counts);
                }
            }
            continue;
        }
        for object in objects(path) {
            let relative = object
                .strip_prefix(path)
                .unwrap_or(&object)
                .display()
                .to_string();
            let bytes = std::fs::read(&object).expect("the object is readable");
            let Ok(parsed) = Object::parse(&bytes) else {
                continue;
            };
            for program in parsed.into_programs() {
                let mut program = program.into_program();
                let row = [&program.name, &program.section]
                    .into_iter()
                    .find_map(|name| {
                        let file = format!("ebpf-samples/{relative}");
                        known.get(&(file, program.section.clone(), name.clone()))
                    });
                let kernel = row.map_or("unknown", |(verdict, _)| verdict).to_owned();
                let wanted = (0..64)
                    .filter_map(ProgType::from_u32)
                    .find(|kind| row.is_some_and(|(_, name)| kind.name() == name));
                if let Some(wanted) = wanted.filter(|wanted| *wanted != program.prog_type) {
                    program.prog_type = wanted;
                    program.attach_type = None;
                }
                let title = format!("{relative}:{}:{}", program.section, program.name);
                judge(&title, &kernel, program, &mut counts);
            }
        }
    }
    for ((kernel, ours), count) in counts {
        println!("{count:5} kernel {kernel}, ours {ours}");
    }
}
