//! Tristate numbers.

use bpftime_verifier::domain::tnum::Tnum;

use super::given::{tnum, tnum_and};
use super::{Claim, claim};
use crate::machine::{SpecWord, Truth};
use crate::spec::{in_tnum, well_formed};

const FULL: &[u32] = &[64, 32];

fn is<W: SpecWord>(holds: bool) -> W::Prop {
    W::Prop::literal(holds)
}

pub(super) fn claims() -> Vec<Claim> {
    vec![
        claim!("tnum", "contains", FULL, plain, |m, W| {
            let (t, x) = (tnum(m), m.wide());
            let claimed = is::<W>(t.contains(x));
            m.show("as specified", claimed.agrees(in_tnum(t, x)));
        }),
        claim!("tnum", "constant", FULL, plain, |m, W| {
            let x = m.wide();
            let t = Tnum::constant(x);
            m.show("contains", in_tnum(t, x));
            m.show("well formed", well_formed(t));
        }),
        claim!("tnum", "unknown", FULL, plain, |m, W| {
            let x = m.wide();
            m.show("contains", in_tnum(Tnum::unknown(), x));
        }),
        claim!("tnum", "is_constant", FULL, plain, |m, W| {
            let (t, x) = tnum_and(m);
            if t.is_constant() {
                m.show("only the value", x.is(t.value));
            }
        }),
        claim!("tnum", "umin and umax", FULL, plain, |m, W| {
            let (t, x) = tnum_and(m);
            m.show("between", t.umin().at_most(x).and(x.at_most(t.umax())));
        }),
    ]
}
