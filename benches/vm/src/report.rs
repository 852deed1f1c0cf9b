//! Means, tables and files.

use std::path::Path;

use anyhow::{Context, Result};
use bpftime_bench_programs::Program;
use bpftime_bench_programs::built::{Built, Cpu};
use serde::Serialize;

use crate::measure::{Figures, Row, Settings};

/// All figures.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Processor and kernel.
    machine: String,
    settings: Settings,
    /// Names of the engines.
    pub(crate) engines: Vec<&'static str>,
    pub(crate) rows: Vec<Row>,
    means: Vec<Mean>,
}

/// An engine over the programs that it runs.
#[derive(Debug, Serialize)]
struct Mean {
    engine: &'static str,
    programs: usize,
    /// Geometric mean of the time of a run relative to native code.
    run: f64,
    /// The same without the time of an empty call, of both.
    without_call: f64,
    /// Nanoseconds of an empty call.
    call_ns: f64,
    /// Geometric mean of nanoseconds to load, verify and compile.
    load_ns: f64,
    /// The same in a process of its own.
    cold_ns: f64,
    /// Geometric mean of nanoseconds to load for each instruction of cpu v4.
    load_ns_per_instruction: f64,
}

impl Row {
    /// Time of a run relative to native code.
    pub(crate) fn ratio(&self, engine: &str) -> Option<f64> {
        Some(self.figures.get(engine)?.run_ns / self.figures.get("native")?.run_ns)
    }
}

/// The geometric mean; NaN of nothing.
fn geometric(values: impl Iterator<Item = f64>) -> f64 {
    let logs: Vec<f64> = values.map(f64::ln).collect();
    (logs.iter().sum::<f64>() / logs.len() as f64).exp()
}

impl Report {
    /// Of all rows.
    pub(crate) fn new(rows: Vec<Row>, settings: &Settings) -> Self {
        let mut engines: Vec<&'static str> = Vec::new();
        for row in &rows {
            for engine in row.figures.keys() {
                if !engines.contains(engine) {
                    engines.push(engine);
                }
            }
        }
        let call = |engine: &str| {
            let empty = rows.iter().find(|row| row.empty);
            let figures = empty.and_then(|row| row.figures.get(engine));
            figures.map_or(f64::NAN, |figures| figures.run_ns)
        };
        let mean = |engine: &&'static str| {
            let measured: Vec<(&Row, Figures)> = rows
                .iter()
                .filter(|row| !row.empty)
                .filter_map(|row| Some((row, *row.figures.get(engine)?)))
                .collect();
            let native = |row: &Row| row.figures.get("native").map_or(f64::NAN, |f| f.run_ns);
            let (own_call, native_call) = (call(engine), call("native"));
            Mean {
                engine,
                programs: measured.len(),
                run: geometric(measured.iter().map(|(row, f)| f.run_ns / native(row))),
                without_call: geometric(
                    measured
                        .iter()
                        .map(|(row, f)| (f.run_ns - own_call) / (native(row) - native_call)),
                ),
                call_ns: own_call,
                load_ns: geometric(measured.iter().map(|(_, f)| f.load_ns)),
                cold_ns: geometric(measured.iter().filter_map(|(_, f)| f.cold_ns)),
                load_ns_per_instruction: geometric(
                    measured
                        .iter()
                        .map(|(row, f)| f.load_ns / row.instructions as f64),
                ),
            }
        };
        let mut means: Vec<Mean> = engines.iter().map(mean).collect();
        means.sort_by(|one, other| one.run.total_cmp(&other.run));
        let engines = means.iter().map(|mean| mean.engine).collect();
        Self {
            machine: machine(),
            settings: settings.clone(),
            engines,
            rows,
            means,
        }
    }

    /// Prints tables in Markdown.
    pub(crate) fn print(&self) {
        println!(
            "{}; medians of {} rounds\n",
            self.machine, self.settings.rounds
        );
        println!("Nanoseconds per run of native code, and the time of others relative to it:\n");
        let others: Vec<_> = self
            .engines
            .iter()
            .filter(|name| **name != "native")
            .collect();
        print!("| program | insns | native ns |");
        others.iter().for_each(|name| print!(" {name} |"));
        print!("\n|---|--:|--:|");
        others.iter().for_each(|_| print!("--:|"));
        println!();
        for row in &self.rows {
            let native = row.figures.get("native").map_or(f64::NAN, |f| f.run_ns);
            print!("| {} | {} | {native:.1} |", row.program, row.instructions);
            for name in &others {
                match row.ratio(name) {
                    Some(ratio) => print!(" {ratio:.2} |"),
                    None => print!(" - |"),
                }
            }
            println!();
        }
        println!("\nGeometric means over the programs that the engine runs, without `empty`:\n");
        println!(
            "| engine | programs | run / native | without the call | empty call ns | load µs | cold µs | load ns per insn |"
        );
        println!("|---|--:|--:|--:|--:|--:|--:|--:|");
        for mean in &self.means {
            println!(
                "| {} | {} | {:.2} | {:.2} | {:.1} | {:.0} | {:.0} | {:.0} |",
                mean.engine,
                mean.programs,
                mean.run,
                mean.without_call,
                mean.call_ns,
                mean.load_ns / 1e3,
                mean.cold_ns / 1e3,
                mean.load_ns_per_instruction,
            );
        }
        println!("\nMicroseconds to load, verify and compile, when others were loaded before:\n");
        print!("| program |");
        self.engines.iter().for_each(|name| print!(" {name} |"));
        print!("\n|---|");
        self.engines.iter().for_each(|_| print!("--:|"));
        println!();
        for row in &self.rows {
            print!("| {} |", row.program);
            for name in &self.engines {
                match row.figures.get(name) {
                    Some(figures) => print!(" {:.0} |", figures.load_ns / 1e3),
                    None => print!(" - |"),
                }
            }
            println!();
        }
        println!("\nLeft out:\n");
        for row in &self.rows {
            for (engine, reason) in &row.left_out {
                println!("- {} in {engine}: {reason}", row.program);
            }
        }
    }
}

/// Processor and kernel.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{model}, {cores} cores, Linux {}", kernel.trim())
}

/// Writes programs without maps as flat bytecode, and their memory.
pub(crate) fn write(built: &Built, programs: &[Program], folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)
        .with_context(|| format!("{} cannot be made", folder.display()))?;
    for program in programs.iter().filter(|program| !program.maps) {
        let memory = (program.memory)();
        let to = |end: &str| folder.join(format!("{}.{end}", program.name));
        for cpu in [Cpu::V3, Cpu::V4] {
            let insns = built.flat(program, cpu)?.insns;
            let bytes: Vec<u8> = insns.iter().flat_map(|insn| insn.to_le_bytes()).collect();
            std::fs::write(to(&format!("{}.bin", cpu.name())), bytes)?;
        }
        let expected = format!("{:#x}\n", (program.expected)(&memory));
        std::fs::write(to("expected"), expected)?;
        std::fs::write(to("mem"), memory)?;
    }
    Ok(())
}
