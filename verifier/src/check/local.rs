//! Objects of the program's own structures: `bpf_obj_new`, lists, trees, and who owns what.
//!
//! An object is got from `bpf_obj_new`, out of a map's value, or out of a collection, and a value says
//! why it is still there ([`Hold`]):
//!
//! - **Owned**: the pointer carries the identity of a resource. Giving it away (to `bpf_obj_drop`, to a
//!   map's value) makes all pointers with that identity unusable; putting it into a collection turns
//!   them into members of the collection.
//! - **Member**: the collection owns it, and everybody who takes things out of collections needs the
//!   lock that the program holds. So it stays until the program gives up the lock, which makes all
//!   members unusable, or takes it out itself: then it owns it, and other pointers to the same object
//!   stay usable under the lock, for nothing can be dropped while a lock is held (no call but those on
//!   collections is allowed), and a collection finds out itself that a node is not in it.
//! - **Rcu**: it was read from a map's value, out of which others may take it. Memory of objects is not
//!   used for anything else before the RCU section ends, so that reads and writes do no harm. When the
//!   section ends it is stale.
//! - **Stale**: reads that fault give 0; nothing is written.
//!
//! Programs read and write objects within the structure, beside the kernel's parts of it, which they
//! reach through their functions only. What is read is never known: others may write at the same time.
//!
//! A list or tree holds one kind of structure, by one node in it, as the program's BTF declares; nodes
//! of anything else are refused. It is used while the lock is held that is in the same map's value or
//! object: same structure or map, and same identity of the pointer.

use bpftime_isa::kfunc::{KfuncArg, KfuncProto, KfuncRet};
use bpftime_isa::{GraphNode, MapField, MapFieldKind, Reg};

use super::region::MemoryArgument;
use super::{Failure, map_field};
use crate::assertion::{Access, AccessKind};
use crate::diagnostic::Code;
use crate::domain::state::{CallbackKind, State};
use crate::domain::value::{Hold, Kind, Value};
use crate::env::Env;

/// Most bytes of what each CPU has its own (kernel `BPF_GLOBAL_PERCPU_MA_MAX_SIZE`).
const PER_CPU_SIZE: u32 = 512;

/// Whether bytes of the object may be accessed so.
pub(super) fn accessible(
    env: &Env<'_>,
    access: &Access,
    argument: &MemoryArgument,
    (type_id, hold): (u32, Hold),
) -> Result<(), Failure> {
    let pointer = &argument.pointer;
    let (number, size) = (access.base.index(), u64::from(access.size.bytes()));
    let refuse = |code: Code, needed: &str, kernel: String| {
        Err(Failure::new(
            code,
            needed,
            format!("{size} bytes at offset {} of {pointer}", access.off),
            kernel,
        ))
    };
    if pointer.nullable {
        return refuse(
            Code::PossibleNull,
            "a pointer that was compared with 0",
            format!("R{number} invalid mem access '{}'", pointer.kernel_kind()),
        );
    }
    let Some(offset) = argument.offset().as_constant().map(|offset| offset as i64) else {
        return refuse(
            Code::ObjectAccess,
            "a known offset in an object",
            format!("R{number} is ptr_ invalid variable offset"),
        );
    };
    let end = offset.saturating_add_unsigned(size);
    let bytes = env.local(type_id).map_or(0, |local| local.size);
    if offset < 0 || end > i64::from(bytes) {
        return refuse(
            Code::MemoryBounds,
            "an access within the object",
            format!("access beyond struct at off {offset} size {size}"),
        );
    }
    let touches = |field: &&MapField| {
        let first = i64::from(field.offset);
        first < end && offset < first + i64::from(field.size)
    };
    if let Some(field) = env.fields(pointer.kind).iter().find(touches) {
        return refuse(
            Code::MapField,
            "an access beside the kernel's parts of the object",
            format!(
                "direct access to {} is disallowed",
                map_field::name(&field.kind)
            ),
        );
    }
    if hold == Hold::Stale && access.kind != AccessKind::Read {
        return refuse(
            Code::ObjectAccess,
            "an object that is certainly there, to write it",
            "only read is supported".to_owned(),
        );
    }
    Ok(())
}

