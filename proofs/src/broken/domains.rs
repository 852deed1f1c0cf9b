//! Wrong versions of operations on tnums and intervals.

use bpftime_verifier::domain::bits::BitVec;
use bpftime_verifier::domain::interval::Interval;
use bpftime_verifier::domain::tnum::Tnum;

use crate::claims::{Claim, broken_lemma};
use crate::lemmas::{interval, tnum};
use crate::machine::Spec;

/// Carries out of unknown bits are forgotten.
fn add_without_carries<B: BitVec>(a: Tnum<B>, b: Tnum<B>) -> Tnum<B> {
    let mask = a.mask.or(b.mask);
    Tnum {
        value: a.value.add(b.value).and(mask.not()),
        mask,
    }
}

/// Borrows are computed as carries of the sum.
fn sub_with_carries<B: BitVec>(a: Tnum<B>, b: Tnum<B>) -> Tnum<B> {
    let mask = a.add(b).mask;
    Tnum {
        value: a.value.sub(b.value).and(mask.not()),
        mask,
    }
}

/// A bit that is known on one side only is taken for known.
fn and_of_masks<B: BitVec>(a: Tnum<B>, b: Tnum<B>) -> Tnum<B> {
    let value = a.value.and(b.value);
    Tnum {
        value,
        mask: a.mask.and(b.mask).and(value.not()),
    }
}

/// The sign is shifted in as known although it is not.
fn ashr_of_known_sign<B: BitVec>(a: Tnum<B>, by: B) -> Tnum<B> {
    Tnum {
        value: a.value.ashr(by),
        mask: a.mask.lshr(by),
    }
}

/// The sum of ends, as if the sum of lengths could not pass the whole circle.
fn add_of_ends<B: BitVec>(a: Interval<B>, b: Interval<B>) -> Interval<B> {
    Interval::new(a.lo.add(b.lo), a.hi.add(b.hi))
}

/// Lower end from lower end, upper from upper.
fn sub_of_ends<B: BitVec>(a: Interval<B>, b: Interval<B>) -> Interval<B> {
    Interval::new(a.lo.sub(b.lo), a.hi.sub(b.hi))
}

/// The quotient is largest for the largest divisor.
fn udiv_by_the_wrong_end<B: BitVec>(a: Interval<B>, b: Interval<B>) -> Interval<B> {
    let ((a_lo, a_hi), (b_lo, b_hi)) = (a.unsigned(), b.unsigned());
    if b_lo.same(B::zero()) {
        return Interval::full();
    }
    Interval::new(a_lo.udiv(b_lo), a_hi.udiv(b_hi))
}

/// The remainder may be as large as the divisor.
fn urem_below_the_least<B: BitVec>(a: Interval<B>, b: Interval<B>) -> Interval<B> {
    let ((_, a_hi), (b_lo, _)) = (a.unsigned(), b.unsigned());
    if b_lo.same(B::zero()) {
        return Interval::new(B::zero(), a_hi);
    }
    Interval::new(B::zero(), a_hi.umin(b_lo.sub(B::one())))
}

/// Bits that are shifted out are forgotten.
fn shl_that_overflows<B: BitVec>(a: Interval<B>, by: Interval<B>) -> Interval<B> {
    let ((lo, hi), (by_lo, by_hi)) = (a.unsigned(), by.unsigned());
    Interval::new(lo.shl(by_lo), hi.shl(by_hi))
}

/// The ends of an unsigned reading, shifted arithmetically.
fn ashr_of_unsigned<B: BitVec>(a: Interval<B>, by: Interval<B>) -> Interval<B> {
    let ((lo, hi), (by_lo, by_hi)) = (a.unsigned(), by.unsigned());
    Interval::new(lo.ashr(by_hi), hi.ashr(by_lo))
}

/// Unsigned `|` is at most the larger operand.
fn or_up_to_the_larger<B: BitVec>(a: Interval<B>, b: Interval<B>) -> Interval<B> {
    let ((a_lo, a_hi), (b_lo, b_hi)) = (a.unsigned(), b.unsigned());
    Interval::new(a_lo.umax(b_lo), a_hi.umax(b_hi))
}

/// The least and the greatest end, as if intervals did not wrap.
fn join_of_ends<B: BitVec>(a: Interval<B>, b: Interval<B>) -> Interval<B> {
    Interval::new(a.lo.umin(b.lo), a.hi.umax(b.hi))
}

pub(super) fn all() -> Vec<Claim> {
    vec![
        broken_lemma!("add without carries", |W| tnum::binary::<W>(
            "tnum add without carries",
            add_without_carries,
            W::add
        )),
        broken_lemma!("sub with carries", |W| tnum::binary::<W>(
            "tnum sub with carries",
            sub_with_carries,
            W::sub
        )),
        broken_lemma!("and of masks", |W| tnum::binary::<W>(
            "tnum and of masks",
            and_of_masks,
            BitVec::and
        )),
        broken_lemma!("ashr of known sign", |W| tnum::shift::<W>(
            "tnum ashr of known sign",
            ashr_of_known_sign,
            W::ashr
        )),
        broken_lemma!("add of ends", |W| interval::binary::<W>(
            "interval add of ends",
            add_of_ends,
            W::add
        )),
        broken_lemma!("sub of ends", |W| interval::binary::<W>(
            "interval sub of ends",
            sub_of_ends,
            W::sub
        )),
        broken_lemma!("udiv by the wrong end", |W| interval::binary::<W>(
            "interval udiv by the wrong end",
            udiv_by_the_wrong_end,
            W::quotient
        )),
        broken_lemma!("urem below the least", |W| interval::binary::<W>(
            "interval urem below the least",
            urem_below_the_least,
            W::remainder
        )),
        broken_lemma!("shl that overflows", |W| interval::shift::<W>(
            "interval shl that overflows",
            shl_that_overflows,
            W::shl,
            |_, _, _| {}
        )),
        broken_lemma!("ashr of unsigned", |W| interval::shift::<W>(
            "interval ashr of unsigned",
            ashr_of_unsigned,
            W::ashr,
            |_, _, _| {}
        )),
        broken_lemma!("or up to the larger", |W| interval::binary::<W>(
            "interval or up to the larger",
            or_up_to_the_larger,
            BitVec::or
        )),
        broken_lemma!("join of ends", |W| interval::around::<W>(
            "interval join of ends",
            0,
            join_of_ends
        )),
    ]
}
