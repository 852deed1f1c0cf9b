//! Facts that would let a check pass.

use bpftime_isa::returns::returns;
use bpftime_isa::{AluOp, ArgType, CallTarget, HelperProto, Operand, Reg, Width};

use super::Fact;
use crate::assertion::{Access, AccessKind, Assertion};
use crate::check::{ARGUMENT_REGS, MAX_OFFSET, map_argument};
use crate::domain::stack;
use crate::domain::state::State;
use crate::domain::value::{Kind, Value};
use crate::env::Env;

/// Kinds of pointers that a register may hold, as a hint.
type Kinds<'a> = &'a mut dyn FnMut(Reg) -> Vec<(Kind, Option<i64>)>;

/// Facts of which one or several, with what is known, may let the check pass; the likely first.
pub(super) fn wanted(
    env: &Env<'_>,
    state: &State,
    assertion: &Assertion,
    kinds: Kinds<'_>,
) -> Vec<Fact> {
    match *assertion {
        Assertion::Initialized(reg) if state.reg(reg).kind == Kind::Uninit => any_kind(reg, kinds),
        Assertion::Number(reg) | Assertion::NumberOrLeak(reg) => undecided(state, reg)
            .then(|| number(reg, i64::MIN, i64::MAX))
            .into_iter()
            .collect(),
        Assertion::Accessible(access) => accessible(env, state, &access, kinds),
        Assertion::Arithmetic {
            op,
            width: Width::W64,
            dst,
            src,
        } => arithmetic(state, op, dst, src, kinds),
        Assertion::Callable(CallTarget::Helper(id)) => match env.helper(id) {
            Ok(proto) => helper(env, state, proto, kinds),
            Err(_) => Vec::new(),
        },
        Assertion::Returnable => returnable(env, state),
        _ => Vec::new(),
    }
}

fn number(reg: Reg, least: i64, most: i64) -> Fact {
    Fact::Number {
        reg,
        least,
        most,
        half: false,
    }
}

fn pointer(reg: Reg, kind: Kind, least: i64, most: i64) -> Fact {
    Fact::Pointer {
        reg,
        kind,
        least,
        most,
        multiple: 1,
        remainder: 0,
    }
}

/// Whether the value is of different kinds on different paths.
fn undecided(state: &State, reg: Reg) -> bool {
    matches!(state.reg(reg).kind, Kind::Any | Kind::Uninit)
}

/// Kinds that a value without a resource may have. What is acquired is followed by identity, which
/// a fact does not tell.
fn can_be_assumed(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Ctx
            | Kind::Memory
            | Kind::Stack { .. }
            | Kind::Map { .. }
            | Kind::MapValue { .. }
            | Kind::Packet
            | Kind::PacketEnd
    )
}

fn any_kind(reg: Reg, kinds: Kinds<'_>) -> Vec<Fact> {
    kinds(reg)
        .into_iter()
        .flat_map(|(kind, offset)| match kind {
            Kind::Scalar => vec![number(reg, i64::MIN, i64::MAX)],
            kind if can_be_assumed(kind) => {
                let exact = offset.map(|offset| pointer(reg, kind, offset, offset));
                let any = pointer(reg, kind, i64::MIN, i64::MAX);
                exact.into_iter().chain([any]).collect()
            }
            _ => Vec::new(),
        })
        .collect()
}

/// First offset of the memory behind a pointer of the kind, and the first after it.
fn extent(env: &Env<'_>, kind: Kind) -> Option<(i64, i64)> {
    Some(match kind {
        Kind::Stack { .. } => (-(stack::SIZE as i64), 0),
        Kind::MapValue { map } => (0, env.map(map)?.value_size.into()),
        Kind::MapKey { map } => (0, env.map(map)?.key_size.into()),
        Kind::Record { size } => (0, size.into()),
        Kind::Memory => (0, i64::try_from(env.options.memory_len?).ok()?),
        _ => return None,
    })
}

fn accessible(env: &Env<'_>, state: &State, access: &Access, kinds: Kinds<'_>) -> Vec<Fact> {
    let value = state.reg(access.base);
    let candidates = if undecided(state, access.base) {
        let mut found = kinds(access.base);
        found.retain(|(kind, _)| can_be_assumed(*kind));
        found
    } else {
        vec![(value.kind, None)]
    };
    let bytes = i64::from(access.size.bytes());
    let off = i64::from(access.off);
    let atomic = matches!(access.kind, AccessKind::Atomic { .. });
    let mut facts = Vec::new();
    for (kind, offset) in candidates {
        match kind {
            Kind::Ctx => facts.push(pointer(access.base, kind, 0, 0)),
            Kind::Packet if value.kind == Kind::Packet => {
                facts.extend(in_packet(access.base, value, off, bytes));
            }
            Kind::Packet => facts.push(pointer(access.base, kind, i64::MIN, i64::MAX)),
            _ => {
                let Some((first, end)) = extent(env, kind) else {
                    continue;
                };
                facts.extend(offset.map(|offset| pointer(access.base, kind, offset, offset)));
                let aligned = atomic || matches!(kind, Kind::Stack { .. });
                let multiple = if aligned { bytes as u8 } else { 1 };
                facts.push(Fact::Pointer {
                    reg: access.base,
                    kind,
                    least: first - off,
                    most: end - bytes - off,
                    multiple,
                    remainder: (-off).rem_euclid(i64::from(multiple)) as u8,
                });
            }
        }
    }
    facts
}

