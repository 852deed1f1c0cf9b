//! Judges assertions on states. Changes nothing.

mod access;
mod argument_memory;
mod call;
mod contract;
mod dynptr;
mod exit;
mod kfunc;
mod kfunc_memory;
mod later;
mod local;
mod map_field;
mod map_use;
mod object;
mod place;
mod region;

use bpftime_isa::context::Object;
use bpftime_isa::{AluOp, CallTarget, Imm64, MapType, Operand, Reg, Width};

use crate::assertion::{Access, Assertion};
use crate::diagnostic::Code;
use crate::domain::state::State;
use crate::domain::value::{Kind, Value};
use crate::env::Env;
use crate::options::Target;

pub(crate) use call::{ARGUMENT_REGS, map_argument, memory_arguments};
pub(crate) use contract::{contract, memory as contract_memory};
pub(crate) use dynptr::{buffer as dynptr_buffer, made as dynptr_made, place as dynptr_place};
pub(crate) use kfunc::{irq_place, iterator, lock_kind, place as iterator_place};
pub(crate) use kfunc_memory::memory as kfunc_memory;
pub(crate) use local::{root, taken_out};
pub(crate) use map_field::{lock_of, owned_kptr};
pub(crate) use region::MemoryArgument;

/// Why an assertion is not proved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) needed: String,
    pub(crate) known: String,
    /// The kernel's sentence.
    pub(crate) kernel: String,
}

impl Failure {
    pub(crate) fn new(
        code: Code,
        needed: impl Into<String>,
        known: impl Into<String>,
        kernel: impl Into<String>,
    ) -> Self {
        Self {
            code,
            needed: needed.into(),
            known: known.into(),
            kernel: kernel.into(),
        }
    }
}

/// Greatest constant or variable offset that may be added to a pointer (kernel
/// `BPF_MAX_VAR_OFF`).
pub(crate) const MAX_OFFSET: i64 = 1 << 29;

/// Whether the assertion holds in the state.
pub(crate) fn check(env: &Env<'_>, state: &State, assertion: &Assertion) -> Result<(), Failure> {
    match *assertion {
        Assertion::Initialized(reg) => initialized(state, reg),
        Assertion::Writable(reg) => {
            if reg == Reg::R10 {
                Err(Failure::new(
                    Code::FrameRegister,
                    "a destination other than r10",
                    "r10",
                    "frame pointer is read only",
                ))
            } else {
                Ok(())
            }
        }
        Assertion::NumberOrLeak(reg) => {
            let value = state.reg(reg);
            if value.is_scalar() || env.options.allow_ptr_leaks {
                return Ok(());
            }
            Err(Failure::new(
                Code::PointerLeak,
                format!("a number in {reg}"),
                value.to_string(),
                format!("R{} pointer arithmetic prohibited", reg.index()),
            ))
        }
        Assertion::Number(reg) => number(state, reg),
        Assertion::Arithmetic {
            op,
            width,
            dst,
            src,
        } => arithmetic(env, state, op, width, dst, src),
        Assertion::Comparable { width, dst, src } => comparable(env, state, width, dst, src),
        Assertion::Accessible(access) => access::accessible(env, state, &access),
        Assertion::Storable { access, src } => access::storable(env, state, &access, src),
        Assertion::AtomicOperand { access, src } => atomic_operand(env, state, &access, src),
        Assertion::Loadable(value) => loadable(env, value),
        Assertion::Callable(target @ CallTarget::Helper(id)) => {
            map_field::callable(env, state, target)?;
            call::helper(env, state, id)
        }
        Assertion::Callable(target @ CallTarget::Local(_)) => {
            map_field::callable(env, state, target)
        }
        Assertion::Callable(target @ CallTarget::Kfunc { id, btf_idx }) => {
            map_field::callable(env, state, target)?;
            kfunc::callable(env, state, id, btf_idx)
        }
        Assertion::Callable(CallTarget::Register(reg)) => Err(Failure::new(
            Code::UnsupportedCall,
            "a helper or a subprogram",
            format!("a call to the address in {reg}"),
            "unknown opcode 8d",
        )),
        Assertion::Arena => map_use::arena(env),
        Assertion::LegacyPacket => exit::legacy_packet(env, state),
        Assertion::Returnable => exit::returnable(env, state),
    }
}

fn initialized(state: &State, reg: Reg) -> Result<(), Failure> {
    if state.reg(reg).kind == Kind::Uninit {
        return Err(Failure::new(
            Code::UninitRegister,
            format!("a value in {reg}"),
            "never written on some path, or no longer valid",
            format!("R{} !read_ok", reg.index()),
        ));
    }
    Ok(())
}

fn number(state: &State, reg: Reg) -> Result<(), Failure> {
    let value = state.reg(reg);
    if value.is_scalar() {
        return Ok(());
    }
    Err(Failure::new(
        Code::PointerArithmetic,
        format!("a number in {reg}"),
        value.to_string(),
        format!(
            "R{} type={} expected=scalar",
            reg.index(),
            value.kernel_kind()
        ),
    ))
}

