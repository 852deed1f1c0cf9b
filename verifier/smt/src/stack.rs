//! The stack of one frame, as terms.
//!
//! A place that is in no cell holds numbers that are not known. Offsets count from the lowest
//! byte of the frame.

use std::collections::BTreeMap;

use z3::ast::{BV, Bool};

use crate::state::Unknowns;
use crate::value::{Value, choose, folded};

/// Cells by first byte: size and value. They do not overlap.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stack {
    cells: BTreeMap<u16, (u8, Value)>,
}

/// Whether the byte lies in the cell, and how far from its start.
fn within(at: u16, size: u8, byte: u16) -> Option<u32> {
    byte.checked_sub(at)
        .filter(|far| *far < u16::from(size))
        .map(u32::from)
}

impl Stack {
    fn overlapping(&self, at: u16, size: u8) -> Vec<u16> {
        self.cells
            .range(at.saturating_sub(7)..at.saturating_add(size.into()))
            .filter(|(first, (bytes, _))| **first + u16::from(*bytes) > at)
            .map(|(first, _)| *first)
            .collect()
    }

    /// A byte, if it is known: a term of 8 bits, or `Err` if it is part of what may be a pointer.
    fn byte(&self, byte: u16) -> Option<Result<BV, ()>> {
        let first = *self.overlapping(byte, 1).first()?;
        let (size, value) = self.cells.get(&first)?;
        let far = within(first, *size, byte)?;
        Some(match value.as_number() {
            Some(number) => Ok(folded(number.extract(8 * far + 7, 8 * far))),
            None => Err(()),
        })
    }

    /// A load.
    pub(crate) fn read(&mut self, unknowns: &mut Unknowns, at: u16, size: u8) -> Value {
        if let Some((bytes, value)) = self.cells.get(&at)
            && *bytes == size
        {
            return value.clone();
        }
        if self.overlapping(at, size).is_empty() {
            let value = Value::number(unknowns.of_size(size));
            self.cells.insert(at, (size, value.clone()));
            return value;
        }
        let mut term: Option<BV> = None;
        for byte in at..at + u16::from(size) {
            let byte = match self.byte(byte) {
                Some(Ok(byte)) => byte,
                Some(Err(())) => return Value::opaque(),
                None => unknowns.bits(8),
            };
            term = Some(match term {
                Some(low) => byte.concat(&low),
                None => byte,
            });
        }
        match term {
            Some(term) => {
                let missing = 64 - 8 * u32::from(size);
                Value::number(folded(if missing > 0 {
                    term.zero_ext(missing)
                } else {
                    term
                }))
            }
            None => Value::opaque(),
        }
    }

    /// Takes away what overlaps; what is left of numbers stays known.
    fn clear(&mut self, at: u16, size: u8) {
        for first in self.overlapping(at, size) {
            let Some((bytes, value)) = self.cells.remove(&first) else {
                continue;
            };
            for far in 0..u16::from(bytes) {
                let byte = first + far;
                if within(at, size, byte).is_some() {
                    continue;
                }
                let left = match value.as_number() {
                    Some(number) => {
                        let bit = 8 * u32::from(far);
                        Value::number(folded(number.extract(bit + 7, bit).zero_ext(56)))
                    }
                    None => Value::opaque(),
                };
                self.cells.insert(byte, (1, left));
            }
        }
    }

    /// A store of the low bytes of a value.
    pub(crate) fn write(&mut self, at: u16, size: u8, value: &Value) {
        self.clear(at, size);
        let kept = match value.as_number() {
            Some(number) if size < 8 => {
                let bits = 8 * u32::from(size);
                Value::number(folded(number.extract(bits - 1, 0).zero_ext(64 - bits)))
            }
            _ if size == 8 => value.clone(),
            _ => Value::opaque(),
        };
        self.cells.insert(at, (size, kept));
    }

    /// A store that happens only if the condition holds.
    pub(crate) fn write_if(
        &mut self,
        unknowns: &mut Unknowns,
        condition: &Bool,
        at: u16,
        size: u8,
        value: &Value,
    ) {
        let before = self.read(unknowns, at, size);
        let mut after = Self::default();
        after.write(at, size, value);
        let stored = after.read(unknowns, at, size);
        self.clear(at, size);
        self.cells
            .insert(at, (size, choose(condition, &stored, &before)));
    }

    /// Remembers what is in a place, where nothing was.
    pub(crate) fn set(&mut self, at: u16, size: u8, value: Value) {
        self.cells.insert(at, (size, value));
    }

    /// Numbers that are not known are written to the range.
    pub(crate) fn forget(&mut self, at: u16, size: u16) {
        for byte in at..at.saturating_add(size) {
            if !self.overlapping(byte, 1).is_empty() {
                self.clear(byte, 1);
            }
        }
    }

    /// Anything may have been written anywhere.
    pub(crate) fn forget_all(&mut self) {
        self.cells.retain(|_, (_, value)| !value.is_number());
        for (_, value) in self.cells.values_mut() {
            *value = Value::opaque();
        }
    }

    /// Changes every value.
    pub(crate) fn change(&mut self, mut change: impl FnMut(&Value) -> Option<Value>) {
        for (_, value) in self.cells.values_mut() {
            if let Some(changed) = change(value) {
                *value = changed;
            }
        }
    }

    /// What is in the place, without remembering it.
    fn peek(&self, unknowns: &mut Unknowns, at: u16, size: u8) -> Value {
        self.clone_range(at, size).read(unknowns, at, size)
    }

    fn clone_range(&self, at: u16, size: u8) -> Self {
        let cells = self
            .overlapping(at, size)
            .into_iter()
            .filter_map(|first| Some((first, self.cells.get(&first)?.clone())));
        Self {
            cells: cells.collect(),
        }
    }

    /// `a` if the condition holds, else `b`.
    pub(crate) fn choose(unknowns: &mut Unknowns, condition: &Bool, a: &Self, b: &Self) -> Self {
        let mut result = Self::default();
        for (at, (size, value)) in a.cells.iter().chain(&b.cells) {
            if let Some((known, _)) = result.cells.get(at)
                && known == size
            {
                continue;
            }
            let clash = !result.overlapping(*at, *size).is_empty();
            let whole = |stack: &Self| {
                stack
                    .overlapping(*at, *size)
                    .iter()
                    .all(|first| first == at && stack.cells[first].0 == *size)
            };
            // Where pointers are split differently, each byte of them is anything.
            if !clash && ((whole(a) && whole(b)) || value.is_number()) {
                let x = a.peek(unknowns, *at, *size);
                let y = b.peek(unknowns, *at, *size);
                result.cells.insert(*at, (*size, choose(condition, &x, &y)));
                continue;
            }
            for byte in *at..*at + u16::from(*size) {
                result.clear(byte, 1);
                let x = a.peek(unknowns, byte, 1);
                let y = b.peek(unknowns, byte, 1);
                result.cells.insert(byte, (1, choose(condition, &x, &y)));
            }
        }
        result
    }
}
