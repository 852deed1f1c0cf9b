//! Return addresses that trampolines took off the stacks.

use std::collections::HashMap;
use std::mem::{offset_of, size_of};

use bpftime_abi::target::{RETURN_ENTRIES, RETURN_WINDOW, ReturnEntry, State};

use super::bytes::u64_at;
use super::control::ControlMemory;
use crate::error::Result;
use crate::target::Stopped;

/// One entry in use.
#[derive(Clone, Copy, Debug)]
struct Entry {
    index: usize,
    stack_slot: u64,
    hook: usize,
    return_address: u64,
}

/// The entries of some hooks, read while all threads are stopped.
#[derive(Debug, Default)]
pub(super) struct Returns {
    entries: Vec<Entry>,
    /// Positions in `entries` by stack slot.
    by_slot: HashMap<u64, Vec<usize>>,
    /// Return point by hook.
    points: HashMap<usize, u64>,
    table: u64,
}

impl Returns {
    /// Reads the table; `points` are the hooks that are looked for and their return points.
    pub(super) fn read(
        stopped: &Stopped<'_>,
        control: &ControlMemory,
        points: HashMap<usize, u64>,
    ) -> Result<Self> {
        let table = control.place.state + offset_of!(State, returns) as u64;
        if points.is_empty() {
            return Ok(Self {
                entries: Vec::new(),
                by_slot: HashMap::new(),
                points,
                table,
            });
        }
        let mut bytes = vec![0; RETURN_ENTRIES * size_of::<ReturnEntry>()];
        stopped.read(table, &mut bytes)?;
        let entries: Vec<Entry> = bytes
            .chunks_exact(size_of::<ReturnEntry>())
            .enumerate()
            .filter_map(|(index, entry)| {
                let entry = ReturnEntry {
                    key: u64_at(entry, offset_of!(ReturnEntry, key))?,
                    return_address: u64_at(entry, offset_of!(ReturnEntry, return_address))?,
                };
                let (stack_slot, hook) = entry.live()?;
                let return_address = entry.return_address;
                Some(Entry {
                    index,
                    stack_slot,
                    hook,
                    return_address,
                })
            })
            .collect();
        let mut by_slot: HashMap<u64, Vec<usize>> = HashMap::new();
        for (position, entry) in entries.iter().enumerate() {
            by_slot.entry(entry.stack_slot).or_default().push(position);
        }
        Ok(Self {
            entries,
            by_slot,
            points,
            table,
        })
    }

    /// Whether the word at `slot`, the return point `address`, can be replaced by what it was.
    pub(super) fn can_put_back(&self, slot: u64, address: u64) -> bool {
        self.at_slot(slot)
            .filter_map(|position| self.entries.get(position))
            .any(|e| self.points.get(&e.hook) == Some(&address))
    }

    /// Positions of the entries of a stack slot: a few, unless the process writes what it likes.
    fn at_slot(&self, slot: u64) -> impl Iterator<Item = usize> {
        let positions = self.by_slot.get(&slot).into_iter().flatten();
        positions.copied().take(RETURN_WINDOW)
    }

    /// Position of the entry whose return address is another entry's return point.
    fn chained(&self, entry: &Entry, point: u64) -> Option<usize> {
        self.at_slot(entry.stack_slot).find(|position| {
            let other = self.entries.get(*position);
            other.is_some_and(|o| o.index != entry.index && o.return_address == point)
        })
    }

    /// Takes the hooks out of every chain of outstanding returns. No thread may be in the image
    /// or in a trampoline.
    pub(super) fn put_back(mut self, stopped: &Stopped<'_>) -> Result<()> {
        for position in 0..self.entries.len() {
            let Some(&entry) = self.entries.get(position) else {
                break;
            };
            let Some(&point) = self.points.get(&entry.hook) else {
                continue;
            };
            let mut word = [0; 8];
            if stopped.read(entry.stack_slot, &mut word).is_ok()
                && u64::from_le_bytes(word) == point
            {
                stopped.write(entry.stack_slot, &entry.return_address.to_le_bytes())?;
            } else if let Some(other) = self
                .chained(&entry, point)
                .and_then(|position| self.entries.get_mut(position))
            {
                // A tail call: the hook after this one returns through it.
                other.return_address = entry.return_address;
                let at = self.table + (other.index * size_of::<ReturnEntry>()) as u64;
                let at = at + offset_of!(ReturnEntry, return_address) as u64;
                stopped.write(at, &entry.return_address.to_le_bytes())?;
            }
            let at = self.table + (entry.index * size_of::<ReturnEntry>()) as u64;
            stopped.write(at, &[0; size_of::<ReturnEntry>()])?;
        }
        Ok(())
    }
}
