//! What becomes of objects of the program's own structures.
//!
//! Why each value is usable, and until when, is in [`crate::check::local`].

use bpftime_isa::kfunc::{KfuncArg, KfuncProto, KfuncRet};
use bpftime_isa::{MapFieldKind, Reg};

use super::Notes;
use super::call::acquired;
use super::invalid;
use crate::check::{ARGUMENT_REGS, Failure, root, taken_out};
use crate::domain::state::State;
use crate::domain::value::{Hold, Id, Kind, Value};
use crate::env::Env;

/// The lock that was taken last is given up: what a collection holds may be taken out by others from now on.
/// If others are held, what was found under these is not told apart.
pub(super) fn unlocked(env: &Env<'_>, state: &mut State) {
    state.sections.locks.pop();
    let in_rcu = env.in_rcu(state);
    let gone = invalid(env);
    let ends = |value: &Value| match value.kind {
        Kind::Local {
            hold: Hold::Member, ..
        } => true,
        // What has nodes, the kernel takes for a member.
        Kind::Local {
            hold: Hold::Rcu, ..
        } => env
            .fields(value.kind)
            .iter()
            .any(|field| matches!(field.kind, MapFieldKind::ListNode | MapFieldKind::RbNode)),
        _ => false,
    };
    state.change_values(ends, |value| *value = gone);
    if !in_rcu {
        left_rcu(state);
    }
}

/// Nothing is kept by RCU any more.
pub(super) fn left_rcu(state: &mut State) {
    use bpftime_isa::context::{Object, Trust};
    let kept = |value: &Value| {
        matches!(
            value.kind,
            Kind::Local {
                hold: Hold::Rcu,
                ..
            } | Kind::PerCpuLocal {
                hold: Hold::Rcu,
                ..
            } | Kind::Object(Object::Typed {
                trust: Trust::Rcu,
                ..
            })
        )
    };
    state.change_values(kept, |value| {
        match &mut value.kind {
            Kind::Local { hold, .. } | Kind::PerCpuLocal { hold, .. } => *hold = Hold::Stale,
            Kind::Object(Object::Typed { trust, .. }) => *trust = Trust::Walked,
            _ => {}
        }
        // As the kernel has it, it need not be compared with null any more to be read: reads that
        // fault give 0.
        value.nullable = false;
        value.id = 0;
    });
}

/// What each CPU has its own of was put into a map: others may take it out and drop it, but it is there until
/// the RCU section ends.
pub(super) fn shared(state: &mut State, reference: Id) {
    state.references.retain(|held| held.id != reference);
    state.change_values(
        |value| value.reference == reference && reference != 0,
        |value| {
            if let Kind::PerCpuLocal { hold, .. } = &mut value.kind {
                *hold = Hold::Rcu;
                value.reference = 0;
            }
        },
    );
}

/// What is given away by the call: dropped, or put into a collection.
pub(super) fn given_away(env: &Env<'_>, state: &mut State, proto: &KfuncProto) {
    for (reg, argument) in ARGUMENT_REGS.into_iter().zip(proto.args) {
        let reference = state.reg(reg).reference;
        match argument {
            KfuncArg::Object | KfuncArg::PerCpuObject if reference != 0 => {
                state.release(reference, invalid(env))
            }
            KfuncArg::ListNode | KfuncArg::TreeNode if reference != 0 => {
                state.references.retain(|held| held.id != reference);
                state.change_values(
                    |value| value.reference == reference,
                    |value| match &mut value.kind {
                        Kind::Local { hold, .. } => {
                            *hold = Hold::Member;
                            value.reference = 0;
                        }
                        _ => *value = invalid(env),
                    },
                );
            }
            _ => {}
        }
    }
}

/// What the function returns, if that is an object or a node of one; before the arguments are gone.
pub(super) fn result(
    env: &Env<'_>,
    notes: &mut Notes,
    state: &mut State,
    slot: u32,
    ret: KfuncRet,
) -> Result<Option<Value>, Failure> {
    Ok(Some(match ret {
        KfuncRet::Object => {
            let type_id = state.reg(Reg::R1).as_constant();
            let kind = Kind::Local {
                type_id: type_id.map_or(u32::MAX, |id| id as u32),
                hold: Hold::Owned,
            };
            acquired(notes, state, slot, kind)
        }
        KfuncRet::PerCpuObject => {
            let type_id = state.reg(Reg::R1).as_constant();
            let kind = Kind::PerCpuLocal {
                type_id: type_id.map_or(u32::MAX, |id| id as u32),
                hold: Hold::Owned,
            };
            acquired(notes, state, slot, kind)
        }
        KfuncRet::Again => {
            let Kind::Local { type_id, hold } = state.reg(Reg::R1).kind else {
                return Ok(None);
            };
            let again = Kind::Local {
                type_id,
                hold: Hold::Owned,
            };
            let value = acquired(notes, state, slot, again);
            if hold != Hold::Owned {
                // It may be too late.
                return Ok(Some(value));
            }
            Value {
                nullable: false,
                id: if env.holds_lock(again) { value.id } else { 0 },
                ..value
            }
        }
        KfuncRet::Node => {
            let holds = root(env, state, Reg::R1)?;
            let node = taken_out(holds, Hold::Owned);
            Value {
                delta: node.delta,
                ..acquired(notes, state, slot, node.kind)
            }
        }
        KfuncRet::Member => {
            let holds = root(env, state, Reg::R1)?;
            Value {
                nullable: true,
                id: notes.fresh_id(),
                ..taken_out(holds, Hold::Member)
            }
        }
        _ => return Ok(None),
    }))
}
