//! Numbers.

use bpftime_verifier::domain::bits::BitVec;
use bpftime_verifier::domain::scalar::{Scalar, sign_extended};

use super::{any, in_interval, in_scalar, low_in, some};
use crate::claims::given::{interval_and, low_interval_around, scalar_and};
use crate::lemma::{About, Lemma};
use crate::machine::{SpecWord, Truth};

/// What keeps all numbers.
pub(crate) fn kept<W: SpecWord>(
    name: &'static str,
    run: impl Fn(Scalar<W>) -> Option<Scalar<W>> + 'static,
) -> Lemma<W> {
    About::new(
        |m| {
            let (s, x) = scalar_and(m);
            (s, [x])
        },
        run,
        |s, _, x| in_scalar(s, x),
        |_, [x], r| some::<W, _>(r, |r| in_scalar(r, x)),
    )
    .of(name)
    .modular()
}

/// The amount that a shift of that many bits takes.
pub(crate) fn amount<W: SpecWord>(
    name: &'static str,
    bits: u32,
    run: impl Fn(Scalar<W>, u32) -> bpftime_verifier::domain::interval::Interval<W> + 'static,
) -> Lemma<W> {
    let most = move || W::constant(u64::from(bits - 1));
    About::new(
        move |m| {
            let (s, x) = scalar_and(m);
            m.follow(most());
            ((s, bits), [x])
        },
        move |(s, bits)| run(s, bits),
        move |(s, of), _, x| [in_scalar(s, x), vec![W::Prop::literal(of == bits)]].concat(),
        move |_, [x], r| {
            let range = vec![r.lo.at_most(r.hi), r.hi.at_most(most())];
            [in_interval(r, BitVec::and(x, most())), range].concat()
        },
    )
    .made(move |_, [x]| vec![BitVec::and(x, most())])
    .of(name)
    .modular()
}

/// The low bits, sign-extended.
pub(crate) fn extended<W: SpecWord>(bits: u32, x: W) -> W {
    let up = W::constant(u64::from(W::BITS - bits));
    x.shl(up).ashr(up)
}

fn sign_extension<W: SpecWord>(bits: u32) -> Lemma<W> {
    About::new(
        move |m| {
            let (wide, x) = interval_and(m);
            let narrow = low_interval_around(m, x);
            ((wide, narrow, bits), [x])
        },
        |(wide, narrow, bits)| sign_extended::<W>(wide, narrow, bits),
        move |(wide, narrow, of), _, x| {
            let of = vec![W::Prop::literal(of == bits)];
            [in_interval(wide, x), low_in(narrow, x), of].concat()
        },
        move |_, [x], r| in_interval(r, extended(bits, x)),
    )
    .made(move |_, [x]| vec![extended(bits, x)])
    .of("scalar sign_extended")
}

pub(super) fn lemmas<W: SpecWord>() -> Vec<Lemma<W>> {
    vec![
        About::new(
            |m| {
                let (s, x) = scalar_and(m);
                (s, [x])
            },
            |s: Scalar<W>| s.as_constant(),
            |s, _, x| in_scalar(s, x),
            |_, [x], r| any::<W, W>(r, |r| vec![r.is(x)]),
        )
        .only(|_, [x]| Some(x))
        .of("scalar as_constant"),
        kept("scalar reduce_once", Scalar::reduce_once),
        kept("scalar reduce", Scalar::reduce),
        amount("scalar amount", W::BITS, Scalar::amount).part("whole"),
        amount("scalar amount", W::BITS / 2, Scalar::amount).part("half"),
        sign_extension(8).part("8"),
        sign_extension(16).part("16"),
        sign_extension(32).part("32"),
    ]
}
