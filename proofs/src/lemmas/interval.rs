//! Wrapped intervals.

use bpftime_verifier::domain::bits::BitVec;
use bpftime_verifier::domain::interval::Interval;
use bpftime_verifier::domain::scalar::{signed_quotient, signed_remainder};

use super::{any, in_interval, some};
use crate::claims::given::{interval, interval_and, interval_around};
use crate::facts::recall;
use crate::lemma::{About, Lemma};
use crate::machine::{Machine, SpecWord, Truth};

/// Registers have them in both widths.
const FULL: &[u32] = &[64, 32];

type Two<W> = (Interval<W>, Interval<W>);

/// An operation on numbers of two intervals.
fn binary_of<W: SpecWord>(
    run: impl Fn(Interval<W>, Interval<W>) -> Interval<W> + 'static,
    op: impl Fn(W, W) -> W + Copy + 'static,
) -> About<W, Two<W>, Interval<W>, 2> {
    About::new(
        |m| {
            let ((a, x), (b, y)) = (interval_and(m), interval_and(m));
            ((a, b), [x, y])
        },
        move |(a, b)| run(a, b),
        |(a, b), at, x| in_interval([a, b][at], x),
        move |_, [x, y], r| in_interval(r, op(x, y)),
    )
    .made(move |_, [x, y]| vec![op(x, y)])
}

/// The result of an operation contains what the operation makes of numbers in its operands.
pub(crate) fn binary<W: SpecWord>(
    name: &'static str,
    run: impl Fn(Interval<W>, Interval<W>) -> Interval<W> + 'static,
    op: impl Fn(W, W) -> W + Copy + 'static,
) -> Lemma<W> {
    binary_of(run, op).of(name).at(FULL)
}

/// As [`binary`] for a shift by numbers that are all below the width.
pub(crate) fn shift<W: SpecWord>(
    name: &'static str,
    run: impl Fn(Interval<W>, Interval<W>) -> Interval<W> + 'static,
    op: impl Fn(W, W) -> W + Copy + 'static,
    hints: impl Fn(&mut dyn Machine<W>, Two<W>, [W; 2]) + 'static,
) -> Lemma<W> {
    binary_of(run, op)
        .joint(|(_, by), _| {
            let width = W::constant(u64::from(W::BITS));
            vec![by.lo.at_most(by.hi), by.hi.below(width)]
        })
        .hints(hints)
        .of(name)
        .at(FULL)
}

/// Least and greatest number, with the one between them.
fn unsigned<W: SpecWord>(m: &mut dyn Machine<W>, i: Interval<W>, x: W) -> (W, W) {
    let (lo, hi) = i.unsigned();
    m.note("between", lo.at_most(x).and(x.at_most(hi)));
    (lo, hi)
}

/// As [`unsigned`], read as signed.
fn signed<W: SpecWord>(m: &mut dyn Machine<W>, i: Interval<W>, x: W) -> (W, W) {
    let (lo, hi) = i.signed();
    m.note("between", lo.signed_at_most(x).and(x.signed_at_most(hi)));
    (lo, hi)
}

pub(crate) fn hints_for_shl<W: SpecWord>(m: &mut dyn Machine<W>, (a, by): Two<W>, [x, y]: [W; 2]) {
    let (least, most) = unsigned(m, by, y);
    let (lo, hi) = unsigned(m, a, x);
    recall(m, "numbers shl grows with amount", &[hi, y, most]);
    recall(m, "numbers shl grows", &[x, hi, y]);
    recall(m, "numbers shl grows", &[lo, x, y]);
    recall(m, "numbers shl grows with amount", &[lo, least, y]);
    let (lo, hi) = signed(m, a, x);
    recall(m, "numbers shl grows signed", &[lo, x, hi, most]);
    let same = y.is(most).implies(x.shl(y).is(x.shl(most)));
    m.note("equal amounts", same);
    m.forget_arithmetic();
}

