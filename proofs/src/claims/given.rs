//! Inputs of claims: an abstract value and a number in it.

use bpftime_verifier::domain::interval::Interval;
use bpftime_verifier::domain::tnum::Tnum;

use crate::machine::{Machine, SpecWord};
use crate::spec;

/// Any well-formed tnum.
pub(crate) fn tnum<W: SpecWord, M: Machine<W>>(m: &mut M) -> Tnum<W> {
    let t = Tnum {
        value: m.wide(),
        mask: m.wide(),
    };
    m.assume(spec::well_formed(t));
    t
}

/// Any tnum and a number in it.
pub(crate) fn tnum_and<W: SpecWord, M: Machine<W>>(m: &mut M) -> (Tnum<W>, W) {
    let (t, x) = (tnum(m), m.wide());
    m.assume(spec::in_tnum(t, x));
    (t, x)
}

/// Any interval, whether or not it is written in the one way for all numbers.
pub(crate) fn interval<W: SpecWord, M: Machine<W>>(m: &mut M) -> Interval<W> {
    Interval {
        lo: m.wide(),
        hi: m.wide(),
    }
}

/// Any interval and a number in it.
pub(crate) fn interval_and<W: SpecWord, M: Machine<W>>(m: &mut M) -> (Interval<W>, W) {
    let (i, x) = (interval(m), m.wide());
    m.assume(spec::in_interval(i, x));
    (i, x)
}
