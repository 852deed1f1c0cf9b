//! Calls of which a modular proof knows what is proved of the function.

use std::any::Any;
use std::rc::Rc;

use crate::driver::{Given, followed, follows, is_known};
use crate::lemma::Contract;
use crate::machine::Truth;
use crate::shape::Handler;
use crate::term::{self, Prop};

/// A new unknown of which is known what the lemmas say.
pub(crate) fn by_lemmas<const N: u32>(
    handler: Handler,
    lemmas: &[Rc<dyn Contract>],
    args: &dyn Any,
) -> Given {
    let mut parts: Option<Vec<u32>> = None;
    let mut applicable = Vec::new();
    for lemma in lemmas {
        for numbers in numbers_for::<N>(&**lemma, args) {
            let only = lemma.only(args, &numbers);
            parts = parts.or_else(|| (handler.parts)(&*only?));
            applicable.push((lemma, numbers));
        }
    }
    let parts =
        parts.unwrap_or_else(|| (handler.widths)().into_iter().map(term::unknown).collect());
    let conclusions = |parts: Option<&[u32]>| -> Vec<Prop> {
        let result = (handler.build)(parts);
        let said = |(lemma, numbers): &(&Rc<dyn Contract>, Vec<u32>)| {
            lemma.conclusions(args, numbers, &*result)
        };
        applicable.iter().flat_map(said).collect()
    };
    let there = conclusions(Some(&parts));
    let absent = if handler.optional {
        conclusions(None)
    } else {
        vec![Prop::literal(false)]
    };
    let never = absent.contains(&Prop::literal(false));
    Given {
        present: match never {
            true => Prop::literal(true),
            false => Prop(term::unknown(0)),
        },
        facts: [there, absent],
        made: applicable
            .iter()
            .flat_map(|(lemma, numbers)| lemma.made(args, numbers))
            .map(|number| (N, number))
            .collect(),
        parts,
    }
}

/// Followed numbers of which a lemma's premises hold: because they are known or else, if that is
/// so of constants at most, because they follow from what is known.
fn numbers_for<const N: u32>(lemma: &dyn Contract, args: &dyn Any) -> Vec<Vec<u32>> {
    let followed = followed(N);
    let mut tuples: Vec<Vec<u32>> = vec![Vec::new()];
    for at in 0..lemma.count() {
        let known = |by: fn(Prop) -> bool| {
            let holds = |number: &u32| lemma.each(args, at, *number).into_iter().all(by);
            let fitting = followed.iter().copied().filter(holds);
            fitting.collect::<Vec<u32>>()
        };
        let mut candidates = known(is_known);
        let constant = |number: &u32| term::node(*number).op == term::Op::Const;
        if candidates.iter().all(constant) {
            candidates = known(follows);
        }
        let with_each = |tuple: Vec<u32>| {
            let with = |number: &u32| [tuple.as_slice(), &[*number]].concat();
            candidates.iter().map(with).collect::<Vec<_>>()
        };
        tuples = tuples.into_iter().flat_map(with_each).collect();
    }
    tuples.retain(|tuple| lemma.joint(args, tuple).into_iter().all(follows));
    tuples
}
