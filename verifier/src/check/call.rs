//! Calls of helpers, and what programs may return.

use bpftime_isa::context::Object;
use bpftime_isa::helper::{self as table, Unavailable};
use bpftime_isa::{ArgType, HelperProto, MapDef, Reg, RetType};

use super::argument_memory::{self, fixed_memory_aligned, memory_contents};
use super::region::{MemoryArgument, in_region};
use super::{Failure, map_field, map_use, object};
use crate::diagnostic::Code;
use crate::domain::state::State;
use crate::domain::value::{Hold, Kind, Value};
use crate::env::Env;

/// `r1` to `r5`.
pub(crate) const ARGUMENT_REGS: [Reg; 5] = [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5];

const TAIL_CALL: u32 = 12;
const LOCAL_STORAGE: u32 = 81;
const DYNPTR_FROM_MEM: u32 = 197;

/// Prints `r3` to `r5`, of which its prototype says nothing.
const TRACE_PRINTK: u32 = 6;

/// Largest size that the kernel lets a helper use (`BPF_MAX_VAR_SIZ`).
const MAX_SIZE: u64 = 1 << 29;

/// Whether the helper may be called here with these arguments.
pub(super) fn helper(env: &Env<'_>, state: &State, id: u32) -> Result<(), Failure> {
    let proto = offered(env, id)?;
    if proto.gpl_only && !env.gpl_compatible() {
        return Err(Failure::new(
            Code::HelperLicense,
            "a licence compatible with the GPL",
            format!("{:?}, and bpf_{}", env.program.license, proto.name),
            "cannot call GPL-restricted function from non-GPL compatible program",
        ));
    }
    if let RetType::Unsupported(what) = proto.ret {
        return Err(unsupported(proto, what));
    }
    // What is not known to be a number may be what an engine left in the register.
    let hidden = [Reg::R3, Reg::R4, Reg::R5];
    if id == TRACE_PRINTK
        && !env.options.allow_ptr_leaks
        && let Some(reg) = hidden.iter().find(|reg| !state.reg(**reg).is_scalar())
    {
        return Err(Failure::new(
            Code::PointerLeak,
            format!("a number in {reg}, which bpf_trace_printk may print"),
            state.reg(*reg).to_string(),
            format!("R{} leaks addr into helper function", reg.index()),
        ));
    }
    if id == TAIL_CALL && !super::exit::may_return_early(env, state) {
        return Err(Failure::new(
            Code::UnsupportedCall,
            "a tail call in the main program, or in a function whose type is known",
            "one in a callback, or in a function without type",
            "tail_call is only allowed in functions that return 'int'",
        ));
    }
    if id == TAIL_CALL {
        // The program that it goes on with need not come back, and none leaves the sections for it.
        map_field::leavable(state, "tail_call")?;
    }
    if id == TAIL_CALL
        && let Some(held) = state.references.first()
    {
        return Err(Failure::new(
            Code::UnreleasedReference,
            "all resources given back before a tail call",
            format!("one acquired at instruction {}", held.slot),
            "tail_call would lead to reference leak",
        ));
    }
    if id == DYNPTR_FROM_MEM && !matches!(state.reg(Reg::R1).kind, Kind::MapValue { .. }) {
        return Err(Failure::new(
            Code::HelperArgument,
            "a value of a map in r1",
            state.reg(Reg::R1).to_string(),
            format!(
                "Unsupported reg type {} for bpf_dynptr_from_mem data",
                state.reg(Reg::R1).kernel_kind()
            ),
        ));
    }
    if id == LOCAL_STORAGE && state.reg(Reg::R2).as_constant() != Some(0) {
        return Err(Failure::new(
            Code::HelperArgument,
            "flags 0 in r2",
            state.reg(Reg::R2).to_string(),
            "get_local_storage() doesn't support non-zero flags",
        ));
    }
    let sections = &state.sections;
    if proto.sleeps
        && (!env.may_sleep(state) || sections.rcu > 0 || sections.preempt > 0 || sections.irq > 0)
    {
        return Err(Failure::new(
            Code::Section,
            "a helper that does not sleep, in a section where nothing may",
            format!("bpf_{}", proto.name),
            format!(
                "sleepable helper bpf_{}#{id} in rcu_read_lock region",
                proto.name
            ),
        ));
    }
    for (reg, argument) in ARGUMENT_REGS.into_iter().zip(proto.args) {
        check_argument(env, state, proto, reg, argument)?;
    }
    for memory in memory_arguments(env, state, proto)? {
        if object::readable_by_helper(env, &memory) {
            continue;
        }
        in_region(env, state, &memory)?;
        if let Kind::MapValue { map } = memory.pointer.kind {
            map_field::usable_by_helper(env, &memory, map)?;
        }
        fixed_memory_aligned(proto, &memory)?;
        memory_contents(env, state, proto, &memory)?;
    }
    Ok(())
}

