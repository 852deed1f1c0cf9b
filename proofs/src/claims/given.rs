//! Inputs of claims: an abstract value and a number in it.

use bpftime_verifier::domain::bits::BitVec;
use bpftime_verifier::domain::interval::Interval;
use bpftime_verifier::domain::scalar::Scalar;
use bpftime_verifier::domain::tnum::Tnum;

use crate::machine::{Machine, Spec, SpecWord};
use crate::spec;

/// Any well-formed tnum.
pub(crate) fn tnum<W: SpecWord, M: Machine<W> + ?Sized>(m: &mut M) -> Tnum<W> {
    let any = m.wide();
    tnum_around(m, any)
}

/// Any well-formed tnum that contains the number.
pub(crate) fn tnum_around<W: SpecWord, M: Machine<W> + ?Sized>(m: &mut M, x: W) -> Tnum<W> {
    let mask = m.wide();
    let t = Tnum {
        value: m.hide(x.and(mask.not())),
        mask,
    };
    // True of what is written so, until it is hidden.
    m.assume(spec::in_tnum(t, x));
    m.assume(spec::well_formed(t));
    t
}

/// Any tnum and a number in it.
pub(crate) fn tnum_and<W: SpecWord, M: Machine<W> + ?Sized>(m: &mut M) -> (Tnum<W>, W) {
    let x = m.wide();
    (tnum_around(m, x), x)
}

/// Any interval, whether or not it is written in the one way for all numbers.
pub(crate) fn interval<W: SpecWord, M: Machine<W> + ?Sized>(m: &mut M) -> Interval<W> {
    Interval {
        lo: m.wide(),
        hi: m.wide(),
    }
}

/// Any interval and a number in it.
pub(crate) fn interval_and<W: SpecWord, M: Machine<W> + ?Sized>(m: &mut M) -> (Interval<W>, W) {
    let x = m.wide();
    (interval_around(m, x), x)
}

/// Any interval that contains the number: so far below it, and so far above. Written like this,
/// z3 has fewer differences to take.
pub(crate) fn interval_around<W: SpecWord, M: Machine<W> + ?Sized>(m: &mut M, x: W) -> Interval<W> {
    let (below, above) = (m.wide(), m.wide());
    m.assume(below.at_most(below.add(above)));
    let i = Interval {
        lo: m.hide(x.sub(below)),
        hi: m.hide(x.add(above)),
    };
    m.assume(spec::in_interval(i, x));
    i
}

/// As [`interval_around`] for the lower half.
pub(crate) fn low_interval_around<W: SpecWord, M: Machine<W> + ?Sized>(
    m: &mut M,
    x: W,
) -> Interval<W::Half> {
    let (below, above) = (m.half(), m.half());
    m.assume(below.at_most(below.add(above)));
    let i = Interval {
        lo: m.hide_half(x.low().sub(below)),
        hi: m.hide_half(x.low().add(above)),
    };
    m.assume(spec::in_interval(i, x.low()));
    i
}

/// Any scalar that contains the number.
pub(crate) fn scalar_around<W: SpecWord, M: Machine<W> + ?Sized>(m: &mut M, x: W) -> Scalar<W> {
    let s = Scalar {
        bits: tnum_around(m, x),
        wide: interval_around(m, x),
        narrow: low_interval_around(m, x),
    };
    m.follow(x);
    s
}

/// Any scalar and a number in it.
pub(crate) fn scalar_and<W: SpecWord, M: Machine<W> + ?Sized>(m: &mut M) -> (Scalar<W>, W) {
    let x = m.wide();
    (scalar_around(m, x), x)
}
