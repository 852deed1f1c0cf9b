//! Wrong versions of arithmetic instructions.

use bpftime_isa::{AluOp, ByteOrderOp, Width};
use bpftime_verifier::domain::bits::Word;
use bpftime_verifier::domain::interval::Interval;
use bpftime_verifier::domain::scalar::Scalar;
use bpftime_verifier::domain::tnum::Tnum;

use crate::claims::alu::{binary_by, byte_order_by, movsx_by};
use crate::claims::{Claim, claim};

fn reduced<W: Word>(s: Scalar<W>) -> Scalar<W> {
    s.reduce().unwrap_or(s)
}

/// The lower half keeps the range that it had.
fn add_of_wholes<W: Word>(a: Scalar<W>, b: Scalar<W>) -> Scalar<W> {
    reduced(Scalar {
        bits: a.bits.add(b.bits),
        wide: a.wide.add(b.wide),
        narrow: a.narrow,
    })
}

/// The bits of the difference in the other order.
fn sub_of_exchanged_bits<W: Word>(a: Scalar<W>, b: Scalar<W>) -> Scalar<W> {
    reduced(Scalar {
        bits: b.bits.sub(a.bits),
        wide: a.wide.sub(b.wide),
        narrow: a.narrow.sub(b.narrow),
    })
}

/// The product's range from the upper ends.
fn mul_of_upper_ends<W: Word>(a: Scalar<W>, b: Scalar<W>) -> Scalar<W> {
    let most = a.unsigned().1.mul(b.unsigned().1);
    Scalar::range(Interval::new(W::zero(), most))
}

/// A quotient for a divisor that is not zero.
fn udiv_by_positive<W: Word>(a: Scalar<W>, b: Scalar<W>) -> Scalar<W> {
    let least = b.unsigned().0.umax(W::one());
    let ((lo, hi), most) = (a.unsigned(), b.unsigned().1.umax(W::one()));
    Scalar::range(Interval::new(lo.udiv(most), hi.udiv(least)))
}

/// A remainder below the divisor, as if it were never zero.
fn urem_below_the_divisor<W: Word>(a: Scalar<W>, b: Scalar<W>) -> Scalar<W> {
    let most = b.unsigned().1.umax(W::one()).sub(W::one());
    Scalar::range(Interval::new(W::zero(), a.unsigned().1.umin(most)))
}

/// A signed quotient computed as an unsigned one.
fn sdiv_unsigned<W: Word>(a: Scalar<W>, b: Scalar<W>) -> Scalar<W> {
    a.udiv(b)
}

/// Bits of the exclusive or taken from the or.
fn xor_of_or<W: Word>(a: Scalar<W>, b: Scalar<W>) -> Scalar<W> {
    reduced(Scalar {
        bits: a.bits.or(b.bits),
        wide: a.wide.xor(b.wide),
        narrow: a.narrow.xor(b.narrow),
    })
}

/// The amount is not masked.
fn lsh_by_any_amount<W: Word>(a: Scalar<W>, by: Scalar<W>) -> Scalar<W> {
    Scalar::range(a.wide.shl(by.wide))
}

/// The upper half is shifted into the lower one.
fn rsh32_of_the_whole<W: Word>(a: Scalar<W>, by: Scalar<W>) -> Scalar<W> {
    a.lshr(Scalar::range(by.amount(W::BITS / 2)))
        .truncate_half()
}

/// The sign is that of the whole.
fn arsh32_of_the_whole<W: Word>(a: Scalar<W>, by: Scalar<W>) -> Scalar<W> {
    a.ashr(Scalar::range(by.amount(W::BITS / 2)))
        .truncate_half()
}

/// The upper half is kept.
fn add32_of_wholes<W: Word>(a: Scalar<W>, b: Scalar<W>) -> Scalar<W> {
    a.add(b)
}

/// The upper half is kept.
fn mov32_of_the_whole<W: Word>(_: Scalar<W>, b: Scalar<W>) -> Scalar<W> {
    b
}

/// The result of half width is sign-extended.
fn sub32_extended<W: Word>(a: Scalar<W>, b: Scalar<W>) -> Scalar<W> {
    a.sub(b).sign_extend(W::BITS / 2)
}

/// Division of the wholes.
fn div32_of_wholes<W: Word>(a: Scalar<W>, b: Scalar<W>) -> Scalar<W> {
    a.udiv(b).truncate_half()
}

/// The sign is forgotten.
fn movsx_without_sign<W: Word>(s: Scalar<W>, bits: u32) -> Scalar<W> {
    s.truncate(bits)
}

/// The bytes stay where they are.
fn be_of_little<W: Word>(s: Scalar<W>, bits: u32) -> Scalar<W> {
    s.truncate(bits)
}

/// The bytes above are kept.
fn le_of_all<W: Word>(s: Scalar<W>, bits: u32) -> Scalar<W> {
    Scalar {
        bits: s
            .bits
            .keep(Tnum::range(W::zero(), W::constant(1 << (bits - 1))).mask),
        ..s
    }
}

macro_rules! broken {
    ($name:literal, $op:ident, $width:ident, $run:ident) => {
        claim!("alu", $name, &[64], modular, |m, W| {
            binary_by(m, AluOp::$op, Width::$width, $run);
        })
    };
}

pub(super) fn all() -> Vec<Claim> {
    vec![
        broken!("add of wholes", Add, W64, add_of_wholes),
        broken!("sub of exchanged bits", Sub, W64, sub_of_exchanged_bits),
        broken!("mul of upper ends", Mul, W64, mul_of_upper_ends),
        broken!("div by positive", Div, W64, udiv_by_positive),
        broken!("mod below the divisor", Mod, W64, urem_below_the_divisor),
        broken!("sdiv unsigned", Sdiv, W64, sdiv_unsigned),
        broken!("xor of or", Xor, W64, xor_of_or),
        broken!("lsh by any amount", Lsh, W64, lsh_by_any_amount),
        broken!("rsh32 of the whole", Rsh, W32, rsh32_of_the_whole),
        broken!("arsh32 of the whole", Arsh, W32, arsh32_of_the_whole),
        broken!("add32 of wholes", Add, W32, add32_of_wholes),
        broken!("mov32 of the whole", Mov, W32, mov32_of_the_whole),
        broken!("sub32 extended", Sub, W32, sub32_extended),
        broken!("div32 of wholes", Div, W32, div32_of_wholes),
        claim!("alu", "movsx without sign", &[64], modular, |m, W| {
            movsx_by(m, Width::W64, 8, |s| movsx_without_sign(s, 8));
        }),
        claim!("alu", "be of little", &[64], modular, |m, W| {
            byte_order_by(m, ByteOrderOp::ToBe, 32, |s| be_of_little(s, 32));
        }),
        claim!("alu", "le of all", &[64], modular, |m, W| {
            byte_order_by(m, ByteOrderOp::ToLe, 16, |s| le_of_all(s, 16));
        }),
    ]
}
