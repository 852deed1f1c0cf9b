//! Programs that are made to cost much: time and memory of their verdicts, beside the kernel's.

mod kernel_raw;
mod measure;

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use bpftime_isa::{MapDef, MapField, MapFieldKind, MapType, ProgType, Program, asm};
use bpftime_verifier::{Options, verify};
use clap::Parser;
use serde::Serialize;
use serde_json::json;

use crate::measure::{measure, median};

/// Measures the verifier on programs that are made to cost much.
#[derive(Parser)]
struct Arguments {
    /// Where the figures go as JSON.
    json: PathBuf,
    /// Verdicts per program; the median of their times counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Only programs whose name contains this.
    #[arg(long, default_value = "")]
    only: String,
}

/// A program and what came of it.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    instructions: usize,
    /// `accepted`, or the code of the rejection.
    verdict: &'static str,
    milliseconds: f64,
    mebibytes: f64,
    /// The kernel's, where it may be asked.
    kernel_milliseconds: Option<f64>,
    kernel_accepts: Option<bool>,
}

/// Text of a program; writing to it does not fail.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(mut self, line: &str) -> Self {
        let _ = writeln!(self.0, "{line}");
        self
    }

    fn each(mut self, count: usize, mut lines: impl FnMut(usize) -> String) -> Self {
        for number in 0..count {
            let _ = writeln!(self.0, "{}", lines(number));
        }
        self
    }

    fn end(self) -> String {
        self.line("r0 = 0\nexit").0
    }
}

/// Two arms that leave different things in one of the stack's 60 upper slots, and at last a look at each
/// slot, so that no difference is forgotten before.
fn diamonds(count: usize, other: &str) -> String {
    Text::default()
        .line("r6 = r1")
        .each(60, |slot| format!("*(u64 *)(r10 - {}) = 0", 8 * (slot + 1)))
        .each(count, |number| {
            let slot = 8 * (1 + number % 60);
            format!(
                "r1 = *(u32 *)(r6 + 12)\nr2 = {other}\nif r1 > {number} goto d{number}\nr2 = {number}\n\
                 d{number}: *(u64 *)(r10 - {slot}) = r2"
            )
        })
        .each(60, |slot| format!("r2 = *(u64 *)(r10 - {})", 8 * (slot + 1)))
        .end()
}

/// Functions that are given to a helper, a call for each.
fn callbacks(count: usize, call: &str) -> String {
    Text::default()
        .each(count, |number| {
            format!("r1 = 1\nr2 = func(f{number}) ll\nr3 = 0\nr4 = 0\n{call}")
        })
        .line("r0 = 0\nexit")
        .each(count, |number| format!("f{number}:\nr0 = 0\nexit"))
        .0
}

/// Timers of which each callback starts the next.
fn timers(count: usize) -> String {
    Text::default()
        .line(
            "*(u32 *)(r10 - 4) = 0\nr1 = map_idx(0) ll\nr2 = r10\nr2 += -4\ncall 1\nr6 = r0\n\
             if r6 == 0 goto out\nr1 = r6\nr1 += 8\nr2 = map_idx(0) ll\nr3 = 1\ncall 169",
        )
        .each(count, |number| {
            format!("r1 = r6\nr1 += 8\nr2 = func(f{number}) ll\ncall 170")
        })
        .line("out:\nr0 = 0\nexit")
        .each(count, |number| {
            let next = (number + 1) % count;
            format!("f{number}:\nr1 = r3\nr1 += 8\nr2 = func(f{next}) ll\ncall 170\nr0 = 0\nexit")
        })
        .0
}

/// Jumps far to and fro, as far as an offset reaches: loops with many entries.
fn mesh(count: usize) -> String {
    Text::default()
        .line("r6 = r1")
        .each(count, |number| {
            let far = (number + number * 7919 % 10_000).saturating_sub(5_000);
            let far = far.min(count - 1);
            format!("l{number}: r1 = *(u32 *)(r6 + 12)\nif r1 == {number} goto l{far}")
        })
        .end()
}

/// Levels of functions, each calling the next many times.
fn tower(levels: usize, calls: usize) -> String {
    Text::default()
        .each(levels, |level| {
            format!(
                "f{level}:\n{}exit",
                format!("call f{}\n", level + 1).repeat(calls)
            )
        })
        .line(&format!("f{levels}:\nr0 = 0\nexit"))
        .0
}

/// Loops in each other, all of whose counters are unknown numbers from the context.
fn nest(depth: usize) -> String {
    Text::default()
        .line("r6 = r1")
        .each(depth, |level| format!("l{level}: r1 = *(u32 *)(r6 + 12)"))
        .each(depth, |level| {
            let level = depth - 1 - level;
            format!("if r1 == {level} goto l{level}")
        })
        .end()
}

/// Many paths that wait at one place, each with much on its stack.
fn waiting(paths: usize) -> String {
    Text::default()
        .line("r6 = r1")
        .each(64, |slot| {
            format!(
                "r1 = *(u32 *)(r6 + 12)\nr2 = r1\n*(u64 *)(r10 - {}) = r1",
                8 * (slot + 1)
            )
        })
        .line("r1 = *(u32 *)(r6 + 12)")
        .each(paths, |number| {
            format!("r8 = {number}\nif r1 == {number} goto go")
        })
        .line("r8 = -1\ngo: r1 = 0")
        .each(1000, |number| {
            format!("r9 = *(u32 *)(r6 + 12)\nif r9 > {number} goto t{number}")
        })
        .line("goto t0")
        .each(1000, |number| format!("t{number}: r0 = r8"))
        .each(64, |slot| {
            format!("r1 = *(u64 *)(r10 - {})", 8 * (slot + 1))
        })
        .line("exit")
        .0
}

