//! The stack of one frame, byte by byte.
//!
//! A cell remembers a value that was stored with one instruction; cells never overlap. Bytes
//! without a cell hold numbers that are not known, if they are marked as written.

use super::scalar::Scalar;
use super::value::{Kind, Number, Value};

/// Bytes of a frame.
pub const SIZE: usize = bpftime_abi::STACK_SIZE;
const WORDS: usize = SIZE / 64;
/// A set of parts of a frame of 4 bytes each, the lowest first.
pub type Units = u128;
/// Bytes of a unit.
const UNIT: usize = 4;
const _: () = assert!(SIZE / UNIT == Units::BITS as usize);
/// Cells of a frame above which numbers are no longer remembered: twice the slots of 8 bytes.
/// Pointers fill such slots and always are. A frame stays small, so that many states fit in
/// memory and comparing two is quick.
const MAX_CELLS: usize = 2 * SIZE / 8;

/// A value in 1, 2, 4 or 8 bytes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cell {
    /// First byte, counted from the lowest of the frame.
    pub at: u16,
    /// Bytes.
    pub size: u8,
    /// What they hold; numbers are zero-extended from the size.
    pub value: Value,
}

impl Cell {
    fn end(&self) -> usize {
        usize::from(self.at) + usize::from(self.size)
    }
}

/// The stack of one frame.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Stack {
    written: [u64; WORDS],
    cells: Vec<Cell>,
}

/// What a read finds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Found {
    /// A value as it was stored, or a number.
    Value(Value),
    /// Part of a pointer.
    PartOfPointer,
}

/// Loads from places in ascending order, which need no search.
#[derive(Debug)]
pub struct Reader<'a> {
    stack: &'a Stack,
    /// Position of the first cell that ends after the last place.
    first: usize,
}

impl Reader<'_> {
    /// [`Stack::read`] of a place that is not before the last one.
    pub fn read(&mut self, at: usize, size: usize) -> Found {
        let cells = self.stack.cells.get(self.first..).unwrap_or_default();
        self.first += cells.iter().take_while(|cell| cell.end() <= at).count();
        self.stack.read_from(self.first, at, size)
    }
}

impl Stack {
    /// Cells in ascending order.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Cells, to be changed in place.
    pub fn cells_mut(&mut self) -> &mut [Cell] {
        &mut self.cells
    }

    /// Whether all bytes of the range were written.
    pub fn is_written(&self, at: usize, size: usize) -> bool {
        (at..at + size).all(|byte| self.written[byte / 64] & (1 << (byte % 64)) != 0)
    }

    /// Whether every byte written in `other` is written here.
    pub fn written_includes(&self, other: &Self) -> bool {
        self.written
            .iter()
            .zip(&other.written)
            .all(|(mine, theirs)| theirs & !mine == 0)
    }

    /// Lowest byte that was written.
    pub fn lowest_written(&self) -> Option<usize> {
        (0..SIZE).find(|byte| self.written[byte / 64] & (1 << (byte % 64)) != 0)
    }

    fn mark_written(&mut self, at: usize, size: usize) {
        for byte in at..at + size {
            self.written[byte / 64] |= 1 << (byte % 64);
        }
    }

    /// Position of the first cell that ends after `at`.
    fn first_cell(&self, at: usize) -> usize {
        self.cells.partition_point(|cell| cell.end() <= at)
    }

    /// Cells that overlap the range.
    pub fn overlapping(&self, at: usize, size: usize) -> impl Iterator<Item = &Cell> {
        self.cells[self.first_cell(at)..]
            .iter()
            .take_while(move |cell| usize::from(cell.at) < at + size)
    }

    fn forget(&mut self, at: usize, size: usize) {
        let first = self.first_cell(at);
        let count = self.overlapping(at, size).count();
        self.cells.drain(first..first + count);
    }

    /// A store of 1, 2, 4 or 8 bytes at a known place. Pointers are kept in full stores only.
    pub fn write(&mut self, at: usize, size: usize, value: Value) {
        self.forget(at, size);
        self.mark_written(at, size);
        let kept = match value.kind {
            Kind::Scalar if size == 8 => value,
            Kind::Scalar => {
                let truncated = value.number.truncate(size as u32 * 8);
                Value {
                    id: if truncated == value.number {
                        value.id
                    } else {
                        0
                    },
                    ..Value::scalar(truncated)
                }
            }
            _ if size == 8 => value,
            _ => return,
        };
        let unknown = kept.id == 0 && kept.number == any_of_size(size);
        // Bytes without a cell hold numbers that are not known, which is true of any number.
        if kept.is_scalar() && (unknown || self.cells.len() >= MAX_CELLS) {
            return;
        }
        self.insert(Cell {
            at: at as u16,
            size: size as u8,
            value: kept,
        });
    }

    /// Adds a cell where there is none.
    fn insert(&mut self, cell: Cell) {
        let position = self.first_cell(usize::from(cell.at));
        self.cells.insert(position, cell);
    }

    /// Numbers that are not known are written to all of the range.
    pub fn write_unknown(&mut self, at: usize, size: usize) {
        self.forget(at, size);
        self.mark_written(at, size);
    }

    /// Some bytes of the range may be overwritten; those that were not written before may still
    /// not be.
    pub fn may_write(&mut self, at: usize, size: usize) {
        self.forget(at, size);
    }

