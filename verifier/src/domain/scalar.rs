//! Numbers: the reduced product of tristate numbers and wrapped intervals in both widths.
//!
//! A [`Scalar`] stands for all `x` that are in `bits`, in `wide`, and whose lower half is in
//! `narrow`. Each operation computes the parts on their own and then lets them sharpen each
//! other ([`Scalar::reduce`]). There is no empty scalar: what may be empty returns `None`.

use super::bits::{BitVec, Word};
use super::deduce::{
    bits_of, bits_of_low, low_of, low_span_of, lower_end, raise_start, settled, signed_span_of,
    span_of,
};
use super::interval::Interval;
use super::tnum::Tnum;

/// What is known of a number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Scalar<W: Word> {
    /// Known bits.
    pub bits: Tnum<W>,
    /// Range of the whole.
    pub wide: Interval<W>,
    /// Range of the lower half.
    pub narrow: Interval<W::Half>,
}

impl<W: Word> Scalar<W> {
    /// Any number.
    pub fn unknown() -> Self {
        Self {
            bits: Tnum::unknown(),
            wide: Interval::full(),
            narrow: Interval::full(),
        }
    }

    /// One number.
    pub fn constant(value: W) -> Self {
        Self {
            bits: Tnum::constant(value),
            wide: Interval::constant(value),
            narrow: Interval::constant(value.low()),
        }
    }

    /// Numbers of an interval.
    pub fn range(wide: Interval<W>) -> Self {
        Self {
            wide,
            ..Self::unknown()
        }
        .reduced()
    }

    /// Any number below `2^bits`, `bits` from 1 to the width.
    pub fn below_bits(bits: u32) -> Self {
        let most = W::ones().lshr(W::constant(u64::from(W::BITS - bits)));
        Self::range(Interval::new(W::zero(), most))
    }

    /// The number, if only one is possible.
    #[inline]
    pub fn as_constant(self) -> Option<W> {
        W::op("scalar as_constant", self, |s| {
            if s.bits.is_constant() {
                Some(s.bits.value)
            } else {
                None
            }
        })
    }

    /// Whether the number is one of those.
    pub fn contains(self, x: W) -> bool {
        self.bits.contains(x) && self.wide.contains(x) && self.narrow.contains(x.low())
    }

    /// Whether nothing is known.
    pub fn is_unknown(self) -> bool {
        self.bits.mask.same(W::ones()) && self.wide.is_full() && self.narrow.is_full()
    }

    /// Whether `self` is part for part contained in `other`; then so are its numbers.
    #[inline]
    pub fn is_subset(self, other: Self) -> bool {
        self.bits.is_subset(other.bits)
            && self.wide.is_subset(other.wide)
            && self.narrow.is_subset(other.narrow)
    }

    /// Least and greatest number, unsigned.
    #[inline]
    pub fn unsigned(self) -> (W, W) {
        self.wide.unsigned()
    }

    /// Least and greatest number, signed.
    #[inline]
    pub fn signed(self) -> (W, W) {
        self.wide.signed()
    }

    /// Holds the numbers of both.
    pub fn join(self, other: Self) -> Self {
        Self {
            bits: self.bits.join(other.bits),
            wide: self.wide.join(other.wide),
            narrow: self.narrow.join(other.narrow),
        }
    }

    /// Numbers that are in both, or `None` if there is none.
    pub fn meet(self, other: Self) -> Option<Self> {
        Self {
            bits: self.bits.meet(other.bits)?,
            wide: self.wide.meet(other.wide)?,
            narrow: self.narrow.meet(other.narrow)?,
        }
        .reduce()
    }

    /// Holds the numbers of both, and reaches a fixed point after a bounded number of steps
    /// when repeated: ends that move jump to a power of two.
    pub fn widen(self, newer: Self) -> Self {
        Self {
            bits: self.bits.join(newer.bits),
            wide: self.wide.widen(newer.wide),
            narrow: self.narrow.widen(newer.narrow),
        }
    }

    /// Lets the parts sharpen each other; `None` if they contradict each other, that is if no
    /// number is left.
    pub fn reduce(self) -> Option<Self> {
        W::op("scalar reduce", self, |mut s| {
            // Twice: what the second round still gains is not worth a third.
            for _ in 0..2 {
                s = s.reduce_once()?;
                if s.bits.is_constant() {
                    break;
                }
            }
            Some(s)
        })
    }

    /// As [`Self::reduce`] for results of operations on numbers that exist. Should the parts
    /// contradict each other nevertheless, the unreduced parts are as sound.
    #[inline]
    fn reduced(self) -> Self {
        self.reduce().unwrap_or(self)
    }

