//! What a comparison says about its operands.

use bpftime_isa::{Cond, Width};

use super::bits::{BitVec, Word};
use super::interval::Interval;
use super::scalar::Scalar;
use super::tnum::Tnum;

/// An order relation; the others are these with the operands exchanged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Relation {
    /// Equal.
    Eq,
    /// Different.
    Ne,
    /// Unsigned less than.
    Ult,
    /// Unsigned less than or equal.
    Ule,
    /// Signed less than.
    Slt,
    /// Signed less than or equal.
    Sle,
}

/// The relation that holds when the comparison comes out as `taken`, and whether its operands
/// are exchanged; `None` for a test of bits.
fn relation(cond: Cond, taken: bool) -> Option<(Relation, bool)> {
    Some(match (cond, taken) {
        (Cond::Eq, true) | (Cond::Ne, false) => (Relation::Eq, false),
        (Cond::Ne, true) | (Cond::Eq, false) => (Relation::Ne, false),
        (Cond::Lt, true) | (Cond::Ge, false) => (Relation::Ult, false),
        (Cond::Le, true) | (Cond::Gt, false) => (Relation::Ule, false),
        (Cond::Gt, true) | (Cond::Le, false) => (Relation::Ult, true),
        (Cond::Ge, true) | (Cond::Lt, false) => (Relation::Ule, true),
        (Cond::Slt, true) | (Cond::Sge, false) => (Relation::Slt, false),
        (Cond::Sle, true) | (Cond::Sgt, false) => (Relation::Sle, false),
        (Cond::Sgt, true) | (Cond::Sle, false) => (Relation::Slt, true),
        (Cond::Sge, true) | (Cond::Slt, false) => (Relation::Sle, true),
        (Cond::Set, _) => return None,
    })
}

/// The operands as they are when `a cond b` comes out as `taken`, or `None` if it cannot.
pub fn assume<W: Word>(
    cond: Cond,
    width: Width,
    taken: bool,
    a: Scalar<W>,
    b: Scalar<W>,
) -> Option<(Scalar<W>, Scalar<W>)> {
    let Some((relation, exchanged)) = relation(cond, taken) else {
        return assume_bits(width, taken, a, b);
    };
    let (x, y) = if exchanged { (b, a) } else { (a, b) };
    let (x, y) = match width {
        Width::W64 => {
            let (wide_x, wide_y) = assume_interval(relation, x.wide, y.wide)?;
            let x = Scalar { wide: wide_x, ..x };
            let y = Scalar { wide: wide_y, ..y };
            if relation == Relation::Eq {
                let both = x.reduce()?.meet(y.reduce()?)?;
                (both, both)
            } else {
                (x.reduce()?, y.reduce()?)
            }
        }
        Width::W32 => {
            let (narrow_x, narrow_y) = assume_interval(relation, x.narrow, y.narrow)?;
            let mut x = Scalar {
                narrow: narrow_x,
                ..x
            };
            let mut y = Scalar {
                narrow: narrow_y,
                ..y
            };
            if relation == Relation::Eq {
                let low = low_bits_of(x.bits).meet(low_bits_of(y.bits))?;
                x.bits = x.bits.meet(low)?;
                y.bits = y.bits.meet(low)?;
            }
            (x.reduce()?, y.reduce()?)
        }
    };
    Some(if exchanged { (y, x) } else { (x, y) })
}

/// The tnum with all bits of the upper half unknown.
fn low_bits_of<W: Word>(t: Tnum<W>) -> Tnum<W> {
    let low = W::low_mask();
    Tnum {
        value: t.value.and(low),
        mask: t.mask.or(low.not()),
    }
}

/// The operands when they are in that relation, or `None` if they cannot be.
pub fn assume_interval<B: BitVec>(
    relation: Relation,
    x: Interval<B>,
    y: Interval<B>,
) -> Option<(Interval<B>, Interval<B>)> {
    B::op("refine interval", (relation, x, y), |(relation, x, y)| {
        let one = B::one();
        match relation {
            Relation::Eq => {
                let both = x.meet(y)?;
                Some((both, both))
            }
            Relation::Ne => {
                let x_left = if y.is_constant() { x.without(y.lo)? } else { x };
                let y_left = if x.is_constant() { y.without(x.lo)? } else { y };
                Some((x_left, y_left))
            }
            Relation::Ult => {
                let (x_least, _) = x.unsigned();
                let (_, y_most) = y.unsigned();
                if y_most.same(B::zero()) || x_least.same(B::ones()) {
                    return None;
                }
                Some((
                    x.meet(Interval::new(B::zero(), y_most.sub(one)))?,
                    y.meet(Interval::new(x_least.add(one), B::ones()))?,
                ))
            }
            Relation::Ule => {
                let (x_least, _) = x.unsigned();
                let (_, y_most) = y.unsigned();
                Some((
                    x.meet(Interval::new(B::zero(), y_most))?,
                    y.meet(Interval::new(x_least, B::ones()))?,
                ))
            }
            Relation::Slt => {
                let (x_least, _) = x.signed();
                let (_, y_most) = y.signed();
                if y_most.same(B::signed_min()) || x_least.same(B::signed_max()) {
                    return None;
                }
                Some((
                    x.meet(Interval::new(B::signed_min(), y_most.sub(one)))?,
                    y.meet(Interval::new(x_least.add(one), B::signed_max()))?,
                ))
            }
            Relation::Sle => {
                let (x_least, _) = x.signed();
                let (_, y_most) = y.signed();
                Some((
                    x.meet(Interval::new(B::signed_min(), y_most))?,
                    y.meet(Interval::new(x_least, B::signed_max()))?,
                ))
            }
        }
    })
}

/// `a & b` is not zero (`taken`) or zero.
fn assume_bits<W: Word>(
    width: Width,
    taken: bool,
    a: Scalar<W>,
    b: Scalar<W>,
) -> Option<(Scalar<W>, Scalar<W>)> {
    let all = match width {
        Width::W64 => W::ones(),
        Width::W32 => W::low_mask(),
    };
    let possible = a.bits.umax().and(b.bits.umax()).and(all);
    let certain = a.bits.value.and(b.bits.value).and(all);
    if taken {
        if possible.same(W::zero()) {
            return None;
        }
        // With a single possible common bit, both have it.
        if possible.and(possible.sub(W::one())).same(W::zero()) {
            let set = Tnum {
                value: possible,
                mask: possible.not(),
            };
            return Some((with_bits(a, set)?, with_bits(b, set)?));
        }
        return Some((a, b));
    }
    if !certain.same(W::zero()) {
        return None;
    }
    let clear = |known: W| Tnum {
        value: W::zero(),
        mask: known.and(all).not(),
    };
    Some((
        with_bits(a, clear(b.bits.value))?,
        with_bits(b, clear(a.bits.value))?,
    ))
}

fn with_bits<W: Word>(s: Scalar<W>, bits: Tnum<W>) -> Option<Scalar<W>> {
    Scalar {
        bits: s.bits.meet(bits)?,
        ..s
    }
    .reduce()
}
