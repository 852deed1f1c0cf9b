//! Accepted programs are run in the checked interpreter on thousands of inputs without a trap.
//!
//! The interpreter runs over a made-up world: memory whose every byte has one owner, maps and
//! helpers that give anything that their contracts allow, packets that move. An access outside, a
//! helper's argument that does not fit, something not given back, a run longer than the analysis
//! says, or an instruction that it never reached, fails the test. Programs of which the inputs
//! execute less than nine tenths of what was analysed are listed, and so are those that need what
//! the world lacks. `BPFTIME_RUNS` is the number of inputs per program, `BPFTIME_ONLY` a part of
//! the names of the programs to run.

mod callbacks;
mod campaign;
mod dynptrs;
mod helpers;
mod kernel;
mod kfuncs;
mod machine;
mod memory;
mod objects;
mod packet;
mod parts;
mod prevail;
mod table;
mod tape;
mod world;
mod wrong;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bpftime_isa::Program;
use bpftime_loader::{Environment, Object, TargetTypes, vectors};
use bpftime_tests::{paths, samples};
use bpftime_verifier::Options;

use campaign::Effort;
use table::Source;

fn inputs(usual: usize) -> usize {
    std::env::var("BPFTIME_RUNS")
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(usual)
}

/// The rules of Linux, and the types of this machine's kernel.
fn linux() -> Options {
    let mut options = Options::linux();
    options.kernel_types = Some(Arc::new(TargetTypes(Environment::host())));
    options
}

fn one(title: String, program: Program) -> Source {
    Box::new(move || vec![(title.clone(), program.clone())])
}

#[test]
fn samples_run_without_a_trap() {
    let (Some(folder), Some(rows)) = (samples::folder(), samples::table()) else {
        return;
    };
    let programs = samples::read(&folder, rows)
        .into_iter()
        .filter_map(|sample| {
            let title = sample.row.title().replace('\t', " ");
            Some(one(title, sample.program.ok()?))
        });
    let programs: Vec<Source> = programs.collect();
    table::run(&programs, &linux(), Effort::thorough(inputs(2000)));
}

#[test]
fn kernel_tests_run_without_a_trap() {
    let Some(folder) = paths::vectors() else {
        return;
    };
    let mut programs = Vec::new();
    for name in ["verifier-6.1.json", "verifier-6.12.json"] {
        let path = folder.join("kernel_verifier").join(name);
        for vector in vectors::read(&path).expect("vectors") {
            let title = format!("{}: {}", vector.file, vector.name);
            if let Ok(program) = vector.program {
                programs.push(one(title, program));
            }
        }
    }
    table::run(&programs, &linux(), Effort::thorough(inputs(300)));
}

/// Objects below a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                _ if path.extension().is_some_and(|it| it == "o") => found.push(path),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

#[test]
fn objects_run_without_a_trap() {
    let Some(folder) = std::env::var_os("CORPUS").map(PathBuf::from) else {
        eprintln!("skipped: no objects (set CORPUS to a folder of some)");
        return;
    };
    let sources = files(&folder).into_iter().map(|path| {
        let folder = folder.clone();
        Box::new(move || programs(&folder, &path)) as Source
    });
    let sources: Vec<Source> = sources.collect();
    table::run(&sources, &linux(), Effort::quick(inputs(1000)));
}

/// The programs of an object, with their titles.
fn programs(folder: &Path, path: &Path) -> Vec<(String, Program)> {
    let name = path.strip_prefix(folder).unwrap_or(path).display();
    let bytes = std::fs::read(path).expect("an object");
    let Ok(object) = Object::parse(&bytes) else {
        return Vec::new();
    };
    let programs = object.into_programs().into_iter().map(|program| {
        let program = program.into_program();
        (format!("{name} {}", program.name), program)
    });
    programs.collect()
}
