//! Accepted programs are run in the checked interpreter on thousands of inputs without a trap.
//!
//! The interpreter runs over a made-up world: memory whose every byte has one owner, maps and
//! helpers that give anything that their contracts allow, packets that move. An access outside, a
//! helper's argument that does not fit, something not given back, a run longer than the analysis
//! says, or an instruction that it never reached, fails the test. Programs of which the inputs
//! execute less than nine tenths of what was analysed are listed, and so are those that need what
//! the world lacks. `BPFTIME_RUNS` is the number of inputs per program, `BPFTIME_ONLY` a part of
//! the names of the programs to run.

mod campaign;
mod helpers;
mod memory;
mod packet;
mod prevail;
mod tape;
mod world;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bpftime_isa::{MapDef, MapType, ProgType, Program, asm};
use bpftime_loader::{Object, vectors};
use bpftime_tests::{paths, samples};
use bpftime_verifier::{Options, VerifiedProgram, verify};

fn inputs(usual: usize) -> usize {
    std::env::var("BPFTIME_RUNS")
        .ok()
        .and_then(|number| number.parse().ok())
        .unwrap_or(usual)
}

/// Runs programs and tells what came of them.
#[derive(Default)]
struct Table {
    runs: usize,
    ended: usize,
    programs: usize,
    violations: Vec<String>,
    missing: BTreeMap<String, usize>,
    below: Vec<(f64, String)>,
    unreached: Vec<String>,
}

impl Table {
    fn add(&mut self, title: &str, verified: &VerifiedProgram, runs: usize) {
        let report = campaign::run(verified, runs, title.len() as u64 + 1);
        self.programs += 1;
        self.runs += report.runs;
        self.ended += report.ended;
        if let Some(violation) = report.violation.as_ref() {
            self.violations.push(format!("{title}: {violation}"));
        }
        let reached = &verified.facts().reached;
        let share = report.share(reached);
        if let Some(missing) = report.missing {
            *self.missing.entry(missing).or_default() += 1;
        }
        if share < 0.9 {
            self.below.push((share, title.to_owned()));
        }
        let unreached = reached.iter().filter(|reached| !**reached).count();
        if unreached > 0 {
            self.unreached
                .push(format!("{title}: {unreached} of {}", reached.len()));
        }
    }

    fn finish(mut self) {
        for line in &self.unreached {
            println!("never analysed, and no run executes them: {line}");
        }
        for (what, programs) in &self.missing {
            println!("the world lacks, for {programs} programs: {what}");
        }
        self.below.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (share, title) in &self.below {
            println!("{:5.1} % executed: {title}", 100.0 * share);
        }
        println!(
            "{} programs, {} runs, {} of them to the end; {} programs below 90 %",
            self.programs,
            self.runs,
            self.ended,
            self.below.len()
        );
        assert!(
            self.violations.is_empty(),
            "{} programs did what they may not:\n{}",
            self.violations.len(),
            self.violations.join("\n")
        );
    }
}

fn wanted(title: &str) -> bool {
    std::env::var("BPFTIME_ONLY").map_or(true, |part| title.contains(&part))
}

#[test]
fn samples_run_without_a_trap() {
    let (Some(folder), Some(rows)) = (samples::folder(), samples::table()) else {
        return;
    };
    let options = Options::linux();
    let mut table = Table::default();
    for sample in samples::read(&folder, rows) {
        let title = sample.row.title().replace('\t', " ");
        let Ok(program) = sample.program else {
            continue;
        };
        if program.prog_type == ProgType::Unspec || !wanted(&title) {
            continue;
        }
        if let Ok(verified) = verify(program, &options) {
            table.add(&title, &verified, inputs(2000));
        }
    }
    table.finish();
}

#[test]
fn kernel_tests_run_without_a_trap() {
    let Some(folder) = paths::vectors() else {
        return;
    };
    let options = Options::linux();
    let mut table = Table::default();
    for name in ["verifier-6.1.json", "verifier-6.12.json"] {
        let path = folder.join("kernel_verifier").join(name);
        for vector in vectors::read(&path).expect("vectors") {
            let title = format!("{}: {}", vector.file, vector.name);
            let Ok(program) = vector.program else {
                continue;
            };
            if !wanted(&title) {
                continue;
            }
            if let Ok(verified) = verify(program, &options) {
                table.add(&title, &verified, inputs(300));
            }
        }
    }
    table.finish();
}

/// Objects below a folder, in order.
fn objects(folder: &Path) -> Vec<PathBuf> {
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
    let options = Options::linux();
    let mut table = Table::default();
    for path in objects(&folder) {
        let name = path
            .strip_prefix(&folder)
            .unwrap_or(&path)
            .display()
            .to_string();
        let bytes = std::fs::read(&path).expect("an object");
        let Ok(object) = Object::parse(&bytes) else {
            continue;
        };
        for program in object.into_programs() {
            let program = program.into_program();
            let title = format!("{name} {}", program.name);
            if program.prog_type == ProgType::Unspec || !wanted(&title) {
                continue;
            }
            if let Ok(verified) = verify(program, &options) {
                table.add(&title, &verified, inputs(1000));
            }
        }
    }
    table.finish();
}

