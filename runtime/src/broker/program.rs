//! Programs as the broker holds them.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bpftime_isa::{Insn, ProgType};

use super::map::Map;
use super::objects::Btf;

/// A verified program.
#[derive(Debug)]
pub struct Program {
    /// Id as tools see it.
    pub id: u32,
    /// Name that the tool gave.
    pub name: String,
    /// Type.
    pub prog_type: ProgType,
    /// Hash of the instructions.
    pub tag: [u8; 8],
    /// The instructions as tools are shown them, 8 bytes each.
    pub shown: Vec<u8>,
    /// Whether the licence is compatible with the GPL.
    pub gpl_compatible: bool,
    /// When it was loaded, nanoseconds since boot.
    pub load_time: u64,
    /// Abstract steps of its verification.
    pub verified_insns: u64,
    /// Compiled code; none for types that nothing here runs.
    pub code: Option<Code>,
    /// Maps that the instructions refer to, by index.
    pub maps: Vec<Arc<Map>>,
    /// Its type information.
    pub btf: Option<Arc<Btf>>,
    /// Maps that live as long as the program though no instruction refers to them.
    pub bound: Mutex<Vec<Arc<Map>>>,
}

/// Compiled code.
#[derive(Debug)]
pub struct Code {
    /// The code, position-independent, in a sealed file.
    pub file: OwnedFd,
    /// Bytes of code.
    pub len: usize,
    /// Offset of the entry.
    pub entry: usize,
    /// Bytes of native stack.
    pub stack_bytes: usize,
    /// A virtual CPU must be leased for each run.
    pub needs_cpu: bool,
}

impl Code {
    /// The first `len` bytes of the code.
    pub fn read(&self, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len.min(self.len)];
        let file = File::from(self.file.try_clone()?);
        file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }
}

impl Program {
    /// Number of instruction slots.
    pub fn slots(&self) -> u32 {
        (self.shown.len() / Insn::SIZE) as u32
    }

    /// Maps bound with `BPF_PROG_BIND_MAP`.
    pub fn bound(&self) -> MutexGuard<'_, Vec<Arc<Map>>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
