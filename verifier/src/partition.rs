//! Which states are kept apart where paths meet.
//!
//! States of one class agree in all that a later access depends on directly: kinds of registers and
//! of stored pointers, nullness, bytes known to be in the packet, resources. What they differ in are
//! numbers. Within a class a number of states is kept apart; one more is joined with the state of the
//! class that it is most like ([`difference`]). If there are too many states over all classes, the most
//! similar ones are joined, whatever their class. Any choice is sound, for a join covers both.

use crate::domain::difference::difference;
use crate::domain::join::{How, join};
use crate::domain::stack::Cell;
use crate::domain::state::{Frame, State};
use crate::domain::value::{Id, Value};

/// How many states are kept apart.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) per_class: usize,
    pub(crate) in_all: usize,
}

/// What it took to add a state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Added {
    /// States were joined, or might have been.
    pub(crate) joined: bool,
    /// Pairs of states that were compared.
    pub(crate) comparisons: u64,
}

/// Adds a state that none of the set covers.
pub(crate) fn add(set: &mut Vec<State>, state: State, limits: Limits, next_id: &mut Id) -> Added {
    let mut added = Added {
        joined: true,
        comparisons: set.len() as u64,
    };
    let alike: Vec<usize> = (0..set.len())
        .filter(|position| same_class(&set[*position], &state))
        .collect();
    if alike.len() >= limits.per_class {
        let nearest = alike
            .into_iter()
            .min_by_key(|position| difference(&set[*position], &state));
        if let Some(position) = nearest
            && let Some(joined) = join(&set[position], &state, How::Join, next_id)
        {
            set[position] = joined;
            return added;
        }
    }
    set.push(state);
    if set.len() > limits.in_all {
        // Where none can be joined, the set stays as large as it is, and each further state costs
        // as much again.
        added.comparisons += (set.len() as u64).pow(2) / 2;
        shrink(set, limits.in_all / 2, next_id);
        return added;
    }
    added.joined = false;
    added
}

/// Joins the states that are most alike until so many are left, or none can be joined.
fn shrink(set: &mut Vec<State>, wanted: usize, next_id: &mut Id) {
    let mut pairs: Vec<(u32, usize, usize)> = Vec::new();
    for (second, state) in set.iter().enumerate() {
        // The nearest of those before it is enough: chains of similar states become one.
        let nearest = set[..second]
            .iter()
            .enumerate()
            .map(|(first, other)| (difference(other, state), first))
            .min();
        pairs.extend(nearest.map(|(far, first)| (far, first, second)));
    }
    pairs.sort_unstable();
    let mut gone = vec![false; set.len()];
    let mut left = set.len();
    for (_, first, second) in pairs {
        if left <= wanted {
            break;
        }
        if gone[first] || gone[second] {
            continue;
        }
        if let Some(joined) = join(&set[first], &set[second], How::Join, next_id) {
            set[first] = joined;
            gone[second] = true;
            left -= 1;
        }
    }
    let mut position = 0;
    set.retain(|_| {
        position += 1;
        !gone[position - 1]
    });
}

/// Whether the states agree in kinds of values, nullness and resources.
pub(crate) fn same_shape(a: &State, b: &State) -> bool {
    agree(a, b, Value::same_shape)
}

fn same_class(a: &State, b: &State) -> bool {
    agree(a, b, Value::same_class)
}

fn agree(a: &State, b: &State, same: fn(&Value, &Value) -> bool) -> bool {
    a.depth() == b.depth()
        && a.references.len() == b.references.len()
        // The innermost first, where states differ; those of callers are mostly the very same memory.
        && a.frames()
            .zip(b.frames())
            .rev()
            .all(|(x, y)| std::ptr::eq(x, y) || frames_agree(x, y, same))
}

fn frames_agree(a: &Frame, b: &Frame, same: fn(&Value, &Value) -> bool) -> bool {
    if !a.regs.iter().zip(&b.regs).all(|(p, q)| same(p, q)) {
        return false;
    }
    let is_pointer = |cell: &&Cell| !cell.value.is_scalar();
    let mut mine = a.stack.cells().iter().filter(is_pointer);
    let mut others = b.stack.cells().iter().filter(is_pointer);
    loop {
        match (mine.next(), others.next()) {
            (None, None) => return true,
            (Some(p), Some(q)) if p.at == q.at && same(&p.value, &q.value) => {}
            _ => return false,
        }
    }
}
