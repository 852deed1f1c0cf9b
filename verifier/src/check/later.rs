//! Parts of map values by which functions are called later: timers and work queues. They keep the map alive that
//! they are in, so what makes them has to be given that map.

use bpftime_isa::{MapFieldKind, Reg};

use super::Failure;
use super::map_field::exactly;
use crate::diagnostic::Code;
use crate::domain::state::State;
use crate::domain::value::{Kind, Value};
use crate::env::Env;

const TIMER_INIT: u32 = 169;

/// Whether the register points to a timer; the map, where the helper takes it, is that of the timer.
pub(super) fn timer(env: &Env<'_>, state: &State, id: u32, reg: Reg) -> Result<(), Failure> {
    exactly(env, state, reg, &MapFieldKind::Timer)?;
    let given = state.reg(Reg::R2);
    let its_own = match state.reg(reg).kind {
        Kind::MapValue { map } => given.kind == (Kind::Map { map }) && env.is_own_map(map),
        // In an object there would be no map to keep alive.
        _ => false,
    };
    let in_map = matches!(state.reg(reg).kind, Kind::MapValue { .. });
    if in_map && (id != TIMER_INIT || its_own) {
        return Ok(());
    }
    Err(Failure::new(
        Code::HelperArgument,
        "the map that the timer is in in r2",
        given.to_string(),
        "timer pointer in R1 doesn't match map pointer in R2",
    ))
}

/// Whether the register points to a work queue in a map's value; `map` is the register that holds the map, where
/// the function takes it: the one that the work queue is in.
pub(super) fn workqueue(
    env: &Env<'_>,
    state: &State,
    reg: Reg,
    map: Option<Reg>,
) -> Result<(), Failure> {
    exactly(env, state, reg, &MapFieldKind::Workqueue)?;
    let Kind::MapValue { map: its_own } = state.reg(reg).kind else {
        return Err(Failure::new(
            Code::HelperArgument,
            format!("a work queue in a map's value in {reg}"),
            state.reg(reg).to_string(),
            "arg#0 doesn't point to a map value",
        ));
    };
    let given = map.map(|map| *state.reg(map));
    // It keeps the map alive that it is in.
    let fits = |given: Value| {
        given.kind == Kind::Map { map: its_own }
            && !given.nullable
            && given.constant_offset() == Some(0)
            && env.is_own_map(its_own)
    };
    match given {
        Some(given) if !fits(given) => Err(Failure::new(
            Code::HelperArgument,
            "the map that the work queue is in in r2",
            given.to_string(),
            "workqueue pointer in R1 doesn't match map pointer in R2",
        )),
        _ => Ok(()),
    }
}
