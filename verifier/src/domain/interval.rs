//! Wrapped ("circular") intervals.
//!
//! An [`Interval`] is an arc of the number circle: from `lo` upwards to `hi`, both included,
//! modulo `2^BITS`, so that one domain serves signed and unsigned readings. It is never empty.
//! All numbers are `0..=ones`, and only that pair stands for them.
//! Source: Gange et al., "Interval Analysis and Machine Arithmetic", TOPLAS 2014.

use super::bits::BitVec;

/// The numbers from `lo` upwards to `hi`, modulo the width.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Interval<B> {
    /// First number.
    pub lo: B,
    /// Last number.
    pub hi: B,
}

impl<B: BitVec> Interval<B> {
    /// From `lo` upwards to `hi`.
    #[inline]
    pub fn new(lo: B, hi: B) -> Self {
        B::apart(move || {
            if hi.add(B::one()).same(lo) {
                Self::full()
            } else {
                Self { lo, hi }
            }
        })
    }

    /// All numbers.
    #[inline]
    pub fn full() -> Self {
        Self {
            lo: B::zero(),
            hi: B::ones(),
        }
    }

    /// One number.
    #[inline]
    pub fn constant(value: B) -> Self {
        Self {
            lo: value,
            hi: value,
        }
    }

    /// Count of numbers less one.
    #[inline]
    pub fn span(self) -> B {
        self.hi.sub(self.lo)
    }

    /// Whether exactly one number is possible.
    #[inline]
    pub fn is_constant(self) -> bool {
        self.lo.same(self.hi)
    }

    /// Whether every number is possible.
    #[inline]
    pub fn is_full(self) -> bool {
        self.span().same(B::ones())
    }

    /// Whether the number is one of those.
    #[inline]
    pub fn contains(self, x: B) -> bool {
        x.sub(self.lo).ule(self.span())
    }

    /// Whether every number of `self` is one of `other`'s.
    #[inline]
    pub fn is_subset(self, other: Self) -> bool {
        B::apart(move || {
            let from = self.lo.sub(other.lo);
            let to = self.hi.sub(other.lo);
            other.is_full() || (!self.is_full() && from.ule(to) && to.ule(other.span()))
        })
    }

    /// Least and greatest number, unsigned.
    #[inline]
    pub fn unsigned(self) -> (B, B) {
        B::apart(move || {
            if self.lo.ule(self.hi) {
                (self.lo, self.hi)
            } else {
                (B::zero(), B::ones())
            }
        })
    }

    /// Least and greatest number, signed.
    #[inline]
    pub fn signed(self) -> (B, B) {
        B::apart(move || {
            if self.lo.sle(self.hi) {
                (self.lo, self.hi)
            } else {
                (B::signed_min(), B::signed_max())
            }
        })
    }

    /// An arc that holds both, as short as can be.
    pub fn join(self, other: Self) -> Self {
        B::apart(move || {
            if self.is_subset(other) {
                return other;
            }
            if other.is_subset(self) {
                return self;
            }
            let forward = Self::new(self.lo, other.hi);
            let backward = Self::new(other.lo, self.hi);
            let forward_fits = self.is_subset(forward) && other.is_subset(forward);
            let backward_fits = self.is_subset(backward) && other.is_subset(backward);
            match (forward_fits, backward_fits) {
                (true, true) if backward.span().ult(forward.span()) => backward,
                (true, _) => forward,
                (false, true) => backward,
                (false, false) => Self::full(),
            }
        })
    }

    /// An arc that holds what is in both, or `None` if nothing is. Where two arcs are left, the
    /// shorter operand stands for both.
    pub fn meet(self, other: Self) -> Option<Self> {
        B::apart(move || {
            if self.is_subset(other) {
                return Some(self);
            }
            if other.is_subset(self) {
                return Some(other);
            }
            match (self.contains(other.lo), other.contains(self.lo)) {
                (false, false) => None,
                (true, true) if self.span().ult(other.span()) => Some(self),
                (true, true) => Some(other),
                (false, true) => Some(Self::new(self.lo, other.hi)),
                (true, false) => Some(Self::new(other.lo, self.hi)),
            }
        })
    }

