//! Calls of kernel functions by BTF.
//!
//! The number in the call is looked up in the kernel's types, the name in the table of
//! [`bpftime_isa::kfunc`]; what is not in both may not be called.
//!
//! **Iterators** live on the program's stack, in cells of their own that loads refuse and stores
//! destroy. One is acquired when it is made and given back when it is destroyed, so that none is left
//! behind, and what it gave is unusable from then on. It is only gone on with where all its cells are
//! in place, at an offset that is known.

use bpftime_isa::context::{Object, Trust};
use bpftime_isa::kfunc::{IterKind, KfuncArg, KfuncEffect, KfuncProto, KfuncRet};
use bpftime_isa::{MapType, Reg};

use super::call::ARGUMENT_REGS;
use super::place::place_on_stack;
use super::{Failure, kfunc_memory};
use crate::diagnostic::Code;
use crate::domain::section::LockKind;
use crate::domain::stack;
use crate::domain::state::State;
use crate::domain::value::{Id, Kind, Value};
use crate::env::Env;

/// Largest memory that a function may give (`BPF_MAX_VAR_SIZ`).
const MAX_SIZE: u64 = 1 << 29;

/// Whether the function may be called here, with these arguments.
pub(super) fn callable(env: &Env<'_>, state: &State, id: u32, btf: i16) -> Result<(), Failure> {
    let Some(proto) = env.kfunc(id, btf) else {
        return Err(Failure::new(
            Code::UnsupportedCall,
            "a kernel function that this version knows",
            format!("BTF id {id}"),
            "calling kernel function is not allowed",
        ));
    };
    if !proto.available(&env.program.caller()) {
        return Err(Failure::new(
            Code::UnsupportedCall,
            format!(
                "a kernel function for {} programs",
                env.program.prog_type.name()
            ),
            proto.name,
            format!("calling kernel function {} is not allowed", proto.name),
        ));
    }
    sections(env, state, proto)?;
    super::local::callable(state, proto)?;
    if proto.ret == KfuncRet::KernelContext && env.kernel_context().is_none() {
        return Err(Failure::new(
            Code::UnsupportedCall,
            "a program whose context has a structure of the kernel's behind it",
            env.program.prog_type.name(),
            "calling kernel function bpf_cast_to_kern_ctx is not allowed",
        ));
    }
    if proto.ret == KfuncRet::Slice(true) && !env.packet_writable() {
        return Err(Failure::new(
            Code::UnsupportedCall,
            "a program type that may write packets",
            env.program.prog_type.name(),
            "the prog does not allow writes to packet data",
        ));
    }
    if proto.effect == KfuncEffect::Throw {
        super::exit::throwable(env, state)?;
    }
    for (reg, argument) in ARGUMENT_REGS.into_iter().zip(proto.args) {
        if *argument == KfuncArg::Ignored {
            continue;
        }
        super::initialized(state, reg)?;
        check_argument(env, state, proto, reg, *argument)?;
    }
    Ok(())
}

fn sections(env: &Env<'_>, state: &State, proto: &KfuncProto) -> Result<(), Failure> {
    let sections = &state.sections;
    let refuse =
        |needed: &str, kernel: String| Err(Failure::new(Code::Section, needed, proto.name, kernel));
    if proto.under_rcu && env.may_sleep(state) && sections.rcu == 0 {
        return refuse(
            "an RCU read-side section",
            format!(
                "kernel func {} requires RCU critical section protection",
                proto.name
            ),
        );
    }
    if proto.sleeps
        && (!env.may_sleep(state)
            || !sections.locks.is_empty()
            || sections.rcu > 0
            || sections.preempt > 0
            || sections.irq > 0)
    {
        return refuse(
            "a program that may sleep, outside of sections where nothing may",
            format!(
                "program must be sleepable to call sleepable kfunc {}",
                proto.name
            ),
        );
    }
    match proto.effect {
        KfuncEffect::RcuReadLock if sections.rcu > 0 => refuse(
            "no RCU read-side section that was entered before",
            "nested rcu read lock (kernel function bpf_rcu_read_lock)".into(),
        ),
        KfuncEffect::RcuReadUnlock if sections.rcu == 0 => refuse(
            "an RCU read-side section to leave",
            "unmatched rcu read unlock (kernel function bpf_rcu_read_unlock)".into(),
        ),
        KfuncEffect::RcuReadUnlock if holds_rcu_iterator(state) => refuse(
            "no iterator that needs the section",
            "bpf_rcu_read_unlock with an iterator that is not destroyed".into(),
        ),
        KfuncEffect::PreemptEnable if sections.preempt == 0 => refuse(
            "preemption that the program disabled",
            "unmatched attempt to enable preemption (kernel function bpf_preempt_enable)".into(),
        ),
        _ => Ok(()),
    }
}