/// The helper's prototype, if the program may call it.
fn offered(env: &Env<'_>, id: u32) -> Result<&'static HelperProto, Failure> {
    let name = table::proto(id).map_or("unknown", |proto| proto.name);
    let prog_type = env.program.prog_type.name();
    env.helper(id).map_err(|why| match why {
        Unavailable::Unknown => Failure::new(
            Code::UnknownHelper,
            "a helper that exists",
            format!("number {id}"),
            format!("invalid func unknown#{id}"),
        ),
        Unavailable::ProgramType => Failure::new(
            Code::HelperUnavailable,
            format!("a helper that {prog_type} programs may call"),
            format!("bpf_{name} (number {id})"),
            format!("program of this type cannot use helper bpf_{name}#{id}"),
        ),
        Unavailable::Sleeps => Failure::new(
            Code::HelperUnavailable,
            "a program that may sleep",
            format!("one that may not, and bpf_{name}, which may"),
            "helper call might sleep in a non-sleepable prog",
        ),
    })
}

fn unsupported(proto: &HelperProto, what: &str) -> Failure {
    Failure::new(
        Code::UnsupportedCall,
        "a helper whose arguments and result this version supports",
        format!("bpf_{}: {what}", proto.name),
        format!(
            "program of this type cannot use helper bpf_{}#{}",
            proto.name, proto.id
        ),
    )
}

pub(super) fn refuse(reg: Reg, value: &Value, expected: &str) -> Failure {
    Failure::new(
        Code::HelperArgument,
        format!("{expected} in {reg}"),
        value.to_string(),
        format!(
            "R{} type={} expected={expected}",
            reg.index(),
            value.kernel_kind()
        ),
    )
}

/// What can be said of an argument without looking at memory.
fn check_argument(
    env: &Env<'_>,
    state: &State,
    proto: &HelperProto,
    reg: Reg,
    argument: ArgType,
) -> Result<(), Failure> {
    if argument == ArgType::None {
        return Ok(());
    }
    super::initialized(state, reg)?;
    let value = state.reg(reg);
    let without_offset = value.offset().as_constant() == Some(0) && !value.nullable;
    match argument {
        ArgType::Anything => {
            if value.may_be_pointer() && !env.options.allow_ptr_leaks {
                return Err(Failure::new(
                    Code::PointerLeak,
                    format!("a number in {reg}"),
                    value.to_string(),
                    format!("R{} leaks addr into helper function", reg.index()),
                ));
            }
            Ok(())
        }
        ArgType::Scalar => {
            if value.is_scalar() {
                Ok(())
            } else {
                Err(refuse(reg, value, "scalar"))
            }
        }
        ArgType::ConstMapPtr => match value.kind {
            Kind::Map { map } if without_offset => {
                map_use::compatible(env, map, proto.id, proto.name)
            }
            _ => Err(refuse(reg, value, "map_ptr")),
        },
        ArgType::CtxOrNull if value.as_constant() == Some(0) => Ok(()),
        ArgType::Ctx | ArgType::CtxOrNull => {
            if value.kind == Kind::Ctx && without_offset {
                Ok(())
            } else if value.kind == Kind::Ctx {
                Err(Failure::new(
                    Code::HelperArgument,
                    format!("the context in {reg} as it was passed"),
                    value.to_string(),
                    match value.constant_offset() {
                        Some(offset) if offset < 0 => format!(
                            "negative offset ctx ptr R{} off={offset} disallowed",
                            reg.index()
                        ),
                        _ => format!(
                            "dereference of modified ctx ptr R{} off={} disallowed",
                            reg.index(),
                            value.delta
                        ),
                    },
                ))
            } else {
                Err(refuse(reg, value, "ctx"))
            }
        }
        ArgType::RingBufMem => match value.kind {
            Kind::Record { .. } if without_offset && value.reference != 0 => Ok(()),
            _ => Err(refuse(reg, value, "ringbuf_mem")),
        },
        ArgType::ConstAllocSize => match value.as_constant() {
            Some(size) if size < MAX_SIZE => Ok(()),
            _ => Err(Failure::new(
                Code::HelperArgument,
                format!("a known size in {reg}"),
                value.to_string(),
                format!("R{} is not a known constant", reg.index()),
            )),
        },
        ArgType::ConstStr => argument_memory::constant_string(env, reg, value),
        ArgType::StackOrNull => match value.kind {
            Kind::Stack { .. } => Ok(()),
            _ if value.as_constant() == Some(0) => Ok(()),
            _ => Err(refuse(reg, value, "fp")),
        },
        ArgType::SockCommon => object::socket(state, reg),
        ArgType::AnySockOrNull if value.as_constant() == Some(0) => Ok(()),
        ArgType::AnySockOrNull if object::is_typed(value) => {
            object::structure_argument(env, state, reg, "sock_common", true)
        }
        ArgType::AnySock | ArgType::AnySockOrNull => object::any_socket(env, state, reg),
        ArgType::StructOrNull(_) if value.as_constant() == Some(0) => Ok(()),
        ArgType::Struct(name) => object::structure_argument(env, state, reg, name, false),
        ArgType::StructOrNull(name) => object::structure_argument(env, state, reg, name, true),
        ArgType::MapValue
            if map_argument(env, state, proto)
                .is_some_and(|(_, map)| map_use::holds_sockets(map.map_type)) =>
        {
            object::any_socket(env, state, reg)
        }
        ArgType::SocketOrNull if value.as_constant() == Some(0) => Ok(()),
        ArgType::SocketOrNull if value.kind == Kind::Object(Object::Socket) && !value.nullable => {
            Ok(())
        }
        ArgType::SocketOrNull => Err(refuse(reg, value, "sock")),
        ArgType::ReleasedSock => object::released_socket(env, state, reg),
        ArgType::KptrField => map_field::owned_kptr(env, state, reg).map(drop),
        ArgType::ReleasedKptr if value.as_constant() == Some(0) => Ok(()),
        ArgType::ReleasedKptr => {
            let field = map_field::owned_kptr(env, state, Reg::R1)?;
            if value.reference != 0 && env.points_to(value, field) {
                return Ok(());
            }
            Err(refuse(reg, value, "ptr_"))
        }
        ArgType::PerCpu => match value.kind {
            Kind::PerCpu(_)
            | Kind::PerCpuLocal {
                hold: Hold::Rcu, ..
            } if without_offset => Ok(()),
            _ => Err(refuse(reg, value, "percpu_ptr_")),
        },
        ArgType::SpinLock => map_field::spin_lock(env, state, proto.id, reg),
        ArgType::Timer => super::later::timer(env, state, proto.id, reg),
        ArgType::NewDynptr(_) => super::dynptr::room(state, reg),
        ArgType::Dynptr => super::dynptr::made(state, reg).map(drop),
        ArgType::ReleasedDynptr => super::dynptr::released(state, reg),
        ArgType::Func => match value.kind {
            Kind::Func { .. } => Ok(()),
            _ => Err(refuse(reg, value, "func")),
        },
        ArgType::Unsupported(what) => Err(unsupported(proto, what)),
        // Checked by `memory_arguments`, and sizes with the memory before them. All kinds are
        // named here and there, so that a new one cannot go unchecked.
        ArgType::MapKey
        | ArgType::MapValue
        | ArgType::MapValueOrNull
        | ArgType::UninitMapValue
        | ArgType::MemRead
        | ArgType::MemReadOrNull
        | ArgType::MemWrite
        | ArgType::MemWriteOrNull
        | ArgType::UninitMem
        | ArgType::UninitMemOrNull
        | ArgType::FixedMemRead(_)
        | ArgType::FixedMemReadWrite(_)
        | ArgType::FixedMemWrite(_)
        | ArgType::ConstSize
        | ArgType::ConstSizeOrZero
        | ArgType::None => Ok(()),
    }
}

/// The map in the first map argument.
pub(crate) fn map_argument<'a>(
    env: &Env<'a>,
    state: &State,
    proto: &HelperProto,
) -> Option<(u32, &'a MapDef)> {
    let position = proto
        .args
        .iter()
        .position(|argument| *argument == ArgType::ConstMapPtr)?;
    match state.reg(ARGUMENT_REGS[position]).kind {
        Kind::Map { map } => Some((map, env.map(map)?)),
        _ => None,
    }
}

