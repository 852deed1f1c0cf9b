//! How the time of a verdict grows with generated programs, as a table, as JSON and as a plot.

mod families;
mod measure;
mod plot;

use std::path::PathBuf;

use anyhow::{Context, Result};
use bpftime_verifier::{Options, verify};
use clap::Parser;
use serde::Serialize;
use serde_json::json;

use crate::families::{FAMILIES, Family};
use crate::measure::measure;

/// Measures how the time of a verdict grows with the size of generated programs.
#[derive(Parser)]
struct Arguments {
    /// Where the figures go as JSON.
    json: PathBuf,
    /// Where the plot goes, as SVG.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Verdicts per program; the median of their times counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// One program of a family.
#[derive(Clone, Serialize)]
struct Point {
    size: usize,
    instructions: usize,
    accepted: bool,
    micros: f64,
    mebibytes: f64,
    steps: u64,
}

/// A family's programs from small to large.
#[derive(Serialize)]
struct Series {
    family: &'static str,
    unit: &'static str,
    points: Vec<Point>,
    /// Slope of the logarithm of time over that of `n log n`, by least squares: 1 is `n log n`.
    exponent: f64,
}

fn series(family: &Family, rounds: usize) -> Result<Series> {
    let options = Options::linux();
    let mut points = Vec::new();
    for &size in family.sizes {
        let program = family.program(size)?;
        let instructions = program.insns.len();
        let (verdict, micros, bytes) = measure(rounds, || verify(program.clone(), &options));
        let steps = match &verdict {
            Ok(verified) => verified.facts().cost.steps,
            Err(rejection) => rejection.steps,
        };
        points.push(Point {
            size,
            instructions,
            accepted: verdict.is_ok(),
            micros,
            mebibytes: bytes as f64 / f64::from(1 << 20),
            steps,
        });
    }
    let exponent = exponent(&points);
    let (family, unit) = (family.name, family.unit);
    Ok(Series {
        family,
        unit,
        points,
        exponent,
    })
}

/// Least squares over the accepted programs, the smallest left out: there, what does not grow
/// counts most.
fn exponent(points: &[Point]) -> f64 {
    let logs: Vec<(f64, f64)> = points
        .iter()
        .skip(1)
        .filter(|point| point.accepted)
        .map(|point| {
            let n = point.size as f64;
            ((n * n.log2()).ln(), point.micros.ln())
        })
        .collect();
    let count = logs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|log| log.0), mean(|log| log.1));
    let both: f64 = logs.iter().map(|log| (log.0 - x) * (log.1 - y)).sum();
    let square: f64 = logs.iter().map(|log| (log.0 - x).powi(2)).sum();
    both / square
}

fn print(series: &Series) {
    println!("\n{} (n = {})", series.family, series.unit);
    println!(
        "{:>8} {:>12} {:>8} {:>12} {:>10} {:>10}",
        "n", "instructions", "verdict", "us", "MiB", "steps"
    );
    for point in &series.points {
        println!(
            "{:>8} {:>12} {:>8} {:>12.1} {:>10.2} {:>10}",
            point.size,
            point.instructions,
            if point.accepted { "accept" } else { "reject" },
            point.micros,
            point.mebibytes,
            point.steps
        );
    }
    println!("time ~ (n log n)^{:.2}", series.exponent);
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut all = Vec::new();
    for family in &FAMILIES {
        let series = series(family, arguments.rounds)?;
        print(&series);
        all.push(series);
    }
    if let Some(path) = &arguments.plot {
        plot::draw(path, &all)?;
    }
    std::fs::write(&arguments.json, serde_json::to_vec_pretty(&json!(all))?)
        .with_context(|| format!("{} cannot be written", arguments.json.display()))
}
