//! Time and memory of verdicts on real objects: ours, PREVAIL's and the kernel's in one run.
//!
//! The verifiers alternate program by program, so that drift of the machine meets all alike.

mod corpus;
mod kernel;
mod kernel_raw;
mod measure;
mod ours;
mod peer;
mod report;
mod types;

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use bpftime_verifier::Options;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::report::Row;
use crate::types::Types;

/// Measures the verifier over a folder of objects, beside PREVAIL's crate and the kernel.
#[derive(Parser)]
struct Arguments {
    /// Folder with objects, searched through.
    folder: PathBuf,
    /// Where the figures go as JSON.
    json: PathBuf,
    /// Verdicts per program by us and the kernel; the median of their times counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Verdicts per program by PREVAIL; 0 leaves it out.
    #[arg(long, default_value_t = 1)]
    prevail_rounds: usize,
    /// The tool that asks the kernel.
    #[arg(long, default_value = "benches/verifier/kernel_verify")]
    kernel_tool: PathBuf,
    /// A table with the types of programs whose section tells none; they are guessed from names
    /// where it says nothing.
    #[arg(long)]
    types: Option<PathBuf>,
    /// Only objects whose path contains this.
    #[arg(long, default_value = "")]
    only: String,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    ensure!(arguments.rounds > 0, "--rounds has to be at least 1");
    let types = match &arguments.types {
        Some(table) => Types::read(table)?,
        None => Types::default(),
    };
    let (subjects, unreadable) = corpus::subjects(&arguments.folder, &types);
    let subjects: Vec<_> = subjects
        .into_iter()
        .filter(|subject| subject.file.contains(&arguments.only))
        .collect();
    ensure!(
        !subjects.is_empty(),
        "{} has no readable objects",
        arguments.folder.display()
    );
    let no_kernel = kernel::unavailable(&arguments.kernel_tool);
    if let Some(reason) = &no_kernel {
        eprintln!("the kernel's column is left out: {reason}");
    }
    // What a panicking peer says would tear the progress bar.
    std::panic::set_hook(Box::new(|_| {}));
    let options = Options::linux();
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {wide_msg}")?;
    let bar = ProgressBar::new(subjects.len() as u64).with_style(style);
    let mut rows = Vec::with_capacity(subjects.len());
    for subject in &subjects {
        bar.set_message(format!("{} {}", subject.file, subject.program.name));
        rows.push(Row {
            file: subject.file.clone(),
            section: subject.program.section.clone(),
            function: subject.program.name.clone(),
            instructions: subject.program.insns.len(),
            bpftime: ours::judge(subject, &options, arguments.rounds),
            kernel: no_kernel
                .is_none()
                .then(|| kernel::judge(&arguments.kernel_tool, subject, arguments.rounds))
                .flatten(),
            prevail: (arguments.prevail_rounds > 0)
                .then(|| peer::judge(subject, arguments.prevail_rounds))
                .flatten(),
        });
        bar.inc(1);
    }
    bar.finish_and_clear();
    let totals = report::totals(&rows);
    println!(
        "{} programs; {unreadable} objects cannot be read",
        rows.len()
    );
    report::print(&totals);
    let figures = json!({ "totals": totals, "programs": rows });
    std::fs::write(&arguments.json, serde_json::to_vec_pretty(&figures)?)
        .with_context(|| format!("{} cannot be written", arguments.json.display()))
}