/// An operand as a value.
pub(crate) fn operand(state: &State, operand: Operand) -> Value {
    match operand {
        Operand::Reg(reg) => *state.reg(reg),
        Operand::Imm(imm) => Value::constant(i64::from(imm) as u64),
    }
}

fn arithmetic(
    env: &Env<'_>,
    state: &State,
    op: AluOp,
    width: Width,
    dst: Reg,
    src: Operand,
) -> Result<(), Failure> {
    let left = state.reg(dst);
    let right = operand(state, src);
    let refuse = |needed: &str, kernel: String| {
        Err(Failure::new(
            Code::PointerArithmetic,
            needed,
            format!("{left} and {right}"),
            kernel,
        ))
    };
    let number = dst.index();
    let divides = matches!(op, AluOp::Div | AluOp::Sdiv | AluOp::Mod | AluOp::Smod);
    if divides && src == Operand::Imm(0) && env.options.target == Target::Linux6_18 {
        return Err(Failure::new(
            Code::DivisionByZero,
            "a constant divisor other than 0, which Linux refuses",
            "0, by which division gives 0",
            "div by zero",
        ));
    }
    if left.is_scalar() && right.is_scalar() {
        return Ok(());
    }
    let difference = op == AluOp::Sub && env.options.allow_ptr_leaks;
    if difference && width == Width::W32 {
        return Ok(());
    }
    // Whatever comes out, no access beyond the arena is possible.
    if left.kind == Kind::Arena && right.is_scalar() {
        return Ok(());
    }
    if left.may_be_pointer() && right.may_be_pointer() {
        if difference || (left.kind == Kind::Arena && right.kind == Kind::Arena) {
            return Ok(());
        }
        return refuse(
            "at most one pointer",
            format!("R{number} pointer {} pointer prohibited", symbol(op)),
        );
    }
    if width == Width::W32 {
        return refuse(
            "64-bit arithmetic on a pointer",
            format!("R{number} 32-bit pointer arithmetic prohibited"),
        );
    }
    let (pointer, added) = if left.is_scalar() {
        (&right, left)
    } else {
        (left, &right)
    };
    match op {
        AluOp::Add => {}
        AluOp::Sub
            if matches!(left.kind, Kind::Stack { .. })
                && env.options.target == Target::Linux6_18 =>
        {
            return refuse(
                "addition on a stack pointer, as some of the kernel's compilers need it",
                format!("R{number} subtraction from stack pointer prohibited"),
            );
        }
        AluOp::Sub if left.may_be_pointer() => {}
        AluOp::Sub => {
            return refuse(
                "a pointer on the left of a subtraction",
                format!("R{number} tried to subtract pointer from scalar"),
            );
        }
        AluOp::And | AluOp::Or | AluOp::Xor => {
            return refuse(
                "addition or subtraction on a pointer",
                format!(
                    "R{number} bitwise operator {} on pointer prohibited",
                    symbol(op)
                ),
            );
        }
        _ => {
            return refuse(
                "addition or subtraction on a pointer",
                format!(
                    "R{number} pointer arithmetic with {} operator prohibited",
                    symbol(op)
                ),
            );
        }
    }
    if pointer.nullable {
        return refuse(
            "a pointer that was compared with 0",
            format!(
                "R{number} pointer arithmetic on {} prohibited, null-check it first",
                pointer.kernel_kind()
            ),
        );
    }
    let movable = match pointer.kind {
        Kind::Ctx
        | Kind::Memory
        | Kind::Stack { .. }
        | Kind::MapValue { .. }
        | Kind::MapKey { .. }
        | Kind::Packet
        | Kind::PacketMeta
        | Kind::Bytes { .. }
        | Kind::Slice { .. }
        | Kind::Record { .. } => true,
        Kind::Object(Object::FlowKeys | Object::TraceBuffer | Object::IteratorBuffer { .. })
        | Kind::Local { .. } => added.as_constant().is_some(),
        // What is read there, and what takes it, asks for a known offset.
        Kind::Object(Object::Typed { .. } | Object::Kernel(_)) | Kind::PerCpu(_) => true,
        Kind::Map { .. } => added.as_constant() == Some(0),
        _ => false,
    };
    if !movable {
        return refuse(
            "a pointer to memory",
            format!(
                "R{number} pointer arithmetic on {} prohibited",
                pointer.kernel_kind()
            ),
        );
    }
    sane_offset(pointer, added, op)
}

/// Offsets stay where sums of a few of them cannot wrap.
fn sane_offset(pointer: &Value, added: &Value, op: AluOp) -> Result<(), Failure> {
    let bounded = |number: crate::domain::value::Number| {
        let (least, most) = number.signed();
        let (least, most) = (least as i64, most as i64);
        least > -MAX_OFFSET && least < MAX_OFFSET && (least != most || most < MAX_OFFSET)
    };
    let sum = match op {
        AluOp::Sub => pointer.offset().sub(added.number),
        _ => pointer.offset().add(added.number),
    };
    if bounded(added.number) && bounded(sum) {
        return Ok(());
    }
    let (least, _) = added.number.signed();
    let kernel = match added.as_constant() {
        Some(offset) => format!(
            "math between {} pointer and {} is not allowed",
            pointer.kernel_kind(),
            offset as i64
        ),
        None if least as i64 == i64::MIN => format!(
            "math between {} pointer and register with unbounded min value is not allowed",
            pointer.kernel_kind()
        ),
        None => format!(
            "value {} makes {} pointer be out of bounds",
            least as i64,
            pointer.kernel_kind()
        ),
    };
    Err(Failure::new(
        Code::PointerArithmetic,
        format!("an offset with a lower bound between -{MAX_OFFSET} and {MAX_OFFSET}"),
        format!("{added} added to {pointer}"),
        kernel,
    ))
}

