//! Parts of map values that belong to the kernel: spin locks, timers, pointers to kernel objects.
//!
//! A program that wrote over them could make the kernel follow any address, so plain accesses may
//! not touch them: neither instructions nor helpers, wherever in the possible range. They are passed
//! to the helpers made for them by an address that is known exactly.
//!
//! **Spin locks.** A lock is known by its map and by the identity of the pointer to the value that
//! holds it: two lookups give two identities, for they may find two values; copies of a pointer share
//! one. In a map of a single value that is addressed directly there is only one lock, and identity 0
//! stands for it. While a lock is held the program takes no other, calls no helper but the one that
//! releases it, and does not end, so no run ends or waits with a lock held.
//!
//! **Resilient spin locks** are known in the same way. They return an error instead of waiting for ever, so
//! several may be held; each call has two states after it, and only where it returned 0 is the lock held.
//! They are released in the reverse order in which they were taken, each by the function that goes with how
//! it was taken: the interrupt flag of one that disabled interrupts is filled in by that call, and nothing
//! but its release takes it.

use bpftime_isa::kfunc::{IterKind, KfuncArg};
use bpftime_isa::{CallTarget, MapField, MapFieldKind, MapType, ProgType, Reg};

use super::Failure;
use super::region::{MemoryArgument, offset_of};
use crate::assertion::{Access, AccessKind};
use crate::diagnostic::Code;
use crate::domain::section::{Holder, Lock, LockKind};
use crate::domain::state::{CallbackKind, Frame, State};
use crate::domain::value::{Hold, Id, Kind, Value};
use crate::env::Env;
use crate::options::Target;

const SPIN_LOCK: u32 = 93;
const SPIN_UNLOCK: u32 = 94;

/// The kernel's name of a part.
pub(super) fn name(kind: &MapFieldKind) -> &'static str {
    match kind {
        MapFieldKind::SpinLock => "bpf_spin_lock",
        MapFieldKind::ResSpinLock => "bpf_res_spin_lock",
        MapFieldKind::Timer => "bpf_timer",
        MapFieldKind::Workqueue => "bpf_wq",
        MapFieldKind::TaskWork => "bpf_task_work",
        MapFieldKind::Kptr { .. } => "kptr",
        MapFieldKind::Uptr { .. } => "uptr",
        MapFieldKind::ListHead { .. } => "bpf_list_head",
        MapFieldKind::ListNode => "bpf_list_node",
        MapFieldKind::RbRoot { .. } => "bpf_rb_root",
        MapFieldKind::RbNode => "bpf_rb_node",
        MapFieldKind::Refcount => "bpf_refcount",
    }
}

/// The first part of the map's value that the bytes may touch.
fn touched<'a>(env: &Env<'a>, map: u32, argument: &MemoryArgument) -> Option<&'a MapField> {
    let (least, most) = offset_of(argument);
    let end = i128::from(most) + i128::from(argument.most);
    let touches = |field: &&MapField| {
        let (first, last) = (
            i64::from(field.offset),
            i64::from(field.offset) + i64::from(field.size),
        );
        i128::from(first) < end && least < last
    };
    env.map(map)?.fields.iter().find(touches)
}

/// Whether an instruction may access the bytes of the map's value.
pub(super) fn accessible(
    env: &Env<'_>,
    access: &Access,
    argument: &MemoryArgument,
    map: u32,
) -> Result<(), Failure> {
    let Some(field) = touched(env, map, argument) else {
        return Ok(());
    };
    let refuse = |needed: &str, kernel: String| {
        Err(Failure::new(
            Code::MapField,
            needed,
            format!(
                "{} bytes at {} over {} at {}",
                argument.most,
                argument.pointer,
                name(&field.kind),
                field.offset
            ),
            kernel,
        ))
    };
    let MapFieldKind::Kptr { referenced, .. } = &field.kind else {
        return refuse(
            "an access beside the kernel's part of the value",
            format!(
                "{} cannot be accessed directly by load/store",
                name(&field.kind)
            ),
        );
    };
    let at = argument.offset().as_constant();
    if argument.most != 8 {
        return refuse(
            "all 8 bytes of a kernel pointer",
            "kptr access size must be BPF_DW".into(),
        );
    }
    if at.is_none() {
        return refuse(
            "a kernel pointer at a known offset",
            "kptr access cannot have variable offset".into(),
        );
    }
    if at != Some(field.offset.into()) {
        return refuse(
            "a kernel pointer and nothing beside it",
            format!(
                "kptr access misaligned expected={} off={}",
                field.offset,
                at.unwrap_or_default()
            ),
        );
    }
    match access.kind {
        AccessKind::Read => Ok(()),
        AccessKind::Write if *referenced => refuse(
            "bpf_kptr_xchg to replace a pointer that owns its object",
            "store to referenced kptr disallowed".into(),
        ),
        AccessKind::Write => Ok(()),
        AccessKind::Atomic { .. } => refuse(
            "a plain load or store of a kernel pointer",
            "kptr in map can only be accessed using BPF_MEM instruction mode".into(),
        ),
    }
}

