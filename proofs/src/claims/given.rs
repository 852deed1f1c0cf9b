//! Inputs of claims: an abstract value and a number in it.

use bpftime_verifier::domain::bits::BitVec;
use bpftime_verifier::domain::interval::Interval;
use bpftime_verifier::domain::scalar::Scalar;
use bpftime_verifier::domain::tnum::Tnum;

use crate::machine::{Machine, Spec, SpecWord};
use crate::spec;

/// Any well-formed tnum.
pub(crate) fn tnum<W: SpecWord, M: Machine<W> + ?Sized>(m: &mut M) -> Tnum<W> {
    let t = Tnum {
        value: m.wide(),
        mask: m.wide(),
    };
    m.assume(spec::well_formed(t));
    t
}

/// Any tnum and a number in it.
pub(crate) fn tnum_and<W: SpecWord, M: Machine<W> + ?Sized>(m: &mut M) -> (Tnum<W>, W) {
    let (t, x) = (tnum(m), m.wide());
    m.assume(spec::in_tnum(t, x));
    (t, x)
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
/// z3 has no differences to take.
pub(crate) fn interval_around<W: SpecWord, M: Machine<W> + ?Sized>(m: &mut M, x: W) -> Interval<W> {
    let (below, above) = (m.wide(), m.wide());
    m.assume(below.at_most(below.add(above)));
    Interval {
        lo: x.sub(below),
        hi: x.add(above),
    }
}

/// As [`interval_around`] for the lower half.
pub(crate) fn low_interval_around<W: SpecWord, M: Machine<W> + ?Sized>(
    m: &mut M,
    x: W,
) -> Interval<W::Half> {
    let (below, above) = (m.half(), m.half());
    m.assume(below.at_most(below.add(above)));
    Interval {
        lo: x.low().sub(below),
        hi: x.low().add(above),
    }
}

/// Any scalar that contains the number.
pub(crate) fn scalar_around<W: SpecWord, M: Machine<W> + ?Sized>(m: &mut M, x: W) -> Scalar<W> {
    let mask = m.wide();
    let s = Scalar {
        bits: Tnum {
            value: x.and(mask.not()),
            mask,
        },
        wide: interval_around(m, x),
        narrow: low_interval_around(m, x),
    };
    m.follow(x);
    // True of what is written so; said because modular proofs go by what is said.
    m.assume(spec::in_scalar(s, x));
    m.assume(spec::well_formed(s.bits));
    s
}

/// Any scalar and a number in it.
pub(crate) fn scalar_and<W: SpecWord, M: Machine<W> + ?Sized>(m: &mut M) -> (Scalar<W>, W) {
    let x = m.wide();
    (scalar_around(m, x), x)
}
