//! One program in all engines.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use bpftime_bench_programs::built::{Built, Cpu};
use bpftime_bench_programs::{EMPTY, Program};
use bpftime_drivers::clock::{median, timed};
use bpftime_drivers::{Engine, Loaded, engine};
use bpftime_isa::Program as BpfProgram;
use serde::Serialize;

use crate::kernel::Kernel;
use crate::native::Native;
use crate::rbpf_peer::{Mode, Rbpf};
use crate::solana_peer::Solana;

/// CPU time of an engine in a round, in nanoseconds.
const BATCH_NANOS: f64 = 1e6;
/// Most runs of a round; the empty program needs no more.
const MOST_RUNS: f64 = 200_000.0;
/// Least rounds of loading.
const LOADS: usize = 5;

/// How much is measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Settings {
    /// Rounds, in each of which every engine runs for a while.
    pub(crate) rounds: usize,
    /// Processes that load a program as their first.
    pub(crate) cold: usize,
}

/// An engine with the form of a program that it takes.
pub(crate) struct Candidate {
    pub(crate) engine: Box<dyn Engine>,
    program: BpfProgram,
    memory_len: usize,
}

impl Candidate {
    /// Loads the program, as often as asked.
    pub(crate) fn load(&self) -> Result<Box<dyn Loaded>> {
        self.engine.load(self.program.clone(), self.memory_len)
    }
}

/// What an engine needed for a program.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Figures {
    /// Nanoseconds per run.
    pub(crate) run_ns: f64,
    /// Nanoseconds to load, verify and compile, when others were loaded before.
    pub(crate) load_ns: f64,
    /// The same in a process that loaded none before.
    pub(crate) cold_ns: Option<f64>,
}

/// A program and what came of it.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) program: &'static str,
    /// No part of the means.
    pub(crate) empty: bool,
    /// Instructions of cpu v4.
    pub(crate) instructions: usize,
    /// By engine.
    pub(crate) figures: BTreeMap<&'static str, Figures>,
    /// Engines that are left out, and why.
    pub(crate) left_out: BTreeMap<&'static str, String>,
}

/// All engines, native code last.
pub(crate) fn candidates(built: &Built, program: &Program) -> Result<Vec<Candidate>> {
    let memory_len = (program.memory)().len();
    let (v4, v3) = (built.flat(program, Cpu::V4)?, built.flat(program, Cpu::V3)?);
    let kernel = built.kernel(program, Cpu::V4)?;
    let mut all: Vec<(Box<dyn Engine>, BpfProgram)> = engine::all()
        .into_iter()
        .map(|engine| (engine, v4.clone()))
        .collect();
    all.push((Box::new(Kernel), kernel));
    for mode in Mode::ALL {
        all.push((Box::new(Rbpf(mode)), v3.clone()));
    }
    all.push((Box::new(Solana), v3));
    all.push((Box::new(Native(built.native(program))), v4));
    let candidates = all.into_iter().map(|(engine, program)| Candidate {
        engine,
        program,
        memory_len,
    });
    Ok(candidates.collect())
}

/// An engine that has the program loaded.
struct Contender {
    candidate: Candidate,
    loaded: Box<dyn Loaded>,
    times: u32,
    runs: Vec<f64>,
    loads: Vec<f64>,
}

impl Contender {
    fn new(candidate: Candidate, memory: &[u8], expected: u64) -> Result<Self> {
        let mut loaded = candidate.load()?;
        loaded.set_memory(memory)?;
        let mut contender = Self {
            candidate,
            loaded,
            times: 1,
            runs: Vec::new(),
            loads: Vec::new(),
        };
        contender.batch(expected)?;
        Ok(contender)
    }

    /// Runs a batch; a wrong result is an error.
    fn batch(&mut self, expected: u64) -> Result<f64> {
        let name = self.candidate.engine.name();
        let (result, nanos) = timed(|| self.loaded.run(self.times));
        let result = result.with_context(|| format!("{name} failed"))?;
        // The kernel gives 32 bits of the result.
        let mask = if name == Kernel.name() {
            u64::from(u32::MAX)
        } else {
            u64::MAX
        };
        ensure!(
            result & mask == expected & mask,
            "{name} gives {result:#x} instead of {expected:#x}"
        );
        Ok(nanos as f64 / f64::from(self.times))
    }
}

/// Measures a program in all engines.
pub(crate) fn row(built: &Built, program: &Program, settings: &Settings) -> Result<Row> {
    let memory = (program.memory)();
    let expected = (program.expected)(&memory);
    let instructions = built.flat(program, Cpu::V4)?.insns.len();
    let mut contenders = Vec::new();
    let mut left_out = BTreeMap::new();
    let ours: Vec<&str> = engine::all().iter().map(|engine| engine.name()).collect();
    for candidate in candidates(built, program)? {
        let name = candidate.engine.name();
        match Contender::new(candidate, &memory, expected) {
            Ok(contender) => contenders.push(contender),
            Err(error) if ours.contains(&name) => return Err(error),
            Err(error) => drop(left_out.insert(name, format!("{error:#}"))),
        }
    }
    for contender in &mut contenders {
        // Long enough to warm up, then as many as fill a batch. What disturbs one batch seldom disturbs the
        // next.
        let mut nanos = contender.batch(expected)?.min(contender.batch(expected)?);
        while nanos * f64::from(contender.times) < BATCH_NANOS / 4.0
            && f64::from(contender.times) < MOST_RUNS
        {
            contender.times *= 4;
            nanos = contender.batch(expected)?.min(contender.batch(expected)?);
        }
        contender.times = (BATCH_NANOS / nanos).clamp(1.0, MOST_RUNS) as u32;
    }
    for round in 0..settings.rounds {
        for contender in &mut contenders {
            let nanos = contender.batch(expected)?;
            contender.runs.push(nanos);
            if round < LOADS {
                let (loaded, nanos) = timed(|| contender.candidate.load());
                drop(loaded?);
                contender.loads.push(nanos as f64);
            }
        }
    }
    let mut figures = BTreeMap::new();
    for contender in contenders {
        let name = contender.candidate.engine.name();
        let cold: Vec<f64> = (0..settings.cold)
            .map(|_| cold(name, program.name))
            .collect::<Result<_>>()?;
        let found = Figures {
            run_ns: median(&contender.runs),
            load_ns: median(&contender.loads),
            cold_ns: (!cold.is_empty()).then(|| median(&cold)),
        };
        figures.insert(name, found);
    }
    Ok(Row {
        program: program.name,
        empty: program.name == EMPTY.name,
        instructions,
        figures,
        left_out,
    })
}

/// Nanoseconds that an engine takes to load a program in a process of its own.
fn cold(engine: &str, program: &str) -> Result<f64> {
    let output = Command::new(std::env::current_exe()?)
        .args(["--load", engine, program])
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim()
        .parse()
        .with_context(|| format!("{engine} cannot load {program} in a process of its own"))
}
