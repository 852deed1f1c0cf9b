//! Effects of kernel functions by BTF.

use bpftime_isa::Reg;
use bpftime_isa::context::{Object, Trust};
use bpftime_isa::kfunc::{Element, IterKind, KfuncArg, KfuncEffect, KfuncProto, KfuncRet};

use super::{Notes, call::acquired, invalid};
use crate::check::{
    ARGUMENT_REGS, Failure, irq_place, iterator, iterator_place, kfunc_memory, lock_kind, lock_of,
};
use crate::domain::interval::Interval;
use crate::domain::section::{Lock, LockKind};
use crate::domain::stack;
use crate::domain::state::{Reference, State};
use crate::domain::value::{Id, Kind, Number, Value};
use crate::env::Env;

/// The states after the call: going on to the next element, there is one or there is none.
pub(crate) fn kfunc(
    env: &Env<'_>,
    notes: &mut Notes,
    mut state: State,
    slot: u32,
    proto: &KfuncProto,
) -> Result<Vec<State>, Failure> {
    let kind = match proto.args.first() {
        Some(KfuncArg::Iterator(kind)) => Some(*kind),
        _ => None,
    };
    match (proto.effect, kind) {
        (KfuncEffect::IteratorNew, Some(kind)) => make(notes, &mut state, slot, kind)?,
        (KfuncEffect::IteratorNext, Some(kind)) => return next(env, state, kind),
        (KfuncEffect::IteratorDestroy, Some(kind)) => {
            let made = iterator(&state, Reg::R1, kind)?;
            state.release(made.reference, invalid(env));
        }
        (KfuncEffect::RcuReadLock, _) => state.sections.rcu += 1,
        (KfuncEffect::RcuReadUnlock, _) => {
            state.sections.rcu = state.sections.rcu.saturating_sub(1);
            if state.sections.rcu == 0 {
                super::local::left_rcu(&mut state);
            }
        }
        (KfuncEffect::PreemptDisable, _) => state.sections.preempt += 1,
        (KfuncEffect::PreemptEnable, _) => {
            state.sections.preempt = state.sections.preempt.saturating_sub(1);
        }
        (KfuncEffect::IrqSave, _) => irq_saved(notes, &mut state, Reg::R1, false)?,
        (KfuncEffect::IrqRestore, _) => irq_restored(&mut state, Reg::R1)?,
        (KfuncEffect::Lock, _) => return lock(env, notes, state, slot, proto),
        (KfuncEffect::Unlock, _) => {
            if lock_kind(proto) == LockKind::ResilientIrq {
                irq_restored(&mut state, Reg::R2)?;
            }
            super::local::unlocked(env, &mut state);
        }
        (KfuncEffect::Dynptr(kind), _) => {
            if let Some(reg) = last(proto) {
                super::dynptr::make(env, notes, &mut state, (reg, slot), kind)?;
            }
        }
        (KfuncEffect::CloneDynptr, _) => {
            if let Some(reg) = last(proto) {
                super::dynptr::clone(env, notes, &mut state, Reg::R1, reg)?;
            }
        }
        // Nothing comes after it.
        (KfuncEffect::Throw, _) => return Ok(Vec::new()),
        _ => {}
    }
    for (reg, argument) in ARGUMENT_REGS.into_iter().zip(proto.args) {
        if let Some(memory) = kfunc_memory(env, &state, reg, *argument)? {
            super::memory::helper_writes(env, notes, &mut state, &memory);
        }
    }
    let object = super::local::result(env, notes, &mut state, slot, proto.ret)?;
    super::local::given_away(env, &mut state, proto);
    let released = ARGUMENT_REGS
        .into_iter()
        .zip(proto.args)
        .find(|(_, argument)| matches!(argument, KfuncArg::Released(_)));
    if let Some((reg, _)) = released {
        let reference = state.reg(reg).reference;
        state.release(reference, invalid(env));
    }
    let relied = |name: &str, trust| {
        Kind::Object(Object::Typed {
            type_id: env.type_named(name),
            trust,
        })
    };
    let structure = |name: &str| relied(name, Trust::Trusted);
    let mut or_null = |kind| Value {
        nullable: true,
        id: notes.fresh_id(),
        ..Value::pointer(kind)
    };
    let result = match proto.ret {
        KfuncRet::Object
        | KfuncRet::PerCpuObject
        | KfuncRet::Again
        | KfuncRet::Node
        | KfuncRet::Member => object.unwrap_or(Value::uninit()),
        KfuncRet::Memory(size) => Value::pointer(Kind::Slice {
            size,
            writable: true,
            packet: false,
            buffer: None,
        }),
        KfuncRet::Cast => {
            let type_id = state.reg(Reg::R2).as_constant();
            Value::pointer(Kind::Object(Object::Typed {
                type_id: type_id.map_or(u32::MAX, |id| id as u32),
                trust: Trust::Walked,
            }))
        }
        KfuncRet::KernelContext => match env.kernel_context() {
            Some(name) => Value::pointer(structure(name)),
            None => Value::any(),
        },
        KfuncRet::Slice(writable) => {
            super::dynptr::buffered_slice(env, notes, &mut state, writable)?
        }
        KfuncRet::Void | KfuncRet::Element => Value::uninit(),
        KfuncRet::Number => Value::unknown(),
        KfuncRet::Acquired(name) => {
            let value = acquired(notes, &mut state, slot, structure(name));
            Value {
                nullable: false,
                id: 0,
                ..value
            }
        }
        KfuncRet::AcquiredOrNull(name) => acquired(notes, &mut state, slot, structure(name)),
        KfuncRet::StructOrNull(name) => or_null(structure(name)),
        KfuncRet::RcuOrNull(name) => or_null(relied(name, Trust::Rcu)),
        KfuncRet::Plain(name) => Value::pointer(relied(name, Trust::Argument)),
        KfuncRet::PlainOrNull(name) => or_null(relied(name, Trust::Argument)),
        KfuncRet::SizedMemoryOrNull => {
            let size = state.reg(Reg::R3).as_constant();
            let memory = or_null(Kind::Slice {
                size: size.and_then(|size| u32::try_from(size).ok()).unwrap_or(0),
                writable: true,
                packet: false,
                buffer: None,
            });
            Value {
                // It is in what the first argument leads to, and gone with it. Its id is another, so that
                // its being null says nothing of that.
                reference: state.reg(Reg::R1).reference,
                ..memory
            }
        }
    };
    state.clear_caller_saved();
    state.set(Reg::R0, result);
    Ok(vec![state])
}

