//! What must hold where a function or the program may end.

use bpftime_isa::returns::{HookResult, returns};
use bpftime_isa::{AttachType, OnThrow, ProgType, Reg};

use super::{Failure, initialized, map_field};
use crate::diagnostic::Code;
use crate::domain::state::{CallbackKind, State};
use crate::domain::value::{Kind, Value};
use crate::env::Env;

/// Whether the function that runs may return to its caller where no exit is: by a tail call, whose
/// program returns to where the function would, or by a legacy load from beyond the packet. A helper
/// that calls back would take the result for the callback's; of functions, Linux asks for the type.
pub(super) fn may_return_early(env: &Env<'_>, state: &State) -> bool {
    state.depth() == 1 && state.callback().is_none()
        || !env.program.subprograms.is_empty()
            && state.frames().all(|frame| frame.callback.is_none())
}

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
    if !may_return_early(env, state) {
        return Err(Failure::new(
            Code::UnsupportedInstruction,
            "legacy packet access in the main program, or in a function whose type is known",
            "one in a callback, or in a function without type",
            "LD_ABS is only allowed in functions that return 'int'",
        ));
    }
    map_field::leavable(state, "BPF_LD_[ABS|IND]")?;
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
    match state.callback() {
        Some((CallbackKind::Global, _)) => return global_returnable(state),
        Some((kind, held)) => return callback_returnable(state, kind, held),
        None => {}
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
    map_field::leavable(state, "BPF_EXIT instruction in main prog")?;
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
    if returns_nothing(env) {
        return Ok(());
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

/// Whether nobody looks at what the program returns: it stands for a function without a result.
fn returns_nothing(env: &Env<'_>) -> bool {
    let program = env.program;
    let stands_for = match program.prog_type {
        ProgType::StructOps => true,
        ProgType::Lsm => program.attach_type != Some(AttachType::LSM_CGROUP),
        _ => false,
    };
    let result = program.hook.signature.as_ref().map(|hook| hook.result);
    stands_for && result == Some(HookResult::Void) && env.options.allow_ptr_leaks
}

/// Whether a function that is judged by its contract may return.
fn global_returnable(state: &State) -> Result<(), Failure> {
    map_field::leavable(state, "BPF_EXIT instruction in a global function")?;
    if let Some(held) = state.references.first() {
        return Err(Failure::new(
            Code::UnreleasedReference,
            "all resources given back before the global function ends",
            format!("one acquired at instruction {}", held.slot),
            format!(
                "Unreleased reference id={} alloc_insn={}",
                held.id, held.slot
            ),
        ));
    }
    let r0 = state.reg(Reg::R0);
    if !r0.is_scalar() {
        return Err(Failure::new(
            Code::ReturnValue,
            "a number in r0, as the type of the global function says",
            r0.to_string(),
            "At subprogram exit the register R0 is not a scalar value",
        ));
    }
    Ok(())
}

/// Whether a function that a helper called may return.
fn callback_returnable(state: &State, kind: CallbackKind, held: usize) -> Result<(), Failure> {
    initialized(state, Reg::R0)?;
    // The tree's lock is held before and after: nothing that gives it up may be called between.
    if kind != CallbackKind::Less {
        map_field::leavable(state, "BPF_EXIT instruction in callback")?;
    }
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

/// Whether the program may be ended from whatever function by `bpf_throw`: nothing is left behind, and
/// the number in `r1` is one that it may return. A helper that calls back could not be left so.
pub(super) fn throwable(env: &Env<'_>, state: &State) -> Result<(), Failure> {
    map_field::leavable(state, "bpf_throw")?;
    if let Some(held) = state.references.first() {
        return Err(Failure::new(
            Code::UnreleasedReference,
            "all resources given back before bpf_throw",
            format!("one acquired at instruction {}", held.slot),
            format!(
                "Unreleased reference id={} alloc_insn={}",
                held.id, held.slot
            ),
        ));
    }
    if state.frames().any(|frame| frame.callback.is_some()) {
        return Err(Failure::new(
            Code::UnsupportedCall,
            "bpf_throw outside of callbacks",
            "a call within one",
            "cannot be called from callback subprog",
        ));
    }
    match env.program.on_throw {
        OnThrow::Ends => return_range(env, state.reg(Reg::R1)),
        // That function gives the result.
        OnThrow::Calls(_) => Ok(()),
        OnThrow::IsCalled => Err(Failure::new(
            Code::UnsupportedCall,
            "bpf_throw outside of what is called when it throws",
            "a call within that",
            "cannot be called from callback subprog",
        )),
    }
}

/// Return values that the kernel's attach points understand.
fn return_range(env: &Env<'_>, r0: &Value) -> Result<(), Failure> {
    let program = env.program;
    let result = program.hook.signature.as_ref().map(|hook| hook.result);
    let Some(range) = returns(program.prog_type, program.attach_type, result) else {
        return Ok(());
    };
    let (least, most) = (i64::from(range.least), i64::from(range.most));
    let (low, high) = if range.low_half {
        let (low, high) = r0.number.narrow.signed();
        (i64::from(low as i32), i64::from(high as i32))
    } else {
        let (low, high) = r0.number.signed();
        (low as i64, high as i64)
    };
    if r0.is_scalar() && low >= least && high <= most {
        return Ok(());
    }
    Err(Failure::new(
        Code::ReturnValue,
        format!(
            "a number from {least} to {most} in r0, which is all that {} programs of this attach \
             type may return",
            program.prog_type.name()
        ),
        r0.to_string(),
        if r0.is_scalar() {
            kernel_sentence(low, high, least, most)
        } else {
            let kind = r0.kernel_kind();
            format!("At program exit the register R0 is not a known value ({kind})")
        },
    ))
}

/// The kernel's words for a return value out of range.
fn kernel_sentence(low: i64, high: i64, least: i64, most: i64) -> String {
    let mut known = String::new();
    if low > i64::MIN {
        known.push_str(&format!(" smin={low}"));
    }
    if high < i64::MAX {
        known.push_str(&format!(" smax={high}"));
    }
    if known.is_empty() {
        known.push_str(" unknown scalar value");
    }
    format!("At program exit the register R0 has{known} should have been in [{least}, {most}]")
}
