//! Wrapped intervals.

use bpftime_verifier::domain::bits::BitVec;
use bpftime_verifier::domain::interval::Interval;

use super::given::{interval, interval_and, interval_around};
use super::{Claim, claim};
use crate::machine::{Machine, SpecWord, Truth};
use crate::spec::in_interval;

const FULL: &[u32] = &[64, 32];

/// The result of an operation contains what the operation makes of numbers in its operands.
pub(crate) fn binary<W: SpecWord, M: Machine<W>>(
    m: &mut M,
    abstract_op: impl Fn(Interval<W>, Interval<W>) -> Interval<W>,
    op: impl Fn(W, W) -> W,
) {
    let ((a, x), (b, y)) = (interval_and(m), interval_and(m));
    m.show("contains", in_interval(abstract_op(a, b), op(x, y)));
}

/// As [`binary`] for a shift by numbers that are all below the width.
pub(crate) fn shift<W: SpecWord, M: Machine<W>>(
    m: &mut M,
    abstract_op: impl Fn(Interval<W>, Interval<W>) -> Interval<W>,
    op: impl Fn(W, W) -> W,
) {
    let ((a, x), (by, y)) = (interval_and(m), interval_and(m));
    m.assume(by.lo.at_most(by.hi));
    m.assume(by.hi.below(W::constant(u64::from(W::BITS))));
    m.show("contains", in_interval(abstract_op(a, by), op(x, y)));
}

fn is<W: SpecWord>(holds: bool) -> W::Prop {
    W::Prop::literal(holds)
}

pub(super) fn claims() -> Vec<Claim> {
    vec![
        claim!("interval", "contains", FULL, cuts: false, |m, W| {
            let (i, x) = (interval(m), m.wide());
            let claimed = is::<W>(i.contains(x));
            m.show("as specified", claimed.agrees(in_interval(i, x)));
        }),
        claim!("interval", "new", FULL, cuts: false, |m, W| {
            let (i, x) = interval_and(m);
            m.show("contains", in_interval(Interval::new(i.lo, i.hi), x));
        }),
        claim!("interval", "full", FULL, cuts: false, |m, W| {
            let x = m.wide();
            m.show("contains", in_interval(Interval::full(), x));
        }),
        claim!("interval", "constant", FULL, cuts: false, |m, W| {
            let x = m.wide();
            m.show("contains", in_interval(Interval::constant(x), x));
        }),
        claim!("interval", "is_constant", FULL, cuts: false, |m, W| {
            let (i, x) = interval_and(m);
            if i.is_constant() {
                m.show("only the end", x.is(i.lo));
            }
        }),
        claim!("interval", "is_full", FULL, cuts: false, |m, W| {
            let (i, x) = (interval(m), m.wide());
            if i.is_full() {
                m.show("contains", in_interval(i, x));
            }
        }),
        claim!("interval", "is_subset", FULL, cuts: false, |m, W| {
            let ((a, x), b) = (interval_and(m), interval(m));
            if a.is_subset(b) {
                m.show("contains", in_interval(b, x));
            }
        }),
        claim!("interval", "unsigned", FULL, cuts: false, |m, W| {
            let (i, x) = interval_and(m);
            let (lo, hi) = i.unsigned();
            m.show("between", lo.at_most(x).and(x.at_most(hi)));
        }),
        claim!("interval", "signed", FULL, cuts: false, |m, W| {
            let (i, x) = interval_and(m);
            let (lo, hi) = i.signed();
            m.show("between", lo.signed_at_most(x).and(x.signed_at_most(hi)));
        }),
        claim!("interval", "join", FULL, cuts: false, |m, W| {
            let ((a, x), (b, y)) = (interval_and(m), interval_and(m));
            let join = a.join(b);
            m.show("contains the first", in_interval(join, x));
            m.show("contains the second", in_interval(join, y));
        }),
        claim!("interval", "meet", FULL, cuts: false, |m, W| {
            let (a, x) = interval_and(m);
            let b = interval_around(m, x);
            match a.meet(b) {
                Some(meet) => m.show("contains", in_interval(meet, x)),
                None => m.show("not empty", is::<W>(false)),
            }
        }),
        claim!("interval", "without", FULL, cuts: false, |m, W| {
            let ((a, x), y) = (interval_and(m), m.wide());
            m.assume(x.is(y).negation());
            match a.without(y) {
                Some(left) => m.show("contains", in_interval(left, x)),
                None => m.show("not empty", is::<W>(false)),
            }
        }),
        claim!("interval", "neg", FULL, cuts: false, |m, W| {
            let (a, x) = interval_and(m);
            m.show("contains", in_interval(a.neg(), W::zero().sub(x)));
        }),
        claim!("interval", "add", FULL, cuts: false, |m, W| {
            binary(m, Interval::add, W::add);
        }),
        claim!("interval", "sub", FULL, cuts: false, |m, W| {
            binary(m, Interval::sub, W::sub);
        }),
        claim!("interval", "mul", &[8], cuts: false, |m, W| {
            binary(m, Interval::mul, W::mul);
        }),
        claim!("interval", "udiv", &[64, 8], cuts: false, |m, W| {
            binary(m, Interval::udiv, W::quotient);
        }),
        claim!("interval", "urem", &[8], cuts: false, |m, W| {
            binary(m, Interval::urem, W::remainder);
        }),
        claim!("interval", "sdiv", &[8], cuts: false, |m, W| {
            binary(m, Interval::sdiv, W::sdiv);
        }),
        claim!("interval", "srem", &[8], cuts: false, |m, W| {
            binary(m, Interval::srem, W::srem);
        }),
        claim!("interval", "and", FULL, cuts: false, |m, W| {
            binary(m, Interval::and, BitVec::and);
        }),
        claim!("interval", "or", FULL, cuts: false, |m, W| {
            binary(m, Interval::or, BitVec::or);
        }),
        claim!("interval", "xor", FULL, cuts: false, |m, W| {
            binary(m, Interval::xor, W::xor);
        }),
        claim!("interval", "shl", &[16], cuts: false, |m, W| {
            shift(m, Interval::shl, W::shl);
        }),
        claim!("interval", "lshr", &[16], cuts: false, |m, W| {
            shift(m, Interval::lshr, W::lshr);
        }),
        claim!("interval", "ashr", &[16], cuts: false, |m, W| {
            shift(m, Interval::ashr, W::ashr);
        }),
    ]
}
