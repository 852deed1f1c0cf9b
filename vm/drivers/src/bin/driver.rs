//! Runs a program on memory many times and says what it cost, so that others' benchmarks can drive the
//! engines.

use std::path::PathBuf;

use anyhow::{Context, Result};
use bpftime_drivers::clock::{median, timed};
use bpftime_drivers::{engine, flat};
use clap::Parser;

/// Runs a program on memory and prints one line: the CPU time of this thread in nanoseconds for loading
/// (verified and compiled) once more and for the first time, per run in the mean and in the best of ten
/// parts, and the result.
#[derive(Parser)]
#[command(name = "bpftime-driver", version)]
struct Arguments {
    /// File of eBPF instructions, 8 bytes each: the first is the entry, local calls are relative.
    program: PathBuf,
    /// File of the memory that r1 points to; r2 is its length in bytes.
    memory: PathBuf,
    /// How often it is run.
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    iterations: u32,
    /// Engine: interpreter or jit.
    #[arg(long, default_value = "jit")]
    engine: String,
}

/// Parts into which the runs are divided.
const PARTS: u32 = 10;
/// How often the program is loaded once more.
const LOADS: usize = 5;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let read = |path: &PathBuf| {
        std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
    };
    let engine = engine::by_name(&arguments.engine)?;
    let memory = read(&arguments.memory)?;
    let name = arguments.program.display().to_string();
    let program = flat::program(&name, &read(&arguments.program)?)?;

    let load = || {
        let program = program.clone();
        timed(|| engine.load(program, memory.len()))
    };
    let (loaded, compile_cold) = load();
    let mut loaded = loaded?;
    let warm: Vec<f64> = (0..LOADS).map(|_| load().1 as f64).collect();

    loaded.set_memory(&memory)?;
    let (mut total, mut least) = (0, f64::INFINITY);
    let mut result = 0;
    for part in 0..PARTS.min(arguments.iterations) {
        let parts = PARTS.min(arguments.iterations);
        let times = arguments.iterations / parts + u32::from(part < arguments.iterations % parts);
        let (given, nanos) = timed(|| loaded.run(times));
        result = given?;
        total += nanos;
        least = least.min(nanos as f64 / f64::from(times));
    }
    println!(
        "compile_ns={:.0} ns_per_run={:.2} compile_cold_ns={compile_cold} ns_min={least:.2} result={result:#x}",
        median(&warm),
        total as f64 / f64::from(arguments.iterations),
    );
    Ok(())
}
