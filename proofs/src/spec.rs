//! What it means to be in an abstract value, written anew rather than taken from the domains.

use bpftime_verifier::domain::interval::Interval;
use bpftime_verifier::domain::scalar::Scalar;
use bpftime_verifier::domain::tnum::Tnum;

use crate::machine::{Spec, SpecWord, Truth};

/// `x` agrees with the known bits.
pub fn in_tnum<B: Spec>(t: Tnum<B>, x: B) -> B::Prop {
    x.xor(t.value).and(t.mask.not()).is(B::zero())
}

/// No bit is both known to be set and unknown.
pub fn well_formed<B: Spec>(t: Tnum<B>) -> B::Prop {
    t.value.and(t.mask).is(B::zero())
}

/// Going up from `lo`, `x` is met before or at `hi`.
pub fn in_interval<B: Spec>(i: Interval<B>, x: B) -> B::Prop {
    x.sub(i.lo).at_most(i.hi.sub(i.lo))
}

/// `x` is in all three parts.
pub fn in_scalar<W: SpecWord>(s: Scalar<W>, x: W) -> W::Prop {
    in_tnum(s.bits, x)
        .and(in_interval(s.wide, x))
        .and(in_interval(s.narrow, x.low()))
}
