//! Arithmetic and comparisons (RFC 9669 sections 4.1 to 4.3).

use bpftime_isa::{AluOp, ByteOrderOp, Cond, Size, Width};
use bpftime_verifier::domain::value::Kind;
use z3::ast::{Ast, BV, Bool};

use crate::state::{State, Unknowns};
use crate::value::{Atom, Value, both, constant, either, folded, sum, yes};

/// Result of an operation on two numbers.
fn numbers(op: AluOp, width: Width, a: &BV, b: &BV) -> BV {
    let result = match width {
        Width::W64 => wide(op, a, b, 64),
        Width::W32 => wide(op, &a.extract(31, 0), &b.extract(31, 0), 32).zero_ext(32),
    };
    folded(result)
}

fn wide(op: AluOp, a: &BV, b: &BV, bits: u32) -> BV {
    let zero = BV::from_u64(0, bits);
    let amount = || b.bvand(BV::from_u64(u64::from(bits) - 1, bits));
    match op {
        AluOp::Add => a.bvadd(b),
        AluOp::Sub => a.bvsub(b),
        AluOp::Mul => a.bvmul(b),
        AluOp::Div => b.eq(&zero).ite(&zero, &a.bvudiv(b)),
        AluOp::Sdiv => b.eq(&zero).ite(&zero, &a.bvsdiv(b)),
        AluOp::Mod => b.eq(&zero).ite(a, &a.bvurem(b)),
        AluOp::Smod => b.eq(&zero).ite(a, &a.bvsrem(b)),
        AluOp::Or => a.bvor(b),
        AluOp::And => a.bvand(b),
        AluOp::Xor => a.bvxor(b),
        AluOp::Lsh => a.bvshl(amount()),
        AluOp::Rsh => a.bvlshr(amount()),
        AluOp::Arsh => a.bvashr(amount()),
        AluOp::Mov => b.clone(),
    }
}

/// A number of that width that is not known.
pub(crate) fn unknown(unknowns: &mut Unknowns, width: Width) -> Value {
    Value::number(match width {
        Width::W64 => unknowns.number(),
        Width::W32 => unknowns.of_size(4),
    })
}

/// Pointers that are moved by addition.
fn movable(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Ctx
            | Kind::Memory
            | Kind::Stack { .. }
            | Kind::MapValue { .. }
            | Kind::MapKey { .. }
            | Kind::Packet
            | Kind::PacketMeta
            | Kind::Record { .. }
            | Kind::Object(_)
    )
}

/// Whether there is one memory of the kind at a time, so that differences of offsets are those of
/// addresses.
fn single(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Ctx | Kind::Memory | Kind::Stack { .. } | Kind::Packet
    )
}

/// `dst op= src`.
pub(crate) fn binary(
    unknowns: &mut Unknowns,
    state: &State,
    op: AluOp,
    width: Width,
    left: &Value,
    right: &Value,
) -> Value {
    if op == AluOp::Mov {
        return moved(unknowns, width, right);
    }
    left.map(|a| {
        right.map(|b| match (a, b) {
            (Atom::Number(a), Atom::Number(b)) => Value::number(numbers(op, width, a, b)),
            (Atom::Pointer(kind, offset), Atom::Number(n)) if width == Width::W64 => match op {
                AluOp::Add if movable(*kind) => Value::pointer(*kind, sum(offset, n)),
                AluOp::Sub if movable(*kind) => Value::pointer(*kind, folded(offset.bvsub(n))),
                _ => unknown(unknowns, width),
            },
            (Atom::Number(n), Atom::Pointer(kind, offset))
                if width == Width::W64 && op == AluOp::Add && movable(*kind) =>
            {
                Value::pointer(*kind, sum(offset, n))
            }
            (Atom::Pointer(k, a), Atom::Pointer(l, b))
                if width == Width::W64 && op == AluOp::Sub =>
            {
                match (packet_offset(state, *k, a), packet_offset(state, *l, b)) {
                    (Some(a), Some(b)) => Value::number(folded(a.bvsub(&b))),
                    _ if k == l && single(*k) => Value::number(folded(a.bvsub(b))),
                    _ => unknown(unknowns, width),
                }
            }
            (Atom::Opaque, _) | (_, Atom::Opaque) if width == Width::W64 => Value::opaque(),
            _ => unknown(unknowns, width),
        })
    })
}

fn moved(unknowns: &mut Unknowns, width: Width, value: &Value) -> Value {
    match width {
        Width::W64 => value.clone(),
        Width::W32 => value.map(|atom| match atom {
            Atom::Number(n) => Value::number(folded(n.extract(31, 0).zero_ext(32))),
            _ => unknown(unknowns, width),
        }),
    }
}

/// An operation on one number.
pub(crate) fn unary(unknowns: &mut Unknowns, value: &Value, op: impl Fn(&BV) -> BV) -> Value {
    value.map(|atom| match atom {
        Atom::Number(n) => Value::number(folded(op(n))),
        _ => Value::number(unknowns.number()),
    })
}

