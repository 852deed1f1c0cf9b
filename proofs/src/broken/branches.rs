//! Wrong versions of what a comparison says.

use bpftime_isa::{Cond, Width};
use bpftime_verifier::domain::bits::Word;
use bpftime_verifier::domain::refine::assume;
use bpftime_verifier::domain::scalar::Scalar;
use bpftime_verifier::domain::tnum::Tnum;

use crate::claims::branch::kept_by;
use crate::claims::{Claim, claim};

type Two<W> = Option<(Scalar<W>, Scalar<W>)>;

fn with_bits<W: Word>(s: Scalar<W>, bits: Tnum<W>) -> Option<Scalar<W>> {
    let bits = s.bits.meet(bits)?;
    Scalar { bits, ..s }.reduce()
}

/// A comparison of lower halves is taken for one of the wholes.
fn of_wholes<W: Word>(cond: Cond, is: bool, a: Scalar<W>, b: Scalar<W>) -> Two<W> {
    assume(cond, Width::W64, is, a, b)
}

/// A comparison of the wholes is taken for one of lower halves.
fn of_halves<W: Word>(cond: Cond, is: bool, a: Scalar<W>, b: Scalar<W>) -> Two<W> {
    assume(cond, Width::W32, is, a, b)
}

/// The same is said whichever way the jump goes.
fn of_both_ways<W: Word>(cond: Cond, a: Scalar<W>, b: Scalar<W>) -> Two<W> {
    assume(cond, Width::W64, true, a, b)
}

/// What is said of one operand is said of the other.
fn exchanged<W: Word>(cond: Cond, a: Scalar<W>, b: Scalar<W>) -> Two<W> {
    assume(cond, Width::W64, true, b, a).map(|(b, a)| (a, b))
}

/// All common bits that are possible are taken for set.
fn all_set<W: Word>(a: Scalar<W>, b: Scalar<W>) -> Two<W> {
    let value = a.bits.umax().and(b.bits.umax());
    let set = Tnum {
        value,
        mask: value.not(),
    };
    Some((with_bits(a, set)?, with_bits(b, set)?))
}

/// Bits that the other may have are taken for clear.
fn all_clear<W: Word>(a: Scalar<W>, b: Scalar<W>) -> Two<W> {
    let clear = |possible: W| Tnum {
        value: W::zero(),
        mask: possible.not(),
    };
    Some((
        with_bits(a, clear(b.bits.umax()))?,
        with_bits(b, clear(a.bits.umax()))?,
    ))
}

/// Equal lower halves are taken for equal numbers.
fn equal_wholes<W: Word>(a: Scalar<W>, b: Scalar<W>) -> Two<W> {
    let both = a.meet(b)?;
    Some((both, both))
}

pub(super) fn all() -> Vec<Claim> {
    vec![
        claim!("branch", "jgt32 of wholes", &[64], modular, |m, W| {
            kept_by(m, Cond::Gt, Width::W32, true, |a, b| {
                of_wholes(Cond::Gt, true, a, b)
            });
        }),
        claim!("branch", "jslt32 of wholes", &[64], modular, |m, W| {
            kept_by(m, Cond::Slt, Width::W32, true, |a, b| {
                of_wholes(Cond::Slt, true, a, b)
            });
        }),
        claim!("branch", "jle of halves", &[64], modular, |m, W| {
            kept_by(m, Cond::Le, Width::W64, true, |a, b| {
                of_halves(Cond::Le, true, a, b)
            });
        }),
        claim!("branch", "jne of halves", &[64], modular, |m, W| {
            kept_by(m, Cond::Ne, Width::W64, true, |a, b| {
                of_halves(Cond::Ne, true, a, b)
            });
        }),
        claim!("branch", "jset32 not of wholes", &[64], modular, |m, W| {
            kept_by(m, Cond::Set, Width::W32, false, |a, b| {
                of_wholes(Cond::Set, false, a, b)
            });
        }),
        claim!("branch", "jlt not as jlt", &[64], modular, |m, W| {
            kept_by(m, Cond::Lt, Width::W64, false, |a, b| {
                of_both_ways(Cond::Lt, a, b)
            });
        }),
        claim!("branch", "jeq not as jeq", &[64], modular, |m, W| {
            kept_by(m, Cond::Eq, Width::W64, false, |a, b| {
                of_both_ways(Cond::Eq, a, b)
            });
        }),
        claim!("branch", "jge exchanged", &[64], modular, |m, W| {
            kept_by(m, Cond::Ge, Width::W64, true, |a, b| {
                exchanged(Cond::Ge, a, b)
            });
        }),
        claim!("branch", "jsgt as jgt", &[64], modular, |m, W| {
            kept_by(m, Cond::Sgt, Width::W64, true, |a, b| {
                of_wholes(Cond::Gt, true, a, b)
            });
        }),
        claim!("branch", "jge as jgt", &[64], modular, |m, W| {
            kept_by(m, Cond::Ge, Width::W64, true, |a, b| {
                of_wholes(Cond::Gt, true, a, b)
            });
        }),
        claim!("branch", "jset of all bits", &[64], modular, |m, W| {
            kept_by(m, Cond::Set, Width::W64, true, all_set);
        }),
        claim!("branch", "jset not of all bits", &[64], modular, |m, W| {
            kept_by(m, Cond::Set, Width::W64, false, all_clear);
        }),
        claim!("branch", "jeq32 of wholes", &[64], modular, |m, W| {
            kept_by(m, Cond::Eq, Width::W32, true, equal_wholes);
        }),
    ]
}
