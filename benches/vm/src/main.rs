//! Measures the engines on the fixed set of programs: ours, the kernel's, those of peers and native code,
//! alternating in one process, in CPU time of this thread.

mod kernel;
mod measure;
mod native;
mod plot;
mod rbpf_peer;
mod report;
mod solana_peer;

use std::path::PathBuf;

use anyhow::{Context, Result};
use bpftime_bench_programs::{Built, EMPTY, PROGRAMS};
use bpftime_drivers::clock::timed;
use clap::Parser;

use crate::measure::{Settings, candidates};

/// Measures the engines on the fixed set of programs.
#[derive(Parser)]
struct Arguments {
    /// Where the figures go as JSON.
    #[arg(default_value = "bench-vm.json")]
    json: PathBuf,
    /// Where the plot goes, as SVG.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Rounds, in each of which every engine runs for a while.
    #[arg(long, default_value_t = 15)]
    rounds: usize,
    /// Processes in which a program is loaded as the first of the process; their median counts.
    #[arg(long, default_value_t = 3)]
    cold: usize,
    /// Only programs whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
    /// Write the programs without maps, as flat bytecode, and their memory into this folder, and end.
    #[arg(long)]
    write: Option<PathBuf>,
    /// Print the nanoseconds that an engine takes to load a program, and end: `ENGINE PROGRAM`.
    #[arg(long, hide = true, num_args = 2)]
    load: Option<Vec<String>>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let built = Built::find()?;
    let mut programs = vec![EMPTY];
    programs.extend(PROGRAMS);
    if let Some([engine, program]) = arguments.load.as_deref() {
        let program = programs.iter().find(|known| known.name == program);
        let program = program.context("no such program")?;
        let candidate = candidates(&built, program)?
            .into_iter()
            .find(|candidate| candidate.engine.name() == engine)
            .context("no such engine")?;
        let (loaded, nanos) = timed(|| candidate.load());
        drop(loaded?);
        println!("{nanos}");
        return Ok(());
    }
    programs.retain(|program| program.name.contains(&arguments.only));
    if let Some(folder) = &arguments.write {
        return report::write(&built, &programs, folder);
    }
    let settings = Settings {
        rounds: arguments.rounds,
        cold: arguments.cold,
    };
    let mut rows = Vec::new();
    for program in &programs {
        eprintln!("{}", program.name);
        rows.push(measure::row(&built, program, &settings)?);
    }
    let report = report::Report::new(rows, &settings);
    report.print();
    if let Some(path) = &arguments.plot {
        plot::draw(path, &report)?;
    }
    std::fs::write(&arguments.json, serde_json::to_vec_pretty(&report)?)
        .with_context(|| format!("{} cannot be written", arguments.json.display()))
}