pub(crate) fn hints_for_lshr<W: SpecWord>(m: &mut dyn Machine<W>, (a, by): Two<W>, [x, y]: [W; 2]) {
    let (least, most) = unsigned(m, by, y);
    let (lo, hi) = unsigned(m, a, x);
    recall(m, "numbers lshr grows", &[x, hi, y]);
    recall(m, "numbers lshr falls with amount", &[hi, least, y]);
    recall(m, "numbers lshr grows", &[lo, x, y]);
    recall(m, "numbers lshr falls with amount", &[lo, y, most]);
    m.forget_arithmetic();
}

pub(crate) fn hints_for_ashr<W: SpecWord>(m: &mut dyn Machine<W>, (a, by): Two<W>, [x, y]: [W; 2]) {
    let (least, most) = unsigned(m, by, y);
    let (lo, hi) = signed(m, a, x);
    recall(m, "numbers ashr grows", &[x, hi, y]);
    recall(m, "numbers ashr grows", &[lo, x, y]);
    for end in [lo, hi] {
        recall(m, "numbers ashr nears zero", &[end, least, y]);
        recall(m, "numbers ashr nears zero", &[end, y, most]);
    }
    m.forget_arithmetic();
}

fn hints_for_mul<W: SpecWord>(m: &mut dyn Machine<W>, (a, b): Two<W>, [x, y]: [W; 2]) {
    let ((a_lo, a_hi), (b_lo, b_hi)) = (unsigned(m, a, x), unsigned(m, b, y));
    recall(m, "numbers product grows", &[x, a_hi, y, b_hi]);
    recall(m, "numbers product grows", &[a_lo, x, b_lo, y]);
    let ((a_lo, a_hi), (b_lo, b_hi)) = (signed(m, a, x), signed(m, b, y));
    recall(m, "numbers product between signed", &[a_lo, x, a_hi, y]);
    for end in [a_lo, a_hi] {
        recall(m, "numbers product between signed", &[b_lo, y, b_hi, end]);
    }
    m.forget_arithmetic();
}

fn hints_for_urem<W: SpecWord>(m: &mut dyn Machine<W>, (a, b): Two<W>, [x, y]: [W; 2]) {
    let ((a_lo, _), (b_lo, _)) = (unsigned(m, a, x), unsigned(m, b, y));
    recall(m, "numbers remainder", &[x, y]);
    let zero = y.is(W::zero());
    let same = x.is(a_lo).and(y.is(b_lo)).and(zero.negation());
    let rest = x.remainder(y).is(a_lo.urem(b_lo));
    m.note("equal operands", same.implies(rest));
    m.forget_arithmetic();
}

/// What contains one of two intervals.
pub(crate) fn around<W: SpecWord>(
    name: &'static str,
    which: usize,
    run: impl Fn(Interval<W>, Interval<W>) -> Interval<W> + 'static,
) -> Lemma<W> {
    About::new(
        move |m| {
            let ((a, x), b) = (interval_and(m), interval(m));
            (if which == 0 { (a, b) } else { (b, a) }, [x])
        },
        move |(a, b)| run(a, b),
        move |(a, b), _, x| in_interval([a, b][which], x),
        |_, [x], r| in_interval(r, x),
    )
    .of(name)
    .part(["first", "second"][which])
    .at(FULL)
}

/// A function of two numbers.
fn exact<W: SpecWord>(
    name: &'static str,
    run: impl Fn(W, W) -> W + 'static,
    op: impl Fn(W, W) -> W + Copy + 'static,
) -> Lemma<W> {
    About::new(
        |m| ((m.wide(), m.wide()), []),
        move |(x, y)| run(x, y),
        |_, _, _| Vec::new(),
        move |(x, y), [], r: W| vec![r.is(op(x, y))],
    )
    .only(move |(x, y), []| op(x, y))
    .made(move |(x, y), []| vec![op(x, y)])
    .of(name)
    .at(FULL)
}

