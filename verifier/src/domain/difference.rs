//! How much would be forgotten if two states were joined.
//!
//! A measure only, by which the engine chooses what to join when it keeps too many states: nothing
//! depends on it but precision. What decides later branches and accesses weighs most: kinds of
//! values, nullness, bytes known to be in the packet, and constants, which are mostly results of
//! decisions (`err = -22`) that the program looks at again.

use super::stack::Found;
use super::state::{Frame, State};
use super::value::{Kind, Value};

/// A pointer on one side, something else on the other: joined, neither can be used.
const KIND: u32 = 1000;
/// A pointer that may be null on one side only.
const NULLNESS: u32 = 300;
/// Other offsets, or other bytes known to be in the packet.
const PLACE: u32 = 200;
/// Two constants.
const CONSTANTS: u32 = 40;
/// A constant and a number that is not known to be one.
const CONSTANT: u32 = 12;
/// Other ranges.
const RANGE: u32 = 2;

/// How different the states are; 0 if a join forgets nothing.
pub fn difference(a: &State, b: &State) -> u32 {
    if a.depth() != b.depth() || a.references.len() != b.references.len() {
        return u32::MAX;
    }
    a.frames()
        .zip(b.frames())
        // Where both are the very same memory nothing differs.
        .filter(|(x, y)| !std::ptr::eq::<Frame>(*x, *y))
        .map(|(x, y)| frames(x, y))
        .fold(0, u32::saturating_add)
}

fn frames(a: &Frame, b: &Frame) -> u32 {
    let registers = a.regs.iter().zip(&b.regs).map(|(x, y)| values(x, y));
    let mut theirs = b.stack.reader();
    let cells =
        a.stack
            .cells()
            .iter()
            .map(|cell| match theirs.read(cell.at.into(), cell.size.into()) {
                Found::Value(other) => values(&cell.value, &other),
                Found::PartOfPointer => KIND,
            });
    let mut ours = a.stack.reader();
    let others = b.stack.cells().iter();
    let others = others.filter(|cell| !cell.value.is_scalar());
    let pointers = others.map(|cell| match ours.read(cell.at.into(), cell.size.into()) {
        Found::Value(other) if other.is_scalar() => values(&cell.value, &other),
        _ => 0,
    });
    registers
        .chain(cells)
        .chain(pointers)
        .fold(0, u32::saturating_add)
}

fn values(a: &Value, b: &Value) -> u32 {
    if a == b || a.kind == Kind::Uninit || b.kind == Kind::Uninit {
        // What one side may not read any more was not wanted.
        return u32::from(a != b);
    }
    match (a.kind, b.kind) {
        (Kind::Scalar, Kind::Scalar) if a.number == b.number => 0,
        (Kind::Scalar, Kind::Scalar) => match (a.number.as_constant(), b.number.as_constant()) {
            (Some(_), Some(_)) => CONSTANTS,
            (Some(_), None) | (None, Some(_)) => CONSTANT,
            (None, None) => RANGE,
        },
        (x, y) if x != y => KIND,
        _ if a.nullable != b.nullable => NULLNESS,
        (Kind::Packet | Kind::PacketMeta, _) if a.range != b.range || a.delta != b.delta => KIND,
        _ if a.delta != b.delta || a.number != b.number || a.range != b.range => PLACE,
        _ => 0,
    }
}