fn small(prog_type: ProgType, text: &str) -> Program {
    Program {
        name: "test".into(),
        section: String::new(),
        prog_type,
        attach_type: None,
        hook: Default::default(),
        license: "GPL".into(),
        insns: asm::parse(text).expect("a program"),
        maps: vec![MapDef {
            name: "array".into(),
            map_type: MapType::Array,
            key_size: 4,
            value_size: 48,
            max_entries: 1,
            flags: 0,
            inner: None,
            initial: None,
            frozen: false,
            fields: Vec::new(),
        }],
        subprograms: Vec::new(),
        lines: Vec::new(),
        objects: [].into(),
        on_throw: bpftime_isa::OnThrow::Ends,
    }
}

/// What the world says of a program that is not proved: the first violation, of many runs.
fn violation(prog_type: ProgType, text: &str) -> Option<String> {
    let program = small(prog_type, text);
    let words: Vec<u64> = Vec::new();
    let mut random = tape::Random::new(1);
    (0..500).find_map(|seed| {
        let mut executed = vec![false; program.insns.len()];
        let packet = packet::packet(&mut random, &words, true);
        let tape = tape::Tape::new(Vec::new(), seed);
        let mut ways = vec![0; program.insns.len()];
        let mut world =
            world::World::new(&program, &words, &packet, tape, &mut executed, &mut ways)?;
        let (r1, r2) = world.registers();
        let result = bpftime_vm::interp::run_on(&program.insns, &mut world, r1, r2, 10_000);
        let leaked = world.memory.count(memory::Kind::Acquired) > 0;
        world
            .violation
            .or_else(|| result.err().map(|trap| trap.reason.to_string()))
            .or_else(|| leaked.then(|| "not given back".to_owned()))
    })
}

/// Programs that are wrong are caught, and their siblings that are right are not: the test itself
/// can fail.
#[test]
fn wrong_programs_are_caught() {
    let lookup = "*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\nr1 = map_idx(0x0) ll\ncall 1\n";
    let cases: [(&str, ProgType, String, bool); 11] = [
        (
            "a packet read after a comparison",
            ProgType::Xdp,
            "r2 = *(u32 *)(r1 + 0)\nr3 = *(u32 *)(r1 + 4)\nr4 = r2\nr4 += 14\nr0 = 0\n\
             if r4 > r3 goto +1\nr0 = *(u8 *)(r2 + 13)\nexit"
                .into(),
            false,
        ),
        (
            "one byte more than was compared",
            ProgType::Xdp,
            "r2 = *(u32 *)(r1 + 0)\nr3 = *(u32 *)(r1 + 4)\nr4 = r2\nr4 += 14\nr0 = 0\n\
             if r4 > r3 goto +1\nr0 = *(u8 *)(r2 + 14)\nexit"
                .into(),
            true,
        ),
        (
            "a packet pointer kept over a helper that moves the packet",
            ProgType::Xdp,
            "r6 = r1\nr7 = *(u32 *)(r1 + 0)\nr3 = *(u32 *)(r1 + 4)\nr4 = r7\nr4 += 14\nr0 = 0\n\
             if r4 > r3 goto +4\nr1 = r6\nr2 = 0\ncall 44\nr0 = *(u8 *)(r7 + 0)\nexit"
                .into(),
            true,
        ),
        (
            "a value that may be null",
            ProgType::Xdp,
            // The key is beyond the array.
            "*(u32 *)(r10 - 4) = 1\nr2 = r10\nr2 += -4\nr1 = map_idx(0x0) ll\ncall 1\n\
             r0 = *(u64 *)(r0 + 0)\nexit"
                .into(),
            true,
        ),
        (
            "the last bytes of a value",
            ProgType::Xdp,
            format!("{lookup}if r0 == 0 goto +1\nr1 = *(u64 *)(r0 + 40)\nr0 = 0\nexit"),
            false,
        ),
        (
            "bytes behind a value",
            ProgType::Xdp,
            format!("{lookup}if r0 == 0 goto +1\nr1 = *(u64 *)(r0 + 41)\nr0 = 0\nexit"),
            true,
        ),
        (
            "a register that a call took",
            ProgType::Xdp,
            format!("{lookup}r0 = r1\nexit"),
            true,
        ),
        (
            "a write below the stack",
            ProgType::Xdp,
            "*(u64 *)(r10 - 520) = 0\nr0 = 0\nexit".into(),
            true,
        ),
        (
            "memory for a helper that ends behind the stack",
            ProgType::Kprobe,
            "r1 = r10\nr1 += -8\nr2 = 16\nr3 = 0\ncall 113\nr0 = 0\nexit".into(),
            true,
        ),
        (
            "a socket that is not given back",
            ProgType::SchedCls,
            "r2 = r10\nr2 += -16\n*(u64 *)(r10 - 16) = 0\n*(u64 *)(r10 - 8) = 0\nr3 = 12\n\
             r4 = 0\nr5 = 0\ncall 84\nr0 = 0\nexit"
                .into(),
            true,
        ),
        (
            "a socket that is given back",
            ProgType::SchedCls,
            "r2 = r10\nr2 += -16\n*(u64 *)(r10 - 16) = 0\n*(u64 *)(r10 - 8) = 0\nr3 = 12\n\
             r4 = 0\nr5 = 0\ncall 84\nif r0 == 0 goto +2\nr1 = r0\ncall 86\nr0 = 0\nexit"
                .into(),
            false,
        ),
    ];
    for (title, prog_type, text, wrong) in cases {
        let found = violation(prog_type, &text);
        assert_eq!(found.is_some(), wrong, "{title}: {found:?}");
    }
}