/// Bytes of the packet that are looked at one after the other, each length kept.
fn packet(count: usize) -> String {
    Text::default()
        .line("r6 = *(u32 *)(r1 + 0)\nr7 = *(u32 *)(r1 + 4)\nr8 = 0")
        .each(count, |number| {
            format!(
                "r2 = r6\nr2 += {}\nif r2 > r7 goto p{number}\nr3 = *(u8 *)(r6 + {})\nr8 += r3\np{number}: r9 = r8",
                1 + number % 1000,
                number % 1000
            )
        })
        .end()
}

/// Name and text of each.
fn programs() -> Vec<(&'static str, String)> {
    let start = || Text::default().line("r0 = 0\nr6 = 0");
    vec![
        (
            "a million additions",
            start().each(999_990, |_| "r0 += 1".into()).end(),
        ),
        (
            "900,000 branches to the next",
            start()
                .each(900_000, |_| "if r1 == r6 goto +0".into())
                .end(),
        ),
        (
            "900,000 may_goto",
            start().each(900_000, |_| "may_goto +0".into()).end(),
        ),
        (
            "a loop of 400,000 passes",
            start().line("l: r0 += 1\nif r0 < 400000 goto l").end(),
        ),
        (
            "a loop without a bound",
            start().line("l: r0 += 1\nif r0 != 0 goto l").end(),
        ),
        ("200 nested loops", nest(200)),
        ("2000 nested loops", nest(2000)),
        ("5000 irreducible loops", mesh(5000)),
        ("100,000 irreducible loops", mesh(100_000)),
        ("diamonds of 60 numbers", diamonds(150_000, "r1")),
        ("diamonds of 60 constants", diamonds(150_000, "7")),
        ("diamonds of 60 types", diamonds(150_000, "r10")),
        ("few diamonds of 60 types", diamonds(600, "r10")),
        ("calls of calls, seven levels", tower(7, 40)),
        ("90,000 calls of one function", {
            start().each(90_000, |_| "call f".into()).end() + "f: r0 = 0\nexit\n"
        }),
        ("1000 callbacks of bpf_loop", callbacks(1000, "call 181")),
        ("3000 callbacks of bpf_loop", callbacks(3000, "call 181")),
        ("1000 timers", timers(1000)),
        ("3000 timers", timers(3000)),
        ("paths that wait", waiting(2000)),
        ("lengths of a packet", packet(100_000)),
    ]
}

/// A map whose values hold a timer.
fn map() -> MapDef {
    MapDef {
        name: "timers".into(),
        fields: vec![MapField {
            offset: 8,
            size: 16,
            kind: MapFieldKind::Timer,
        }],
        ..MapDef::new(MapType::Array, 4, 40, 4)
    }
}

fn judge(name: &'static str, text: &str, rounds: usize) -> Result<Row> {
    let program = Program {
        name: "hostile".into(),
        section: "xdp".into(),
        license: "GPL".into(),
        maps: vec![map()],
        ..Program::new(ProgType::Xdp, asm::parse(text)?)
    };
    let options = Options::linux();
    let (verdict, micros, bytes) = measure(rounds, || verify(program.clone(), &options));
    let kernel = nix::unistd::geteuid()
        .is_root()
        // Once: it takes a minute for calls of calls.
        .then(|| kernel_raw::judge(&program, 1))
        .flatten();
    Ok(Row {
        name,
        instructions: program.insns.len(),
        verdict: verdict
            .as_ref()
            .map_or_else(|rejection| rejection.code.as_str(), |_| "accepted"),
        milliseconds: micros / 1e3,
        mebibytes: bytes as f64 / f64::from(1 << 20),
        kernel_milliseconds: kernel.as_ref().map(|(_, micros)| median(micros) / 1e3),
        kernel_accepts: kernel.map(|(accepted, _)| accepted),
    })
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    println!(
        "\n{:<30} {:>12} {:>12} {:>9} {:>9} {:>10} {:>7}",
        "made to cost much", "instructions", "verdict", "ms", "MiB", "kernel ms", "accepts"
    );
    let mut rows = Vec::new();
    for (name, text) in programs() {
        if !name.contains(&arguments.only) {
            continue;
        }
        let row = judge(name, &text, arguments.rounds)?;
        let kernel = row
            .kernel_milliseconds
            .map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1}"));
        let accepts = row
            .kernel_accepts
            .map_or("-", |accepts| if accepts { "yes" } else { "no" });
        println!(
            "{:<30} {:>12} {:>12} {:>9.1} {:>9.1} {kernel:>10} {accepts:>7}",
            row.name, row.instructions, row.verdict, row.milliseconds, row.mebibytes
        );
        rows.push(row);
    }
    let most = |of: fn(&Row) -> f64| rows.iter().map(of).fold(0.0, f64::max);
    println!(
        "worst: {:.1} ms, {:.1} MiB",
        most(|row| row.milliseconds),
        most(|row| row.mebibytes)
    );
    std::fs::write(&arguments.json, serde_json::to_vec_pretty(&json!(rows))?)
        .with_context(|| format!("{} cannot be written", arguments.json.display()))
}
