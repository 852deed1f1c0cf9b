//! Tristate numbers.

use bpftime_verifier::domain::bits::BitVec;
use bpftime_verifier::domain::tnum::Tnum;

use super::given::{tnum, tnum_and};
use super::{Claim, claim};
use crate::machine::{Machine, SpecWord, Truth};
use crate::spec::{in_tnum, well_formed};

const FULL: &[u32] = &[64, 32];

/// The result of an operation contains what the operation makes of numbers in its operands.
pub(crate) fn binary<W: SpecWord, M: Machine<W>>(
    m: &mut M,
    abstract_op: impl Fn(Tnum<W>, Tnum<W>) -> Tnum<W>,
    op: impl Fn(W, W) -> W,
) {
    let ((a, x), (b, y)) = (tnum_and(m), tnum_and(m));
    let result = abstract_op(a, b);
    m.show("contains", in_tnum(result, op(x, y)));
    m.show("well formed", well_formed(result));
}

/// As [`binary`] for a shift by a number below the width.
pub(crate) fn shift<W: SpecWord, M: Machine<W>>(
    m: &mut M,
    abstract_op: impl Fn(Tnum<W>, W) -> Tnum<W>,
    op: impl Fn(W, W) -> W,
) {
    let ((a, x), by) = (tnum_and(m), m.wide());
    m.assume(by.below(W::constant(u64::from(W::BITS))));
    let result = abstract_op(a, by);
    m.show("contains", in_tnum(result, op(x, by)));
    m.show("well formed", well_formed(result));
}

fn is<W: SpecWord>(holds: bool) -> W::Prop {
    W::Prop::literal(holds)
}

pub(super) fn claims() -> Vec<Claim> {
    vec![
        claim!("tnum", "contains", FULL, cuts: false, |m, W| {
            let (t, x) = (tnum(m), m.wide());
            let claimed = is::<W>(t.contains(x));
            m.show("as specified", claimed.agrees(in_tnum(t, x)));
        }),
        claim!("tnum", "constant", FULL, cuts: false, |m, W| {
            let x = m.wide();
            let t = Tnum::constant(x);
            m.show("contains", in_tnum(t, x));
            m.show("well formed", well_formed(t));
        }),
        claim!("tnum", "unknown", FULL, cuts: false, |m, W| {
            let x = m.wide();
            m.show("contains", in_tnum(Tnum::unknown(), x));
        }),
        claim!("tnum", "range", FULL, cuts: false, |m, W| {
            let (lo, x, hi) = (m.wide(), m.wide(), m.wide());
            m.assume(lo.at_most(x).and(x.at_most(hi)));
            let t = Tnum::range(lo, hi);
            m.show("contains", in_tnum(t, x));
            m.show("well formed", well_formed(t));
        }),
        claim!("tnum", "is_constant", FULL, cuts: false, |m, W| {
            let (t, x) = tnum_and(m);
            if t.is_constant() {
                m.show("only the value", x.is(t.value));
            }
        }),
        claim!("tnum", "is_subset", FULL, cuts: false, |m, W| {
            let ((a, x), b) = (tnum_and(m), tnum(m));
            if a.is_subset(b) {
                m.show("contains", in_tnum(b, x));
            }
        }),
        claim!("tnum", "umin and umax", FULL, cuts: false, |m, W| {
            let (t, x) = tnum_and(m);
            m.show("between", t.umin().at_most(x).and(x.at_most(t.umax())));
        }),
        claim!("tnum", "join", FULL, cuts: false, |m, W| {
            let ((a, x), (b, y)) = (tnum_and(m), tnum_and(m));
            let join = a.join(b);
            m.show("contains the first", in_tnum(join, x));
            m.show("contains the second", in_tnum(join, y));
            m.show("well formed", well_formed(join));
        }),
        claim!("tnum", "meet", FULL, cuts: false, |m, W| {
            let ((a, x), b) = (tnum_and(m), tnum(m));
            m.assume(in_tnum(b, x));
            match a.meet(b) {
                Some(meet) => {
                    m.show("contains", in_tnum(meet, x));
                    m.show("well formed", well_formed(meet));
                }
                None => m.show("not empty", is::<W>(false)),
            }
        }),
        claim!("tnum", "add", FULL, cuts: false, |m, W| {
            binary(m, Tnum::add, W::add);
        }),
        claim!("tnum", "sub", FULL, cuts: false, |m, W| {
            binary(m, Tnum::sub, W::sub);
        }),
        claim!("tnum", "mul", &[8], cuts: false, |m, W| {
            binary(m, Tnum::mul, W::mul);
        }),
        claim!("tnum", "and", FULL, cuts: false, |m, W| {
            binary(m, Tnum::and, BitVec::and);
        }),
        claim!("tnum", "or", FULL, cuts: false, |m, W| {
            binary(m, Tnum::or, BitVec::or);
        }),
        claim!("tnum", "xor", FULL, cuts: false, |m, W| {
            binary(m, Tnum::xor, W::xor);
        }),
        claim!("tnum", "shl", FULL, cuts: false, |m, W| {
            shift(m, Tnum::shl, W::shl);
        }),
        claim!("tnum", "lshr", FULL, cuts: false, |m, W| {
            shift(m, Tnum::lshr, W::lshr);
        }),
        claim!("tnum", "ashr", FULL, cuts: false, |m, W| {
            shift(m, Tnum::ashr, W::ashr);
        }),
        claim!("tnum", "keep", FULL, cuts: false, |m, W| {
            let ((a, x), keep) = (tnum_and(m), m.wide());
            let result = a.keep(keep);
            m.show("contains", in_tnum(result, BitVec::and(x, keep)));
            m.show("well formed", well_formed(result));
        }),
    ]
}
