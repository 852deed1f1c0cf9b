//! Comparisons: what holds of the operands when one comes out as it does.

use bpftime_isa::{Cond, Width};
use bpftime_verifier::domain::refine::assume;
use bpftime_verifier::domain::scalar::Scalar;

use super::given::{scalar_and, scalar_around};
use super::scalar::holds;
use super::{Claim, claim_of, runs};
use crate::machine::{Machine, Spec, SpecWord, Truth};

const CONDS: [(Cond, [&str; 4]); 11] = [
    (Cond::Eq, ["jeq", "jeq not", "jeq32", "jeq32 not"]),
    (Cond::Ne, ["jne", "jne not", "jne32", "jne32 not"]),
    (Cond::Gt, ["jgt", "jgt not", "jgt32", "jgt32 not"]),
    (Cond::Ge, ["jge", "jge not", "jge32", "jge32 not"]),
    (Cond::Lt, ["jlt", "jlt not", "jlt32", "jlt32 not"]),
    (Cond::Le, ["jle", "jle not", "jle32", "jle32 not"]),
    (Cond::Set, ["jset", "jset not", "jset32", "jset32 not"]),
    (Cond::Sgt, ["jsgt", "jsgt not", "jsgt32", "jsgt32 not"]),
    (Cond::Sge, ["jsge", "jsge not", "jsge32", "jsge32 not"]),
    (Cond::Slt, ["jslt", "jslt not", "jslt32", "jslt32 not"]),
    (Cond::Sle, ["jsle", "jsle not", "jsle32", "jsle32 not"]),
];

/// Whether the jump is taken (RFC 9669 section 4.3).
fn taken<B: Spec>(cond: Cond, x: B, y: B) -> B::Prop {
    match cond {
        Cond::Eq => x.is(y),
        Cond::Ne => x.is(y).negation(),
        Cond::Gt => y.below(x),
        Cond::Ge => y.at_most(x),
        Cond::Lt => x.below(y),
        Cond::Le => x.at_most(y),
        Cond::Set => x.and(y).is(B::zero()).negation(),
        Cond::Sgt => y.signed_below(x),
        Cond::Sge => y.signed_at_most(x),
        Cond::Slt => x.signed_below(y),
        Cond::Sle => x.signed_at_most(y),
    }
}

/// The operands of a comparison that comes out as `is` keep their numbers when refined.
pub(crate) fn kept_by<W: SpecWord, M: Machine<W>>(
    m: &mut M,
    cond: Cond,
    width: Width,
    is: bool,
    refine: impl Fn(Scalar<W>, Scalar<W>) -> Option<(Scalar<W>, Scalar<W>)>,
) {
    let (a, x) = scalar_and(m);
    // Equal numbers are one.
    let equal = width == Width::W64 && matches!((cond, is), (Cond::Eq, true) | (Cond::Ne, false));
    let y = if equal { x } else { m.wide() };
    let b = scalar_around(m, y);
    let condition = match width {
        Width::W64 => taken(cond, x, y),
        Width::W32 => taken(cond, x.low(), y.low()),
    };
    m.assume(if is { condition } else { condition.negation() });
    match refine(a, b) {
        Some((a, b)) => {
            holds(m, "first", a, x);
            holds(m, "second", b, y);
        }
        None => m.show("not empty", W::Prop::literal(false)),
    }
}

pub(super) fn claims() -> Vec<Claim> {
    let run = runs!(|m, W, case| {
        let width = [Width::W64, Width::W32][case / 2 % 2];
        let (cond, is) = (CONDS[case / 4].0, case.is_multiple_of(2));
        kept_by(m, cond, width, is, |a, b| assume(cond, width, is, a, b));
    });
    let mut claims = Vec::new();
    for (index, (_, names)) in CONDS.iter().enumerate() {
        for (which, name) in names.iter().enumerate() {
            let case = index * 4 + which;
            claims.push(claim_of(("branch", name), &[64], true, run, case));
        }
    }
    claims
}