    /// A load of 1, 2, 4 or 8 bytes.
    pub fn read(&self, at: usize, size: usize) -> Found {
        self.read_from(self.first_cell(at), at, size)
    }

    /// The same; `first` is the position of the first cell that ends after `at`.
    fn read_from(&self, first: usize, at: usize, size: usize) -> Found {
        let mut constant = 0u64;
        let mut known_bytes = 0;
        for cell in self.cells.get(first..).unwrap_or_default() {
            if usize::from(cell.at) >= at + size {
                break;
            }
            if usize::from(cell.at) == at && usize::from(cell.size) == size {
                return Found::Value(cell.value);
            }
            if cell.value.kind != Kind::Scalar {
                return Found::PartOfPointer;
            }
            if usize::from(cell.at) == at && usize::from(cell.size) > size {
                let truncated = cell.value.number.truncate(size as u32 * 8);
                let id = if truncated == cell.value.number {
                    cell.value.id
                } else {
                    0
                };
                return Found::Value(Value {
                    id,
                    ..Value::scalar(truncated)
                });
            }
            if let Some(bytes) = cell.value.number.as_constant() {
                for (index, byte) in bytes.to_le_bytes().iter().enumerate() {
                    let place = usize::from(cell.at) + index;
                    if index < usize::from(cell.size) && (at..at + size).contains(&place) {
                        constant |= u64::from(*byte) << (8 * (place - at));
                        known_bytes += 1;
                    }
                }
            }
        }
        Found::Value(if known_bytes == size {
            Value::constant(constant)
        } else {
            Value::scalar(any_of_size(size))
        })
    }

    /// Loads from places in ascending order.
    pub fn reader(&self) -> Reader<'_> {
        Reader {
            stack: self,
            first: 0,
        }
    }

    /// Forgets bytes that are in none of the units: they count as not written. Iterators and dynptrs stay
    /// where they are: stores over them mean something to others.
    pub fn keep_units(&mut self, live: Units) {
        if live == Units::MAX {
            return;
        }
        for (word, written) in self.written.iter_mut().enumerate() {
            // 64 bytes are 16 units.
            let units = (live >> (word * 64 / UNIT)) as u64 & 0xffff;
            *written &= bytes_of(units);
        }
        self.cells.retain(|cell| {
            let first = usize::from(cell.at) / UNIT;
            let last = (cell.end() - 1) / UNIT;
            cell.value.is_part() || (first..=last).any(|unit| live & (1 << unit) != 0)
        });
    }

    /// Whether [`Self::keep_units`] would change anything.
    pub fn has_beyond(&self, live: Units) -> bool {
        live != Units::MAX
            && (self.written.iter().enumerate().any(|(word, written)| {
                let units = (live >> (word * 64 / UNIT)) as u64 & 0xffff;
                written & !bytes_of(units) != 0
            }))
    }

    /// Drops what is known of the cells that `keep` does not want; their bytes stay written.
    pub fn retain(&mut self, keep: impl FnMut(&Cell) -> bool) {
        self.cells.retain(keep);
    }

    /// What is written in both, with the cells that `join` makes of cells at the same place.
    pub fn join(&self, other: &Self, mut join: impl FnMut(&Value, &Value) -> Value) -> Self {
        let mut result = Self::default();
        for (word, (mine, theirs)) in result
            .written
            .iter_mut()
            .zip(self.written.iter().zip(&other.written))
        {
            *word = mine & theirs;
        }
        // Pointers fill aligned slots of 8 bytes. Where one side has a pointer, what the other
        // side reads there decides; it must never turn into bytes that may be computed with.
        for cell in self.cells.iter().chain(&other.cells) {
            let (at, size) = (usize::from(cell.at), usize::from(cell.size));
            if cell.value.is_scalar() || result.overlapping(at, size).next().is_some() {
                continue;
            }
            let value = match (self.read(at, size), other.read(at, size)) {
                (Found::Value(mine), Found::Value(theirs)) => join(&mine, &theirs),
                _ => Value::any(),
            };
            result.insert(Cell { value, ..*cell });
        }
        for cell in &self.cells {
            let (at, size) = (usize::from(cell.at), usize::from(cell.size));
            if !cell.value.is_scalar() || result.overlapping(at, size).next().is_some() {
                continue;
            }
            if let Found::Value(theirs) = other.read(at, size) {
                let value = join(&cell.value, &theirs);
                if !(value.is_scalar() && value.id == 0 && value.number == any_of_size(size)) {
                    result.insert(Cell { value, ..*cell });
                }
            }
        }
        result
    }
}

/// The bytes of 16 units, as bits.
fn bytes_of(units: u64) -> u64 {
    // Spreads the bits to every fourth place, then fills the places between.
    let mut bits = units;
    bits = (bits | bits << 24) & 0x0000_00ff_0000_00ff;
    bits = (bits | bits << 12) & 0x000f_000f_000f_000f;
    bits = (bits | bits << 6) & 0x0303_0303_0303_0303;
    bits = (bits | bits << 3) & 0x1111_1111_1111_1111;
    bits * 0xf
}

/// Any number of that many bytes.
pub fn any_of_size(size: usize) -> Number {
    match size {
        1 | 2 | 4 => Scalar::below_bits(size as u32 * 8),
        _ => Scalar::unknown(),
    }
}
