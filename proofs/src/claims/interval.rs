//! Wrapped intervals.

use bpftime_verifier::domain::interval::Interval;

use super::given::{interval, interval_and};
use super::{Claim, claim};
use crate::machine::{SpecWord, Truth};
use crate::spec::in_interval;

const FULL: &[u32] = &[64, 32];

fn is<W: SpecWord>(holds: bool) -> W::Prop {
    W::Prop::literal(holds)
}

pub(super) fn claims() -> Vec<Claim> {
    vec![
        claim!("interval", "contains", FULL, plain, |m, W| {
            let (i, x) = (interval(m), m.wide());
            let claimed = is::<W>(i.contains(x));
            m.show("as specified", claimed.agrees(in_interval(i, x)));
        }),
        claim!("interval", "full", FULL, plain, |m, W| {
            let x = m.wide();
            m.show("contains", in_interval(Interval::full(), x));
        }),
        claim!("interval", "constant", FULL, plain, |m, W| {
            let x = m.wide();
            m.show("contains", in_interval(Interval::constant(x), x));
        }),
        claim!("interval", "is_constant", FULL, plain, |m, W| {
            let (i, x) = interval_and(m);
            if i.is_constant() {
                m.show("only the end", x.is(i.lo));
            }
        }),
        claim!("interval", "is_full", FULL, plain, |m, W| {
            let (i, x) = (interval(m), m.wide());
            if i.is_full() {
                m.show("contains", in_interval(i, x));
            }
        }),
    ]
}