/// The low bits, sign-extended to 64.
pub(crate) fn sign_extended(n: &BV, size: Size) -> BV {
    let bits = size.bytes() * 8;
    match bits {
        64 => n.clone(),
        _ => n.extract(bits - 1, 0).sign_ext(64 - bits),
    }
}

/// The lower half, zero-extended.
pub(crate) fn low_half(n: &BV) -> BV {
    n.extract(31, 0).zero_ext(32)
}

/// Conversion of byte order, on a little-endian machine.
pub(crate) fn byte_order(op: ByteOrderOp, size: Size, n: &BV) -> BV {
    let bits = size.bytes() * 8;
    let extend = |term: BV| match bits {
        64 => term,
        _ => term.zero_ext(64 - bits),
    };
    if op == ByteOrderOp::ToLe {
        return extend(n.extract(bits - 1, 0));
    }
    let mut bytes = (0..size.bytes()).map(|byte| n.extract(8 * byte + 7, 8 * byte));
    let Some(first) = bytes.next() else {
        return n.clone();
    };
    extend(bytes.fold(first, |high, low| high.concat(&low)))
}

/// Offset of a packet pointer from the packet's start.
fn packet_offset(state: &State, kind: Kind, offset: &BV) -> Option<BV> {
    match kind {
        Kind::Packet => Some(offset.clone()),
        Kind::PacketEnd => Some(sum(&state.packet.len, offset)),
        _ => None,
    }
}

/// Whether a pointer with that offset is never null, whatever its address.
fn never_null(kind: Kind, offset: &BV) -> bool {
    let memory = matches!(
        kind,
        Kind::Ctx
            | Kind::Stack { .. }
            | Kind::Map { .. }
            | Kind::MapValue { .. }
            | Kind::MapKey { .. }
            | Kind::Record { .. }
            | Kind::Object(_)
    );
    memory && offset.as_u64() == Some(0)
}

/// Whether the comparison comes out as true.
pub(crate) fn compare(
    unknowns: &mut Unknowns,
    state: &State,
    cond: Cond,
    width: Width,
    left: &Value,
    right: &Value,
) -> Bool {
    let mut result = Bool::from_bool(false);
    for (g, a) in &left.0 {
        for (h, b) in &right.0 {
            let holds = atoms(unknowns, state, cond, width, a, b);
            result = either(&result, &both(&both(g, h), &holds));
        }
    }
    result
}

fn atoms(
    unknowns: &mut Unknowns,
    state: &State,
    cond: Cond,
    width: Width,
    a: &Atom,
    b: &Atom,
) -> Bool {
    let with_null = |kind: Kind, offset: &BV, n: &BV| {
        let null = n.as_u64() == Some(0) && never_null(kind, offset);
        match (cond, null && width == Width::W64) {
            (Cond::Eq, true) => Some(Bool::from_bool(false)),
            (Cond::Ne, true) => Some(yes()),
            _ => None,
        }
    };
    let known = match (a, b) {
        (Atom::Number(a), Atom::Number(b)) => Some(match width {
            Width::W64 => relation(cond, a, b),
            Width::W32 => relation(cond, &a.extract(31, 0), &b.extract(31, 0)),
        }),
        (Atom::Pointer(kind, offset), Atom::Number(n))
        | (Atom::Number(n), Atom::Pointer(kind, offset)) => with_null(*kind, offset, n),
        (Atom::Pointer(k, x), Atom::Pointer(l, y)) if width == Width::W64 => {
            let address = |kind: &Kind, offset: &BV| {
                packet_offset(state, *kind, offset).map(|o| sum(&state.packet.address, &o))
            };
            address(k, x)
                .zip(address(l, y))
                .map(|(a, b)| relation(cond, &a, &b))
        }
        _ => None,
    };
    known.unwrap_or_else(|| unknowns.truth())
}

fn relation(cond: Cond, a: &BV, b: &BV) -> Bool {
    let holds = match cond {
        Cond::Eq => a.eq(b),
        Cond::Ne => a.eq(b).not(),
        Cond::Gt => a.bvugt(b),
        Cond::Ge => a.bvuge(b),
        Cond::Lt => a.bvult(b),
        Cond::Le => a.bvule(b),
        Cond::Set => {
            let zero = BV::from_u64(0, a.get_size());
            a.bvand(b).eq(&zero).not()
        }
        Cond::Sgt => a.bvsgt(b),
        Cond::Sge => a.bvsge(b),
        Cond::Slt => a.bvslt(b),
        Cond::Sle => a.bvsle(b),
    };
    match (a.as_u64(), b.as_u64()) {
        (Some(_), Some(_)) => holds.simplify(),
        _ => holds,
    }
}

/// An immediate operand.
pub(crate) fn immediate(imm: i32) -> Value {
    Value::number(constant(i64::from(imm) as u64))
}