/// Whether the program has an iterator over what only RCU keeps.
fn holds_rcu_iterator(state: &State) -> bool {
    let cells = state.frames().flat_map(|frame| frame.stack.cells());
    let mut kinds = cells.map(|cell| cell.value.kind);
    state.sections.rcu == 1
        && kinds.any(|kind| {
            let Kind::Iterator { kind, .. } = kind else {
                return false;
            };
            matches!(
                kind,
                IterKind::Task | IterKind::TaskVma | IterKind::Css | IterKind::ScxDsq
            )
        })
}

fn check_argument(
    env: &Env<'_>,
    state: &State,
    proto: &KfuncProto,
    reg: Reg,
    argument: KfuncArg,
) -> Result<(), Failure> {
    let value = state.reg(reg);
    let refuse = |needed: &str| {
        Err(Failure::new(
            Code::HelperArgument,
            format!("{needed} in {reg} for {}", proto.name),
            value.to_string(),
            format!(
                "R{} type={} is not what kernel function {} expects",
                reg.index(),
                value.kernel_kind(),
                proto.name
            ),
        ))
    };
    match argument {
        KfuncArg::Anything => Ok(()),
        KfuncArg::Number if value.is_scalar() => Ok(()),
        KfuncArg::Number => refuse("a number"),
        KfuncArg::Packet if is_trusted(env, value, "sk_buff") => Ok(()),
        KfuncArg::Ctx | KfuncArg::Packet
            if value.kind == Kind::Ctx && value.offset().as_constant() == Some(0) =>
        {
            Ok(())
        }
        KfuncArg::Ctx | KfuncArg::Packet => refuse("the context"),
        KfuncArg::Map if matches!(value.kind, Kind::Map { .. }) && !value.nullable => Ok(()),
        KfuncArg::Arena => match value.kind {
            Kind::Map { map }
                if !value.nullable
                    && env
                        .map(map)
                        .is_some_and(|map| map.map_type == MapType::Arena) =>
            {
                Ok(())
            }
            // Of another kind of map it gives no pages.
            _ if is_trusted(env, value, "bpf_map") => Ok(()),
            _ => refuse("an arena"),
        },
        KfuncArg::IrqFlag => irq_flag(state, proto, reg),
        KfuncArg::ResLock => {
            let lock = super::map_field::lock_of(env, state, reg, lock_kind(proto))?;
            super::map_field::locking(state, &lock, proto.effect == KfuncEffect::Lock)
        }
        KfuncArg::Workqueue => {
            let takes_map = proto.args.contains(&KfuncArg::WorkqueueMap);
            super::later::workqueue(env, state, reg, takes_map.then_some(Reg::R2))
        }
        // With the work queue.
        KfuncArg::WorkqueueMap => Ok(()),
        KfuncArg::Work => match value.kind {
            Kind::Func { .. } => Ok(()),
            _ => refuse("a function"),
        },
        KfuncArg::Map if is_trusted(env, value, "bpf_map") => Ok(()),
        KfuncArg::Map => refuse("a map"),
        KfuncArg::Struct(name) | KfuncArg::Rcu(name) | KfuncArg::Plain(name)
            if matches!(value.kind, Kind::MapValue { .. })
                && !value.nullable
                && kfunc_memory::uses_only(proto) =>
        {
            kfunc_memory::numbers(env, state, reg, name)
        }
        KfuncArg::StructOrNull(_) if value.as_constant() == Some(0) => Ok(()),
        KfuncArg::Struct(name) | KfuncArg::StructOrNull(name) if is_trusted(env, value, name) => {
            Ok(())
        }
        KfuncArg::Struct(name) | KfuncArg::StructOrNull(name) => refuse(&format!("a valid {name}")),
        KfuncArg::Rcu(name)
            if is_structure(env, value, name, |trust| {
                matches!(trust, Trust::Trusted | Trust::Rcu)
            }) =>
        {
            Ok(())
        }
        KfuncArg::Rcu(name) => refuse(&format!("a {name} that is valid in the RCU section")),
        KfuncArg::Plain(name) if is_structure(env, value, name, |trust| trust != Trust::Walked) => {
            Ok(())
        }
        KfuncArg::Plain(name) => refuse(&format!("a {name}")),
        KfuncArg::MemOrNull => {
            let next = ARGUMENT_REGS.get(reg.index()).copied().unwrap_or(reg);
            super::dynptr::usable_buffer(env, state, reg, next)
        }
        // With the memory before it.
        KfuncArg::ConstSize | KfuncArg::Size => Ok(()),
        _ if kfunc_memory::is_memory(argument) => kfunc_memory::usable(env, state, reg, argument),
        KfuncArg::MemRead
        | KfuncArg::MemReadOrNull
        | KfuncArg::MemWrite
        | KfuncArg::MemWriteOrNull
        | KfuncArg::FixedMemRead(_)
        | KfuncArg::StructMemRead(_)
        | KfuncArg::FixedMemWrite(_) => refuse("memory"),
        KfuncArg::ResultSize if value.as_constant().is_some_and(|size| size < MAX_SIZE) => Ok(()),
        KfuncArg::ResultSize => refuse("a known size"),
        KfuncArg::DynptrOrNull if value.as_constant() == Some(0) => Ok(()),
        KfuncArg::DynptrOrNull => super::dynptr::made(state, reg).map(drop),
        KfuncArg::KernelType => match value.as_constant() {
            Some(0) => Ok(()),
            Some(id) if env.is_structure(id) => Ok(()),
            _ => refuse("the known number of a structure of the kernel's"),
        },
        KfuncArg::NewDynptr => super::dynptr::room(state, reg),
        KfuncArg::Dynptr => super::dynptr::made(state, reg).map(drop),
        KfuncArg::Released(name)
            if is_trusted(env, value, name)
                && is_exactly(env, value, name)
                && value.reference != 0
                && value.constant_offset() == Some(0) =>
        {
            Ok(())
        }
        KfuncArg::Released(name) => refuse(&format!("a {name} that was acquired")),
        KfuncArg::Ignored => Ok(()),
        KfuncArg::LocalType
        | KfuncArg::Object
        | KfuncArg::PerCpuObject
        | KfuncArg::Refcounted
        | KfuncArg::List
        | KfuncArg::ListNode
        | KfuncArg::Tree
        | KfuncArg::TreeNode
        | KfuncArg::TreeMember
        | KfuncArg::Less => super::local::check_argument(env, state, proto, reg, argument),
        KfuncArg::Iterator(kind) => match proto.effect {
            KfuncEffect::IteratorNew => place(state, reg, kind).map(drop),
            _ => iterator(state, reg, kind).map(drop),
        },
    }
}