    /// `a + b`.
    #[inline]
    pub fn add(self, other: Self) -> Self {
        B::apart(move || {
            let span = self.span().add(other.span());
            if span.ult(self.span()) {
                return Self::full();
            }
            Self::new(self.lo.add(other.lo), self.hi.add(other.hi))
        })
    }

    /// `a - b`.
    #[inline]
    pub fn sub(self, other: Self) -> Self {
        self.add(other.neg())
    }

    /// `-a`.
    #[inline]
    pub fn neg(self) -> Self {
        Self::new(self.hi.neg(), self.lo.neg())
    }

    /// `a * b`: exact ends where no product overflows, unsigned or signed.
    pub fn mul(self, other: Self) -> Self {
        B::apart(move || {
            let (a_lo, a_hi) = self.unsigned();
            let (b_lo, b_hi) = other.unsigned();
            if b_hi.same(B::zero()) || a_hi.ule(B::ones().udiv(b_hi)) {
                return Self::new(a_lo.mul(b_lo), a_hi.mul(b_hi));
            }
            let half = B::one().shl(B::constant(u64::from(B::BITS / 2 - 1)));
            let small = |x: B| half.neg().sle(x) && x.slt(half);
            let (a_lo, a_hi) = self.signed();
            let (b_lo, b_hi) = other.signed();
            if small(a_lo) && small(a_hi) && small(b_lo) && small(b_hi) {
                let products = [a_lo.mul(b_hi), a_hi.mul(b_lo), a_hi.mul(b_hi)];
                let first = a_lo.mul(b_lo);
                let lo = products.iter().fold(first, |x, y| x.smin(*y));
                let hi = products.iter().fold(first, |x, y| x.smax(*y));
                return Self::new(lo, hi);
            }
            Self::full()
        })
    }

    /// Unsigned `a / b`, 0 where `b` is 0.
    pub fn udiv(self, other: Self) -> Self {
        B::apart(move || {
            let (a_lo, a_hi) = self.unsigned();
            let (b_lo, b_hi) = other.unsigned();
            if b_hi.same(B::zero()) {
                return Self::constant(B::zero());
            }
            let hi = a_hi.udiv(b_lo.umax(B::one()));
            let lo = if b_lo.same(B::zero()) {
                B::zero()
            } else {
                a_lo.udiv(b_hi)
            };
            Self::new(lo, hi)
        })
    }

    /// Unsigned `a % b`, `a` where `b` is 0.
    pub fn urem(self, other: Self) -> Self {
        B::apart(move || {
            let (a_lo, a_hi) = self.unsigned();
            let (b_lo, b_hi) = other.unsigned();
            if a_hi.ult(b_lo) || b_hi.same(B::zero()) {
                return Self::new(a_lo, a_hi);
            }
            if self.is_constant() && other.is_constant() {
                return Self::constant(a_lo.urem(b_lo));
            }
            if b_lo.same(B::zero()) {
                return Self::new(B::zero(), a_hi);
            }
            Self::new(B::zero(), a_hi.umin(b_hi.sub(B::one())))
        })
    }

    /// Signed `a / b`, 0 where `b` is 0, wrapping where the least number is divided by -1.
    /// Precise for positive divisors only.
    pub fn sdiv(self, other: Self) -> Self {
        B::apart(move || {
            let (a_lo, a_hi) = self.signed();
            let (b_lo, b_hi) = other.signed();
            if !B::zero().slt(b_lo) {
                return Self::full();
            }
            // Truncation towards zero: with a positive divisor the quotient grows with the dividend,
            // and shrinks in magnitude with the divisor.
            let divide = |x: B, by: B| {
                if x.slt(B::zero()) {
                    x.neg().udiv(by).neg()
                } else {
                    x.udiv(by)
                }
            };
            let lo = divide(a_lo, b_lo).smin(divide(a_lo, b_hi));
            let hi = divide(a_hi, b_lo).smax(divide(a_hi, b_hi));
            Self::new(lo, hi)
        })
    }

