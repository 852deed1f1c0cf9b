//! What holds of numbers alone: steps of proofs that are hard for z3 in one go.
//!
//! Each is proved for all numbers; where a proof recalls one ([`recall`]) it is taken for known of
//! the given numbers.

use bpftime_verifier::domain::bits::BitVec;

use crate::machine::{Machine, SpecWord, Truth};

/// A fact on numbers.
pub(crate) struct Fact<W: SpecWord> {
    pub(crate) name: &'static str,
    /// All numbers on which it could fail.
    given: fn(&mut dyn Machine<W>) -> Vec<W>,
    says: fn(&[W]) -> W::Prop,
    /// Whether it is shown for each combination of signs on its own.
    by_signs: bool,
}

impl<W: SpecWord> Fact<W> {
    /// Proves it on a machine.
    pub(crate) fn prove(&self, m: &mut dyn Machine<W>) {
        let numbers = (self.given)(m);
        let says = (self.says)(&numbers);
        if !self.by_signs {
            return m.show("it holds", says);
        }
        // Every combination of signs is one case.
        for signs in 0..1_u32 << numbers.len() {
            let mut case = W::Prop::literal(true);
            for (at, number) in numbers.iter().enumerate() {
                let negative = number.signed_below(W::zero());
                let is = signs >> at & 1 == 1;
                case = case.and(if is { negative } else { negative.negation() });
            }
            m.show("it holds", case.implies(says));
        }
    }
}

/// Takes the fact of that name for known of these numbers.
pub(crate) fn recall<W: SpecWord>(m: &mut dyn Machine<W>, name: &'static str, numbers: &[W]) {
    let all = all::<W>();
    let fact = all.iter().find(|fact| fact.name == name);
    let fact = fact.expect("a fact of that name");
    m.use_of(name);
    m.assume((fact.says)(numbers));
}

/// A fact on any `K` numbers.
fn fact<W: SpecWord, const K: usize>(name: &'static str, says: fn(&[W]) -> W::Prop) -> Fact<W> {
    Fact {
        name,
        given: |m| (0..K).map(|_| m.wide()).collect(),
        says,
        by_signs: false,
    }
}

fn by_signs<W: SpecWord>(fact: Fact<W>) -> Fact<W> {
    Fact {
        by_signs: true,
        ..fact
    }
}

fn width<W: SpecWord>() -> W {
    W::constant(u64::from(W::BITS))
}

fn all_of<P: Truth, const N: usize>(props: [P; N]) -> P {
    props.into_iter().fold(P::literal(true), P::and)
}

/// The number that has bit `k` only.
pub(crate) fn bit<W: SpecWord>(k: u32) -> W {
    W::one().shl(W::constant(u64::from(k)))
}

/// The bits below bit `k`, which may be the width.
pub(crate) fn below_bit<W: SpecWord>(k: u32) -> W {
    match k {
        0 => W::zero(),
        _ => W::ones().lshr(W::constant(u64::from(W::BITS - k))),
    }
}

/// What the bit `at` of `x` contributes to a product with what is `shifted` to it.
pub(crate) fn contribution<W: SpecWord>(at: W, x: W, shifted: W) -> W {
    W::if_else(BitVec::and(x, at).is(W::zero()), W::zero(), shifted)
}

/// Bits of `x` are a sum, and each contributes to the product with `y` what was shifted to it.
fn product_of_bits<W: SpecWord>(x: W, y: W) -> W::Prop {
    let masked = |mask: W| BitVec::and(x, mask);
    let mut says = W::Prop::literal(true);
    let mut shifted = y;
    for k in 0..W::BITS {
        let one = masked(bit(k));
        let sum = masked(below_bit(k)).add(one);
        says = says.and(masked(below_bit(k + 1)).is(sum));
        says = says.and(one.mul(y).is(contribution(bit(k), x, shifted)));
        shifted = shifted.shl(W::one());
    }
    says
}

