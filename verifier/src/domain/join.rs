//! A state that covers two others.

use super::interval::Interval;
use super::pairs::Pairs;
use super::state::{Frame, State};
use super::value::{Id, Kind, Number, Value};

/// Makes identities for the values of a joined state: values that share one on both sides share
/// one in the result.
struct Names<'a> {
    pairs: Pairs<(Id, Id)>,
    /// Names of acquired resources.
    held: Pairs<(Id, Id)>,
    /// The states that are joined, which know what is a resource.
    resources: [&'a State; 2],
    next: &'a mut Id,
}

impl Names<'_> {
    /// Whether one of the identities is that of a resource in its state.
    fn is_resource(&self, a: Id, b: Id) -> bool {
        let pairs = self.resources.iter().zip([a, b]);
        pairs
            .flat_map(|(state, id)| state.references.iter().map(move |held| held.id == id))
            .any(|same| same)
    }

    fn fresh(&mut self) -> Id {
        *self.next += 1;
        *self.next
    }

    fn of(&mut self, a: Id, b: Id) -> Id {
        if let Some(name) = self.pairs.get(&(a, b)) {
            return name;
        }
        let name = self.fresh();
        self.pairs.insert((a, b), name);
        name
    }
}

/// How numbers are combined: joined, or widened so that repetition ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How<'a> {
    /// As precise as can be.
    Join,
    /// Reaches a fixed point after a bounded number of times: ends that move jump to a power of two, or to
    /// one of these numbers, in ascending order, if that is nearer.
    Widen(&'a [u64]),
}

impl How<'_> {
    fn combine(self, a: Number, b: Number) -> Number {
        match self {
            Self::Join => a.join(b),
            Self::Widen(stops) => widen(a, b, stops),
        }
    }
}

/// A number that holds both. It ends at the first of the stops that is not below either, if the widened
/// number ends beyond it: each time that it is widened again it ends at a later stop, or beyond all.
fn widen(a: Number, b: Number, stops: &[u64]) -> Number {
    let wide = a.widen(b);
    let ((_, most), (least, end)) = (a.join(b).unsigned(), wide.unsigned());
    let stop = stops.get(stops.partition_point(|stop| *stop < most));
    let held = stop.filter(|stop| **stop < end).and_then(|stop| {
        // Both lie between the widened number's least and the stop.
        wide.meet(Number::range(Interval::new(least, *stop)))
    });
    held.unwrap_or(wide)
}

/// A state that covers both, or `None` if they cannot be in one: other frames, other resources.
/// `next_id` is the last identity in use.
pub fn join(a: &State, b: &State, how: How<'_>, next_id: &mut Id) -> Option<State> {
    if a.depth() != b.depth() || a.references.len() != b.references.len() {
        return None;
    }
    let mut names = Names {
        pairs: Pairs::default(),
        held: Pairs::default(),
        resources: [a, b],
        next: next_id,
    };
    let mut result = a.clone();
    if a.sections.locks.len() != b.sections.locks.len() {
        return None;
    }
    let pairs = a.sections.locks.iter().zip(&b.sections.locks);
    for (lock, (x, y)) in result.sections.locks.iter_mut().zip(pairs) {
        if (x.kind, x.holder) != (y.kind, y.holder) || (x.value == 0) != (y.value == 0) {
            return None;
        }
        if x.value != 0 {
            lock.value = names.of(x.value, y.value);
        }
    }
    let depths = |state: &State| {
        let sections = &state.sections;
        (sections.rcu, sections.preempt, sections.irq)
    };
    if depths(a) != depths(b) {
        return None;
    }
    result.executed = a.executed.max(b.executed);
    result.lineage.merge(&b.lineage);
    for (held, (x, y)) in result
        .references
        .iter_mut()
        .zip(a.references.iter().zip(&b.references))
    {
        if x.slot != y.slot {
            return None;
        }
        held.id = names.of(x.id, y.id);
        names.held.insert((x.id, y.id), held.id);
    }
    let mut frames = Vec::with_capacity(a.depth());
    for (x, y) in a.frames().zip(b.frames()) {
        let mut regs = x.regs;
        for (reg, theirs) in regs.iter_mut().zip(&y.regs) {
            *reg = join_values(reg, theirs, how, &mut names);
        }
        let stack = x
            .stack
            .join(&y.stack, |p, q| join_values(p, q, how, &mut names));
        frames.push(Frame {
            regs,
            stack,
            callback: x.callback,
            held_before: x.held_before,
        });
    }
    result.set_frames(frames);
    Some(result)
}