/// That bytes behind a packet pointer are in the packet, if the constant part of its offset lets
/// the state say so.
fn in_packet(reg: Reg, value: &Value, extra: i64, bytes: i64) -> Option<Fact> {
    let first = i64::from(value.delta) + extra;
    let end = u32::try_from(extra + bytes).ok()?;
    (first >= 0).then_some(Fact::InPacket {
        reg,
        least: value.delta.into(),
        end,
    })
}

fn arithmetic(state: &State, op: AluOp, dst: Reg, src: Operand, kinds: Kinds<'_>) -> Vec<Fact> {
    let operands = [
        Some(dst),
        if let Operand::Reg(reg) = src {
            Some(reg)
        } else {
            None
        },
    ];
    let mut facts = Vec::new();
    for reg in operands.into_iter().flatten() {
        if undecided(state, reg) {
            facts.extend(any_kind(reg, kinds));
        }
    }
    for reg in operands.into_iter().flatten() {
        let value = state.reg(reg);
        if value.nullable {
            facts.push(pointer(reg, value.kind, i64::MIN, i64::MAX));
        }
    }
    // A number that is added, within what is allowed for it and for the sum.
    let Operand::Reg(src) = src else { return facts };
    let (base, added) = match (state.reg(dst).is_scalar(), state.reg(src).is_scalar()) {
        (false, true) => (dst, src),
        (true, false) => (src, dst),
        _ => return facts,
    };
    let limit = MAX_OFFSET - 1;
    let (least, most) = state.reg(base).offset().signed();
    let (least, most) = (least as i64, most as i64);
    if least >= -limit && most <= limit {
        facts.push(match op {
            AluOp::Sub => number(
                added,
                (most - limit).max(-limit),
                (limit + least).min(limit),
            ),
            _ => number(
                added,
                (-limit - least).max(-limit),
                (limit - most).min(limit),
            ),
        });
    }
    facts
}

fn helper(env: &Env<'_>, state: &State, proto: &HelperProto, kinds: Kinds<'_>) -> Vec<Fact> {
    let map = map_argument(env, state, proto).map(|(_, map)| map);
    let mut facts = Vec::new();
    for (position, argument) in proto.args.into_iter().enumerate() {
        let reg = ARGUMENT_REGS[position];
        if argument == ArgType::None {
            break;
        }
        if undecided(state, reg) {
            facts.extend(any_kind(reg, kinds));
            continue;
        }
        let value = state.reg(reg);
        if value.nullable {
            facts.push(pointer(reg, value.kind, i64::MIN, i64::MAX));
        }
        let fixed = match argument {
            ArgType::MapKey => map.map(|map| map.key_size),
            ArgType::MapValue | ArgType::MapValueOrNull | ArgType::UninitMapValue => {
                map.map(|map| map.value_size)
            }
            ArgType::FixedMemRead(size)
            | ArgType::FixedMemReadWrite(size)
            | ArgType::FixedMemWrite(size) => Some(size),
            _ => None,
        };
        let after = proto.args.get(position + 1);
        let sized = match after {
            Some(ArgType::ConstSize) => Some(1),
            Some(ArgType::ConstSizeOrZero) => Some(0),
            _ => None,
        };
        if let (Some(size), None) = (fixed, sized) {
            facts.extend(behind(env, reg, value, size.into()));
        }
        let (Some(least), Some(size)) = (sized, ARGUMENT_REGS.get(position + 1).copied()) else {
            continue;
        };
        if undecided(state, size) || !state.reg(size).is_scalar() {
            continue;
        }
        let (first, past) = value.offset().signed();
        let (first, past) = (first as i64, past as i64);
        match extent(env, value.kind) {
            Some((start, end)) => {
                // As much as fits behind the greatest offset, else behind the least.
                for from in [past, first] {
                    if from >= start && from < end {
                        facts.push(number(size, least, end - from));
                    }
                }
                if past > end || first < start {
                    facts.push(pointer(reg, value.kind, start, end));
                }
            }
            None => facts.push(number(size, least, MAX_OFFSET - 1)),
        }
        if value.kind == Kind::Packet {
            let bytes = state.reg(size).number.unsigned().1;
            if let Ok(bytes) = i64::try_from(bytes) {
                facts.extend(in_packet(reg, value, 0, bytes));
            }
        }
    }
    facts
}

/// That a helper's memory of that size is behind the pointer.
fn behind(env: &Env<'_>, reg: Reg, value: &Value, size: i64) -> Option<Fact> {
    if value.kind == Kind::Packet {
        return in_packet(reg, value, 0, size);
    }
    let (first, end) = extent(env, value.kind)?;
    Some(pointer(reg, value.kind, first, end - size))
}

fn returnable(env: &Env<'_>, state: &State) -> Vec<Fact> {
    let reg = Reg::R0;
    if let Some((kind, _)) = state.callback() {
        return vec![number(reg, 0, kind.greatest_result() as i64)];
    }
    if state.depth() > 1 {
        return Vec::new();
    }
    let program = env.program;
    let result = program.hook.signature.as_ref().map(|hook| hook.result);
    let Some(range) = returns(program.prog_type, program.attach_type, result) else {
        return vec![number(reg, i64::MIN, i64::MAX)];
    };
    vec![Fact::Number {
        reg,
        least: range.least.into(),
        most: range.most.into(),
        half: range.low_half,
    }]
}