/// All facts.
pub(crate) fn all<W: SpecWord>() -> Vec<Fact<W>> {
    vec![
        Fact {
            name: "numbers distribute",
            // There is nothing to show of any other sum.
            given: |m| {
                let [u, v, y] = [m.wide(), m.wide(), m.wide()];
                vec![u.add(v), u, v, y]
            },
            says: |n| {
                let [sum, u, v, y] = [n[0], n[1], n[2], n[3]];
                let product = sum.mul(y).is(u.mul(y).add(v.mul(y)));
                sum.is(u.add(v)).implies(product)
            },
            by_signs: false,
        },
        fact::<W, 2>("numbers product of bits", |n| product_of_bits(n[0], n[1])),
        fact::<W, 3>("numbers shl grows", |n| {
            let [x, h, y] = [n[0], n[1], n[2]];
            let fits = h.shl(y).lshr(y).is(h);
            all_of([x.at_most(h), y.below(width()), fits])
                .implies(x.shl(y).at_most(h.shl(y)).and(x.shl(y).lshr(y).is(x)))
        }),
        fact::<W, 3>("numbers shl grows with amount", |n| {
            let [h, y, k] = [n[0], n[1], n[2]];
            let fits = |y: W| h.shl(y).lshr(y).is(h);
            all_of([y.at_most(k), k.below(width()), fits(k)])
                .implies(h.shl(y).at_most(h.shl(k)).and(fits(y)))
        }),
        fact::<W, 4>("numbers shl grows signed", |n| {
            let [l, x, h, y] = [n[0], n[1], n[2], n[3]];
            let fits = |h: W| h.shl(y).ashr(y).is(h);
            let between = l.signed_at_most(x).and(x.signed_at_most(h));
            all_of([between, y.below(width()), fits(h), fits(l)]).implies(
                l.shl(y)
                    .signed_at_most(x.shl(y))
                    .and(x.shl(y).signed_at_most(h.shl(y))),
            )
        }),
        fact::<W, 3>("numbers lshr grows", |n| {
            let [x, h, y] = [n[0], n[1], n[2]];
            all_of([x.at_most(h), y.below(width())]).implies(x.lshr(y).at_most(h.lshr(y)))
        }),
        fact::<W, 3>("numbers lshr falls with amount", |n| {
            let [x, k, y] = [n[0], n[1], n[2]];
            all_of([k.at_most(y), y.below(width())]).implies(x.lshr(y).at_most(x.lshr(k)))
        }),
        fact::<W, 3>("numbers ashr grows", |n| {
            let [x, h, y] = [n[0], n[1], n[2]];
            all_of([x.signed_at_most(h), y.below(width())])
                .implies(x.ashr(y).signed_at_most(h.ashr(y)))
        }),
        fact::<W, 3>("numbers ashr nears zero", |n| {
            let [x, k, y] = [n[0], n[1], n[2]];
            let negative = x.signed_below(W::zero());
            let (less, more) = (x.ashr(y), x.ashr(k));
            all_of([k.at_most(y), y.below(width())]).implies(
                all_of([negative, more.signed_at_most(less)])
                    .or(all_of([negative.negation(), less.signed_at_most(more)])),
            )
        }),
        fact::<W, 2>("numbers remainder", |n| {
            let [x, y] = [n[0], n[1]];
            let r = x.remainder(y);
            all_of([
                r.at_most(x),
                y.is(W::zero()).or(r.below(y)),
                x.below(y).implies(r.is(x)),
                y.is(W::zero()).implies(r.is(x)),
            ])
        }),
        fact::<W, 4>("numbers product grows", |n| {
            let [x, a, y, b] = [n[0], n[1], n[2], n[3]];
            let fits = |a: W, b: W| b.is(W::zero()).or(a.at_most(W::ones().udiv(b)));
            all_of([x.at_most(a), y.at_most(b), fits(a, b)])
                .implies(x.mul(y).at_most(a.mul(b)).and(fits(x, y)))
        }),
        by_signs(fact::<W, 4>("numbers product between signed", |n| {
            let [l, x, h, y] = [n[0], n[1], n[2], n[3]];
            let half = W::one().shl(W::constant(u64::from(W::BITS / 2 - 1)));
            let small = |x: W| half.neg().signed_at_most(x).and(x.signed_below(half));
            let between = |l: W, x: W, h: W| l.signed_at_most(x).and(x.signed_at_most(h));
            let (low, product, high) = (l.mul(y), x.mul(y), h.mul(y));
            all_of([between(l, x, h), small(l), small(h), small(y)])
                .implies(between(low, product, high).or(between(high, product, low)))
        })),
    ]
}