/// Whether the value may be stored in the kernel's part of a map's value, if it is one.
pub(super) fn storable(
    env: &Env<'_>,
    argument: &MemoryArgument,
    map: u32,
    value: &Value,
) -> Result<(), Failure> {
    let Some(field) = touched(env, map, argument) else {
        return Ok(());
    };
    if value.as_constant() == Some(0) || env.points_to(value, field) {
        return Ok(());
    }
    Err(Failure::new(
        Code::MapField,
        "null, or a pointer to such an object",
        value.to_string(),
        "invalid kptr access",
    ))
}

/// Whether a helper may use the bytes of the map's value.
pub(super) fn usable_by_helper(
    env: &Env<'_>,
    argument: &MemoryArgument,
    map: u32,
) -> Result<(), Failure> {
    match touched(env, map, argument) {
        None => Ok(()),
        Some(field) => Err(Failure::new(
            Code::MapField,
            "memory beside the kernel's part of the value",
            format!("{} at {}", name(&field.kind), field.offset),
            format!(
                "{} cannot be accessed indirectly by helper",
                name(&field.kind)
            ),
        )),
    }
}

/// Whether the register points exactly to a part of that kind.
pub(super) fn exactly(
    env: &Env<'_>,
    state: &State,
    reg: Reg,
    wanted: &MapFieldKind,
) -> Result<(), Failure> {
    let value = state.reg(reg);
    if env
        .field_at(value)
        .is_some_and(|field| field.kind == *wanted)
    {
        return Ok(());
    }
    let name = name(wanted);
    Err(Failure::new(
        Code::HelperArgument,
        format!("the address of a {name} in a map's value in {reg}"),
        value.to_string(),
        match value.kind {
            Kind::MapValue { .. } if !value.nullable => {
                format!("off {} doesn't point to 'struct {name}'", value.delta)
            }
            _ => format!(
                "R{} type={} expected=map_value",
                reg.index(),
                value.kernel_kind()
            ),
        },
    ))
}

/// The kernel pointer that owns its object, in a map's value or an object, that the register points to.
pub(crate) fn owned_kptr<'a>(
    env: &Env<'a>,
    state: &State,
    reg: Reg,
) -> Result<&'a MapField, Failure> {
    let value = state.reg(reg);
    let owned = |field: &&MapField| {
        matches!(
            field.kind,
            MapFieldKind::Kptr {
                referenced: true,
                ..
            }
        )
    };
    let stale = matches!(
        value.kind,
        Kind::Local {
            hold: Hold::Stale,
            ..
        }
    );
    let field = env.field_at(value).filter(|_| !stale);
    field.filter(owned).ok_or_else(|| {
        Failure::new(
            Code::HelperArgument,
            format!("the address of a kernel pointer that owns its object in {reg}"),
            value.to_string(),
            format!("off={} kptr isn't referenced kptr", value.delta),
        )
    })
}

/// What holds the lock that is beside whatever the pointer leads to, if there is one lock and it is
/// known which it is: the map or structure, and the identity of the pointer.
pub(super) fn holder(env: &Env<'_>, value: &Value) -> Option<(Holder, Id)> {
    let is_lock = |field: &&MapField| field.kind.is_lock();
    if env.fields(value.kind).iter().filter(is_lock).count() != 1 {
        return None;
    }
    match value.kind {
        Kind::MapValue { map } => {
            let single = env
                .map(map)
                .filter(|_| env.is_own_map(map))
                .is_some_and(|map| map.map_type == MapType::Array && map.max_entries == 1);
            (value.id != 0 || single).then_some((Holder::Map(map), value.id))
        }
        Kind::Local {
            type_id,
            hold: Hold::Owned,
        } if value.reference != 0 => (value.id != 0).then_some((Holder::Local(type_id), value.id)),
        _ => None,
    }
}

/// The lock that the register points to.
pub(crate) fn lock_of(
    env: &Env<'_>,
    state: &State,
    reg: Reg,
    kind: LockKind,
) -> Result<Lock, Failure> {
    let wanted = match kind {
        LockKind::Spin => MapFieldKind::SpinLock,
        LockKind::Resilient | LockKind::ResilientIrq => MapFieldKind::ResSpinLock,
    };
    exactly(env, state, reg, &wanted)?;
    let value = state.reg(reg);
    match holder(env, value) {
        Some((holder, id)) => Ok(Lock {
            kind,
            holder,
            value: id,
            slot: 0,
        }),
        None => Err(Failure::new(
            Code::HelperArgument,
            format!("a value in {reg} of which is known which it is"),
            value.to_string(),
            "bpf_spin_unlock of different lock",
        )),
    }
}

/// Whether the lock may be taken, or released, by the helper.
pub(super) fn spin_lock(env: &Env<'_>, state: &State, id: u32, reg: Reg) -> Result<(), Failure> {
    let lock = lock_of(env, state, reg, LockKind::Spin)?;
    locking(state, &lock, id == SPIN_LOCK)
}

