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
        B::op("interval new", (lo, hi), |(lo, hi)| {
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
        B::op("interval is_subset", (self, other), |(a, b)| {
            let from = a.lo.sub(b.lo);
            let to = a.hi.sub(b.lo);
            b.is_full() || (!a.is_full() && from.ule(to) && to.ule(b.span()))
        })
    }

    /// Least and greatest number, unsigned.
    #[inline]
    pub fn unsigned(self) -> (B, B) {
        B::op("interval unsigned", self, |a| {
            if a.lo.ule(a.hi) {
                (a.lo, a.hi)
            } else {
                (B::zero(), B::ones())
            }
        })
    }

    /// Least and greatest number, signed.
    #[inline]
    pub fn signed(self) -> (B, B) {
        B::op("interval signed", self, |a| {
            if a.lo.sle(a.hi) {
                (a.lo, a.hi)
            } else {
                (B::signed_min(), B::signed_max())
            }
        })
    }

    /// An arc that holds both, as short as can be.
    pub fn join(self, other: Self) -> Self {
        B::op("interval join", (self, other), |(a, b)| {
            if a.is_subset(b) {
                return b;
            }
            if b.is_subset(a) {
                return a;
            }
            let forward = Self::new(a.lo, b.hi);
            let backward = Self::new(b.lo, a.hi);
            let forward_fits = a.is_subset(forward) && b.is_subset(forward);
            let backward_fits = a.is_subset(backward) && b.is_subset(backward);
            match (forward_fits, backward_fits) {
                (true, true) if backward.span().ult(forward.span()) => backward,
                (true, _) => forward,
                (false, true) => backward,
                (false, false) => Self::full(),
            }
        })
    }

    /// An arc that holds both; where it has to grow, up to the next power of two, so that few
    /// steps lead to all numbers.
    pub fn widen(self, newer: Self) -> Self {
        B::op("interval widen", (self, newer), |(old, newer)| {
            let join = old.join(newer);
            if join.is_subset(old) {
                return old;
            }
            let power = |bits: u32| B::one().shl(B::constant(u64::from(bits)));
            for bits in 1..B::BITS {
                let unsigned = Self::new(B::zero(), power(bits).sub(B::one()));
                if join.is_subset(unsigned) {
                    return unsigned;
                }
            }
            for bits in 1..B::BITS {
                let signed = Self::new(power(bits).neg(), power(bits).sub(B::one()));
                if join.is_subset(signed) {
                    return signed;
                }
            }
            Self::full()
        })
    }

    /// The number, if only one is possible.
    #[inline]
    pub fn as_constant(self) -> Option<B> {
        B::op("interval as_constant", self, |a| {
            if a.is_constant() { Some(a.lo) } else { None }
        })
    }

    /// An arc that holds what is in both, or `None` if nothing is. Where two arcs are left, the
    /// shorter operand stands for both.
    pub fn meet(self, other: Self) -> Option<Self> {
        B::op("interval meet", (self, other), |(a, b)| {
            if a.is_subset(b) {
                return Some(a);
            }
            if b.is_subset(a) {
                return Some(b);
            }
            match (a.contains(b.lo), b.contains(a.lo)) {
                (false, false) => None,
                (true, true) if a.span().ult(b.span()) => Some(a),
                (true, true) => Some(b),
                (false, true) => Some(Self::new(a.lo, b.hi)),
                (true, false) => Some(Self::new(b.lo, a.hi)),
            }
        })
    }

    /// `a + b`.
    #[inline]
    pub fn add(self, other: Self) -> Self {
        B::op("interval add", (self, other), |(a, b)| {
            let span = a.span().add(b.span());
            if span.ult(a.span()) {
                return Self::full();
            }
            Self::new(a.lo.add(b.lo), a.hi.add(b.hi))
        })
    }

    /// `a - b`.
    #[inline]
    pub fn sub(self, other: Self) -> Self {
        B::op("interval sub", (self, other), |(a, b)| a.add(b.neg()))
    }

    /// `-a`.
    #[inline]
    pub fn neg(self) -> Self {
        B::op("interval neg", self, |a| Self::new(a.hi.neg(), a.lo.neg()))
    }

    /// `a * b`: exact ends where no product overflows, unsigned or signed.
    pub fn mul(self, other: Self) -> Self {
        B::op("interval mul", (self, other), |(a, b)| {
            let (a_lo, a_hi) = a.unsigned();
            let (b_lo, b_hi) = b.unsigned();
            if b_hi.same(B::zero()) || a_hi.ule(B::ones().udiv(b_hi)) {
                return Self::new(a_lo.mul(b_lo), a_hi.mul(b_hi));
            }
            let half = B::one().shl(B::constant(u64::from(B::BITS / 2 - 1)));
            let small = |x: B| half.neg().sle(x) && x.slt(half);
            let (a_lo, a_hi) = a.signed();
            let (b_lo, b_hi) = b.signed();
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
        B::op("interval udiv", (self, other), |(a, b)| {
            let (a_lo, a_hi) = a.unsigned();
            let (b_lo, b_hi) = b.unsigned();
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
        B::op("interval urem", (self, other), |(a, b)| {
            let (a_lo, a_hi) = a.unsigned();
            let (b_lo, b_hi) = b.unsigned();
            if a_hi.ult(b_lo) || b_hi.same(B::zero()) {
                return Self::new(a_lo, a_hi);
            }
            if a.is_constant() && b.is_constant() {
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
        B::op("interval sdiv", (self, other), |(a, b)| {
            let (a_lo, a_hi) = a.signed();
            let (b_lo, b_hi) = b.signed();
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
        B::op("interval srem", (self, other), |(a, b)| {
            let (a_lo, a_hi) = a.signed();
            let (b_lo, b_hi) = b.signed();
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
        B::op("interval and", (self, other), |(a, b)| {
            Self::new(B::zero(), a.unsigned().1.umin(b.unsigned().1))
        })
    }

    /// `a | b`, by unsigned bounds.
    pub fn or(self, other: Self) -> Self {
        B::op("interval or", (self, other), |(a, b)| {
            let (a_lo, a_hi) = a.unsigned();
            let (b_lo, b_hi) = b.unsigned();
            Self::new(a_lo.umax(b_lo), a_hi.or(b_hi).smear())
        })
    }

    /// `a ^ b`, by unsigned bounds.
    pub fn xor(self, other: Self) -> Self {
        B::op("interval xor", (self, other), |(a, b)| {
            Self::new(B::zero(), a.unsigned().1.or(b.unsigned().1).smear())
        })
    }

    /// `a << b`, every `b` below the width.
    pub fn shl(self, by: Self) -> Self {
        B::op("interval shl", (self, by), |(a, by)| {
            let (by_lo, by_hi) = by.unsigned();
            let (lo, hi) = a.unsigned();
            if hi.shl(by_hi).lshr(by_hi).same(hi) {
                return Self::new(lo.shl(by_lo), hi.shl(by_hi));
            }
            let (lo, hi) = a.signed();
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
        B::op("interval lshr", (self, by), |(a, by)| {
            let (by_lo, by_hi) = by.unsigned();
            let (lo, hi) = a.unsigned();
            Self::new(lo.lshr(by_hi), hi.lshr(by_lo))
        })
    }

    /// Arithmetic `a >> b`, every `b` below the width.
    pub fn ashr(self, by: Self) -> Self {
        B::op("interval ashr", (self, by), |(a, by)| {
            let (by_lo, by_hi) = by.unsigned();
            let (lo, hi) = a.signed();
            Self::new(
                lo.ashr(by_lo).smin(lo.ashr(by_hi)),
                hi.ashr(by_lo).smax(hi.ashr(by_hi)),
            )
        })
    }

    /// Without the number, where that shortens the arc; `None` if nothing is left.
    pub fn without(self, x: B) -> Option<Self> {
        B::op("interval without", (self, x), |(a, x)| {
            if a.is_constant() {
                return if a.lo.same(x) { None } else { Some(a) };
            }
            if a.is_full() {
                return Some(Self::new(x.add(B::one()), x.sub(B::one())));
            }
            if a.lo.same(x) {
                return Some(Self::new(a.lo.add(B::one()), a.hi));
            }
            if a.hi.same(x) {
                return Some(Self::new(a.lo, a.hi.sub(B::one())));
            }
            Some(a)
        })
    }
}
