//! Nanoseconds that a probe adds to a call: ours and, with the privilege, the kernel's.
//!
//! One measured process answers all requests; between two measurements a stock libbpf program
//! attaches or detaches the probe. The kinds alternate within a round and the order is the same
//! in each, so that drift of the machine meets all alike; the figures are medians over rounds.

mod stats;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use serde_json::json;

/// Functions of `probed.c` and what their first instruction is.
const FUNCTIONS: [(&str, &str); 5] = [
    ("first_push", "push %rbp"),
    ("first_nop5", "nopl (5 bytes)"),
    ("first_sub_rsp", "sub $24,%rsp"),
    ("first_endbr64", "endbr64"),
    ("first_movslq", "movslq %edi,%rcx"),
];

/// Probes that are measured: label, program of `probe.bpf.c`, entry or return.
const PROBES: [(&str, &str, &str); 3] = [
    ("entry, return 0", "empty", "entry"),
    ("entry, hash-map increment", "increment", "entry"),
    ("return, return 0", "empty", "return"),
];

/// Measures what a probe adds to a function call.
#[derive(Parser)]
struct Arguments {
    /// The bpftime command.
    bpftime: PathBuf,
    /// Where the figures go as JSON.
    json: PathBuf,
    /// Folder with `probed`, `prober` and `probe.bpf.o`.
    #[arg(long, default_value = "benches")]
    folder: PathBuf,
    /// Measurements of each kind.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Calls of a measurement with our probe or none.
    #[arg(long, default_value_t = 2_000_000)]
    calls: u64,
    /// Calls of a measurement with the kernel's probe.
    #[arg(long, default_value_t = 20_000)]
    kernel_calls: u64,
}