    /// Signed `a % b` with the sign of `a`, `a` where `b` is 0.
    pub fn srem(self, other: Self) -> Self {
        B::apart(move || {
            let (a_lo, a_hi) = self.signed();
            let (b_lo, b_hi) = other.signed();
            let (mut lo, mut hi) = (a_lo.smin(B::zero()), a_hi.smax(B::zero()));
            if B::zero().slt(b_lo) {
                let most = b_hi.sub(B::one());
                lo = lo.smax(most.neg());
                hi = hi.smin(most);
            }
            Self::new(lo, hi)
        })
    }

    /// `a & b`, by unsigned bounds.
    pub fn and(self, other: Self) -> Self {
        Self::new(B::zero(), self.unsigned().1.umin(other.unsigned().1))
    }

    /// `a | b`, by unsigned bounds.
    pub fn or(self, other: Self) -> Self {
        let (a_lo, a_hi) = self.unsigned();
        let (b_lo, b_hi) = other.unsigned();
        Self::new(a_lo.umax(b_lo), a_hi.or(b_hi).smear())
    }

    /// `a ^ b`, by unsigned bounds.
    pub fn xor(self, other: Self) -> Self {
        Self::new(B::zero(), self.unsigned().1.or(other.unsigned().1).smear())
    }

    /// `a << b`, every `b` below the width.
    pub fn shl(self, by: Self) -> Self {
        B::apart(move || {
            let (by_lo, by_hi) = by.unsigned();
            let (lo, hi) = self.unsigned();
            if hi.shl(by_hi).lshr(by_hi).same(hi) {
                return Self::new(lo.shl(by_lo), hi.shl(by_hi));
            }
            let (lo, hi) = self.signed();
            if by.is_constant()
                && hi.shl(by_hi).ashr(by_hi).same(hi)
                && lo.shl(by_hi).ashr(by_hi).same(lo)
            {
                return Self::new(lo.shl(by_hi), hi.shl(by_hi));
            }
            Self::full()
        })
    }

    /// Logical `a >> b`, every `b` below the width.
    pub fn lshr(self, by: Self) -> Self {
        B::apart(move || {
            let (by_lo, by_hi) = by.unsigned();
            let (lo, hi) = self.unsigned();
            Self::new(lo.lshr(by_hi), hi.lshr(by_lo))
        })
    }

    /// Arithmetic `a >> b`, every `b` below the width.
    pub fn ashr(self, by: Self) -> Self {
        B::apart(move || {
            let (by_lo, by_hi) = by.unsigned();
            let (lo, hi) = self.signed();
            Self::new(
                lo.ashr(by_lo).smin(lo.ashr(by_hi)),
                hi.ashr(by_lo).smax(hi.ashr(by_hi)),
            )
        })
    }

