//! What one part of a number says of another: the steps of `Scalar::reduce`.

use super::bits::{BitVec, Word};
use super::interval::Interval;
use super::scalar::Scalar;
use super::tnum::Tnum;

/// Unsigned range of a tnum.
pub fn span_of<B: BitVec>(t: Tnum<B>) -> Interval<B> {
    B::op("deduce span_of", t, |t| Interval::new(t.umin(), t.umax()))
}

/// Signed range of a tnum whose sign is unknown.
pub fn signed_span_of<B: BitVec>(t: Tnum<B>) -> Option<Interval<B>> {
    B::op("deduce signed_span_of", t, |t| {
        let sign = B::signed_min();
        if t.mask.and(sign).same(B::zero()) {
            return None;
        }
        Some(Interval::new(t.value.or(sign), t.umax().and(sign.not())))
    })
}

/// Range of the lower half of a tnum.
pub fn low_span_of<W: Word>(t: Tnum<W>) -> Interval<W::Half> {
    W::op("deduce low_span_of", t, |t| {
        Interval::new(t.umin().low(), t.umax().low())
    })
}

/// Range of the lower half of numbers, if they do not go through all lower halves.
pub fn low_of<W: Word>(wide: Interval<W>) -> Option<Interval<W::Half>> {
    W::op("deduce low_of", wide, |wide| {
        if wide.span().ule(W::low_mask()) {
            Some(Interval::new(wide.lo.low(), wide.hi.low()))
        } else {
            None
        }
    })
}

/// Moves the first number up to one whose lower half is in `narrow`; `None` if there is none.
pub fn raise_start<W: Word>(wide: Interval<W>, narrow: Interval<W::Half>) -> Option<Interval<W>> {
    W::op("deduce raise_start", (wide, narrow), |(wide, narrow)| {
        if narrow.contains(wide.lo.low()) {
            return Some(wide);
        }
        let up = W::from_low(narrow.lo.sub(wide.lo.low()));
        if wide.span().ult(up) {
            return None;
        }
        Some(Interval {
            lo: wide.lo.add(up),
            hi: wide.hi,
        })
    })
}

/// Moves the last number down to one whose lower half is in `narrow`; `None` if there is none.
pub fn lower_end<W: Word>(wide: Interval<W>, narrow: Interval<W::Half>) -> Option<Interval<W>> {
    W::op("deduce lower_end", (wide, narrow), |(wide, narrow)| {
        if narrow.contains(wide.hi.low()) {
            return Some(wide);
        }
        let down = W::from_low(wide.hi.low().sub(narrow.hi));
        if wide.span().ult(down) {
            return None;
        }
        Some(Interval {
            lo: wide.lo,
            hi: wide.hi.sub(down),
        })
    })
}

/// Bits that all numbers of a range have in common.
pub fn bits_of<B: BitVec>(i: Interval<B>) -> Tnum<B> {
    B::op("deduce bits_of", i, |i| {
        let (lo, hi) = i.unsigned();
        Tnum::range(lo, hi)
    })
}

/// Bits that all numbers with such a lower half have in common.
pub fn bits_of_low<W: Word>(narrow: Interval<W::Half>) -> Tnum<W> {
    W::op("deduce bits_of_low", narrow, |narrow| {
        let (lo, hi) = narrow.unsigned();
        let low = Tnum::range(W::from_low(lo), W::from_low(hi));
        Tnum {
            value: low.value,
            mask: low.mask.or(W::low_mask().not()),
        }
    })
}

/// The number itself, if its bits leave one only; `None` if the ranges exclude it.
pub fn settled<W: Word>(s: Scalar<W>) -> Option<Scalar<W>> {
    W::op("deduce settled", s, |s| {
        let only = s.bits.value;
        if !s.bits.is_constant() {
            return Some(s);
        }
        if s.wide.contains(only) && s.narrow.contains(only.low()) {
            Some(Scalar::constant(only))
        } else {
            None
        }
    })
}