pub(super) fn lemmas<W: SpecWord>() -> Vec<Lemma<W>> {
    vec![
        About::new(
            |m| {
                let (i, x) = interval_and(m);
                ((i.lo, i.hi), [x])
            },
            |(lo, hi)| Interval::new(lo, hi),
            |(lo, hi), _, x| in_interval(Interval { lo, hi }, x),
            |_, [x], r| in_interval(r, x),
        )
        .of("interval new")
        .at(FULL),
        About::new(
            |m| {
                let (i, x) = interval_and(m);
                (i, [x])
            },
            |i: Interval<W>| i.as_constant(),
            |i, _, x| in_interval(i, x),
            |_, [x], r| any::<W, W>(r, |r| vec![r.is(x)]),
        )
        .only(|_, [x]| Some(x))
        .of("interval as_constant")
        .at(FULL),
        About::new(
            |m| {
                let ((a, x), b) = (interval_and(m), interval(m));
                ((a, b), [x])
            },
            |(a, b): (Interval<W>, Interval<W>)| a.is_subset(b),
            |(a, _), _, x| in_interval(a, x),
            |(_, b), [x], r| {
                if r { in_interval(b, x) } else { Vec::new() }
            },
        )
        .of("interval is_subset")
        .at(FULL),
        About::new(
            |m| {
                let (i, x) = interval_and(m);
                (i, [x])
            },
            |i: Interval<W>| i.unsigned(),
            |i, _, x| in_interval(i, x),
            |_, [x], (lo, hi)| vec![lo.at_most(x), x.at_most(hi)],
        )
        .of("interval unsigned")
        .at(FULL),
        About::new(
            |m| {
                let (i, x) = interval_and(m);
                (i, [x])
            },
            |i: Interval<W>| i.signed(),
            |i, _, x| in_interval(i, x),
            |_, [x], (lo, hi)| vec![lo.signed_at_most(x), x.signed_at_most(hi)],
        )
        .of("interval signed")
        .at(FULL),
        around("interval join", 0, Interval::join),
        around("interval join", 1, Interval::join),
        around("interval widen", 0, Interval::widen).modular(),
        around("interval widen", 1, Interval::widen).modular(),
        About::new(
            |m| {
                let (a, x) = interval_and(m);
                let b = interval_around(m, x);
                ((a, b), [x])
            },
            |(a, b): (Interval<W>, Interval<W>)| a.meet(b),
            |(a, b), _, x| [in_interval(a, x), in_interval(b, x)].concat(),
            |_, [x], r| some::<W, _>(r, |r| in_interval(r, x)),
        )
        .of("interval meet")
        .at(FULL),
        About::new(
            |m| {
                let ((a, x), y) = (interval_and(m), m.wide());
                ((a, y), [x])
            },
            |(a, y): (Interval<W>, W)| a.without(y),
            |(a, y), _, x| [in_interval(a, x), vec![x.is(y).negation()]].concat(),
            |_, [x], r| some::<W, _>(r, |r| in_interval(r, x)),
        )
        .of("interval without")
        .at(FULL),
        About::new(
            |m| {
                let (a, x) = interval_and(m);
                (a, [x])
            },
            |a: Interval<W>| a.neg(),
            |a, _, x| in_interval(a, x),
            |_, [x], r| in_interval(r, W::zero().sub(x)),
        )
        .made(|_, [x]| vec![W::zero().sub(x)])
        .of("interval neg")
        .at(FULL),
        binary("interval add", Interval::add, W::add),
        binary("interval sub", Interval::sub, W::sub),
        binary_of(Interval::mul, W::mul)
            .hints(hints_for_mul)
            .of("interval mul")
            .at(FULL),
        binary("interval udiv", Interval::udiv, W::quotient),
        binary_of(Interval::urem, W::remainder)
            .hints(hints_for_urem)
            .of("interval urem")
            .at(FULL),
        binary("interval sdiv", Interval::sdiv, W::sdiv),
        binary("interval srem", Interval::srem, W::srem),
        binary("interval and", Interval::and, BitVec::and),
        binary("interval or", Interval::or, BitVec::or),
        binary("interval xor", Interval::xor, W::xor),
        shift("interval shl", Interval::shl, W::shl, hints_for_shl),
        shift("interval lshr", Interval::lshr, W::lshr, hints_for_lshr),
        shift("interval ashr", Interval::ashr, W::ashr, hints_for_ashr),
        exact("signed quotient", signed_quotient, W::sdiv),
        exact("signed remainder", signed_remainder, W::srem),
    ]
}
