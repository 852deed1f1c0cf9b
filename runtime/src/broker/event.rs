//! Perf events: probe sites, output rings, and others that never fire here.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::sys::eventfd::EventFd;

use super::program::Program;

/// What `perf_event_open` made.
#[derive(Debug)]
pub struct Event {
    /// The broker's number.
    pub number: u32,
    /// What it is.
    pub kind: EventKind,
    enabled: AtomicBool,
    program: Mutex<Option<Arc<Program>>>,
}

/// Kind of an event.
#[derive(Debug)]
pub enum EventKind {
    /// A place in a file.
    Uprobe(Uprobe),
    /// An output ring for `bpf_perf_event_output`.
    Output(OutputRing),
    /// A clock event, which is accepted so that tools go on, and never fires.
    Clock,
}

/// A place in a file, and whose calls are counted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uprobe {
    /// The file, canonical, as the broker sees it.
    pub path: PathBuf,
    /// Offset of the instruction in the file.
    pub offset: u64,
    /// At the function's return instead of its entry.
    pub at_return: bool,
    /// Only in this process; all targets without.
    pub pid: Option<i32>,
}

/// The memory of an output ring.
#[derive(Debug)]
pub struct OutputRing {
    /// The file that the tool maps: one control page, then data.
    pub memory: OwnedFd,
    /// An open file of its own, see [`crate::sys::file::is_sole_user`].
    pub lease: OwnedFd,
    /// What tools wait on.
    pub wake: EventFd,
    /// Bytes of data after the control page, known when the tool has mapped the ring; else 0.
    pub data_len: AtomicU64,
}

impl Event {
    /// A new event without a program.
    pub fn new(number: u32, kind: EventKind, enabled: bool) -> Self {
        Self {
            number,
            kind,
            enabled: AtomicBool::new(enabled),
            program: Mutex::new(None),
        }
    }

    /// The place, if the event is one.
    pub fn uprobe(&self) -> Option<&Uprobe> {
        match &self.kind {
            EventKind::Uprobe(uprobe) => Some(uprobe),
            _ => None,
        }
    }

    /// Whether programs run.
    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Acquire)
    }

    /// Lets programs run, or stops them.
    pub fn set_enabled(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Release);
    }

    /// The program that `PERF_EVENT_IOC_SET_BPF` put here.
    pub fn program(&self) -> Option<Arc<Program>> {
        self.program
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// Puts a program here; `false` if there is one already.
    pub fn set_program(&self, program: Arc<Program>) -> bool {
        let mut slot = self
            .program
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let free = slot.is_none();
        if free {
            *slot = Some(program);
        }
        free
    }
}