/// The memory that the helper uses through its arguments.
pub(crate) fn memory_arguments(
    env: &Env<'_>,
    state: &State,
    proto: &HelperProto,
) -> Result<Vec<MemoryArgument>, Failure> {
    let map = map_argument(env, state, proto).map(|(_, map)| map);
    let mut list = Vec::new();
    for (position, argument) in proto.args.into_iter().enumerate() {
        let reg = ARGUMENT_REGS[position];
        let value = state.reg(reg);
        let null = value.as_constant() == Some(0);
        let (sizes, reads, writes) = match argument {
            ArgType::MapKey => (map_size(proto, map.map(|map| map.key_size))?, true, false),
            ArgType::MapValueOrNull if null => continue,
            // A socket, which `check_argument` judges.
            ArgType::MapValue if map.is_some_and(|map| map_use::holds_sockets(map.map_type)) => {
                continue;
            }
            ArgType::MapValue | ArgType::MapValueOrNull => {
                (map_size(proto, map.map(|map| map.value_size))?, true, false)
            }
            ArgType::UninitMapValue => {
                (map_size(proto, map.map(|map| map.value_size))?, false, true)
            }
            ArgType::FixedMemRead(size) => ((size.into(), size.into()), true, false),
            ArgType::FixedMemWrite(size) => ((size.into(), size.into()), false, true),
            ArgType::FixedMemReadWrite(size) => ((size.into(), size.into()), true, true),
            ArgType::MemRead
            | ArgType::MemReadOrNull
            | ArgType::MemWrite
            | ArgType::MemWriteOrNull
            | ArgType::UninitMem
            | ArgType::UninitMemOrNull => {
                let sizes = size_argument(state, proto, position)?;
                let nullable = matches!(
                    argument,
                    ArgType::MemReadOrNull | ArgType::MemWriteOrNull | ArgType::UninitMemOrNull
                );
                if null && nullable && sizes == (0, 0) {
                    continue;
                }
                if null {
                    return Err(Failure::new(
                        Code::HelperArgument,
                        "memory, or null and size 0 where the helper takes it",
                        format!("null, and a size up to {}", sizes.1),
                        format!("R{} type=scalar expected=fp", reg.index()),
                    ));
                }
                let writes = !matches!(argument, ArgType::MemRead | ArgType::MemReadOrNull);
                let reads = !matches!(argument, ArgType::UninitMem | ArgType::UninitMemOrNull);
                (sizes, reads, writes)
            }
            // Not memory, or judged by `check_argument`.
            ArgType::None
            | ArgType::Anything
            | ArgType::Scalar
            | ArgType::ConstMapPtr
            | ArgType::ConstSize
            | ArgType::ConstSizeOrZero
            | ArgType::ConstAllocSize
            | ArgType::Ctx
            | ArgType::CtxOrNull
            | ArgType::RingBufMem
            | ArgType::ConstStr
            | ArgType::SockCommon
            | ArgType::AnySock
            | ArgType::AnySockOrNull
            | ArgType::ReleasedSock
            | ArgType::SocketOrNull
            | ArgType::Struct(_)
            | ArgType::StructOrNull(_)
            | ArgType::KptrField
            | ArgType::ReleasedKptr
            | ArgType::PerCpu
            | ArgType::SpinLock
            | ArgType::Timer
            | ArgType::Func
            | ArgType::StackOrNull
            | ArgType::NewDynptr(_)
            | ArgType::Dynptr
            | ArgType::ReleasedDynptr
            | ArgType::Unsupported(_) => continue,
        };
        list.push(MemoryArgument {
            reg,
            pointer: *value,
            extra: 0,
            least: sizes.0,
            most: sizes.1,
            reads,
            writes,
        });
    }
    Ok(list)
}

