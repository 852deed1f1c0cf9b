//! Whether a global function may be called that is judged by its contract.

use bpftime_isa::{ContractArg, Reg};

use super::argument_memory::stack_contents;
use super::region::{MemoryArgument, in_region};
use super::{ARGUMENT_REGS, Failure, map_field};
use crate::contract::Global;
use crate::diagnostic::Code;
use crate::domain::state::State;
use crate::domain::value::{Kind, Value};
use crate::env::Env;

/// The memory that an argument is the address of; nothing for null.
pub(crate) fn memory(
    reg: Reg,
    pointer: Value,
    size: u32,
    nullable: bool,
) -> Option<MemoryArgument> {
    let null = pointer.as_constant() == Some(0);
    if nullable && null {
        return None;
    }
    Some(MemoryArgument {
        reg,
        pointer: Value {
            nullable: pointer.nullable && !nullable,
            ..pointer
        },
        extra: 0,
        least: size.into(),
        most: size.into(),
        reads: true,
        writes: true,
    })
}

/// Whether the arguments are what the function's type says, and nothing is held that it could not
/// know of.
pub(crate) fn contract(env: &Env<'_>, state: &State, global: &Global) -> Result<(), Failure> {
    map_field::leavable(state, "a global function")?;
    // The function is judged as one that the program calls: whether it may sleep, and what RCU keeps for it.
    if env.may_sleep(state) != env.program.may_sleep() {
        return Err(Failure::new(
            Code::Section,
            "a call of a global function that is judged by its contract from where may be slept as in the program",
            "a function that a timer or a work queue calls",
            "global functions are judged as part of the program",
        ));
    }
    let arguments = global.contract.arguments.iter();
    for (reg, argument) in ARGUMENT_REGS.into_iter().zip(arguments) {
        let value = state.reg(reg);
        let wrong = |needed: &str| {
            Failure::new(
                Code::HelperArgument,
                format!("{needed} in {reg}, as the type of the global function says"),
                value.to_string(),
                format!("R{} is not what the global function takes", reg.index()),
            )
        };
        match *argument {
            ContractArg::Number if value.is_scalar() => {}
            ContractArg::Number => return Err(wrong("a number")),
            ContractArg::Context => {
                let context = value.kind == Kind::Ctx && !value.nullable;
                if !context || value.constant_offset() != Some(0) {
                    return Err(wrong("the context"));
                }
            }
            ContractArg::Memory { size, nullable } => {
                let Some(memory) = memory(reg, *value, size, nullable) else {
                    continue;
                };
                if matches!(
                    value.kind,
                    Kind::Packet | Kind::PacketMeta | Kind::MapKey { .. }
                ) {
                    return Err(wrong("memory that is no packet's"));
                }
                in_region(env, state, &memory)?;
                if let Kind::MapValue { map } = value.kind {
                    map_field::usable_by_helper(env, &memory, map)?;
                }
                aligned(&memory, size).ok_or_else(|| wrong("an aligned address"))?;
                stack_contents(env, state, &memory)?;
            }
        }
    }
    Ok(())
}

/// Whether the address is aligned as one of so many bytes may have to be.
fn aligned(memory: &MemoryArgument, size: u32) -> Option<()> {
    let alignment = u64::from(size & size.wrapping_neg()).min(8);
    let bits = memory.offset().bits;
    ((bits.value | bits.mask) & alignment.saturating_sub(1) == 0).then_some(())
}