fn join_values(a: &Value, b: &Value, how: How<'_>, names: &mut Names<'_>) -> Value {
    match (a.kind, b.kind) {
        (Kind::Uninit, _) | (_, Kind::Uninit) => Value::uninit(),
        (Kind::Scalar, Kind::Scalar) => {
            let number = how.combine(a.number, b.number);
            let id = if a.id != 0 && b.id != 0 && number.as_constant().is_none() {
                names.of(a.id, b.id)
            } else {
                0
            };
            Value {
                id,
                ..Value::scalar(number)
            }
        }
        (Kind::Scalar, _) if can_be_null(b) && a.as_constant() == Some(0) => maybe_null(b, names),
        (_, Kind::Scalar) if can_be_null(a) && b.as_constant() == Some(0) => maybe_null(a, names),
        (x, y) if x == y => join_pointers(a, b, how, names),
        _ => Value::any(),
    }
}

/// Whether "this pointer or null" can be said: no offset, no resource.
fn can_be_null(value: &Value) -> bool {
    matches!(value.kind, Kind::Map { .. } | Kind::MapValue { .. })
        && value.delta == 0
        && value.number.as_constant() == Some(0)
        && value.reference == 0
}

fn maybe_null(value: &Value, names: &mut Names<'_>) -> Value {
    Value {
        nullable: true,
        id: names.fresh(),
        ..*value
    }
}

/// Whether the reference of such values need not be that of a resource.
fn is_window(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Dynptr { .. } | Kind::GivenDynptr | Kind::Slice { .. }
    )
}

fn join_pointers(a: &Value, b: &Value, how: How<'_>, names: &mut Names<'_>) -> Value {
    if (a.reference == 0) != (b.reference == 0) {
        return Value::any();
    }
    let reference = if a.reference == 0 {
        0
    } else {
        // A pointer that stands for one resource here and for another there goes with neither of
        // the joined state: it would outlive both.
        match names.held.get(&(a.reference, b.reference)) {
            Some(held) => held,
            // What a dynptr that stands for no resource gave stays valid without it.
            None if is_window(a.kind) && !names.is_resource(a.reference, b.reference) => {
                names.of(a.reference, b.reference)
            }
            None => return Value::any(),
        }
    };
    let mut joined = Value { reference, ..*a };
    if matches!(a.kind, Kind::Packet | Kind::PacketMeta) {
        if a.delta != b.delta || (a.id == 0) != (b.id == 0) {
            return Value::any();
        }
        if a.id == 0 {
            joined.id = 0;
        } else {
            joined.id = names.of(a.id, b.id);
        }
        joined.number = a.number.join(b.number);
        joined.range = a.range.min(b.range);
        return joined;
    }
    if a.delta != b.delta || a.number != b.number {
        joined.delta = 0;
        joined.number = how.combine(a.offset(), b.offset());
    }
    joined.nullable = a.nullable || b.nullable;
    joined.id = match (a.nullable, b.nullable) {
        (false, false) if a.id != 0 && b.id != 0 => names.of(a.id, b.id),
        (false, false) => 0,
        // With an offset there is no null any more that a comparison with 0 would find; but nodes of
        // collections are null instead of at their offset.
        _ if a.delta != b.delta || joined.number.as_constant() != Some(0) => return Value::any(),
        (true, true) => names.of(a.id, b.id),
        _ => names.fresh(),
    };
    joined
}
