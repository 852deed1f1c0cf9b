//! Memory that kernel functions are given.

use bpftime_isa::Reg;
use bpftime_isa::kfunc::{KfuncArg, KfuncEffect, KfuncProto, KfuncRet};

use super::Failure;
use super::call::ARGUMENT_REGS;
use super::region::MemoryArgument;
use crate::diagnostic::Code;
use crate::domain::state::State;
use crate::domain::value::Kind;
use crate::env::Env;

/// Whether the argument is memory that the function uses.
pub(super) fn is_memory(argument: KfuncArg) -> bool {
    matches!(
        argument,
        KfuncArg::MemRead
            | KfuncArg::MemReadOrNull
            | KfuncArg::MemWrite
            | KfuncArg::MemWriteOrNull
            | KfuncArg::FixedMemRead(_)
            | KfuncArg::StructMemRead(_)
            | KfuncArg::FixedMemWrite(_)
    )
}

/// The memory in the register that the function uses, if the argument is memory; none if it is null and of
/// no bytes.
pub(crate) fn memory(
    env: &Env<'_>,
    state: &State,
    reg: Reg,
    argument: KfuncArg,
) -> Result<Option<MemoryArgument>, Failure> {
    if !is_memory(argument) {
        return Ok(None);
    }
    let (least, most) = match argument {
        KfuncArg::FixedMemRead(size) | KfuncArg::FixedMemWrite(size) => (size.into(), size.into()),
        KfuncArg::StructMemRead(name) => {
            let Some(size) = env.size_of(name) else {
                return Err(Failure::new(
                    Code::UnsupportedCall,
                    format!("a kernel's types that have struct {name}"),
                    "none",
                    format!("struct {name} is not found"),
                ));
            };
            (size.into(), size.into())
        }
        _ => {
            let next = ARGUMENT_REGS.get(reg.index()).copied().unwrap_or(reg);
            super::call::size_in(state, next, true)?
        }
    };
    let nullable = matches!(argument, KfuncArg::MemReadOrNull | KfuncArg::MemWriteOrNull);
    let pointer = *state.reg(reg);
    if nullable && most == 0 && pointer.as_constant() == Some(0) {
        return Ok(None);
    }
    let reads = matches!(
        argument,
        KfuncArg::MemRead
            | KfuncArg::MemReadOrNull
            | KfuncArg::FixedMemRead(_)
            | KfuncArg::StructMemRead(_)
    );
    Ok(Some(MemoryArgument {
        reg,
        pointer,
        extra: 0,
        least,
        most,
        reads,
        writes: !reads,
    }))
}

/// Whether the memory in the register may be used so.
pub(super) fn usable(
    env: &Env<'_>,
    state: &State,
    reg: Reg,
    argument: KfuncArg,
) -> Result<(), Failure> {
    let Some(memory) = memory(env, state, reg, argument)? else {
        return Ok(());
    };
    super::region::in_region(env, state, &memory)?;
    match memory.pointer.kind {
        Kind::MapValue { map } => super::map_field::usable_by_helper(env, &memory, map),
        Kind::Stack { .. } => super::argument_memory::stack_contents(env, state, &memory),
        _ => Err(Failure::new(
            Code::HelperArgument,
            format!("memory on the stack or in a map's value in {reg}"),
            memory.pointer.to_string(),
            "arg type is not supported",
        )),
    }
}

/// Whether the function uses what it is given and keeps nothing of it: no more than a number comes of the call.
/// What it gives back may otherwise be what it was given (`bpf_cpumask_acquire`), and bytes of a map's value
/// that are owned would be freed with what stands there as their count of owners.
pub(super) fn uses_only(proto: &KfuncProto) -> bool {
    let gives_away = |argument: &KfuncArg| matches!(argument, KfuncArg::Released(_));
    matches!(proto.ret, KfuncRet::Void | KfuncRet::Number)
        && proto.effect == KfuncEffect::None
        && !proto.args.iter().any(gives_away)
}

/// Whether a map's value has room for such a structure, where it is made of numbers alone: then any bytes
/// are one, and the function reads and writes no others (`KF_ARG_PTR_TO_MEM`). What is given back cannot
/// lie there.
pub(super) fn numbers(env: &Env<'_>, state: &State, reg: Reg, name: &str) -> Result<(), Failure> {
    let size = env.size_of(name).filter(|_| env.is_numbers(name));
    let Some(size) = size else {
        let value = state.reg(reg);
        return Err(Failure::new(
            Code::HelperArgument,
            format!("a {name} in {reg}, which is not made of numbers alone"),
            value.to_string(),
            format!("pointer type STRUCT {name} must point to scalar, or struct with scalar"),
        ));
    };
    let memory = MemoryArgument {
        reg,
        pointer: *state.reg(reg),
        extra: 0,
        least: size.into(),
        most: size.into(),
        reads: true,
        writes: true,
    };
    super::region::in_region(env, state, &memory)?;
    match memory.pointer.kind {
        Kind::MapValue { map } => super::map_field::usable_by_helper(env, &memory, map),
        _ => Ok(()),
    }
}
