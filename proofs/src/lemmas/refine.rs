//! What an order relation says of intervals.

use bpftime_verifier::domain::interval::Interval;
use bpftime_verifier::domain::refine::{Relation, assume_interval};

use super::{in_interval, some};
use crate::claims::given::interval_and;
use crate::lemma::{About, Lemma};
use crate::machine::{Spec, SpecWord, Truth};

const RELATIONS: [(Relation, &str); 6] = [
    (Relation::Eq, "eq"),
    (Relation::Ne, "ne"),
    (Relation::Ult, "ult"),
    (Relation::Ule, "ule"),
    (Relation::Slt, "slt"),
    (Relation::Sle, "sle"),
];

fn related<B: Spec>(relation: Relation, x: B, y: B) -> B::Prop {
    match relation {
        Relation::Eq => x.is(y),
        Relation::Ne => x.is(y).negation(),
        Relation::Ult => x.below(y),
        Relation::Ule => x.at_most(y),
        Relation::Slt => x.signed_below(y),
        Relation::Sle => x.signed_at_most(y),
    }
}

/// A refinement of two intervals by a relation keeps numbers that are in that relation.
pub(crate) fn refined<W: SpecWord>(
    relation: Relation,
    run: impl Fn(Relation, Interval<W>, Interval<W>) -> Option<(Interval<W>, Interval<W>)> + 'static,
) -> Lemma<W> {
    About::new(
        move |m| {
            let ((a, x), (b, y)) = (interval_and(m), interval_and(m));
            ((relation, a, b), [x, y])
        },
        move |(relation, a, b)| run(relation, a, b),
        |(_, a, b), at, x| in_interval([a, b][at], x),
        |_, [x, y], r| some::<W, _>(r, |(a, b)| [in_interval(a, x), in_interval(b, y)].concat()),
    )
    .joint(move |(of, ..), [x, y]| vec![W::Prop::literal(of == relation), related(relation, x, y)])
    .of("refine interval")
    .at(&[64, 32])
}

pub(super) fn lemmas<W: SpecWord>() -> Vec<Lemma<W>> {
    RELATIONS
        .iter()
        .map(|(relation, name)| refined(*relation, assume_interval).part(name))
        .collect()
}
