//! What a global function is called with, by its type and the tags of its arguments.
//!
//! The rules are those of the kernel (`btf_prepare_func_args` in `kernel/bpf/btf.c`), for numbers,
//! contexts and plain memory; of functions with other arguments, or without a result, nothing is said.

use std::collections::HashMap;

use bpftime_isa::{Contract, ContractArg};

use crate::btf::{Btf, Kind, Type};

/// Structures and typedefs that are contexts where an argument points to one.
const CONTEXTS: [&str; 18] = [
    "__sk_buff",
    "bpf_cgroup_dev_ctx",
    "bpf_nf_ctx",
    "bpf_perf_event_data",
    "bpf_raw_tracepoint_args",
    "bpf_sk_lookup",
    "bpf_sock",
    "bpf_sock_addr",
    "bpf_sock_ops",
    "bpf_sockopt",
    "bpf_sysctl",
    "bpf_user_pt_regs_t",
    "pt_regs",
    "sk_msg_md",
    "sk_reuseport_md",
    "user_pt_regs",
    "user_regs_struct",
    "xdp_md",
];

/// Most arguments of a function.
const MAX_ARGUMENTS: usize = 5;

/// Types that are looked through at most.
const MAX_DEPTH: usize = 32;

/// Tags of an argument (`btf_decl_tag("arg:...")`).
#[derive(Clone, Copy, Default)]
struct ArgumentTags {
    context: bool,
    not_null: bool,
    /// There is one that is not understood.
    other: bool,
}

/// Tags of all arguments, by number of the function and position.
pub(crate) struct Tags(HashMap<(u32, u32), ArgumentTags>);

impl Tags {
    pub(crate) fn of(btf: &Btf) -> Self {
        let mut tags: HashMap<_, ArgumentTags> = HashMap::new();
        for tag in btf.types().filter(|tag| tag.kind == Kind::DeclTag) {
            let name = btf.name(&tag).ok();
            let Some(name) = name.and_then(|name| name.strip_prefix("arg:")) else {
                continue;
            };
            let of_argument = tags.entry((tag.size_or_type, tag.component())).or_default();
            match name {
                "ctx" => of_argument.context = true,
                "nonnull" => of_argument.not_null = true,
                _ => of_argument.other = true,
            }
        }
        Self(tags)
    }
}

/// The contract of the function with that number, if there is one.
pub(crate) fn contract(btf: &Btf, tags: &Tags, function: &Type<'_>) -> Option<Contract> {
    let proto = btf.resolve(function.size_or_type).ok()?;
    if function.kind != Kind::Func || proto.kind != Kind::FuncProto {
        return None;
    }
    let mut arguments = Vec::new();
    for (position, ty) in proto.params().enumerate() {
        if position >= MAX_ARGUMENTS {
            return None;
        }
        let key = (function.id, position as u32);
        let tags = tags.0.get(&key).copied().unwrap_or_default();
        arguments.push(argument(btf, tags, ty)?);
    }
    let result = btf.resolve(proto.size_or_type).ok()?;
    is_number(result.kind).then_some(Contract { arguments })
}

fn is_number(kind: Kind) -> bool {
    kind == Kind::Int || kind.is_enum()
}

fn argument(btf: &Btf, tags: ArgumentTags, ty: u32) -> Option<ContractArg> {
    if tags.other {
        return None;
    }
    let resolved = btf.resolve(ty).ok()?;
    if is_number(resolved.kind) {
        return (btf.size(ty).ok()? <= 8).then_some(ContractArg::Number);
    }
    if resolved.kind != Kind::Ptr {
        return None;
    }
    if tags.context || points_to_context(btf, resolved.size_or_type)? {
        return Some(ContractArg::Context);
    }
    let size = u32::try_from(btf.size(resolved.size_or_type).ok()?).ok()?;
    (size > 0).then_some(ContractArg::Memory {
        size,
        nullable: !tags.not_null,
    })
}

/// Whether a name on the way to the type is that of a context.
fn points_to_context(btf: &Btf, id: u32) -> Option<bool> {
    let mut ty = btf.ty(id).ok()?;
    for _ in 0..MAX_DEPTH {
        if CONTEXTS.contains(&btf.name(&ty).ok()?) {
            return Some(true);
        }
        match ty.kind {
            Kind::Typedef | Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag => {
                ty = btf.ty(ty.size_or_type).ok()?;
            }
            _ => return Some(false),
        }
    }
    None
}
