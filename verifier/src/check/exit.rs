//! What must hold where a function or the program may end.

use bpftime_isa::{AttachType, ProgType, Reg};

use super::{Failure, initialized};
use crate::diagnostic::Code;
use crate::domain::state::{CallbackKind, State};
use crate::domain::value::{Kind, Value};
use crate::env::Env;

pub(super) fn legacy_packet(env: &Env<'_>, state: &State) -> Result<(), Failure> {
    let allowed = matches!(
        env.program.prog_type,
        ProgType::SocketFilter | ProgType::SchedCls | ProgType::SchedAct
    );
    if !allowed {
        return Err(Failure::new(
            Code::UnsupportedInstruction,
            "a socket filter or traffic control program",
            env.program.prog_type.name(),
            "BPF_LD_[ABS|IND] instructions not allowed for this program type",
        ));
    }
    // Where the packet is too short it returns 0 to the subprogram's caller, which no state says.
    if state.depth() > 1 {
        return Err(Failure::new(
            Code::UnsupportedInstruction,
            "legacy packet access in the main program",
            "one in a subprogram",
            "LD_ABS is only allowed in functions that return 'int'",
        ));
    }
    if let Some(held) = state.references.first() {
        return Err(Failure::new(
            Code::UnreleasedReference,
            "all resources given back, as the instruction may end the program",
            format!("one acquired at instruction {}", held.slot),
            "BPF_LD_[ABS|IND] would lead to reference leak",
        ));
    }
    let r6 = state.reg(Reg::R6);
    if r6.kind == Kind::Ctx && r6.constant_offset() == Some(0) {
        return Ok(());
    }
    Err(Failure::new(
        Code::ContextAccess,
        "the context in r6",
        r6.to_string(),
        "at the time of BPF_LD_ABS|IND R6 != pointer to skb",
    ))
}

pub(super) fn returnable(env: &Env<'_>, state: &State) -> Result<(), Failure> {
    let r0 = state.reg(Reg::R0);
    if let Some((kind, held)) = state.callback() {
        return callback_returnable(state, kind, held);
    }
    if state.depth() > 1 {
        if matches!(r0.kind, Kind::Stack { .. }) {
            return Err(Failure::new(
                Code::ReturnValue,
                "no pointer to a stack from a subprogram",
                r0.to_string(),
                "cannot return stack pointer to the caller",
            ));
        }
        return Ok(());
    }
    if let Some(held) = state.references.first() {
        return Err(Failure::new(
            Code::UnreleasedReference,
            "all resources given back before the program ends",
            format!("one acquired at instruction {}", held.slot),
            format!(
                "Unreleased reference id={} alloc_insn={}",
                held.id, held.slot
            ),
        ));
    }
    initialized(state, Reg::R0)?;
    if r0.may_be_pointer() && !env.options.allow_ptr_leaks {
        return Err(Failure::new(
            Code::PointerLeak,
            "a number in r0",
            r0.to_string(),
            "R0 leaks addr as return value",
        ));
    }
    return_range(env, r0)
}

/// Whether a function that a helper called may return.
fn callback_returnable(state: &State, kind: CallbackKind, held: usize) -> Result<(), Failure> {
    initialized(state, Reg::R0)?;
    if let Some(kept) = state.references.get(held) {
        return Err(Failure::new(
            Code::UnreleasedReference,
            "all resources given back before the callback ends",
            format!("one acquired at instruction {}", kept.slot),
            format!(
                "Unreleased reference id={} alloc_insn={}",
                kept.id, kept.slot
            ),
        ));
    }
    if state.references.len() < held {
        return Err(Failure::new(
            Code::UnreleasedReference,
            "the caller's resources kept by the callback, which may be called again",
            format!("{} of {held}", state.references.len()),
            "callback function releases a reference of its caller",
        ));
    }
    let r0 = state.reg(Reg::R0);
    let most = kind.greatest_result();
    if r0.is_scalar() && r0.number.unsigned().1 <= most {
        return Ok(());
    }
    Err(Failure::new(
        Code::ReturnValue,
        format!("a number from 0 to {most} in r0 from the callback"),
        r0.to_string(),
        format!("At callback return the register R0 has {r0} should have been in [0, {most}]"),
    ))
}

/// Return values that the kernel's attach points understand.
fn return_range(env: &Env<'_>, r0: &Value) -> Result<(), Failure> {
    let attach = env.program.attach_type.unwrap_or(AttachType(u32::MAX)).0;
    let (least, most) = match env.program.prog_type {
        ProgType::CgroupSockAddr => match attach {
            // UDP receive, peer and socket names.
            19 | 20 | 29..=32 => (1, 1),
            // Binds.
            8 | 9 => (0, 3),
            _ => (0, 1),
        },
        // Egress may also say "congested".
        ProgType::CgroupSkb if attach == 1 => (0, 3),
        ProgType::CgroupSkb
        | ProgType::CgroupSock
        | ProgType::SockOps
        | ProgType::CgroupDevice
        | ProgType::CgroupSysctl
        | ProgType::CgroupSockopt
        | ProgType::SkLookup => (0, 1),
        _ => return Ok(()),
    };
    let (low, high) = r0.number.signed();
    if r0.is_scalar() && low as i64 >= least && high as i64 <= most {
        return Ok(());
    }
    Err(Failure::new(
        Code::ReturnValue,
        format!("a number from {least} to {most} in r0"),
        r0.to_string(),
        format!("At program exit the register R0 has {r0} should have been in [{least}, {most}]"),
    ))
}
