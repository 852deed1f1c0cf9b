//! What programs are called with whose context is typed by BTF, from the kernel's types.
//!
//! The rules are those of the kernel (`btf_ctx_access` in `kernel/bpf/btf.c`), but where it knows more of
//! an iterator's arguments than BTF says: here all but the first may be null.

use bpftime_isa::hook::tracepoint;
use bpftime_isa::returns::{BOOL_HOOKS, HookResult};
use bpftime_isa::{AttachType, HookArg, ProgType, Signature, Trust, struct_ops};

use crate::btf::{Btf, Kind, Type};
use crate::core_relo::type_named;

/// Words of a context (`MAX_BPF_FUNC_ARGS`).
const MAX_WORDS: usize = 12;

/// Linux security hooks whose arguments are being made or freed, so that helpers do not take them
/// (`untrusted_lsm_hooks` in `kernel/bpf/bpf_lsm.c`).
const UNTRUSTED_HOOKS: &[&str] = &[
    "bpf_map_free",
    "bpf_prog_free",
    "file_alloc_security",
    "file_free_security",
    "sk_alloc_security",
    "sk_free_security",
    "task_free",
];

/// Iterators whose object helpers take.
const TRUSTED_ITERATORS: &[&str] = &["cgroup", "kmem_cache", "task", "tcp", "udp"];

/// Iterators that give keys and values: name, argument, whether programs may write it.
const BUFFERS: &[(&str, usize, bool)] = &[
    ("bpf_map_elem", 2, false),
    ("bpf_map_elem", 3, true),
    ("bpf_sk_storage_map", 3, true),
    ("sockmap", 2, false),
];

/// TCP's congestion control.
const CONGESTION: &str = "tcp_congestion_ops";

/// What the place is by which a program is called.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Tracepoint,
    Entry,
    Exit,
    Modify,
    Iterator,
    Security,
}

impl Place {
    fn of(prog_type: ProgType, attach_type: Option<AttachType>) -> Option<Self> {
        match (prog_type, attach_type?) {
            (ProgType::Tracing, AttachType::TRACE_RAW_TP) => Some(Self::Tracepoint),
            (ProgType::Tracing, AttachType::TRACE_FENTRY) => Some(Self::Entry),
            (ProgType::Tracing, AttachType::TRACE_FEXIT) => Some(Self::Exit),
            (ProgType::Tracing, AttachType::MODIFY_RETURN) => Some(Self::Modify),
            (ProgType::Tracing, AttachType::TRACE_ITER) => Some(Self::Iterator),
            (ProgType::Lsm, _) => Some(Self::Security),
            _ => None,
        }
    }

    /// Kind and name in BTF of what has the arguments.
    fn named(self, target: &str) -> (Kind, String) {
        match self {
            Self::Tracepoint => (Kind::Typedef, format!("btf_trace_{target}")),
            Self::Entry | Self::Exit | Self::Modify => (Kind::Func, target.to_owned()),
            Self::Iterator => (Kind::Func, format!("bpf_iter_{target}")),
            Self::Security => (Kind::Func, format!("bpf_lsm_{target}")),
        }
    }
}

/// What a program is called with that is attached to `target` (a tracepoint, a function, the name of an
/// iterator or of a security hook). `None` if the types of the kernel do not say it.
pub fn signature(
    kernel: &Btf,
    prog_type: ProgType,
    attach_type: Option<AttachType>,
    target: &str,
) -> Option<Signature> {
    let place = Place::of(prog_type, attach_type)?;
    let (kind, name) = place.named(target);
    let mut proto = kernel.resolve(type_named(kernel, &name, kind)?).ok()?;
    // A function, or a pointer to one behind the typedef.
    while matches!(proto.kind, Kind::Func | Kind::Ptr) {
        proto = kernel.resolve(proto.size_or_type).ok()?;
    }
    if proto.kind != Kind::FuncProto {
        return None;
    }
    // The first argument of a tracepoint is the program's own.
    let own = usize::from(place == Place::Tracepoint);
    let mut args = Vec::new();
    for (index, (name, ty)) in proto.named_params().skip(own).enumerate() {
        let name = kernel.string(name).ok()?;
        let buffer = BUFFERS
            .iter()
            .find(|(of, at, _)| place == Place::Iterator && *of == target && *at == index);
        if let Some((_, _, writable)) = buffer {
            args.push(HookArg::Buffer {
                writable: *writable,
            });
            continue;
        }
        words(kernel, ty, &mut args, |to| {
            object(place, target, index, name, to, kernel)
        })?;
    }
    let result = kernel.resolve(proto.size_or_type).ok()?;
    Some(Signature {
        name,
        args,
        result: match result.kind {
            Kind::Void => HookResult::Void,
            _ if place == Place::Security && BOOL_HOOKS.contains(&target) => HookResult::Bool,
            _ => HookResult::Number,
        },
        sees_result: matches!(place, Place::Exit | Place::Modify | Place::Security),
    })
}

