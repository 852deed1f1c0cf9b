//! Judges every program below a folder: verdict, time, memory and states of each, and how the
//! verdicts compare with a table of the kernel's.
//!
//! `cargo run --release --example corpus -- FOLDER [--table TABLE] [--btf FILE] [--cpus COUNT] [--only TEXT] [--slow MS]
//! [--full] [--all] [--any-constants]`,
//! where TABLE has the columns of `ebpf-samples.tsv` (file, section, function, kernel verdict and
//! type) and FOLDER is the folder that its first column's second component is in. Programs that
//! the kernel accepts and we do not are printed with the first line of the reason (all of it with
//! `--full`), and so are programs that it rejects and we accept; with `--all`, all are. With
//! `--any-constants`, nothing is known of read-only data, which loaders set before they load a program.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bpftime_isa::{AttachType, ProgType, Program};
use bpftime_loader::btf::Btf;
use bpftime_loader::{Environment, LoadError, Object, TargetBtf, TargetTypes};
use bpftime_verifier::{Options, verify};

/// What the table says of a program.
struct Known {
    verdict: String,
    prog_type: String,
}

/// What was measured of a program.
struct Measured {
    title: String,
    time: Duration,
    kilobytes: u64,
    steps: u64,
    states: usize,
}

struct Arguments {
    folder: PathBuf,
    table: Option<PathBuf>,
    btf: Option<PathBuf>,
    cpus: Option<u32>,
    only: String,
    full: bool,
    all: bool,
    any_constants: bool,
    slow: u64,
}

fn arguments() -> Arguments {
    let mut given = std::env::args().skip(1);
    let mut parsed = Arguments {
        folder: PathBuf::new(),
        table: None,
        btf: None,
        cpus: None,
        only: String::new(),
        full: false,
        all: false,
        any_constants: false,
        slow: 100,
    };
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--table" => parsed.table = given.next().map(PathBuf::from),
            "--btf" => parsed.btf = given.next().map(PathBuf::from),
            "--cpus" => parsed.cpus = given.next().and_then(|count| count.parse().ok()),
            "--only" => parsed.only = given.next().unwrap_or_default(),
            "--full" => parsed.full = true,
            "--all" => parsed.all = true,
            "--any-constants" => parsed.any_constants = true,
            "--slow" => parsed.slow = given.next().and_then(|ms| ms.parse().ok()).unwrap_or(100),
            folder => parsed.folder = PathBuf::from(folder),
        }
    }
    parsed
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

/// Verdicts by file, section and function.
fn table(path: &Path) -> HashMap<(String, String, String), Known> {
    let text = std::fs::read_to_string(path).expect("the table is readable");
    let mut rows = text
        .lines()
        .map(|line| line.split('\t').collect::<Vec<_>>());
    let header = rows.next().expect("a header");
    let column = |name: &str| header.iter().position(|h| *h == name).expect("a column");
    let places = [
        "file",
        "section",
        "function",
        "kernel_verdict",
        "kernel_type",
    ]
    .map(column);
    rows.map(|row| {
        let [file, section, function, verdict, prog_type] = places.map(|at| row[at].to_owned());
        ((file, section, function), Known { verdict, prog_type })
    })
    .collect()
}

/// The row of a program. The table's loader knows sections without the `?` that keeps libbpf from loading
/// a program by itself; some rows of objects without BTF name the section instead of the function.
fn row_of<'a>(
    known: &'a HashMap<(String, String, String), Known>,
    file: &str,
    section: &str,
    function: &str,
) -> Option<&'a Known> {
    let section = section.trim_start_matches('?');
    let find = |function: &str| {
        known.get(&(
            format!("ebpf-samples/{file}"),
            section.to_owned(),
            function.to_owned(),
        ))
    };
    find(function).or_else(|| find(section))
}

/// Greatest resident size since the last call, and the size now, in KiB.
fn memory() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    (
        field("VmHWM:").unwrap_or_default(),
        field("VmRSS:").unwrap_or_default(),
    )
}

/// Time that this thread ran; others on the machine do not count. Too coarse for short times.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

fn typed(mut program: Program, known: Option<&Known>) -> Program {
    let Some(known) = known else { return program };
    if program.license.is_empty() {
        // Some objects leave the licence to their loader, and the table's loader gave one.
        program.license = "GPL".to_owned();
    }
    let wanted = (0..64)
        .filter_map(ProgType::from_u32)
        .find(|kind| kind.name() == known.prog_type);
    if let Some(wanted) = wanted
        && wanted != program.prog_type
    {
        program.prog_type = wanted;
        program.attach_type = None::<AttachType>;
    }
    program
}

/// The kernel that programs are judged for: this machine's, with other types if some are given.
fn environment(types: Option<&Path>) -> Environment {
    let host = Environment::host();
    let Some(path) = types else { return host };
    let bytes = std::fs::read(path).expect("the types are readable");
    Environment {
        btf: TargetBtf::Given(Arc::new(Btf::parse(bytes).expect("types"))),
        ..host
    }
}

fn parse(bytes: &[u8], environment: &Environment) -> Result<Object, LoadError> {
    let options = bpftime_loader::Options {
        environment: environment.clone(),
        ..bpftime_loader::Options::default()
    };
    Object::parse_with(bytes, &options)
}