fn symbol(op: AluOp) -> &'static str {
    match op {
        AluOp::Add => "+=",
        AluOp::Sub => "-=",
        AluOp::Mul => "*=",
        AluOp::Div | AluOp::Sdiv => "/=",
        AluOp::Mod | AluOp::Smod => "%=",
        AluOp::Or => "|=",
        AluOp::And => "&=",
        AluOp::Xor => "^=",
        AluOp::Lsh => "<<=",
        AluOp::Rsh => ">>=",
        AluOp::Arsh => "s>>=",
        AluOp::Mov => "=",
    }
}

/// Whether a comparison reveals nothing, where pointers must not be revealed.
fn comparable(
    env: &Env<'_>,
    state: &State,
    width: Width,
    dst: Reg,
    src: Operand,
) -> Result<(), Failure> {
    let (left, right) = (*state.reg(dst), operand(state, src));
    if env.options.allow_ptr_leaks || (left.is_scalar() && right.is_scalar()) {
        return Ok(());
    }
    let packet = |value: &Value| {
        matches!(
            value.kind,
            Kind::Packet | Kind::PacketMeta | Kind::PacketEnd
        )
    };
    let with_null = left.as_constant() == Some(0) || right.as_constant() == Some(0);
    if width == Width::W64 && ((packet(&left) && packet(&right)) || with_null) {
        return Ok(());
    }
    Err(Failure::new(
        Code::PointerComparison,
        "numbers, a pointer and 0, or two packet pointers",
        format!("{left} and {right}"),
        format!("R{} pointer comparison prohibited", dst.index()),
    ))
}

fn atomic_operand(env: &Env<'_>, state: &State, access: &Access, src: Reg) -> Result<(), Failure> {
    let value = state.reg(src);
    if value.is_scalar() || env.options.allow_ptr_leaks {
        return Ok(());
    }
    Err(Failure::new(
        Code::PointerLeak,
        format!(
            "a number in {src} for an atomic operation of {} bytes",
            access.size.bytes()
        ),
        value.to_string(),
        format!("R{} leaks addr into mem", src.index()),
    ))
}

fn loadable(env: &Env<'_>, value: Imm64) -> Result<(), Failure> {
    match value {
        Imm64::Value(_) | Imm64::Func { .. } => Ok(()),
        Imm64::MapIdx(index) if env.is_own_map(index) => {
            map_use::offered(env, index)?;
            map_field::map_fits(env, index)
        }
        Imm64::MapIdx(index) => Err(no_such_map(index, env.program.maps.len())),
        Imm64::MapIdxValue { index, offset } => {
            let Some(map) = env.program.maps.get(index as usize) else {
                return Err(no_such_map(index, env.program.maps.len()));
            };
            map_use::offered(env, index)?;
            map_field::map_fits(env, index)?;
            if map.map_type == MapType::Arena {
                return Ok(());
            }
            if map.map_type != MapType::Array || map.max_entries != 1 {
                return Err(Failure::new(
                    Code::MapAccess,
                    "an array of one entry for direct access to its value",
                    format!("{} of {} entries", map.map_type.name(), map.max_entries),
                    "direct value access not supported on this map type",
                ));
            }
            if offset >= map.value_size {
                return Err(Failure::new(
                    Code::MapValueBounds,
                    format!("an offset below {}", map.value_size),
                    offset.to_string(),
                    format!(
                        "invalid access to map value pointer, value_size={} off={offset}",
                        map.value_size
                    ),
                ));
            }
            Ok(())
        }
        Imm64::MapFd(fd) | Imm64::MapFdValue { fd, .. } => Err(Failure::new(
            Code::MapAccess,
            "a map of the program, by index",
            format!("descriptor {fd}"),
            format!("fd {fd} is not pointing to valid bpf_map"),
        )),
        Imm64::BtfId { id, btf_fd: 0 } if env.symbol(id).is_some() => Ok(()),
        Imm64::BtfId { id, .. } => Err(Failure::new(
            Code::UnsupportedInstruction,
            "an immediate that this version supports",
            format!("kernel variable with BTF id {id}"),
            format!("ldimm64 unable to resolve btf id {id}"),
        )),
    }
}

fn no_such_map(index: u32, count: usize) -> Failure {
    Failure::new(
        Code::MapAccess,
        format!("one of the program's {count} maps"),
        format!("map {index}"),
        format!("map index {index} is out of range"),
    )
}