    /// Without the number, where that shortens the arc; `None` if nothing is left.
    pub fn without(self, x: B) -> Option<Self> {
        B::apart(move || {
            if self.is_constant() {
                return if self.lo.same(x) { None } else { Some(self) };
            }
            if self.is_full() {
                return Some(Self::new(x.add(B::one()), x.sub(B::one())));
            }
            if self.lo.same(x) {
                return Some(Self::new(self.lo.add(B::one()), self.hi));
            }
            if self.hi.same(x) {
                return Some(Self::new(self.lo, self.hi.sub(B::one())));
            }
            Some(self)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::bits::small::U4;
    use super::*;

    fn all() -> Vec<Interval<U4>> {
        let mut every = vec![Interval::full()];
        for lo in 0..16 {
            for hi in 0..16 {
                if (hi + 1) % 16 != lo {
                    every.push(Interval {
                        lo: U4(lo),
                        hi: U4(hi),
                    });
                }
            }
        }
        every
    }

    fn members(i: Interval<U4>) -> Vec<U4> {
        let mut found = vec![i.lo];
        while found.last() != Some(&i.hi) {
            found.push(found[found.len() - 1].add(U4(1)));
        }
        found
    }

    fn signed(x: U4) -> i32 {
        i32::from(((x.0 << 4) as i8) >> 4)
    }

    fn sound(
        name: &str,
        abstract_op: impl Fn(Interval<U4>, Interval<U4>) -> Interval<U4>,
        op: impl Fn(U4, U4) -> Option<U4>,
    ) {
        for a in all() {
            for b in all() {
                // Operations with a domain (shifts) are asked only inside it.
                if members(b).iter().any(|y| op(U4(0), *y).is_none()) {
                    continue;
                }
                let r = abstract_op(a, b);
                for x in members(a) {
                    for y in members(b) {
                        let z = op(x, y).expect("in the domain");
                        assert!(
                            r.contains(z),
                            "{name}: {a:?} {b:?} -> {r:?}: {x:?} {y:?} {z:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn arithmetic_holds_every_result_at_four_bits() {
        sound("add", Interval::add, |x, y| Some(x.add(y)));
        sound("sub", Interval::sub, |x, y| Some(x.sub(y)));
        sound("mul", Interval::mul, |x, y| Some(x.mul(y)));
        sound("and", Interval::and, |x, y| Some(x.and(y)));
        sound("or", Interval::or, |x, y| Some(x.or(y)));
        sound("xor", Interval::xor, |x, y| Some(x.xor(y)));
        sound("neg", |a, _| a.neg(), |x, _| Some(x.neg()));
        sound("udiv", Interval::udiv, |x, y| {
            Some(U4(x.0.checked_div(y.0).unwrap_or(0)))
        });
        sound("urem", Interval::urem, |x, y| {
            Some(U4(x.0.checked_rem(y.0).unwrap_or(x.0)))
        });
        sound("sdiv", Interval::sdiv, |x, y| {
            let quotient = signed(x).checked_div(signed(y)).unwrap_or(0);
            Some(U4(quotient as u8 & 15))
        });
        sound("srem", Interval::srem, |x, y| {
            let rest = signed(x).checked_rem(signed(y)).unwrap_or(signed(x));
            Some(U4(rest as u8 & 15))
        });
    }

    #[test]
    fn shifts_hold_every_result_at_four_bits() {
        let below = |y: U4| y.0 < 4;
        sound("shl", Interval::shl, |x, y| below(y).then(|| x.shl(y)));
        sound("lshr", Interval::lshr, |x, y| below(y).then(|| x.lshr(y)));
        sound("ashr", Interval::ashr, |x, y| below(y).then(|| x.ashr(y)));
    }

    #[test]
    fn order_join_and_meet_agree_with_sets() {
        for a in all() {
            for b in all() {
                let common: Vec<U4> = members(a).into_iter().filter(|x| b.contains(*x)).collect();
                assert_eq!(
                    a.is_subset(b),
                    common.len() == members(a).len(),
                    "{a:?} {b:?}"
                );
                let join = a.join(b);
                assert!(
                    a.is_subset(join) && b.is_subset(join),
                    "{a:?} {b:?} {join:?}"
                );
                match a.meet(b) {
                    None => assert!(common.is_empty(), "false bottom: {a:?} {b:?}"),
                    Some(m) => {
                        assert!(!common.is_empty(), "{a:?} {b:?}");
                        assert!(common.iter().all(|x| m.contains(*x)), "{a:?} {b:?} {m:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn bounds_and_without_are_right() {
        for a in all() {
            let (ulo, uhi) = a.unsigned();
            let (slo, shi) = a.signed();
            for x in members(a) {
                assert!(ulo.ule(x) && x.ule(uhi));
                assert!(slo.sle(x) && x.sle(shi));
            }
            for x in (0..16).map(U4) {
                let left: Vec<U4> = members(a).into_iter().filter(|y| *y != x).collect();
                match a.without(x) {
                    None => assert!(left.is_empty()),
                    Some(w) => assert!(left.iter().all(|y| w.contains(*y)), "{a:?} {x:?} {w:?}"),
                }
            }
        }
    }
}
