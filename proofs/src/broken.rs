//! Wrong versions of operations. z3 has to find, for each, inputs that refute it on 64 bits, and
//! the refutation has to hold on `u64`, without z3.

use bpftime_verifier::domain::bits::BitVec;
use bpftime_verifier::domain::tnum::Tnum;

use crate::claims::{Claim, claim, tnum};

/// Carries are forgotten.
fn tnum_add_without_carries<B: BitVec>(a: Tnum<B>, b: Tnum<B>) -> Tnum<B> {
    let mask = a.mask.or(b.mask);
    Tnum {
        value: a.value.add(b.value).and(mask.not()),
        mask,
    }
}

/// All broken versions.
pub fn all() -> Vec<Claim> {
    vec![
        claim!("tnum", "add without carries", &[64], cuts: false, |m, W| {
            tnum::binary(m, tnum_add_without_carries, W::add);
        }),
    ]
}
