//! Arithmetic instructions.

use bpftime_isa::{AluOp, ByteOrderOp, Width};
use bpftime_verifier::domain::bits::BitVec;
use bpftime_verifier::domain::scalar::Scalar;

use super::given::scalar_and;
use super::scalar::{holds, low_bits};
use super::{Claim, claim_of, runs};
use crate::lemmas::scalar::extended;
use crate::machine::{Machine, Spec, SpecWord};

const FULL: &[u32] = &[64];

const OPS: [(AluOp, &str, &str); 14] = [
    (AluOp::Add, "add", "add32"),
    (AluOp::Sub, "sub", "sub32"),
    (AluOp::Mul, "mul", "mul32"),
    (AluOp::Div, "div", "div32"),
    (AluOp::Sdiv, "sdiv", "sdiv32"),
    (AluOp::Mod, "mod", "mod32"),
    (AluOp::Smod, "smod", "smod32"),
    (AluOp::Or, "or", "or32"),
    (AluOp::And, "and", "and32"),
    (AluOp::Xor, "xor", "xor32"),
    (AluOp::Lsh, "lsh", "lsh32"),
    (AluOp::Rsh, "rsh", "rsh32"),
    (AluOp::Arsh, "arsh", "arsh32"),
    (AluOp::Mov, "mov", "mov32"),
];

/// What the instruction computes (RFC 9669 section 4.1).
fn computed<B: Spec>(op: AluOp, x: B, y: B) -> B {
    let amount = y.and(B::constant(u64::from(B::BITS - 1)));
    match op {
        AluOp::Add => x.add(y),
        AluOp::Sub => x.sub(y),
        AluOp::Mul => x.mul(y),
        AluOp::Div => x.quotient(y),
        AluOp::Sdiv => x.sdiv(y),
        AluOp::Mod => x.remainder(y),
        AluOp::Smod => x.srem(y),
        AluOp::Or => x.or(y),
        AluOp::And => x.and(y),
        AluOp::Xor => x.xor(y),
        AluOp::Lsh => x.shl(amount),
        AluOp::Rsh => x.lshr(amount),
        AluOp::Arsh => x.ashr(amount),
        AluOp::Mov => y,
    }
}

/// The operation's shift amounts, as intermediate results.
fn follow_amounts<W: SpecWord, M: Machine<W>>(m: &mut M, y: W, bits: u32) {
    let amount = y.and(W::constant(u64::from(bits - 1)));
    m.follow(amount);
}

/// The result of `run` contains what the instruction computes.
pub(crate) fn binary_by<W: SpecWord, M: Machine<W>>(
    m: &mut M,
    op: AluOp,
    width: Width,
    run: impl Fn(Scalar<W>, Scalar<W>) -> Scalar<W>,
) {
    let ((a, x), (b, y)) = (scalar_and(m), scalar_and(m));
    let whole = computed(op, x, y);
    let shift = matches!(op, AluOp::Lsh | AluOp::Rsh | AluOp::Arsh);
    let z = match width {
        Width::W64 => whole,
        Width::W32 => W::from_low(computed(op, x.low(), y.low())),
    };
    if shift {
        follow_amounts(
            m,
            y,
            if width == Width::W64 {
                W::BITS
            } else {
                W::Half::BITS
            },
        );
    }
    if width == Width::W64 || low_is_low(op) {
        m.follow(whole);
    }
    m.follow(z);
    holds(m, "contains", run(a, b), z);
}

/// Whether the 32-bit result is the lower half of the 64-bit one.
fn low_is_low(op: AluOp) -> bool {
    matches!(
        op,
        AluOp::Add | AluOp::Sub | AluOp::Mul | AluOp::Or | AluOp::And | AluOp::Xor
    )
}