/// The process whose functions are probed.
struct Probed {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Probed {
    fn start(folder: &Path) -> Result<Self> {
        let mut process = Command::new(folder.join("probed"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start `probed`; run `make -C benches` first")?;
        let requests = process.stdin.take().context("no standard input")?;
        let answers = BufReader::new(process.stdout.take().context("no standard output")?);
        Ok(Self {
            process,
            requests,
            answers,
        })
    }

    /// Nanoseconds of one call, measured over `calls`.
    fn measure(&mut self, function: &str, calls: u64) -> Result<f64> {
        writeln!(self.requests, "{function} {calls}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let (nanoseconds, check) = line.trim().split_once(' ').context("`probed` has ended")?;
        ensure!(check == "ok", "a probed function returned a wrong value");
        Ok(nanoseconds.parse()?)
    }
}

impl Drop for Probed {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A libbpf program that holds one probe attached.
struct Prober {
    process: Child,
    answers: BufReader<ChildStdout>,
}

impl Prober {
    /// Attaches; `launcher` is empty for the kernel and `bpftime load` for ours.
    fn attach(
        launcher: &[&Path],
        folder: &Path,
        program: &str,
        when: &str,
        function: &str,
    ) -> Result<Self> {
        let prober = folder.join("prober");
        let mut words = launcher.to_vec();
        words.push(&prober);
        let mut process = Command::new(words[0])
            .args(&words[1..])
            .arg(folder.join("probe.bpf.o"))
            .args([program, when])
            .arg(folder.join("probed").canonicalize()?)
            .arg(function)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut answers = BufReader::new(process.stdout.take().context("no standard output")?);
        let mut line = String::new();
        answers.read_line(&mut line)?;
        if line.trim() != "attached" {
            let _ = process.kill();
            let _ = process.wait();
            bail!("the prober could not attach {program} to {function}");
        }
        Ok(Self { process, answers })
    }

    /// Detaches and gives what `increment` counted.
    fn detach(mut self) -> Result<u64> {
        drop(self.process.stdin.take());
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        ensure!(self.process.wait()?.success(), "the prober failed");
        Ok(line.trim().parse()?)
    }
}

/// One measurement under a probe, with the check that the probe ran on every call.
fn probed_call(
    probed: &mut Probed,
    launcher: &[&Path],
    folder: &Path,
    (program, when): (&str, &str),
    function: &str,
    calls: u64,
) -> Result<f64> {
    let prober = Prober::attach(launcher, folder, program, when, function)?;
    let warm = calls / 10 + 1;
    probed.measure(function, warm)?;
    let nanoseconds = probed.measure(function, calls)?;
    let counted = prober.detach()?;
    if program == "increment" {
        ensure!(
            counted == calls + warm,
            "{counted} of {} calls were counted",
            calls + warm
        );
    }
    Ok(nanoseconds)
}

fn run(arguments: &Arguments) -> Result<serde_json::Value> {
    let folder = arguments.folder.as_path();
    let mut probed = Probed::start(folder)?;
    let pid = probed.process.id().to_string();
    let attached = Command::new(&arguments.bpftime)
        .args(["attach", &pid])
        .output()?;
    ensure!(
        attached.status.success(),
        "bpftime attach failed: {}",
        String::from_utf8_lossy(&attached.stderr)
    );
    let ours = [arguments.bpftime.as_path(), Path::new("load")];
    let kernel_works = match Prober::attach(&[], folder, "empty", "entry", FUNCTIONS[0].0) {
        Ok(prober) => prober.detach().map(|_| true)?,
        Err(_) => false,
    };
    if !kernel_works {
        eprintln!("The kernel's column is left out: this user may not use the kernel's uprobes.");
    }

    let mut none = vec![Vec::new(); FUNCTIONS.len()];
    let mut our_calls = vec![vec![Vec::new(); PROBES.len()]; FUNCTIONS.len()];
    let mut kernel_calls = our_calls.clone();
    for round in 0..arguments.rounds {
        eprintln!("round {} of {}", round + 1, arguments.rounds);
        for (f, (function, _)) in FUNCTIONS.iter().enumerate() {
            probed.measure(function, arguments.calls / 10)?;
            none[f].push(probed.measure(function, arguments.calls)?);
            for (p, (_, program, when)) in PROBES.iter().enumerate() {
                let probe = (*program, *when);
                our_calls[f][p].push(probed_call(
                    &mut probed,
                    &ours,
                    folder,
                    probe,
                    function,
                    arguments.calls,
                )?);
                if kernel_works {
                    kernel_calls[f][p].push(probed_call(
                        &mut probed,
                        &[],
                        folder,
                        probe,
                        function,
                        arguments.kernel_calls,
                    )?);
                }
            }
        }
    }

    let mut rows = Vec::new();
    for (f, (function, first)) in FUNCTIONS.iter().enumerate() {
        let base = stats::summary(&none[f]);
        for (p, (label, ..)) in PROBES.iter().enumerate() {
            let ours = stats::summary(&our_calls[f][p]);
            let kernel = kernel_works.then(|| stats::summary(&kernel_calls[f][p]));
            rows.push(json!({
                "function": function,
                "first_instruction": first,
                "probe": label,
                "none_ns": base,
                "bpftime_ns": ours,
                "kernel_ns": kernel,
                "bpftime_adds_ns": ours.median - base.median,
                "kernel_adds_ns": kernel.map(|k| k.median - base.median),
                "ratio": kernel.map(|k| {
                    (k.median - base.median) / (ours.median - base.median).max(0.1)
                }),
            }));
        }
    }
    Ok(json!({
        "benchmark": "uprobe",
        "unit": "nanoseconds of thread CPU time per call",
        "rounds": arguments.rounds,
        "calls": arguments.calls,
        "kernel_calls": arguments.kernel_calls,
        "kernel": std::fs::read_to_string("/proc/sys/kernel/osrelease")?.trim(),
        "processor": stats::processor(),
        "rows": rows,
    }))
}

fn print_table(report: &serde_json::Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "Nanoseconds per call, median of {} rounds ({}, Linux {})\n",
        report["rounds"],
        report["processor"].as_str().unwrap_or("?"),
        report["kernel"].as_str().unwrap_or("?"),
    )?;
    writeln!(
        out,
        "{:<18} {:<26} {:>7} {:>9} {:>9} {:>9} {:>9} {:>7}",
        "first instruction", "probe", "none", "bpftime", "adds", "kernel", "adds", "ratio"
    )?;
    for row in report["rows"].as_array().into_iter().flatten() {
        let number = |value: &serde_json::Value| match value.as_f64() {
            Some(number) => format!("{number:.1}"),
            None => "-".to_owned(),
        };
        writeln!(
            out,
            "{:<18} {:<26} {:>7} {:>9} {:>9} {:>9} {:>9} {:>7}",
            row["first_instruction"].as_str().unwrap_or("?"),
            row["probe"].as_str().unwrap_or("?"),
            number(&row["none_ns"]["median"]),
            number(&row["bpftime_ns"]["median"]),
            number(&row["bpftime_adds_ns"]),
            number(&row["kernel_ns"]["median"]),
            number(&row["kernel_adds_ns"]),
            number(&row["ratio"]),
        )?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let report = run(&arguments)?;
    std::fs::write(
        &arguments.json,
        serde_json::to_string_pretty(&report)? + "\n",
    )
    .with_context(|| format!("cannot write {}", arguments.json.display()))?;
    print_table(&report)?;
    eprintln!("written to {}", arguments.json.display());
    Ok(())
}