/// What a program is called with that implements a member of a structure of functions
/// (`struct_ops`). `None` if the types of the kernel do not say it, or do not have the structure as one that
/// programs may implement, and for structures and members of which this version does not know the rules
/// ([`struct_ops`]).
///
/// The prototype is never taken from the object: who calls the program is the kernel.
pub fn member_signature(kernel: &Btf, structure: &str, member: &str) -> Option<Signature> {
    let rules = struct_ops::by_name(structure)?.member(member)?;
    // The kernel's own of what programs fill in, which it has for all that it lets them.
    type_named(kernel, &format!("bpf_struct_ops_{structure}"), Kind::Struct)?;
    let ty = kernel
        .resolve(type_named(kernel, structure, Kind::Struct)?)
        .ok()?;
    let named = |name: u32| kernel.string(name).is_ok_and(|found| found == member);
    let function = ty.members().find(|found| named(found.name))?;
    let pointer = kernel.resolve(function.ty).ok()?;
    let proto = kernel.resolve(pointer.size_or_type).ok()?;
    if pointer.kind != Kind::Ptr || proto.kind != Kind::FuncProto {
        return None;
    }
    let stub = stub_names(kernel, structure, member);
    let mut args = Vec::new();
    for (index, ty) in proto.params().enumerate() {
        let suffixed = |suffix: &str| stub.get(index).is_some_and(|name| name.ends_with(suffix));
        // What the program gets a reference of is not told apart yet, and would be lost.
        if suffixed("__ref") {
            return None;
        }
        let nullable = rules.nullable == Some(index) || suffixed("__nullable");
        words(kernel, ty, &mut args, |to| HookArg::Object {
            type_id: promoted(kernel, structure, to),
            trust: Trust::Trusted,
            nullable,
        })?;
    }
    let result = kernel.resolve(proto.size_or_type).ok()?;
    Some(Signature {
        name: member.to_owned(),
        args,
        result: match result.kind {
            Kind::Void => HookResult::Void,
            _ => HookResult::Number,
        },
        sees_result: false,
    })
}

/// Names of the arguments of the function that stands in for a member which no program implements; these say
/// what may be null. Empty if the kernel has none.
fn stub_names<'a>(kernel: &'a Btf, structure: &str, member: &str) -> Vec<&'a str> {
    let names = || {
        let stub = type_named(kernel, &format!("{structure}__{member}"), Kind::Func)?;
        let proto = kernel.resolve(kernel.ty(stub).ok()?.size_or_type).ok()?;
        let params = proto.named_params();
        Some(
            params
                .map(|(name, _)| kernel.string(name).unwrap_or_default())
                .collect(),
        )
    };
    names().unwrap_or_default()
}

/// Sockets that congestion control is given are TCP's (`bpf_tcp_ca_is_valid_access`).
fn promoted(kernel: &Btf, structure: &str, to: &Type<'_>) -> u32 {
    let is_sock = kernel.name(to).is_ok_and(|name| name == "sock");
    (is_sock && structure == CONGESTION)
        .then(|| type_named(kernel, "tcp_sock", Kind::Struct))
        .flatten()
        .unwrap_or(to.id)
}

/// A pointer to a structure.
fn object(
    place: Place,
    target: &str,
    index: usize,
    name: &str,
    to: &Type<'_>,
    kernel: &Btf,
) -> HookArg {
    let trusted = match place {
        Place::Tracepoint => true,
        Place::Iterator => {
            index == 0
                || TRUSTED_ITERATORS.contains(&target)
                || kernel.name(to).is_ok_and(|name| name == "bpf_map")
        }
        Place::Security => !UNTRUSTED_HOOKS.contains(&target),
        Place::Entry | Place::Exit | Place::Modify => false,
    };
    let nullable = match place {
        Place::Tracepoint if tracepoint::may_be_error(target, index) => return HookArg::Address,
        Place::Tracepoint => tracepoint::may_be_null(target, index),
        // The map that is iterated over is there; what an iterator gives is null at its end.
        Place::Iterator => {
            let is_map = kernel.name(to).is_ok_and(|name| name == "bpf_map");
            index > 0 && !(is_map && target != "bpf_map")
        }
        _ => false,
    };
    HookArg::Object {
        type_id: to.id,
        trust: if trusted {
            Trust::Trusted
        } else {
            Trust::Argument
        },
        nullable: nullable || name.ends_with("__nullable"),
    }
}

/// Adds the words of an argument. `None` if there are too many, or the type has no size.
fn words(
    kernel: &Btf,
    ty: u32,
    args: &mut Vec<HookArg>,
    object: impl Fn(&Type<'_>) -> HookArg,
) -> Option<()> {
    let resolved = kernel.resolve(ty).ok()?;
    let bytes = kernel.size(ty).ok()?;
    let count = usize::try_from(bytes.div_ceil(8)).ok()?;
    if args.len().checked_add(count)? > MAX_WORDS {
        return None;
    }
    let word = match resolved.kind {
        Kind::Ptr => pointer(kernel, &resolved, object),
        Kind::Int | Kind::Enum | Kind::Enum64 if bytes <= 8 => HookArg::Number,
        Kind::Struct | Kind::Union => HookArg::Number,
        _ => HookArg::Hidden,
    };
    args.extend(std::iter::repeat_n(word, count));
    Some(())
}

fn pointer(kernel: &Btf, pointer: &Type<'_>, object: impl Fn(&Type<'_>) -> HookArg) -> HookArg {
    let to = kernel.ty(pointer.size_or_type);
    // Memory of a process, or a variable of each CPU's own.
    let elsewhere = to.is_ok_and(|to| {
        to.kind == Kind::TypeTag
            && kernel
                .name(&to)
                .is_ok_and(|tag| matches!(tag, "user" | "percpu"))
    });
    match kernel.resolve(pointer.size_or_type) {
        Ok(to) if to.kind.is_composite() && !elsewhere => object(&to),
        Ok(to) if elsewhere || matches!(to.kind, Kind::Void | Kind::Int) => HookArg::Address,
        _ => HookArg::Hidden,
    }
}
