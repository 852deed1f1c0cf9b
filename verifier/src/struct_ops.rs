//! Whether a program may implement what it is for, a member of a structure of functions (`struct_ops`).

use bpftime_isa::{ProgType, Program, struct_ops};

use crate::check::Failure;
use crate::diagnostic::Code;

/// What is missing, if something is.
pub(crate) fn missing(program: &Program) -> Option<Failure> {
    if program.prog_type != ProgType::StructOps {
        return None;
    }
    let fail = |needed: &str, known: String, kernel: &str| {
        Some(Failure::new(Code::ProgramType, needed, known, kernel))
    };
    let hook = &program.hook;
    let Some(target) = hook.target.as_deref() else {
        return fail(
            "a member of one structure of functions, which a `.struct_ops` section of the object says",
            "none, or several".to_owned(),
            "attach_btf_id is not a supported struct",
        );
    };
    let Some(ops) = struct_ops::by_name(target) else {
        let names: Vec<_> = struct_ops::STRUCT_OPS.iter().map(|ops| ops.name).collect();
        return fail(
            &format!("a structure whose rules are known: {}", names.join(", ")),
            target.to_owned(),
            "attach_btf_id is not a supported struct",
        );
    };
    let name = hook.member.as_deref().unwrap_or("no member");
    let Some(member) = ops.member(name) else {
        return fail(
            &format!("a function of {target} that programs may implement"),
            name.to_owned(),
            "attach to unsupported member",
        );
    };
    if hook.sleepable && !member.may_sleep {
        return fail(
            &format!("a program that does not sleep, as {target} calls {name} where nothing may"),
            "a section `struct_ops.s`".to_owned(),
            "attach to unsupported member",
        );
    }
    if hook.signature.is_none() {
        return fail(
            &format!(
                "a kernel's types (BTF) that have {target} as a structure for programs to implement, \
                 with {name} (those of another kernel than this machine's: --btf)"
            ),
            "types without it, or none".to_owned(),
            "attach_btf_id is not a supported struct",
        );
    }
    None
}
