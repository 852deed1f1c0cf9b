//! The same C as native code.

use std::path::PathBuf;

use anyhow::{Context, Result};
use bpftime_drivers::{Engine, Loaded};
use bpftime_isa::Program;
use libloading::Library;

/// A shared object with the function `native`.
pub(crate) struct Native(pub(crate) PathBuf);

type Function = unsafe extern "C" fn(*mut u8, u64) -> u64;

struct Opened {
    function: Function,
    /// Words, as the program wants its memory aligned.
    memory: Vec<u64>,
    len: u64,
    _library: Library,
}

impl Engine for Native {
    fn name(&self) -> &'static str {
        "native"
    }

    fn load(&self, _: Program, memory_len: usize) -> Result<Box<dyn Loaded>> {
        // SAFETY: the object is of this project and has no constructors.
        let library = unsafe { Library::new(&self.0) }
            .with_context(|| format!("{} cannot be opened", self.0.display()))?;
        // SAFETY: this is the function's type in program.h.
        let function = *unsafe { library.get::<Function>(b"native\0") }?;
        Ok(Box::new(Opened {
            function,
            memory: vec![0; memory_len.div_ceil(8)],
            len: memory_len as u64,
            _library: library,
        }))
    }
}

impl Loaded for Opened {
    fn set_memory(&mut self, memory: &[u8]) -> Result<()> {
        self.memory = words(memory);
        self.len = memory.len() as u64;
        Ok(())
    }

    fn run(&mut self, times: u32) -> Result<u64> {
        let memory = self.memory.as_mut_ptr().cast();
        let mut result = 0;
        for _ in 0..times.max(1) {
            // SAFETY: the library is open; the function stays within memory of the set's length, which
            // this is, as it was proved of the same C for eBPF.
            result = unsafe { (self.function)(memory, self.len) };
        }
        Ok(result)
    }
}

/// Bytes as words, aligned as the programs want them.
pub(crate) fn words(bytes: &[u8]) -> Vec<u64> {
    let word = |chunk: &[u8]| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(word)
    };
    bytes.chunks(8).map(word).collect()
}