/// Whether the argument is what the function takes, if that is about objects and collections.
pub(super) fn check_argument(
    env: &Env<'_>,
    state: &State,
    proto: &KfuncProto,
    reg: Reg,
    argument: KfuncArg,
) -> Result<(), Failure> {
    let value = state.reg(reg);
    let refuse = |needed: &str, kernel: String| {
        Err(Failure::new(
            Code::HelperArgument,
            format!("{needed} in {reg} for {}", proto.name),
            value.to_string(),
            kernel,
        ))
    };
    match argument {
        KfuncArg::LocalType => {
            let local = value.as_constant().and_then(|id| u32::try_from(id).ok());
            match local.and_then(|id| env.local(id)) {
                Some(local)
                    if proto.ret == KfuncRet::PerCpuObject
                        && (!local.numbers || local.size > PER_CPU_SIZE) =>
                {
                    refuse(
                        "the known number of a structure of numbers only, of at most 512 bytes,",
                        "bpf_percpu_obj_new type ID argument must be of a struct of scalars".into(),
                    )
                }
                Some(local) if local.size > 0 => Ok(()),
                _ => refuse(
                    "the known number of a structure of the program's",
                    format!("R{} must be a known constant", reg.index()),
                ),
            }
        }
        KfuncArg::Object => match value.kind {
            Kind::Local {
                hold: Hold::Owned, ..
            } if value.reference != 0 && !value.nullable && value.constant_offset() == Some(0) => {
                Ok(())
            }
            _ => refuse(
                "an object that the program owns",
                format!(
                    "arg#0 expected pointer to allocated object ({})",
                    value.kernel_kind()
                ),
            ),
        },
        KfuncArg::PerCpuObject => match value.kind {
            Kind::PerCpuLocal {
                hold: Hold::Owned, ..
            } if value.reference != 0 && !value.nullable && value.constant_offset() == Some(0) => {
                Ok(())
            }
            _ => refuse(
                "what the program owns, of which each CPU has its own",
                "arg#0 expected for bpf_percpu_obj_drop_impl()".into(),
            ),
        },
        KfuncArg::Refcounted => match value.kind {
            Kind::Local { hold, .. }
                if hold != Hold::Stale && !value.nullable && value.constant_offset() == Some(0) =>
            {
                let counts = |field: &MapField| field.kind == MapFieldKind::Refcount;
                if env.fields(value.kind).iter().any(counts) {
                    return Ok(());
                }
                refuse(
                    "an object that counts its owners",
                    "arg#0 doesn't point to a type with bpf_refcount field".to_owned(),
                )
            }
            _ => refuse(
                "an object that is certainly there",
                "arg#0 is neither owning or non-owning ref".to_owned(),
            ),
        },
        KfuncArg::List | KfuncArg::Tree => root(env, state, reg).map(drop),
        KfuncArg::ListNode | KfuncArg::TreeNode => {
            if value.reference == 0 {
                return refuse(
                    "a node of an object that the program owns",
                    "allocated object must be referenced".to_owned(),
                );
            }
            node(env, state, reg)
        }
        KfuncArg::TreeMember => node(env, state, reg),
        KfuncArg::Less => match value.kind {
            Kind::Func { .. } => Ok(()),
            _ => refuse("a function", "expected pointer to func".to_owned()),
        },
        _ => Ok(()),
    }
}

/// What the list or tree that the register points to holds. Its lock is held.
pub(crate) fn root(env: &Env<'_>, state: &State, reg: Reg) -> Result<GraphNode, Failure> {
    let value = state.reg(reg);
    let held = env.field_at(value).and_then(|field| match field.kind {
        MapFieldKind::ListHead { holds } | MapFieldKind::RbRoot { holds } => {
            holds.map(|holds| (holds, &field.kind))
        }
        _ => None,
    });
    let stale = matches!(value.kind, Kind::Local { .. }) && value.reference == 0;
    let Some((holds, kind)) = held.filter(|_| !stale) else {
        return Err(Failure::new(
            Code::HelperArgument,
            format!(
                "the address of a list or tree in a map's value, or in an owned object, in {reg}"
            ),
            value.to_string(),
            "arg#0 expected pointer to map value or allocated object",
        ));
    };
    let lock = map_field::holder(env, value);
    let locks = &state.sections.locks;
    let is_it = |(holder, id)| {
        let mut held = locks.iter();
        held.any(|held| held.holder == holder && held.value == id)
    };
    match lock {
        Some(lock) if is_it(lock) => Ok(holds),
        _ => Err(Failure::new(
            Code::Section,
            "the lock held that is beside the list or tree",
            match locks.is_empty() {
                true => "none is held",
                false => "maybe another",
            },
            format!(
                "{} at off={} must be under bpf_spin_lock",
                map_field::name(kind),
                value.delta
            ),
        )),
    }
}

/// Whether the register points to the node, of an object that is certainly there, by which the list or
/// tree in `r1` holds its structures.
fn node(env: &Env<'_>, state: &State, reg: Reg) -> Result<(), Failure> {
    let root_of = *state.reg(Reg::R1);
    let holds = root(env, state, Reg::R1)?;
    let wanted = match env.field_at(&root_of).map(|field| &field.kind) {
        Some(MapFieldKind::RbRoot { .. }) => MapFieldKind::RbNode,
        _ => MapFieldKind::ListNode,
    };
    let value = state.reg(reg);
    let fits = match value.kind {
        Kind::Local { type_id, hold } => {
            let there = match hold {
                Hold::Owned => value.reference != 0,
                Hold::Member => true,
                // As the kernel has it: structures with nodes are members, whoever holds them.
                Hold::Rcu => true,
                Hold::Stale => false,
            };
            there && type_id == holds.type_id
        }
        _ => false,
    };
    let field = env.field_at(value);
    if fits && field.is_some_and(|field| field.kind == wanted && field.offset == holds.offset) {
        return Ok(());
    }
    Err(Failure::new(
        Code::HelperArgument,
        format!(
            "the node, at offset {}, of an object of the structure that the collection holds in {reg}",
            holds.offset
        ),
        value.to_string(),
        format!("arg#1 expected node at offset={}", holds.offset),
    ))
}

/// Whether the function may be called in what `bpf_rbtree_add` calls back: nothing may, as the tree is
/// being changed.
pub(super) fn callable(state: &State, proto: &KfuncProto) -> Result<(), Failure> {
    let comparing = state
        .frames()
        .any(|frame| frame.callback == Some(CallbackKind::Less));
    if !comparing {
        return Ok(());
    }
    Err(Failure::new(
        Code::Section,
        "no call of a kernel function while a tree compares",
        proto.name,
        format!("{} not allowed in rbtree cb", proto.name),
    ))
}

/// The object of a node: the pointer as it comes out of a collection.
pub(crate) fn taken_out(holds: GraphNode, hold: Hold) -> Value {
    Value {
        delta: i32::try_from(holds.offset).unwrap_or(i32::MAX),
        ..Value::pointer(Kind::Local {
            type_id: holds.type_id,
            hold,
        })
    }
}
