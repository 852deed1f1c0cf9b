//! What is claimed of the functions of the domains that have a name.

pub(crate) mod deduce;
pub(crate) mod interval;
pub(crate) mod refine;
pub(crate) mod scalar;
pub(crate) mod tnum;

use bpftime_verifier::domain::interval::Interval;
use bpftime_verifier::domain::scalar::Scalar;
use bpftime_verifier::domain::tnum::Tnum;

use crate::lemma::Lemma;
use crate::machine::{SpecWord, Truth};
use crate::spec;

/// All lemmas.
pub(crate) fn all<W: SpecWord>() -> Vec<Lemma<W>> {
    let mut all = tnum::lemmas();
    all.extend(interval::lemmas());
    all.extend(deduce::lemmas());
    all.extend(scalar::lemmas());
    all.extend(refine::lemmas());
    all
}

/// The number is in the tnum, which is well-formed.
pub(crate) fn in_tnum<W: SpecWord>(t: Tnum<W>, x: W) -> Vec<W::Prop> {
    vec![spec::in_tnum(t, x), spec::well_formed(t)]
}

/// The number is in the interval.
pub(crate) fn in_interval<W: SpecWord>(i: Interval<W>, x: W) -> Vec<W::Prop> {
    vec![spec::in_interval(i, x)]
}

/// The number's lower half is in the interval.
pub(crate) fn low_in<W: SpecWord>(narrow: Interval<W::Half>, x: W) -> Vec<W::Prop> {
    vec![spec::in_interval(narrow, x.low())]
}

/// The number is in the scalar, whose bits are well-formed.
fn in_scalar<W: SpecWord>(s: Scalar<W>, x: W) -> Vec<W::Prop> {
    vec![spec::in_scalar(s, x), spec::well_formed(s.bits)]
}

/// There is a result, of which something holds.
fn some<W: SpecWord, T>(result: Option<T>, holds: impl Fn(T) -> Vec<W::Prop>) -> Vec<W::Prop> {
    result.map_or_else(|| vec![W::Prop::literal(false)], holds)
}

/// If there is a result, something holds of it.
pub(crate) fn any<W: SpecWord, T>(
    result: Option<T>,
    holds: impl Fn(T) -> Vec<W::Prop>,
) -> Vec<W::Prop> {
    result.map_or_else(Vec::new, holds)
}
