//! Whether one state covers another: whatever is possible in the second is possible in the first.

use super::pairs::Pairs;
use super::section::Sections;
use super::stack::{Cell, Found, Stack};
use super::state::{Frame, State};
use super::value::{Id, Kind, Value};

/// Pairs of identities, each of the first kind matched to one of the second.
///
/// Identities are names; only which values share one matters. If two values share an identity in
/// the covering state, they must share one in the covered state.
#[derive(Default)]
struct Matching {
    pairs: Pairs<Id>,
}

impl Matching {
    /// Whether `general` can stand for `special`, given what it stood for before.
    fn matches(&mut self, general: Id, special: Id) -> bool {
        match self.pairs.get(&general) {
            Some(before) => before == special,
            None => {
                self.pairs.insert(general, special);
                true
            }
        }
    }
}

/// Stands for the identity of null; no value has it.
const NULL: Id = Id::MAX;

/// Whether every concrete state of `special` is one of `general`. Without `leaks`, a pointer on
/// the stack is not covered by bytes that may be read as numbers.
pub fn covers(general: &State, special: &State, leaks: bool) -> bool {
    if general.depth() != special.depth() || general.references.len() != special.references.len() {
        return false;
    }
    let mut matching = Matching::default();
    if !sections_match(&general.sections, &special.sections, &mut matching) {
        return false;
    }
    // Resources are matched in order of acquisition, one to one.
    for (a, b) in general.references.iter().zip(&special.references) {
        if a.slot != b.slot || !matching.matches(a.id, b.id) {
            return false;
        }
    }
    // The innermost frames first: it is there that states differ, and which values are equal may be looked
    // at in any order.
    general.frames().zip(special.frames()).rev().all(|(a, b)| {
        if std::ptr::eq(a, b) {
            frame_covers_itself(a, &mut matching)
        } else {
            frame_covers(a, b, &mut matching, leaks)
        }
    })
}

/// What [`frame_covers`] says of a frame and itself: every number is within its bounds, so only
/// identities matter.
fn frame_covers_itself(frame: &Frame, matching: &mut Matching) -> bool {
    let cells = frame.stack.cells().iter().map(|cell| &cell.value);
    frame
        .regs
        .iter()
        .chain(cells)
        .all(|value| match value.kind {
            Kind::Uninit => true,
            Kind::Any => value.reference == 0,
            _ => {
                (value.reference == 0 || matching.matches(value.reference, value.reference))
                    && (value.id == 0 || matching.matches(value.id, value.id))
            }
        })
}

/// Whether both are in the same sections; what is held are the same locks.
fn sections_match(a: &Sections, b: &Sections, matching: &mut Matching) -> bool {
    let mut pairs = a.locks.iter().zip(&b.locks);
    let locks = a.locks.len() == b.locks.len()
        && pairs.all(|(x, y)| {
            (x.kind, x.holder) == (y.kind, y.holder)
                && (x.value == 0) == (y.value == 0)
                && (x.value == 0 || matching.matches(x.value, y.value))
        });
    locks && a.rcu == b.rcu && a.preempt == b.preempt && a.irq == b.irq
}

fn frame_covers(a: &Frame, b: &Frame, matching: &mut Matching, leaks: bool) -> bool {
    a.regs
        .iter()
        .zip(&b.regs)
        .all(|(a, b)| value_covers(a, b, matching))
        && stack_covers(&a.stack, &b.stack, matching, leaks)
}

fn stack_covers(a: &Stack, b: &Stack, matching: &mut Matching, leaks: bool) -> bool {
    if !b.written_includes(a) {
        return false;
    }
    let mut others = b.cells().iter().peekable();
    let mut theirs = b.reader();
    // Iterators and dynptrs are not numbers, which bytes of which nothing is known may be read as.
    let skipped = |other: &&Cell| !other.value.is_part();
    for cell in a.cells() {
        while let Some(other) = others.next_if(|other| other.at < cell.at) {
            if !skipped(&other) {
                return false;
            }
        }
        // Mostly there is a cell at the same place, and no need to search for it.
        let read = match others.peek() {
            Some(same) if same.at == cell.at && same.size == cell.size => Found::Value(same.value),
            _ => theirs.read(usize::from(cell.at), usize::from(cell.size)),
        };
        let Found::Value(value) = read else {
            return false;
        };
        if !value_covers(&cell.value, &value, matching) {
            return false;
        }
        others.next_if(|other| other.at == cell.at);
    }
    if !others.all(|other| skipped(&other)) {
        return false;
    }
    leaks
        || b.cells().iter().all(|cell| {
            cell.value.is_scalar()
                || a.overlapping(usize::from(cell.at), usize::from(cell.size))
                    .any(|mine| mine.at == cell.at && mine.size == cell.size)
        })
}

fn value_covers(a: &Value, b: &Value, matching: &mut Matching) -> bool {
    match (a.kind, b.kind) {
        (Kind::Uninit, _) => true,
        (_, Kind::Uninit) => false,
        (Kind::Any, _) => a.reference == 0 && b.reference == 0,
        (Kind::Scalar, Kind::Scalar) => {
            b.number.is_subset(a.number)
                && (a.id == 0 || (b.id != 0 && matching.matches(a.id, b.id)))
        }
        (a_kind, b_kind) if a_kind == b_kind => pointer_covers(a, b, matching),
        // Null is one of the things that a nullable pointer may be.
        (_, Kind::Scalar) => {
            a.nullable
                && a.reference == 0
                && b.as_constant() == Some(0)
                && matching.matches(a.id, NULL)
        }
        _ => false,
    }
}

fn pointer_covers(a: &Value, b: &Value, matching: &mut Matching) -> bool {
    if b.nullable && !a.nullable {
        return false;
    }
    if (a.reference == 0) != (b.reference == 0)
        || (a.reference != 0 && !matching.matches(a.reference, b.reference))
    {
        return false;
    }
    match a.kind {
        Kind::Packet | Kind::PacketMeta => {
            // The range counts from the variable part, so that has to be the same.
            a.delta == b.delta
                && a.range <= b.range
                && b.number.is_subset(a.number)
                && (a.id == 0) == (b.id == 0)
                && (a.id == 0 || matching.matches(a.id, b.id))
        }
        _ => {
            // Pointers that may be null with one identity are null together. One that is not null
            // has an identity only if it matters which of several things it points to.
            (if a.delta == b.delta {
                b.number.is_subset(a.number)
            } else {
                b.offset().is_subset(a.offset())
            }) && (a.id == 0 || ((a.nullable || b.id != 0) && matching.matches(a.id, b.id)))
        }
    }
}
