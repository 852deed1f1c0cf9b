//! What one part of a number says of another.

use bpftime_verifier::domain::deduce::{
    bits_of, bits_of_low, low_of, low_span_of, lower_end, raise_start, settled, signed_span_of,
    span_of,
};
use bpftime_verifier::domain::interval::Interval;
use bpftime_verifier::domain::tnum::Tnum;

use super::{any, in_interval, in_scalar, in_tnum, low_in, some};
use crate::claims::given::{interval_and, low_interval_around, scalar_and, tnum_and};
use crate::lemma::{About, Lemma};
use crate::machine::SpecWord;

/// What bits say.
pub(crate) fn of_bits<W: SpecWord, R: Copy + 'static>(
    name: &'static str,
    run: impl Fn(Tnum<W>) -> R + 'static,
    holds: impl Fn(R, W) -> Vec<W::Prop> + 'static,
) -> Lemma<W> {
    About::new(
        |m| {
            let (t, x) = tnum_and(m);
            (t, [x])
        },
        run,
        in_tnum_at,
        move |_, [x], r| holds(r, x),
    )
    .of(name)
}

fn in_tnum_at<W: SpecWord>(t: Tnum<W>, _: usize, x: W) -> Vec<W::Prop> {
    in_tnum(t, x)
}

/// What the range says.
pub(crate) fn of_wide<W: SpecWord, R: Copy + 'static>(
    name: &'static str,
    run: impl Fn(Interval<W>) -> R + 'static,
    holds: impl Fn(R, W) -> Vec<W::Prop> + 'static,
) -> Lemma<W> {
    About::new(
        |m| {
            let (i, x) = interval_and(m);
            (i, [x])
        },
        run,
        |i, _, x| in_interval(i, x),
        move |_, [x], r| holds(r, x),
    )
    .of(name)
}

/// What the range of the lower half says.
pub(crate) fn of_narrow<W: SpecWord, R: Copy + 'static>(
    name: &'static str,
    run: impl Fn(Interval<W::Half>) -> R + 'static,
    holds: impl Fn(R, W) -> Vec<W::Prop> + 'static,
) -> Lemma<W> {
    About::new(
        |m| {
            let x: W = m.wide();
            (low_interval_around(m, x), [x])
        },
        run,
        |i, _, x| low_in(i, x),
        move |_, [x], r| holds(r, x),
    )
    .of(name)
}

/// What both ranges say of the first.
pub(crate) fn of_both<W: SpecWord>(
    name: &'static str,
    run: impl Fn(Interval<W>, Interval<W::Half>) -> Option<Interval<W>> + 'static,
) -> Lemma<W> {
    About::new(
        |m| {
            let (wide, x) = interval_and(m);
            let narrow = low_interval_around(m, x);
            ((wide, narrow), [x])
        },
        move |(wide, narrow)| run(wide, narrow),
        |(wide, narrow), _, x| [in_interval(wide, x), low_in(narrow, x)].concat(),
        |_, [x], r| some::<W, _>(r, |r| in_interval(r, x)),
    )
    .of(name)
}

pub(super) fn lemmas<W: SpecWord>() -> Vec<Lemma<W>> {
    vec![
        of_bits("deduce span_of", span_of, in_interval),
        of_bits("deduce signed_span_of", signed_span_of, |r, x| {
            any::<W, _>(r, |r| in_interval(r, x))
        }),
        of_bits("deduce low_span_of", low_span_of, low_in),
        of_wide("deduce low_of", low_of, |r, x| {
            any::<W, _>(r, |r| low_in(r, x))
        }),
        of_both("deduce raise_start", raise_start),
        of_both("deduce lower_end", lower_end),
        of_wide("deduce bits_of", bits_of, in_tnum),
        of_narrow("deduce bits_of_low", bits_of_low, in_tnum),
        About::new(
            |m| {
                let (s, x) = scalar_and(m);
                (s, [x])
            },
            settled,
            |s, _, x| in_scalar(s, x),
            |_, [x], r| some::<W, _>(r, |r| in_scalar(r, x)),
        )
        .of("deduce settled"),
    ]
}
