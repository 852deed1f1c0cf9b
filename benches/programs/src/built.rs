//! The objects of the programs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use bpftime_isa::{ProgType, Program as BpfProgram};
use bpftime_loader::Object;

use crate::Program;

/// Which instructions clang may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cpu {
    /// Up to those of 32 bits (`-mcpu=v3`).
    V3,
    /// All (`-mcpu=v4`).
    V4,
}

impl Cpu {
    /// The name that clang knows it by.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V3 => "v3",
            Self::V4 => "v4",
        }
    }
}

/// The folder with what is built of the set.
#[derive(Clone, Debug)]
pub struct Built {
    folder: PathBuf,
}

impl Built {
    /// Below the sources of this crate, where the makefile leaves it.
    ///
    /// # Errors
    ///
    /// It was not built.
    pub fn find() -> Result<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("build");
        anyhow::ensure!(
            folder.join("empty.so").exists(),
            "the programs are not built in {}: run make -C benches/programs",
            folder.display()
        );
        Ok(Self { folder })
    }

    /// The program to be called with memory in `r1` and its length in `r2`.
    ///
    /// # Errors
    ///
    /// The object cannot be read.
    pub fn flat(&self, program: &Program, cpu: Cpu) -> Result<BpfProgram> {
        let mut found = self.function(program, cpu, "flat")?;
        found.prog_type = ProgType::Memory;
        Ok(found)
    }

    /// The XDP program, whose memory is the value of its map of global data.
    ///
    /// # Errors
    ///
    /// The object cannot be read.
    pub fn kernel(&self, program: &Program, cpu: Cpu) -> Result<BpfProgram> {
        self.function(program, cpu, "kernel")
    }

    /// The shared object with the same C for this machine.
    pub fn native(&self, program: &Program) -> PathBuf {
        self.folder.join(format!("{}.so", program.name))
    }

    fn function(&self, program: &Program, cpu: Cpu, function: &str) -> Result<BpfProgram> {
        let file = format!("{}.{}.o", program.name, cpu.name());
        let path = self.folder.join(file);
        let bytes =
            std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        let object = Object::parse(&bytes).with_context(|| format!("{}", path.display()))?;
        object
            .into_programs()
            .into_iter()
            .map(|found| found.into_program())
            .find(|found| found.name == function)
            .with_context(|| format!("{} has no function {function}", path.display()))
    }
}