pub(super) fn claims() -> Vec<Claim> {
    let mut claims = Vec::new();
    let run = runs!(|m, W, case| {
        let width = [Width::W64, Width::W32][case % 2];
        let op = OPS[case / 2].0;
        binary_by(m, op, width, |a, b| a.alu(op, width, b));
    });
    for (index, (_, wide, half)) in OPS.iter().enumerate() {
        claims.push(claim_of(("alu", wide), FULL, true, run, index * 2));
        claims.push(claim_of(("alu", half), FULL, true, run, index * 2 + 1));
    }
    let neg = runs!(|m, W, case| {
        let (s, x) = scalar_and(m);
        m.follow(W::zero());
        let whole = W::zero().sub(x);
        let (width, z) = match case {
            0 => (Width::W64, whole),
            _ => (Width::W32, W::from_low(W::Half::zero().sub(x.low()))),
        };
        for number in [whole, z] {
            m.follow(number);
        }
        holds(m, "contains", s.alu_neg(width), z);
    });
    claims.push(claim_of(("alu", "neg"), FULL, true, neg, 0));
    claims.push(claim_of(("alu", "neg32"), FULL, true, neg, 1));
    const MOVSX: [(&str, Width, u32); 5] = [
        ("movsx 8", Width::W64, 8),
        ("movsx 16", Width::W64, 16),
        ("movsx 32", Width::W64, 32),
        ("movsx32 8", Width::W32, 8),
        ("movsx32 16", Width::W32, 16),
    ];
    let movsx = runs!(|m, W, case| {
        let (_, width, bits) = MOVSX[case];
        movsx_by(m, width, bits, |s| s.alu_movsx(width, bits));
    });
    for (case, (name, ..)) in MOVSX.iter().enumerate() {
        claims.push(claim_of(("alu", name), FULL, true, movsx, case));
    }
    const ORDERS: [(&str, ByteOrderOp, u32); 9] = [
        ("le16", ByteOrderOp::ToLe, 16),
        ("le32", ByteOrderOp::ToLe, 32),
        ("le64", ByteOrderOp::ToLe, 64),
        ("be16", ByteOrderOp::ToBe, 16),
        ("be32", ByteOrderOp::ToBe, 32),
        ("be64", ByteOrderOp::ToBe, 64),
        ("bswap16", ByteOrderOp::Swap, 16),
        ("bswap32", ByteOrderOp::Swap, 32),
        ("bswap64", ByteOrderOp::Swap, 64),
    ];
    let orders = runs!(|m, W, case| {
        let (_, op, bits) = ORDERS[case];
        byte_order_by(m, op, bits, |s| s.byte_order(op, bits));
    });
    for (case, (name, ..)) in ORDERS.iter().enumerate() {
        claims.push(claim_of(("alu", name), FULL, true, orders, case));
    }
    claims
}

/// The result of `run` contains the sign-extended number.
pub(crate) fn movsx_by<W: SpecWord, M: Machine<W>>(
    m: &mut M,
    width: Width,
    bits: u32,
    run: impl Fn(Scalar<W>) -> Scalar<W>,
) {
    let (s, x) = scalar_and(m);
    let whole = extended(bits, x);
    let z = match width {
        Width::W64 => whole,
        Width::W32 => W::from_low(whole.low()),
    };
    for number in [whole, z] {
        m.follow(number);
    }
    holds(m, "contains", run(s), z);
}

/// The result of `run` contains the number in the other byte order.
pub(crate) fn byte_order_by<W: SpecWord, M: Machine<W>>(
    m: &mut M,
    op: ByteOrderOp,
    bits: u32,
    run: impl Fn(Scalar<W>) -> Scalar<W>,
) {
    let (s, x) = scalar_and(m);
    let z = match op {
        ByteOrderOp::ToLe => x.and(low_bits(bits)),
        ByteOrderOp::ToBe | ByteOrderOp::Swap => reversed(x, bits),
    };
    m.follow(low_bits(bits));
    m.follow(z);
    holds(m, "contains", run(s), z);
}

/// The low bytes in the opposite order: halves exchanged, then in each half the same.
fn reversed<W: SpecWord>(x: W, bits: u32) -> W {
    if bits == 8 {
        return x.and(low_bits(8));
    }
    let half = bits / 2;
    let upper = x.lshr(W::constant(u64::from(half)));
    let by = W::constant(u64::from(half));
    reversed(x, half).shl(by).or(reversed(upper, half))
}
