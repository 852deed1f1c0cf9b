//! Program records: what a hook runs.

use std::mem::{offset_of, size_of};

use bpftime_abi::EntryPoint;
use bpftime_abi::target::{Control, MAX_PROGRAMS, PROGRAM_NEEDS_CPU, ProgramRecord, State};

use super::control::ControlMemory;
use crate::error::{Error, Result};
use crate::target::Target;

/// A program as a hook runs it. Addresses are of the process.
#[derive(Clone, Copy, Debug)]
pub struct ProgramSpec {
    /// The code.
    pub entry: EntryPoint,
    /// Table of map handles (`VmCtx::maps`).
    pub maps: u64,
    /// Table of map values (`VmCtx::map_values`).
    pub map_values: u64,
    /// What `bpf_get_attach_cookie` gives.
    pub cookie: u64,
    /// A virtual CPU is leased for each run.
    pub needs_cpu: bool,
    /// The broker's number of the link.
    pub link_id: u32,
}

/// Records in use, by index.
#[derive(Debug, Default)]
pub(super) struct Programs {
    used: Vec<bool>,
    /// Removed, but a thread might still have been running them.
    retired: Vec<usize>,
    generation: u64,
}

impl Programs {
    /// Writes a record that no list refers to yet, and switches it on.
    pub(super) fn add(
        &mut self,
        target: &Target,
        control: &ControlMemory,
        spec: &ProgramSpec,
    ) -> Result<usize> {
        let index = match self.used.iter().position(|used| !used) {
            Some(index) => index,
            None if self.used.len() < MAX_PROGRAMS => {
                self.used.push(false);
                self.used.len() - 1
            }
            None => {
                return Err(Error::Unsupported(format!(
                    "process {} runs {MAX_PROGRAMS} programs already, which is the most",
                    target.pid()
                )));
            }
        };
        self.generation += 1;
        let switch = switch_at(control, index);
        let mut record = vec![0; size_of::<ProgramRecord>()];
        let mut put = |offset: usize, value: &[u8]| {
            if let Some(place) = record.get_mut(offset..offset + value.len()) {
                place.copy_from_slice(value);
            }
        };
        let flags = if spec.needs_cpu { PROGRAM_NEEDS_CPU } else { 0 };
        put(
            offset_of!(ProgramRecord, entry),
            &spec.entry.address().to_le_bytes(),
        );
        put(offset_of!(ProgramRecord, maps), &spec.maps.to_le_bytes());
        put(
            offset_of!(ProgramRecord, map_values),
            &spec.map_values.to_le_bytes(),
        );
        put(
            offset_of!(ProgramRecord, cookie),
            &spec.cookie.to_le_bytes(),
        );
        put(offset_of!(ProgramRecord, switch), &switch.to_le_bytes());
        put(
            offset_of!(ProgramRecord, generation),
            &self.generation.to_le_bytes(),
        );
        put(offset_of!(ProgramRecord, flags), &flags.to_le_bytes());
        put(
            offset_of!(ProgramRecord, link_id),
            &spec.link_id.to_le_bytes(),
        );
        target.write(record_at(control, index), &record)?;
        target.write(switch, &self.generation.to_le_bytes())?;
        if let Some(used) = self.used.get_mut(index) {
            *used = true;
        }
        Ok(index)
    }

    /// Switches a program off, here and in forked children. Its record stays as it is.
    pub(super) fn switch_off(
        &mut self,
        target: &Target,
        control: &ControlMemory,
        index: usize,
    ) -> Result<()> {
        target.write(switch_at(control, index), &[0; 8])?;
        self.retired.push(index);
        Ok(())
    }

    /// To be called when no thread runs programs: records of removed ones are free.
    pub(super) fn reclaim(&mut self) {
        for index in self.retired.drain(..) {
            if let Some(used) = self.used.get_mut(index) {
                *used = false;
            }
        }
    }

    pub(super) fn has_retired(&self) -> bool {
        !self.retired.is_empty()
    }
}

/// Address of a record.
pub(super) fn record_at(control: &ControlMemory, index: usize) -> u64 {
    let offset = offset_of!(State, programs) + index * size_of::<ProgramRecord>();
    control.place.state + offset as u64
}

fn switch_at(control: &ControlMemory, index: usize) -> u64 {
    control.address + (offset_of!(Control, switches) + index * 8) as u64
}

/// Makes a list of records out of `indices`, from the end, so that it is whole at any moment.
pub(super) fn write_list(
    target: &Target,
    control: &ControlMemory,
    head_at: u64,
    indices: &[usize],
) -> Result<()> {
    let mut next = 0_u64;
    for index in indices.iter().rev() {
        let at = record_at(control, *index);
        target.write(
            at + offset_of!(ProgramRecord, next) as u64,
            &next.to_le_bytes(),
        )?;
        next = at;
    }
    target.write(head_at, &next.to_le_bytes())
}