/// How the function takes or releases locks.
pub(crate) fn lock_kind(proto: &KfuncProto) -> LockKind {
    match proto.args.contains(&KfuncArg::IrqFlag) {
        true => LockKind::ResilientIrq,
        false => LockKind::Resilient,
    }
}

/// Whether the value is the address of such a structure, or of one that begins with it, which is
/// valid and not null.
fn is_trusted(env: &Env<'_>, value: &Value, name: &str) -> bool {
    is_structure(env, value, name, |trust| trust == Trust::Trusted)
}

/// Whether the value is the address of such a structure, not of one that begins with it: each is given back
/// by the function that goes with its own (`process_kf_arg_ptr_to_btf_id`).
fn is_exactly(env: &Env<'_>, value: &Value, name: &str) -> bool {
    match value.kind {
        Kind::Object(Object::Typed { type_id, .. }) => type_id == env.type_named(name),
        Kind::Object(Object::Kernel(found)) => found == name,
        _ => false,
    }
}

/// Whether the value is the address of such a structure, or of one that has it there, which can be
/// relied upon so, and is not null.
fn is_structure(env: &Env<'_>, value: &Value, name: &str, relied: impl Fn(Trust) -> bool) -> bool {
    let Kind::Object(object) = value.kind else {
        return false;
    };
    let valid = match object {
        Object::Typed { trust, .. } => relied(trust),
        Object::Kernel(_) => relied(Trust::Trusted),
        _ => false,
    };
    valid
        && !value.nullable
        && !env.is_other_view(object, name)
        && value
            .constant_offset()
            .is_some_and(|offset| env.contains(object, offset, name))
}