/// Interrupts are disabled, and the flag in the register says whether they were enabled.
fn irq_saved(notes: &mut Notes, state: &mut State, reg: Reg, lock: bool) -> Result<(), Failure> {
    let (frame, at) = irq_place(state, reg)?;
    state.sections.irq = state.sections.irq.saturating_add(1);
    let depth = state.sections.irq;
    if let Some(used) = notes.stack.get_mut(frame) {
        *used = (*used).max((stack::SIZE - at) as u32);
    }
    if let Some(frame) = state.frame_mut(frame) {
        let flag = Value::pointer(Kind::IrqFlag { depth, lock });
        frame.stack.write(at, 8, flag);
    }
    Ok(())
}

fn irq_restored(state: &mut State, reg: Reg) -> Result<(), Failure> {
    let (frame, at) = irq_place(state, reg)?;
    state.sections.irq = state.sections.irq.saturating_sub(1);
    if let Some(frame) = state.frame_mut(frame) {
        frame.stack.may_write(at, 8);
    }
    Ok(())
}

/// The lock is taken and the result 0, or it is not and the result an error.
fn lock(
    env: &Env<'_>,
    notes: &mut Notes,
    mut state: State,
    slot: u32,
    proto: &KfuncProto,
) -> Result<Vec<State>, Failure> {
    let kind = lock_kind(proto);
    let taken = lock_of(env, &state, Reg::R1, kind)?;
    let mut failed = state.clone();
    state.sections.locks.push(Lock { slot, ..taken });
    if kind == LockKind::ResilientIrq {
        let (frame, at) = irq_place(&failed, Reg::R2)?;
        if let Some(frame) = failed.frame_mut(frame) {
            // Nothing is said of what it holds then.
            frame.stack.may_write(at, 8);
        }
        irq_saved(notes, &mut state, Reg::R2, true)?;
    }
    state.clear_caller_saved();
    state.set(Reg::R0, Value::constant(0));
    failed.clear_caller_saved();
    failed.set(Reg::R0, Value::scalar(error()));
    Ok(vec![state, failed])
}