fn map_size(proto: &HelperProto, size: Option<u32>) -> Result<(u64, u64), Failure> {
    match size {
        Some(size) => Ok((size.into(), size.into())),
        None => Err(unsupported(proto, "a map whose definition is not known")),
    }
}

/// Bounds of the size after a memory argument.
fn size_argument(
    state: &State,
    proto: &HelperProto,
    position: usize,
) -> Result<(u64, u64), Failure> {
    let (Some(reg), Some(argument)) = (
        ARGUMENT_REGS.get(position + 1),
        proto.args.get(position + 1),
    ) else {
        return Err(unsupported(proto, "memory without a size"));
    };
    let zero_allowed = match argument {
        ArgType::ConstSize => false,
        ArgType::ConstSizeOrZero => true,
        _ => return Err(unsupported(proto, "memory without a size")),
    };
    size_in(state, *reg, zero_allowed)
}

/// Bounds of the size in the register.
pub(super) fn size_in(state: &State, reg: Reg, zero_allowed: bool) -> Result<(u64, u64), Failure> {
    super::initialized(state, reg)?;
    let value = state.reg(reg);
    if !value.is_scalar() {
        return Err(refuse(reg, value, "scalar"));
    }
    let number = reg.index();
    let (signed_least, _) = value.number.signed();
    let (least, most) = value.number.unsigned();
    let failure = |needed: &str, kernel: String| {
        Err(Failure::new(
            Code::HelperArgument,
            format!("{needed} in {reg}"),
            value.to_string(),
            kernel,
        ))
    };
    if (signed_least as i64) < 0 {
        return failure(
            "a size that is not negative",
            format!("R{number} min value is negative, either use unsigned or 'var &= const'"),
        );
    }
    if most >= MAX_SIZE {
        return failure(
            "a size with an upper bound",
            format!("R{number} unbounded memory access, use 'var &= const' or 'if (var < const)'"),
        );
    }
    if least == 0 && !zero_allowed {
        return failure(
            "a size above 0",
            format!("R{number} invalid zero-sized read: u64=[{least},{most}]"),
        );
    }
    Ok((least, most))
}