/// Where on a stack it is kept whether interrupts were enabled: frame and first byte.
pub(crate) fn irq_place(state: &State, reg: Reg) -> Result<(usize, usize), Failure> {
    let value = state.reg(reg);
    match (value.kind, value.constant_offset()) {
        (Kind::Stack { frame }, Some(offset))
            if offset >= -(stack::SIZE as i64) && offset <= -8 && offset % 8 == 0 =>
        {
            Ok((frame.into(), (stack::SIZE as i64 + offset) as usize))
        }
        _ => Err(Failure::new(
            Code::HelperArgument,
            format!("the address of 8 bytes of the stack in {reg}"),
            value.to_string(),
            "doesn't point to an irq flag on stack",
        )),
    }
}

/// Interrupts are restored in the reverse order in which they were disabled, each time with the flag of
/// that time, which nothing but that overwrites: the depth in the flag tells which time it was.
fn irq_flag(state: &State, proto: &KfuncProto, reg: Reg) -> Result<(), Failure> {
    let (frame, at) = irq_place(state, reg)?;
    let stack = state.frame(frame).map(|frame| &frame.stack);
    let mut cells = stack.into_iter().flat_map(|stack| stack.overlapping(at, 8));
    let found = cells.next().copied();
    let depth = state.sections.irq;
    let refuse = |needed: &str, kernel: &str| {
        Err(Failure::new(
            Code::Section,
            needed,
            found.map_or("nothing".to_owned(), |cell| cell.value.to_string()),
            kernel,
        ))
    };
    let kind = found.map(|cell| cell.value.kind);
    let with_lock = proto.args.contains(&KfuncArg::ResLock);
    if matches!(proto.effect, KfuncEffect::IrqSave | KfuncEffect::Lock) {
        let used =
            stack.is_some_and(|stack| stack.overlapping(at, 8).any(|cell| cell.value.is_part()));
        return match depth {
            u8::MAX => refuse("fewer sections without interrupts", "too many irq flags"),
            _ if used => refuse(
                "8 bytes of the stack that nothing else is kept in",
                "expected uninitialized irq flag as arg#0",
            ),
            _ => Ok(()),
        };
    }
    match kind {
        Some(Kind::IrqFlag { lock, .. }) if lock != with_lock => refuse(
            "a flag that was made by the function that goes with this",
            "irq flag acquired by kfuncs of another kind",
        ),
        Some(Kind::IrqFlag { depth: kept, .. }) if kept == depth && depth > 0 => Ok(()),
        Some(Kind::IrqFlag { .. }) => refuse(
            "the flag of the last time that interrupts were disabled",
            "cannot restore irq state out of order",
        ),
        _ => refuse(
            "a flag that was made",
            "expected an initialized irq flag as arg#0",
        ),
    }
}

/// Where on a stack an iterator is, or is to be: frame and first byte.
pub(crate) fn place(state: &State, reg: Reg, kind: IterKind) -> Result<(usize, usize), Failure> {
    place_on_stack(state, reg, kind.size(), || {
        format!("expected an {} on stack", kind.name())
    })
}

/// An iterator that was made: where, its resource, and whether it has given all.
pub(crate) struct Made {
    pub(crate) frame: usize,
    pub(crate) at: usize,
    pub(crate) reference: Id,
    pub(crate) drained: bool,
}

/// The iterator that the register points to.
pub(crate) fn iterator(state: &State, reg: Reg, wanted: IterKind) -> Result<Made, Failure> {
    let (frame, at) = place(state, reg, wanted)?;
    let stack = state.frame(frame).map(|frame| &frame.stack);
    let part_at = |part: usize| {
        let cells = stack?.overlapping(at + 8 * part, 8);
        let mut cells = cells.filter(|cell| usize::from(cell.at) == at + 8 * part);
        let cell = cells.next()?;
        match cell.value.kind {
            Kind::Iterator {
                kind,
                part: known,
                drained,
            } if kind == wanted && usize::from(known) == part => {
                Some((cell.value.reference, drained))
            }
            _ => None,
        }
    };
    let parts = wanted.size() as usize / 8;
    let first = part_at(0).filter(|(reference, _)| *reference != 0);
    let whole = first.filter(|first| (1..parts).all(|part| part_at(part) == Some(*first)));
    match whole {
        Some((reference, drained)) => Ok(Made {
            frame,
            at,
            reference,
            drained,
        }),
        None => Err(Failure::new(
            Code::HelperArgument,
            format!("the address of an {} that was made in {reg}", wanted.name()),
            state.reg(reg).to_string(),
            format!("expected an initialized {} as arg #0", wanted.name()),
        )),
    }
}