/// An error number as an `int`, of which the upper half is not known.
fn error() -> Number {
    let least = MAX_ERRNO.wrapping_neg();
    let number = Number {
        narrow: Interval::new(least, u32::MAX),
        ..Number::unknown()
    };
    number.reduce().unwrap_or(number)
}

/// Greatest error number.
const MAX_ERRNO: u32 = 4095;

/// The register of the last argument.
fn last(proto: &KfuncProto) -> Option<Reg> {
    let at = proto.args.len().checked_sub(1)?;
    ARGUMENT_REGS.get(at).copied()
}

fn make(notes: &mut Notes, state: &mut State, slot: u32, kind: IterKind) -> Result<(), Failure> {
    let (frame, at) = iterator_place(state, Reg::R1, kind)?;
    let id = notes.fresh_id();
    state.references.push(Reference { id, slot });
    if let Some(used) = notes.stack.get_mut(frame) {
        *used = (*used).max((stack::SIZE - at) as u32);
    }
    write(state, (frame, at), kind, id, false);
    Ok(())
}

fn write(
    state: &mut State,
    (frame, at): (usize, usize),
    kind: IterKind,
    reference: Id,
    drained: bool,
) {
    let Some(frame) = state.frame_mut(frame) else {
        return;
    };
    for part in 0..kind.size() / 8 {
        let value = Value {
            reference,
            ..Value::pointer(Kind::Iterator {
                kind,
                part: part as u8,
                drained,
            })
        };
        frame.stack.write(at + 8 * part as usize, 8, value);
    }
}

/// Once an iterator has given null it gives nothing else.
fn next(env: &Env<'_>, mut state: State, kind: IterKind) -> Result<Vec<State>, Failure> {
    let made = iterator(&state, Reg::R1, kind)?;
    // What it gave before may be gone, but for numbers, which are in the iterator itself.
    let stale = |value: &Value| {
        value.reference == made.reference
            && !matches!(value.kind, Kind::Iterator { .. } | Kind::Bytes { .. })
    };
    state.change_values(stale, |value| *value = invalid(env));
    state.clear_caller_saved();
    let mut done = state.clone();
    write(&mut done, (made.frame, made.at), kind, made.reference, true);
    done.set(Reg::R0, Value::constant(0));
    if made.drained {
        return Ok(vec![done]);
    }
    let element = match kind.element() {
        Element::Bytes(size) => Kind::Bytes { size },
        Element::Struct(name) => Kind::Object(Object::Typed {
            type_id: env.type_named(name),
            trust: Trust::Trusted,
        }),
        Element::Rcu(name) => Kind::Object(Object::Typed {
            type_id: env.type_named(name),
            trust: Trust::Rcu,
        }),
    };
    // What RCU keeps is still there when the iterator has gone on, or is no more.
    let reference = match kind.element() {
        Element::Rcu(_) => 0,
        _ => made.reference,
    };
    let value = Value {
        reference,
        ..Value::pointer(element)
    };
    state.set(Reg::R0, value);
    Ok(vec![done, state])
}
