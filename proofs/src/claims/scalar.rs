//! Numbers: what is not an instruction.

use bpftime_verifier::domain::scalar::Scalar;

use super::given::{interval_and, scalar_and, scalar_around};
use super::{Claim, claim, claim_of, runs};
use crate::machine::{Machine, SpecWord, Truth};
use crate::spec::{in_scalar, well_formed};

const FULL: &[u32] = &[64];

/// The number is in the scalar, whose bits are well-formed.
pub(crate) fn holds<W: SpecWord, M: Machine<W>>(m: &mut M, what: &'static str, s: Scalar<W>, x: W) {
    m.show(what, in_scalar(s, x));
    m.show("well formed", well_formed(s.bits));
}

/// As [`holds`] where the result may be empty, but must not.
pub(crate) fn holds_some<W: SpecWord, M: Machine<W>>(
    m: &mut M,
    what: &'static str,
    s: Option<Scalar<W>>,
    x: W,
) {
    match s {
        Some(s) => holds(m, what, s, x),
        None => m.show("not empty", W::Prop::literal(false)),
    }
}

pub(super) fn claims() -> Vec<Claim> {
    let mut claims = vec![
        claim!("scalar", "contains", FULL, plain, |m, W| {
            let (s, x) = scalar_and(m);
            m.show("contains", W::Prop::literal(s.contains(x)));
        }),
        claim!("scalar", "unknown", FULL, plain, |m, W| {
            let x = m.wide();
            holds(m, "contains", Scalar::unknown(), x);
        }),
        claim!("scalar", "constant", FULL, plain, |m, W| {
            let x = m.wide();
            holds(m, "contains", Scalar::constant(x), x);
        }),
        claim!("scalar", "range", FULL, modular, |m, W| {
            let (i, x) = interval_and(m);
            m.follow(x);
            holds(m, "contains", Scalar::range(i), x);
        }),
        claim!("scalar", "is_subset", FULL, plain, |m, W| {
            let (a, x) = scalar_and(m);
            let y = m.wide();
            let b = scalar_around(m, y);
            if a.is_subset(b) {
                m.show("contains", in_scalar(b, x));
            }
        }),
        claim!("scalar", "unsigned", FULL, plain, |m, W| {
            let (s, x) = scalar_and(m);
            let (lo, hi) = s.unsigned();
            m.show("between", lo.at_most(x).and(x.at_most(hi)));
        }),
        claim!("scalar", "signed", FULL, plain, |m, W| {
            let (s, x) = scalar_and(m);
            let (lo, hi) = s.signed();
            m.show("between", lo.signed_at_most(x).and(x.signed_at_most(hi)));
        }),
        claim!("scalar", "join", FULL, modular, |m, W| {
            let ((a, x), (b, y)) = (scalar_and(m), scalar_and(m));
            let join = a.join(b);
            holds(m, "contains the first", join, x);
            holds(m, "contains the second", join, y);
        }),
        claim!("scalar", "meet", FULL, modular, |m, W| {
            let (a, x) = scalar_and(m);
            let b = scalar_around(m, x);
            holds_some(m, "contains", a.meet(b), x);
        }),
        claim!("scalar", "widen", FULL, modular, |m, W| {
            let ((a, x), (b, y)) = (scalar_and(m), scalar_and(m));
            let wider = a.widen(b);
            holds(m, "contains the first", wider, x);
            holds(m, "contains the second", wider, y);
        }),
        claim!("scalar", "truncate_half", FULL, modular, |m, W| {
            let (s, x) = scalar_and(m);
            let low = W::from_low(x.low());
            m.follow(low);
            holds(m, "contains", s.truncate_half(), low);
        }),
    ];
    // Sizes of accesses in bytes.
    const BELOW: [&str; 4] = [
        "below_bits 8",
        "below_bits 16",
        "below_bits 32",
        "below_bits 64",
    ];
    const TRUNCATE: [&str; 4] = ["truncate 8", "truncate 16", "truncate 32", "truncate 64"];
    let below = runs!(|m, W, case| {
        let bits = 8 << case;
        let x = m.wide();
        m.assume(x.at_most(low_bits(bits)));
        m.follow(x);
        holds(m, "contains", Scalar::below_bits(bits), x);
    });
    let truncate = runs!(|m, W, case| {
        let bits = 8 << case;
        let (s, x) = scalar_and(m);
        m.follow(low_bits(bits));
        let low = x.and(low_bits(bits));
        m.follow(low);
        holds(m, "contains", s.truncate(bits), low);
    });
    for case in 0..4 {
        claims.push(claim_of(("scalar", BELOW[case]), FULL, true, below, case));
        claims.push(claim_of(
            ("scalar", TRUNCATE[case]),
            FULL,
            true,
            truncate,
            case,
        ));
    }
    claims
}

/// The greatest number of so many bits.
pub(super) fn low_bits<W: SpecWord>(bits: u32) -> W {
    W::ones().lshr(W::constant(u64::from(W::BITS - bits)))
}
