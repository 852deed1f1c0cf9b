//! Wrong versions of steps of a reduction, and of what is done to all parts of a number.

use bpftime_verifier::domain::bits::{BitVec, Word};
use bpftime_verifier::domain::deduce::{low_span_of, span_of};
use bpftime_verifier::domain::interval::Interval;
use bpftime_verifier::domain::refine::{Relation, assume_interval};
use bpftime_verifier::domain::scalar::Scalar;
use bpftime_verifier::domain::tnum::Tnum;

use crate::claims::given::{scalar_and, scalar_around};
use crate::claims::scalar::{holds, holds_some};
use crate::claims::{Claim, broken_lemma, claim};
use crate::lemmas::{any, deduce, in_interval, in_tnum, low_in, refine, scalar};
use crate::machine::Spec;

/// Negative numbers are forgotten where the sign is unknown.
fn signed_span_of_positive<B: BitVec>(t: Tnum<B>) -> Option<Interval<B>> {
    let sign = B::signed_min();
    if t.mask.and(sign).same(B::zero()) {
        return None;
    }
    Some(Interval::new(t.value, t.umax().and(sign.not())))
}

/// Lower halves are taken from the ends, however many numbers lie between them.
fn low_of_ends<W: Word>(wide: Interval<W>) -> Option<Interval<W::Half>> {
    Some(Interval::new(wide.lo.low(), wide.hi.low()))
}

/// The start moves although its lower half is possible.
fn raise_start_always<W: Word>(
    wide: Interval<W>,
    narrow: Interval<W::Half>,
) -> Option<Interval<W>> {
    let up = W::from_low(narrow.lo.sub(wide.lo.low()));
    if wide.span().ult(up) {
        return None;
    }
    Some(Interval::new(wide.lo.add(up), wide.hi))
}

/// The end moves down to the first of the lower halves.
fn lower_end_too_far<W: Word>(wide: Interval<W>, narrow: Interval<W::Half>) -> Option<Interval<W>> {
    if narrow.contains(wide.hi.low()) {
        return Some(wide);
    }
    let down = W::from_low(wide.hi.low().sub(narrow.lo));
    if wide.span().ult(down) {
        return None;
    }
    Some(Interval::new(wide.lo, wide.hi.sub(down)))
}

/// The common prefix of the ends, as if intervals did not wrap.
fn bits_of_ends<B: BitVec>(i: Interval<B>) -> Tnum<B> {
    Tnum::range(i.lo, i.hi)
}

/// The upper half is taken for zero.
fn bits_of_low_alone<W: Word>(narrow: Interval<W::Half>) -> Tnum<W> {
    let (lo, hi) = narrow.unsigned();
    Tnum::range(W::from_low(lo), W::from_low(hi))
}

/// The amount is not masked.
fn amount_as_it_is<W: Word>(s: Scalar<W>, bits: u32) -> Interval<W> {
    let (lo, hi) = s.unsigned();
    Interval {
        lo,
        hi: hi.umin(W::constant(u64::from(bits - 1))),
    }
}

/// The range of the lower half is taken for one of the whole.
fn reduce_whole_by_half<W: Word>(s: Scalar<W>) -> Option<Scalar<W>> {
    let wide = s.wide.meet(span_of(s.bits))?;
    let narrow = s.narrow.meet(low_span_of(s.bits))?;
    let (lo, hi) = narrow.unsigned();
    let wide = wide.meet(Interval::new(W::from_low(lo), W::from_low(hi)))?;
    Scalar { wide, narrow, ..s }.reduce()
}

/// Bounds are taken from the wrong end of the other operand.
fn below_the_least<B: BitVec>(
    x: Interval<B>,
    y: Interval<B>,
) -> Option<(Interval<B>, Interval<B>)> {
    let ((_, x_most), (y_least, _)) = (x.unsigned(), y.unsigned());
    Some((
        x.meet(Interval::new(B::zero(), y_least))?,
        y.meet(Interval::new(x_most, B::ones()))?,
    ))
}