/// Whether the lock may be taken, or released.
pub(super) fn locking(state: &State, lock: &Lock, takes: bool) -> Result<(), Failure> {
    let refuse = |needed: &str, known: &str, kernel: &str| {
        Err(Failure::new(Code::Section, needed, known, kernel))
    };
    let comparing = |frame: &Frame| frame.callback == Some(CallbackKind::Less);
    if state.frames().any(comparing) {
        return refuse(
            "no lock taken or released while a tree compares",
            "its lock is held",
            "can't spin_{lock,unlock} in rbtree cb",
        );
    }
    let same = |held: &&Lock| held.holder == lock.holder && held.value == lock.value;
    let locks = &state.sections.locks;
    if takes {
        return match lock.kind {
            _ if locks.is_empty() => Ok(()),
            // Nothing would tell that it waits for ever.
            LockKind::Spin => refuse(
                "no lock held",
                "one is held",
                "Locking two bpf_spin_locks are not allowed",
            ),
            _ if locks.iter().any(|held| same(&held)) => refuse(
                "a lock that is not held",
                "it is held",
                "Acquiring the same lock again, AA deadlock detected",
            ),
            _ => Ok(()),
        };
    }
    let its_own = |held: &&Lock| held.kind == lock.kind && same(held);
    match locks.last() {
        None => refuse(
            "the lock held",
            "none is held",
            "bpf_spin_unlock without taking a lock",
        ),
        Some(held) if its_own(&held) => Ok(()),
        Some(_) if locks.iter().any(|held| its_own(&held)) => refuse(
            "the lock that was taken last",
            "one that was taken before another that is held",
            "bpf_spin_unlock cannot be out of order",
        ),
        Some(_) => refuse(
            "the lock that is held, and the function that releases it",
            "maybe another",
            "bpf_spin_unlock of different lock",
        ),
    }
}

/// Whether a call is allowed in the sections that the program is in: with a lock held, what works on
/// collections, and iterators over numbers (`kfunc_spin_allowed`).
pub(super) fn callable(env: &Env<'_>, state: &State, target: CallTarget) -> Result<(), Failure> {
    let Some(lock) = state.sections.locks.last() else {
        return Ok(());
    };
    let kernel = match target {
        CallTarget::Helper(SPIN_UNLOCK) => return Ok(()),
        CallTarget::Local(_) => return Ok(()),
        CallTarget::Kfunc { id, btf_idx }
            if env.kfunc(id, btf_idx).is_some_and(|proto| {
                matches!(
                    proto.args.first(),
                    Some(
                        KfuncArg::List
                            | KfuncArg::Tree
                            | KfuncArg::Refcounted
                            | KfuncArg::ResLock
                            | KfuncArg::Iterator(IterKind::Num)
                    )
                )
            }) =>
        {
            return Ok(());
        }
        _ => "function calls are not allowed while holding a lock",
    };
    Err(Failure::new(
        Code::Section,
        "no call but the release of the lock, and of what works on its collections, while it is held",
        format!("the lock taken at instruction {} is held", lock.slot),
        kernel,
    ))
}

/// Whether the program may end, or leave to another, in the sections that it is in.
pub(super) fn leavable(state: &State, what: &str) -> Result<(), Failure> {
    let sections = &state.sections;
    let region = match sections {
        _ if sections.is_none() => return Ok(()),
        _ if !sections.locks.is_empty() => "bpf_spin_lock-ed region",
        _ if sections.irq > 0 => "bpf_local_irq_save-ed region",
        _ if sections.rcu > 0 => "bpf_rcu_read_lock-ed region",
        _ => "bpf_preempt_disable-ed region",
    };
    Err(Failure::new(
        Code::Section,
        "all locks released and all sections left before",
        format!("{sections:?}"),
        format!("{what} cannot be used inside {region}"),
    ))
}

/// Whether programs of the type may use the map, as Linux has it
/// (`check_map_prog_compatibility`).
pub(super) fn map_fits(env: &Env<'_>, map: u32) -> Result<(), Failure> {
    if env.options.target != Target::Linux6_18 {
        return Ok(());
    }
    let tracing = matches!(
        env.program.prog_type,
        ProgType::Kprobe
            | ProgType::Tracepoint
            | ProgType::PerfEvent
            | ProgType::RawTracepoint
            | ProgType::RawTracepointWritable
    );
    let filter = env.program.prog_type == ProgType::SocketFilter;
    let fields = env.map(map).map_or(&[][..], |map| &map.fields);
    let refused = fields.iter().find_map(|field| match field.kind {
        MapFieldKind::SpinLock | MapFieldKind::ResSpinLock if filter => {
            Some(("socket filter", field))
        }
        MapFieldKind::SpinLock
        | MapFieldKind::ResSpinLock
        | MapFieldKind::Timer
        | MapFieldKind::Workqueue
        | MapFieldKind::ListHead { .. }
        | MapFieldKind::RbRoot { .. }
            if tracing =>
        {
            Some(("tracing", field))
        }
        _ => None,
    });
    match refused {
        None => Ok(()),
        Some((who, field)) => Err(Failure::new(
            Code::MapType,
            format!("a map whose values hold no {}", name(&field.kind)),
            env.program.prog_type.name(),
            format!("{who} progs cannot use {} yet", name(&field.kind)),
        )),
    }
}
