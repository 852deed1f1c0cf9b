//! The register file, which knows which registers hold a value.

use bpftime_isa::Reg;

use super::machine::Arguments;
use super::trap::TrapReason;

/// `r0` to `r9`, each with a value or without, and the frame pointer.
#[derive(Debug)]
pub(crate) struct Registers {
    general: [Option<u64>; 10],
    frame_pointer: u64,
}

impl Registers {
    /// At a program's entry: `r1`, `r2` and `r10` hold something.
    pub(crate) fn new(r1: u64, r2: u64, frame_pointer: u64) -> Self {
        let mut general = [None; 10];
        general[1] = Some(r1);
        general[2] = Some(r2);
        Self {
            general,
            frame_pointer,
        }
    }

    /// The value of a register.
    pub(crate) fn get(&self, reg: Reg) -> Result<u64, TrapReason> {
        match self.general.get(reg.index()) {
            Some(value) => value.ok_or(TrapReason::Uninitialised(reg)),
            None => Ok(self.frame_pointer),
        }
    }

    /// Writes a register.
    pub(crate) fn set(&mut self, reg: Reg, value: u64) -> Result<(), TrapReason> {
        let slot = self
            .general
            .get_mut(reg.index())
            .ok_or(TrapReason::FramePointerWrite)?;
        *slot = Some(value);
        Ok(())
    }

    /// `r1` to `r5` as a helper gets them.
    pub(crate) fn arguments(&self) -> Arguments {
        let [_, r1, r2, r3, r4, r5, ..] = self.general;
        let registers = [r1, r2, r3, r4, r5];
        Arguments {
            values: registers.map(|value| value.unwrap_or(0)),
            initialised: registers.map(|value| value.is_some()),
        }
    }

    /// After a call `r0` holds the result, if there is one, and `r1` to `r5` nothing.
    pub(crate) fn after_call(&mut self, result: Option<u64>) {
        self.general[0] = result;
        self.general[1..=5].fill(None);
    }

    /// Enters a subprogram: `r0` and `r6` to `r9` hold nothing there. Gives what the caller
    /// needs back: `r6` to `r9` and its frame pointer.
    pub(crate) fn enter(&mut self, frame_pointer: u64) -> ([Option<u64>; 4], u64) {
        let [.., r6, r7, r8, r9] = self.general;
        let caller_frame = std::mem::replace(&mut self.frame_pointer, frame_pointer);
        self.general[0] = None;
        self.general[6..].fill(None);
        ([r6, r7, r8, r9], caller_frame)
    }

    /// At the start of a function that a helper calls.
    pub(crate) fn set_arguments(&mut self, arguments: [Option<u64>; 5]) {
        self.general[1..=5].copy_from_slice(&arguments);
    }

    /// Returns to the caller; `r0` is as the subprogram left it.
    pub(crate) fn leave(&mut self, saved: [Option<u64>; 4], frame_pointer: u64) {
        self.general[1..=5].fill(None);
        self.general[6..].copy_from_slice(&saved);
        self.frame_pointer = frame_pointer;
    }
}
