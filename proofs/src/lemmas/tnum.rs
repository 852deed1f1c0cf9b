//! Tristate numbers.

use bpftime_verifier::domain::bits::BitVec;
use bpftime_verifier::domain::tnum::Tnum;

use super::{in_tnum, some};
use crate::claims::given::{tnum, tnum_and, tnum_around};
use crate::facts::{below_bit, bit, contribution, recall};
use crate::lemma::{About, Lemma};
use crate::machine::{Machine, SpecWord, Truth};
use crate::spec;

/// The result of an operation contains what the operation makes of numbers in its operands.
pub(crate) fn binary<W: SpecWord>(
    name: &'static str,
    run: impl Fn(Tnum<W>, Tnum<W>) -> Tnum<W> + 'static,
    op: impl Fn(W, W) -> W + Copy + 'static,
) -> Lemma<W> {
    binary_of(run, op).of(name)
}

fn binary_of<W: SpecWord>(
    run: impl Fn(Tnum<W>, Tnum<W>) -> Tnum<W> + 'static,
    op: impl Fn(W, W) -> W + Copy + 'static,
) -> About<W, (Tnum<W>, Tnum<W>), Tnum<W>, 2> {
    About::new(
        |m| {
            let ((a, x), (b, y)) = (tnum_and(m), tnum_and(m));
            ((a, b), [x, y])
        },
        move |(a, b)| run(a, b),
        |(a, b), at, x| in_tnum([a, b][at], x),
        move |_, [x, y], r| in_tnum(r, op(x, y)),
    )
    .made(move |_, [x, y]| vec![op(x, y)])
}

/// As [`binary`] for a shift by a number below the width.
pub(crate) fn shift<W: SpecWord>(
    name: &'static str,
    run: impl Fn(Tnum<W>, W) -> Tnum<W> + 'static,
    op: impl Fn(W, W) -> W + Copy + 'static,
) -> Lemma<W> {
    About::new(
        |m| {
            let ((a, x), by) = (tnum_and(m), m.wide());
            ((a, by), [x])
        },
        move |(a, by)| run(a, by),
        |(a, _), _, x| in_tnum(a, x),
        move |(_, by), [x], r| in_tnum(r, op(x, by)),
    )
    .joint(|(_, by), _| vec![by.below(W::constant(u64::from(W::BITS)))])
    .made(move |(_, by), [x]| vec![op(x, by)])
    .of(name)
}

/// What contains one of two tnums.
pub(crate) fn around<W: SpecWord>(
    name: &'static str,
    which: usize,
    run: impl Fn(Tnum<W>, Tnum<W>) -> Tnum<W> + 'static,
) -> Lemma<W> {
    About::new(
        move |m| {
            let ((a, x), b) = (tnum_and(m), tnum(m));
            (if which == 0 { (a, b) } else { (b, a) }, [x])
        },
        move |(a, b)| run(a, b),
        move |(a, b), _, x| in_tnum([a, b][which], x),
        |_, [x], r| in_tnum(r, x),
    )
    .of(name)
    .part(["first", "second"][which])
}

/// The sum of what bits contribute is the product.
fn hints_for_mul<W: SpecWord>(m: &mut dyn Machine<W>, (a, b): (Tnum<W>, Tnum<W>), [x, y]: [W; 2]) {
    let masked = |mask: W| BitVec::and(x, mask);
    recall(m, "numbers product of bits", &[x, y]);
    for k in 0..W::BITS {
        let [sum, least] = [k + 1, k].map(|k| masked(below_bit(k)));
        let bits = [sum, least, masked(bit(k)), y];
        recall(m, "numbers distribute", &bits);
    }
    let equal = x.is(a.value).and(y.is(b.value));
    let product = x.mul(y).is(a.value.mul(b.value));
    m.note("equal operands", equal.implies(product));
    m.forget_arithmetic();
    let mut sum = W::zero();
    let mut shifted = y;
    m.follow(sum);
    for k in 0..W::BITS {
        sum = sum.add(contribution(bit(k), x, shifted));
        shifted = shifted.shl(W::one());
        m.note("sum so far", sum.is(masked(below_bit(k + 1)).mul(y)));
    }
}

pub(super) fn lemmas<W: SpecWord>() -> Vec<Lemma<W>> {
    vec![
        About::new(
            |m| ((m.wide(), m.wide()), [m.wide()]),
            |(lo, hi)| Tnum::range(lo, hi),
            |(lo, hi), _, x: W| vec![lo.at_most(x), x.at_most(hi)],
            |_, [x], r| in_tnum(r, x),
        )
        .of("tnum range"),
        About::new(
            |m| {
                let ((a, x), b) = (tnum_and(m), tnum(m));
                ((a, b), [x])
            },
            |(a, b): (Tnum<W>, Tnum<W>)| a.is_subset(b),
            |(a, _), _, x| in_tnum(a, x),
            |(_, b), [x], r| {
                if r {
                    vec![spec::in_tnum(b, x)]
                } else {
                    Vec::new()
                }
            },
        )
        .of("tnum is_subset"),
        around("tnum join", 0, Tnum::join),
        around("tnum join", 1, Tnum::join),
        About::new(
            |m| {
                let (a, x) = tnum_and(m);
                ((a, tnum_around(m, x)), [x])
            },
            |(a, b): (Tnum<W>, Tnum<W>)| a.meet(b),
            |(a, b), _, x| [in_tnum(a, x), in_tnum(b, x)].concat(),
            |_, [x], r| some::<W, _>(r, |r| in_tnum(r, x)),
        )
        .of("tnum meet"),
        binary("tnum add", Tnum::add, W::add),
        binary("tnum sub", Tnum::sub, W::sub),
        binary("tnum and", Tnum::and, BitVec::and),
        binary("tnum or", Tnum::or, BitVec::or),
        binary("tnum xor", Tnum::xor, W::xor),
        About::new(
            |m| {
                let (sum, a, b) = (tnum_and(&mut *m), tnum_and(&mut *m), tnum_and(&mut *m));
                ((sum.0, a.0, b.0, m.wide()), [sum.1, a.1, b.1])
            },
            |(sum, a, shifted, at): (Tnum<W>, Tnum<W>, Tnum<W>, W)| {
                Tnum::mul_step(sum, a, shifted, at)
            },
            |(sum, a, shifted, _), at, x| in_tnum([sum, a, shifted][at], x),
            |(.., at), [p, x, y], r| in_tnum(r, p.add(contribution(at, x, y))),
        )
        .made(|(.., at), [p, x, y]| vec![p.add(contribution(at, x, y))])
        .of("tnum mul_step"),
        binary_of(Tnum::mul, W::mul)
            .hints(hints_for_mul)
            .of("tnum mul")
            .modular(),
        shift("tnum shl", Tnum::shl, W::shl),
        shift("tnum lshr", Tnum::lshr, W::lshr),
        shift("tnum ashr", Tnum::ashr, W::ashr),
        About::new(
            |m| {
                let ((a, x), keep) = (tnum_and(m), m.wide());
                ((a, keep), [x])
            },
            |(a, keep): (Tnum<W>, W)| a.keep(keep),
            |(a, _), _, x| in_tnum(a, x),
            |(_, keep), [x], r| in_tnum(r, BitVec::and(x, keep)),
        )
        .made(|(_, keep), [x]| vec![BitVec::and(x, keep)])
        .of("tnum keep"),
    ]
}