fn main() {
    let arguments = arguments();
    let known = arguments.table.as_deref().map(table).unwrap_or_default();
    let mut options = Options::linux();
    let environment = environment(arguments.btf.as_deref());
    options.kernel_types = Some(Arc::new(TargetTypes(environment.clone())));
    options.cpus = arguments.cpus;
    let mut measured: Vec<Measured> = Vec::new();
    let mut counts: BTreeMap<(String, &str), usize> = BTreeMap::new();
    let mut codes: BTreeMap<String, usize> = BTreeMap::new();
    let (mut reached, mut instructions) = (0, 0);
    for path in objects(&arguments.folder) {
        let relative = path
            .strip_prefix(&arguments.folder)
            .unwrap_or(&path)
            .display()
            .to_string();
        if !relative.contains(arguments.only.split(':').next().unwrap_or_default()) {
            continue;
        }
        let bytes = std::fs::read(&path).expect("the object is readable");
        let object = match parse(&bytes, &environment) {
            Ok(object) => object,
            Err(error) => {
                println!("UNREADABLE {relative}: {error}");
                continue;
            }
        };
        for refused in object.refused() {
            let title = format!("{relative}:{}:{}", refused.section, refused.name);
            let row = row_of(&known, &relative, &refused.section, &refused.name);
            let verdict = row.map_or("unknown", |row| row.verdict.as_str()).to_owned();
            if verdict == "accept" || arguments.all {
                println!("UNREADABLE {title}: {}", refused.error);
            }
            *counts.entry((verdict, "unreadable")).or_default() += 1;
        }
        for program in object.into_programs() {
            let program = program.into_program();
            let title = format!("{relative}:{}:{}", program.section, program.name);
            if let Some((_, function)) = arguments.only.split_once(':')
                && function != program.name
            {
                continue;
            }
            let row = row_of(&known, &relative, &program.section, &program.name);
            let verdict = row.map_or("unknown", |row| row.verdict.as_str());
            let mut program = typed(program, row);
            if arguments.any_constants {
                for map in &mut program.maps {
                    map.frozen = false;
                }
            }
            if program.prog_type == ProgType::Unspec {
                *counts.entry((verdict.to_owned(), "untyped")).or_default() += 1;
                continue;
            }
            // A failure only means that the peak is that of an earlier program.
            let _ = std::fs::write("/proc/self/clear_refs", "5");
            let (_, before) = memory();
            let (start, ran) = (Instant::now(), cpu_time());
            let judged = verify(program, &options);
            let (wall, ran) = (start.elapsed(), cpu_time().saturating_sub(ran));
            let time = if wall < Duration::from_millis(20) {
                wall
            } else {
                ran
            };
            let (peak, _) = memory();
            let (ours, steps, states) = match &judged {
                Ok(verified) => {
                    let facts = verified.facts();
                    reached += facts.reached.iter().filter(|reached| **reached).count();
                    instructions += facts.reached.len();
                    let cost = facts.cost;
                    ("accept", cost.steps, cost.peak_states)
                }
                Err(rejection) => ("reject", rejection.steps, 0),
            };
            *counts.entry((verdict.to_owned(), ours)).or_default() += 1;
            match (&judged, verdict) {
                (Err(rejection), "accept") => {
                    *codes.entry(rejection.code.to_string()).or_default() += 1;
                    println!(
                        "MISSED {title} {time:?} slot {} [{}] {}: needed {}; known {}",
                        rejection.slot,
                        rejection.code,
                        rejection.instruction,
                        rejection.needed,
                        rejection.known
                    );
                    if arguments.full {
                        println!("{rejection}\n  state: {}", rejection.state);
                    }
                }
                (Err(rejection), verdict) if arguments.all => {
                    println!(
                        "REJECTED ({verdict}) {title} slot {} [{}] {}: needed {}; known {}",
                        rejection.slot,
                        rejection.code,
                        rejection.instruction,
                        rejection.needed,
                        rejection.known
                    );
                    if arguments.full {
                        println!("{rejection}\n  state: {}", rejection.state);
                    }
                }
                (Ok(_), verdict) if arguments.all && verdict != "reject" => {
                    println!("ACCEPTED ({verdict}) {title}");
                }
                (Ok(_), "reject") => println!("ACCEPTED, BUT LINUX REJECTS {title}"),
                _ => {}
            }
            measured.push(Measured {
                title,
                time,
                kilobytes: peak.saturating_sub(before),
                steps,
                states,
            });
        }
    }
    println!("accepted programs: {reached} of {instructions} instructions reached");
    summary(&mut measured, &counts, &codes, arguments.slow);
}

fn summary(
    measured: &mut [Measured],
    counts: &BTreeMap<(String, &str), usize>,
    codes: &BTreeMap<String, usize>,
    slow: u64,
) {
    measured.sort_by_key(|program| std::cmp::Reverse(program.time));
    for program in measured.iter() {
        if program.time < Duration::from_millis(slow) && program.kilobytes < 64 << 10 {
            continue;
        }
        println!(
            "SLOW {} {:?} {} KiB {} steps {} states",
            program.title, program.time, program.kilobytes, program.steps, program.states
        );
    }
    for ((kernel, ours), count) in counts {
        println!("{count:4} kernel {kernel}, ours {ours}");
    }
    for (code, count) in codes {
        println!("missed: {count:4} {code}");
    }
    let sum: Duration = measured.iter().map(|program| program.time).sum();
    let median = measured
        .get(measured.len() / 2)
        .map(|program| program.time)
        .unwrap_or_default();
    let memory = measured.iter().map(|program| program.kilobytes).max();
    println!(
        "{} programs, sum {sum:?}, median {median:?}, worst {:?}, most memory {} KiB",
        measured.len(),
        measured
            .first()
            .map(|program| program.time)
            .unwrap_or_default(),
        memory.unwrap_or_default()
    );
}