    /// One part after the other, by what the others say of it.
    pub fn reduce_once(self) -> Option<Self> {
        W::op("scalar reduce_once", self, |s| {
            let Self {
                mut bits,
                mut wide,
                mut narrow,
            } = s;
            wide = wide.meet(span_of(bits))?;
            if let Some(signed) = signed_span_of(bits) {
                wide = wide.meet(signed)?;
            }
            narrow = narrow.meet(low_span_of(bits))?;
            if let Some(low) = low_of(wide) {
                narrow = narrow.meet(low)?;
            }
            wide = raise_start(wide, narrow)?;
            wide = lower_end(wide, narrow)?;
            bits = bits.meet(bits_of(wide))?;
            bits = bits.meet(bits_of_low(narrow))?;
            settled(Self { bits, wide, narrow })
        })
    }

    /// `a + b`.
    pub fn add(self, other: Self) -> Self {
        Self {
            bits: self.bits.add(other.bits),
            wide: self.wide.add(other.wide),
            narrow: self.narrow.add(other.narrow),
        }
        .reduced()
    }

    /// `a - b`.
    pub fn sub(self, other: Self) -> Self {
        Self {
            bits: self.bits.sub(other.bits),
            wide: self.wide.sub(other.wide),
            narrow: self.narrow.sub(other.narrow),
        }
        .reduced()
    }

    /// `a * b`.
    pub fn mul(self, other: Self) -> Self {
        Self {
            bits: self.bits.mul(other.bits),
            wide: self.wide.mul(other.wide),
            narrow: self.narrow.mul(other.narrow),
        }
        .reduced()
    }

    /// `a & b`.
    pub fn and(self, other: Self) -> Self {
        Self {
            bits: self.bits.and(other.bits),
            wide: self.wide.and(other.wide),
            narrow: self.narrow.and(other.narrow),
        }
        .reduced()
    }

    /// `a | b`.
    pub fn or(self, other: Self) -> Self {
        Self {
            bits: self.bits.or(other.bits),
            wide: self.wide.or(other.wide),
            narrow: self.narrow.or(other.narrow),
        }
        .reduced()
    }

    /// `a ^ b`.
    pub fn xor(self, other: Self) -> Self {
        Self {
            bits: self.bits.xor(other.bits),
            wide: self.wide.xor(other.wide),
            narrow: self.narrow.xor(other.narrow),
        }
        .reduced()
    }

    /// Unsigned `a / b`, 0 where `b` is 0.
    pub fn udiv(self, other: Self) -> Self {
        Self::range(self.wide.udiv(other.wide))
    }

    /// Unsigned `a % b`, `a` where `b` is 0.
    pub fn urem(self, other: Self) -> Self {
        Self::range(self.wide.urem(other.wide))
    }

    /// Signed `a / b`, 0 where `b` is 0, wrapping.
    pub fn sdiv(self, other: Self) -> Self {
        match (self.as_constant(), other.as_constant()) {
            (Some(x), Some(y)) => Self::constant(signed_quotient(x, y)),
            _ => Self::range(self.wide.sdiv(other.wide)),
        }
    }

    /// Signed `a % b`, `a` where `b` is 0.
    pub fn srem(self, other: Self) -> Self {
        match (self.as_constant(), other.as_constant()) {
            (Some(x), Some(y)) => Self::constant(signed_remainder(x, y)),
            _ => Self::range(self.wide.srem(other.wide)),
        }
    }

    /// `a << b`, the amount masked to the width.
    pub fn shl(self, by: Self) -> Self {
        let by = by.amount(W::BITS);
        match by.as_constant() {
            Some(amount) => {
                let half = W::constant(u64::from(W::BITS / 2));
                Self {
                    bits: self.bits.shl(amount),
                    wide: self.wide.shl(by),
                    narrow: if amount.ult(half) {
                        self.narrow.shl(Interval::constant(amount.low()))
                    } else {
                        Interval::constant(W::Half::zero())
                    },
                }
                .reduced()
            }
            None => Self::range(self.wide.shl(by)),
        }
    }

    /// Logical `a >> b`, the amount masked to the width.
    pub fn lshr(self, by: Self) -> Self {
        let by = by.amount(W::BITS);
        Self {
            bits: by
                .as_constant()
                .map_or(Tnum::unknown(), |amount| self.bits.lshr(amount)),
            wide: self.wide.lshr(by),
            narrow: Interval::full(),
        }
        .reduced()
    }

