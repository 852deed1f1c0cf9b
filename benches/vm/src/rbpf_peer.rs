//! The engines of the crate `rbpf`. It knows instructions up to those of cpu v3, has no maps, and its JIT
//! checks nothing.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Result, anyhow, ensure};
use bpftime_drivers::{Engine, Loaded};
use bpftime_isa::{Insn, Program};

use crate::native::words;

/// Which of its engines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Interpreter,
    Jit,
    Cranelift,
}

impl Mode {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Interpreter, Self::Jit, Self::Cranelift];
}

/// An engine of rbpf.
pub(crate) struct Rbpf(pub(crate) Mode);

struct Ready {
    machine: rbpf::EbpfVmRaw<'static>,
    mode: Mode,
    memory: Vec<u64>,
    len: usize,
}

impl Engine for Rbpf {
    fn name(&self) -> &'static str {
        match self.0 {
            Mode::Interpreter => "rbpf interpreter",
            Mode::Jit => "rbpf jit",
            Mode::Cranelift => "rbpf cranelift",
        }
    }

    fn load(&self, program: Program, memory_len: usize) -> Result<Box<dyn Loaded>> {
        ensure!(program.maps.is_empty(), "it has no maps");
        // It leaves the length out, so the program begins with an instruction that sets it. All else in the
        // program is relative.
        let length = u32::try_from(memory_len)?.to_le_bytes();
        let [a, b, c, d] = length;
        let set_length = Insn::from_le_bytes([0xb7, 0x02, 0, 0, a, b, c, d]);
        let bytes: Vec<u8> = std::iter::once(&set_length)
            .chain(&program.insns)
            .flat_map(|insn| insn.to_le_bytes())
            .collect();
        let mode = self.0;
        // The machine borrows its program for as long as it lives; programs are few and small.
        let bytes: &'static [u8] = Vec::leak(bytes);
        let made = catch_unwind(AssertUnwindSafe(|| -> Result<_> {
            let mut machine = rbpf::EbpfVmRaw::new(Some(bytes))?;
            match mode {
                Mode::Interpreter => {}
                Mode::Jit => machine.jit_compile()?,
                Mode::Cranelift => cranelift(&mut machine)?,
            }
            Ok(machine)
        }));
        let machine = made.map_err(|_| anyhow!("it panics when it compiles the program"))??;
        Ok(Box::new(Ready {
            machine,
            mode,
            memory: Vec::new(),
            len: memory_len,
        }))
    }
}

impl Loaded for Ready {
    fn set_memory(&mut self, memory: &[u8]) -> Result<()> {
        self.memory = words(memory);
        self.len = memory.len();
        Ok(())
    }

    fn run(&mut self, times: u32) -> Result<u64> {
        let start = self.memory.as_mut_ptr().cast::<u8>();
        let mut result = 0;
        for _ in 0..times.max(1) {
            // SAFETY: the words are at least so many bytes, and borrowed mutably.
            let memory = unsafe { std::slice::from_raw_parts_mut(start, self.len) };
            result = match self.mode {
                Mode::Interpreter => self.machine.execute_program(memory)?,
                // SAFETY: our verifier accepts the program for memory of this length.
                Mode::Jit => unsafe { self.machine.execute_program_jit(memory) }?,
                Mode::Cranelift => run_cranelift(&self.machine, memory)?,
            };
        }
        Ok(result)
    }
}

#[cfg(feature = "rbpf-cranelift")]
fn cranelift(machine: &mut rbpf::EbpfVmRaw<'static>) -> Result<()> {
    Ok(machine.cranelift_compile()?)
}

#[cfg(feature = "rbpf-cranelift")]
fn run_cranelift<'a>(machine: &rbpf::EbpfVmRaw<'a>, memory: &'a mut [u8]) -> Result<u64> {
    Ok(machine.execute_program_cranelift(memory)?)
}

#[cfg(not(feature = "rbpf-cranelift"))]
fn cranelift(_: &mut rbpf::EbpfVmRaw<'static>) -> Result<()> {
    anyhow::bail!("built without the feature rbpf-cranelift")
}

#[cfg(not(feature = "rbpf-cranelift"))]
fn run_cranelift(_: &rbpf::EbpfVmRaw<'_>, _: &mut [u8]) -> Result<u64> {
    anyhow::bail!("built without the feature rbpf-cranelift")
}