/// One of many numbers is taken for the only one.
fn without_the_first<B: BitVec>(
    x: Interval<B>,
    y: Interval<B>,
) -> Option<(Interval<B>, Interval<B>)> {
    Some((x.without(y.lo)?, y))
}

pub(super) fn all() -> Vec<Claim> {
    let mut all = vec![
        broken_lemma!("signed span of positive", |W| deduce::of_bits::<W, _>(
            "deduce signed span of positive",
            signed_span_of_positive,
            |r, x| any::<W, _>(r, |r| in_interval(r, x))
        )),
        broken_lemma!("low of ends", |W| deduce::of_wide::<W, _>(
            "deduce low of ends",
            low_of_ends,
            |r, x| any::<W, _>(r, |r| low_in(r, x))
        )),
        broken_lemma!("raise start always", |W| deduce::of_both::<W>(
            "deduce raise start always",
            raise_start_always
        )),
        broken_lemma!("lower end too far", |W| deduce::of_both::<W>(
            "deduce lower end too far",
            lower_end_too_far
        )),
        broken_lemma!("bits of ends", |W| deduce::of_wide::<W, _>(
            "deduce bits of ends",
            bits_of_ends,
            in_tnum
        )),
        broken_lemma!("bits of low alone", |W| deduce::of_narrow::<W, _>(
            "deduce bits of low alone",
            bits_of_low_alone,
            in_tnum
        )),
        broken_lemma!("amount as it is", |W| scalar::amount::<W>(
            "scalar amount as it is",
            W::BITS,
            amount_as_it_is
        )),
        broken_lemma!("reduce whole by half", |W| scalar::kept::<W>(
            "scalar reduce whole by half",
            reduce_whole_by_half
        )),
        broken_lemma!("ult by the wrong ends", |W| refine::refined::<W>(
            Relation::Ult,
            |_, x, y| below_the_least(x, y)
        )),
        broken_lemma!("slt by unsigned ends", |W| refine::refined::<W>(
            Relation::Slt,
            |_, x, y| assume_interval(Relation::Ult, x, y)
        )),
        broken_lemma!("ule as ult", |W| refine::refined::<W>(
            Relation::Ule,
            |_, x, y| assume_interval(Relation::Ult, x, y)
        )),
        broken_lemma!("ne of the first", |W| refine::refined::<W>(
            Relation::Ne,
            |_, x, y| without_the_first(x, y)
        )),
    ];
    all.extend(lattice());
    all
}

fn lattice() -> Vec<Claim> {
    vec![
        claim!("scalar", "join of ranges", &[64], modular, |m, W| {
            let ((a, x), (b, y)) = (scalar_and(m), scalar_and(m));
            let join = Scalar {
                wide: a.wide.join(b.wide),
                narrow: a.narrow.join(b.narrow),
                ..a
            };
            holds(m, "contains the first", join, x);
            holds(m, "contains the second", join, y);
        }),
        claim!("scalar", "meet of the halves", &[64], modular, |m, W| {
            let (a, x) = scalar_and(m);
            let y = m.wide();
            let b = scalar_around(m, y);
            m.assume(y.low().is(x.low()));
            holds_some(m, "contains", a.meet(b), x);
        }),
        claim!("scalar", "widen to the older", &[64], modular, |m, W| {
            let ((a, x), (b, y)) = (scalar_and(m), scalar_and(m));
            let wider = Scalar {
                narrow: a.narrow,
                ..a.widen(b)
            };
            holds(m, "contains the first", wider, x);
            holds(m, "contains the second", wider, y);
        }),
        claim!("scalar", "is_subset of ranges", &[64], modular, |m, W| {
            let (a, x) = scalar_and(m);
            let y = m.wide();
            let b = scalar_around(m, y);
            if a.wide.is_subset(b.wide) && a.narrow.is_subset(b.narrow) {
                holds(m, "contains", b, x);
            }
        }),
    ]
}
