//! The corpus of `vbpf/ebpf-samples` and what Linux 6.18 says of each of its programs.
//!
//! The objects are read from where `BPFTIME_SAMPLES` points, the table from the vectors. Types of
//! programs whose section tells none are those under which the kernel was asked.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use bpftime_isa::{ProgType, Program};
use bpftime_loader::Object;

use crate::paths;

/// The folder of the corpus, or `None`, with the reason printed, where it is not there.
pub fn folder() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("BPFTIME_SAMPLES").map(PathBuf::from) else {
        eprintln!("skipped: no corpus (set BPFTIME_SAMPLES to a copy of vbpf/ebpf-samples)");
        return None;
    };
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!(
        "skipped: BPFTIME_SAMPLES is {}, which is no folder",
        folder.display()
    );
    None
}

/// A row of the table: what Linux 6.18 says of a program.
#[derive(Clone, Debug)]
pub struct Row {
    /// File below the corpus.
    pub file: String,
    /// ELF section.
    pub section: String,
    /// Function, or the section again where the object tells none.
    pub function: String,
    /// Slots; 0 if the table does not tell.
    pub slots: usize,
    /// `accept`, `reject`, or why there is no verdict.
    pub verdict: String,
    /// Type that the kernel was asked with, if it is known.
    pub prog_type: Option<ProgType>,
    /// Last line of the kernel's log.
    pub message: String,
}

impl Row {
    /// File, section and function, as lists of programs name them.
    pub fn title(&self) -> String {
        format!("{}\t{}\t{}", self.file, self.section, self.function)
    }
}

/// The table, or `None`, with the reason printed, without the vectors.
pub fn table() -> Option<Vec<Row>> {
    let text = std::fs::read_to_string(paths::vectors()?.join("ebpf-samples.tsv"))
        .expect("the table is with the vectors");
    let mut lines = text
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>());
    let header = lines.next().expect("a header");
    let column = |name: &str| {
        let found = header.iter().position(|column| *column == name);
        found.unwrap_or_else(|| panic!("no column {name}"))
    };
    let [file, section, function, slots, verdict, prog_type, message] = [
        "file",
        "section",
        "function",
        "insns",
        "kernel_verdict",
        "kernel_type",
        "kernel_msg",
    ]
    .map(column);
    let rows = lines.map(|line| Row {
        file: line[file].trim_start_matches("ebpf-samples/").to_owned(),
        section: line[section].to_owned(),
        function: line[function].to_owned(),
        slots: line[slots].parse().unwrap_or(0),
        verdict: line[verdict].to_owned(),
        prog_type: named_type(line[prog_type]),
        message: line.get(message).copied().unwrap_or_default().to_owned(),
    });
    Some(rows.collect())
}

fn named_type(name: &str) -> Option<ProgType> {
    (1..64)
        .filter_map(ProgType::from_u32)
        .find(|kind| kind.name() == name)
}

/// A program of the corpus.
#[derive(Debug)]
pub struct Sample {
    /// What the kernel says of it.
    pub row: Row,
    /// The program, or why it cannot be read.
    pub program: Result<Program, String>,
}

/// All programs of the table, read from the corpus.
pub fn read(folder: &Path, table: Vec<Row>) -> Vec<Sample> {
    let mut by_file: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in table {
        by_file.entry(row.file.clone()).or_default().push(row);
    }
    let mut samples = Vec::new();
    for (file, rows) in by_file {
        let programs = programs(&folder.join(&file));
        samples.extend(rows.into_iter().map(|row| Sample {
            program: match &programs {
                Ok(programs) => find(programs, &row),
                Err(error) => Err(error.clone()),
            },
            row,
        }));
    }
    samples
}

type Programs = HashMap<(String, String), Result<Program, String>>;

/// All programs of an object by section and function; the first of a section also by section.
fn programs(path: &Path) -> Result<Programs, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    let object = Object::parse(&bytes).map_err(|error| error.to_string())?;
    let mut programs = Programs::new();
    let mut add = |section: &str, name: &str, program: Result<Program, String>| {
        let by_section = (section.to_owned(), section.to_owned());
        programs
            .entry(by_section)
            .or_insert_with(|| program.clone());
        programs.insert((section.to_owned(), name.to_owned()), program);
    };
    for refused in object.refused() {
        add(
            &refused.section,
            &refused.name,
            Err(refused.error.to_string()),
        );
    }
    for program in object.into_programs() {
        let program = program.into_program();
        let (section, name) = (program.section.clone(), program.name.clone());
        add(&section, &name, Ok(program));
    }
    Ok(programs)
}

fn find(programs: &Programs, row: &Row) -> Result<Program, String> {
    let key = (row.section.clone(), row.function.clone());
    let found = programs
        .get(&key)
        .ok_or("the object has no such program")?
        .clone();
    let mut program = found?;
    // Callbacks come after the program; the table does not count them.
    if row.slots > program.insns.len() {
        return Err(format!(
            "{} slots, but {} in the table: another version of the corpus?",
            program.insns.len(),
            row.slots
        ));
    }
    if program.license.is_empty() {
        // The kernel was asked with one.
        program.license = "GPL".to_owned();
    }
    if let Some(prog_type) = row.prog_type
        && prog_type != program.prog_type
    {
        program.prog_type = prog_type;
        program.attach_type = None;
    }
    Ok(program)
}