    /// Arithmetic `a >> b`, the amount masked to the width.
    pub fn ashr(self, by: Self) -> Self {
        let by = by.amount(W::BITS);
        Self {
            bits: by
                .as_constant()
                .map_or(Tnum::unknown(), |amount| self.bits.ashr(amount)),
            wide: self.wide.ashr(by),
            narrow: Interval::full(),
        }
        .reduced()
    }

    /// The amount as the machine takes it, for a shift of a value of that many bits: from the
    /// least up to the greatest, which is below the number of bits.
    pub fn amount(self, bits: u32) -> Interval<W> {
        W::op("scalar amount", (self, bits), |(s, bits)| {
            let most = W::constant(u64::from(bits - 1));
            let by = if s.unsigned().1.ule(most) {
                s
            } else {
                s.and(Self::constant(most))
            };
            let (lo, hi) = by.unsigned();
            Interval {
                lo,
                hi: hi.umin(most),
            }
        })
    }

    /// `-a`.
    pub fn neg(self) -> Self {
        Self::constant(W::zero()).sub(self)
    }

    /// The lower half, zero-extended.
    pub fn truncate_half(self) -> Self {
        Self::from_half(self.bits, self.narrow)
    }

    /// The low bits, zero-extended; `bits` from 1 to the width.
    pub fn truncate(self, bits: u32) -> Self {
        if bits == W::Half::BITS {
            return self.truncate_half();
        }
        let most = W::ones().lshr(W::constant(u64::from(W::BITS - bits)));
        self.and(Self::constant(most))
    }

    /// The low bits, sign-extended; `bits` from 1 to the width.
    pub fn sign_extend(self, bits: u32) -> Self {
        let by = W::constant(u64::from(W::BITS - bits));
        Self {
            bits: self.bits.shl(by).ashr(by),
            wide: sign_extended(self.wide, self.narrow, bits),
            narrow: if bits == W::Half::BITS {
                self.narrow
            } else {
                Interval::full()
            },
        }
        .reduced()
    }

    /// The numbers whose lower half is in `narrow` and matches `bits`, and whose upper half is
    /// zero.
    pub(super) fn from_half(bits: Tnum<W>, narrow: Interval<W::Half>) -> Self {
        let (lo, hi) = narrow.unsigned();
        Self {
            bits: bits.keep(W::low_mask()),
            wide: Interval::new(W::from_low(lo), W::from_low(hi)),
            narrow,
        }
        .reduced()
    }
}

fn magnitude<B: BitVec>(x: B) -> B {
    B::op(
        "magnitude",
        x,
        |x| if x.slt(B::zero()) { x.neg() } else { x },
    )
}

/// Signed quotient, truncated towards zero; 0 for a zero divisor, wrapping for the least number
/// by -1.
pub fn signed_quotient<B: BitVec>(x: B, y: B) -> B {
    B::op("signed quotient", (x, y), |(x, y)| {
        if y.same(B::zero()) {
            return B::zero();
        }
        let quotient = magnitude(x).udiv(magnitude(y));
        if x.slt(B::zero()) == y.slt(B::zero()) {
            quotient
        } else {
            quotient.neg()
        }
    })
}

/// Signed remainder with the sign of the dividend, which it is for a zero divisor.
pub fn signed_remainder<B: BitVec>(x: B, y: B) -> B {
    B::op("signed remainder", (x, y), |(x, y)| {
        if y.same(B::zero()) {
            return x;
        }
        let rest = magnitude(x).urem(magnitude(y));
        if x.slt(B::zero()) { rest.neg() } else { rest }
    })
}

/// Range of the low bits of numbers in `wide`, with lower halves in `narrow`, sign-extended.
pub fn sign_extended<W: Word>(
    wide: Interval<W>,
    narrow: Interval<W::Half>,
    bits: u32,
) -> Interval<W> {
    W::op(
        "scalar sign_extended",
        (wide, narrow, bits),
        |(wide, narrow, bits)| {
            let by = W::constant(u64::from(W::BITS - bits));
            let lo = W::signed_min().ashr(by);
            let fits = Interval::new(lo, lo.not());
            if wide.is_subset(fits) {
                wide
            } else if bits == W::Half::BITS {
                let (lo, hi) = narrow.signed();
                Interval::new(sign_extend_half(lo), sign_extend_half(hi))
            } else {
                fits
            }
        },
    )
}

fn sign_extend_half<W: Word>(x: W::Half) -> W {
    let up = W::constant(u64::from(W::BITS - W::Half::BITS));
    W::from_low(x).shl(up).ashr(up)
}
