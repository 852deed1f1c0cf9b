//! Functions that helpers call back.
//!
//! A helper calls a function back any number of times, none included, and each time all states that
//! are possible before the first call or after an earlier one are possible. So the helper's node is
//! the head of a loop through the callback: what comes back is a state before the next call, with the
//! caller's registers as they were (the helper has not returned) and its stack as the callback left
//! it. The states at the head cover all rounds once nothing new comes back, and the helper returns
//! from each of them.
//!
//! `bpf_rbtree_add` compares nodes of the tree that way, with the tree's lock held.
//!
//! A function that is called later (a timer's or a work queue's) starts with a stack of its own and holds no resources;
//! of what it shares with the program, which is maps, nothing is ever known.

use bpftime_isa::Reg;
use bpftime_isa::context::{Object, Trust};

use super::Notes;
use crate::check::{ARGUMENT_REGS, Failure, root, taken_out};
use crate::diagnostic::Code;
use crate::domain::interval::Interval;
use crate::domain::state::{CallbackKind, State};
use crate::domain::value::{Hold, Kind, Number, Value};
use crate::env::Env;

/// Rounds of one `bpf_loop` (kernel `BPF_MAX_LOOPS`).
const MAX_LOOPS: u64 = 1 << 23;

/// The first slot of the function that the helper calls back, and the state in which it enters it.
pub(crate) fn entered(
    env: &Env<'_>,
    notes: &mut Notes,
    state: &State,
    kind: CallbackKind,
) -> Result<(u32, State), Failure> {
    let function = ARGUMENT_REGS
        .into_iter()
        .find_map(|reg| match state.reg(reg).kind {
            Kind::Func { entry } => Some(entry),
            _ => None,
        });
    let map = ARGUMENT_REGS
        .into_iter()
        .find_map(|reg| match state.reg(reg).kind {
            Kind::Map { map } => Some(map),
            // The timer's.
            Kind::MapValue { map } if kind.is_later() => Some(map),
            _ => None,
        });
    let arguments = match (kind, map) {
        (CallbackKind::Loop, _) => vec![round(state.reg(Reg::R1)), *state.reg(Reg::R3)],
        // The task is the one that was given.
        (CallbackKind::FindVma, _) => vec![
            *state.reg(Reg::R1),
            Value::pointer(Kind::Object(Object::Typed {
                type_id: env.type_named("vm_area_struct"),
                trust: Trust::Argument,
            })),
            *state.reg(Reg::R4),
        ],
        (CallbackKind::Drain, _) => vec![
            Value {
                reference: notes.fresh_id(),
                ..Value::pointer(Kind::GivenDynptr)
            },
            *state.reg(Reg::R3),
        ],
        (CallbackKind::Less, _) => vec![taken_out(root(env, state, Reg::R1)?, Hold::Member); 2],
        (CallbackKind::ForEachMapElem, Some(map)) => vec![
            Value::pointer(Kind::Map { map }),
            Value::pointer(Kind::MapKey { map }),
            element(notes, map),
            *state.reg(Reg::R3),
        ],
        (CallbackKind::Timer | CallbackKind::Workqueue, Some(map)) => vec![
            Value::pointer(Kind::Map { map }),
            Value::pointer(Kind::MapKey { map }),
            element(notes, map),
        ],
        _ => return Err(unknown()),
    };
    let Some(function) = function else {
        return Err(unknown());
    };
    let entered = if kind.is_later() {
        State::entry_later(kind, &arguments)
    } else {
        let mut entered = state.clone();
        entered.push_callback(kind, &arguments);
        entered
    };
    Ok((function, entered))
}

/// Some value of the map.
fn element(notes: &mut Notes, map: u32) -> Value {
    Value {
        id: notes.fresh_id(),
        ..Value::pointer(Kind::MapValue { map })
    }
}

fn unknown() -> Failure {
    Failure::new(
        Code::UnsupportedCall,
        "a helper whose callbacks this version knows",
        "another one",
        "callback function is not supported",
    )
}

/// Number of a round of `bpf_loop`, from 0; the count of rounds is taken as 32 bits.
fn round(count: &Value) -> Value {
    let most = if count.is_scalar() {
        u64::from(count.number.narrow.unsigned().1)
    } else {
        MAX_LOOPS
    };
    let last = most.min(MAX_LOOPS).saturating_sub(1);
    Value::scalar(Number::range(Interval::new(0, last)))
}

/// A call of a function for which the graph has no copy.
pub(crate) fn runs_already() -> Failure {
    Failure::new(
        Code::Recursion,
        "a function that does not run already, and a frame for it",
        "it runs already, or all frames are taken",
        "recursive call",
    )
}
