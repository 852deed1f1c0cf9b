//! Numbers: the reduced product of tristate numbers and wrapped intervals in both widths.
//!
//! A [`Scalar`] stands for all `x` that are in `bits`, in `wide`, and whose lower half is in
//! `narrow`. Each operation computes the parts on their own and then lets them sharpen each
//! other ([`Scalar::reduce`]). There is no empty scalar: what may be empty returns `None`.

use super::bits::{BitVec, Word};
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
        if self.bits.is_constant() {
            Some(self.bits.value)
        } else {
            None
        }
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
            wide: widen(self.wide, newer.wide),
            narrow: widen(self.narrow, newer.narrow),
        }
    }

    /// Lets the parts sharpen each other; `None` if they contradict each other, that is if no
    /// number is left.
    pub fn reduce(self) -> Option<Self> {
        let mut s = self;
        // Twice: what the second round still gains is not worth a third.
        for _ in 0..2 {
            s = s.reduce_once()?;
            if s.bits.is_constant() {
                break;
            }
        }
        Some(s)
    }

    /// As [`Self::reduce`] for results of operations on numbers that exist. Should the parts
    /// contradict each other nevertheless, the unreduced parts are as sound.
    #[inline]
    fn reduced(self) -> Self {
        self.reduce().unwrap_or(self)
    }

    fn reduce_once(self) -> Option<Self> {
        W::apart(move || {
            let Self {
                mut bits,
                mut wide,
                mut narrow,
            } = self;
            wide = wide.meet(span_of(bits))?;
            if let Some(signed) = signed_span_of(bits) {
                wide = wide.meet(signed)?;
            }
            narrow = narrow.meet(low_span_of(bits))?;
            if wide.span().ule(W::low_mask()) {
                narrow = narrow.meet(Interval::new(wide.lo.low(), wide.hi.low()))?;
            }
            wide = tighten_ends(wide, narrow)?;
            let (lo, hi) = wide.unsigned();
            bits = bits.meet(Tnum::range(lo, hi))?;
            let (lo, hi) = narrow.unsigned();
            let low = Tnum::range(W::from_low(lo), W::from_low(hi));
            bits = bits.meet(Tnum {
                value: low.value,
                mask: low.mask.or(W::low_mask().not()),
            })?;
            if bits.is_constant() {
                let only = Self::constant(bits.value);
                return if wide.contains(bits.value) && narrow.contains(bits.value.low()) {
                    Some(only)
                } else {
                    None
                };
            }
            Some(Self { bits, wide, narrow })
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
            (Some(x), Some(y)) => Self::constant(x.sub(signed_quotient(x, y).mul(y))),
            _ => Self::range(self.wide.srem(other.wide)),
        }
    }

    /// `a << b`, the amount masked to the width.
    pub fn shl(self, by: Self) -> Self {
        let by = by.amount_below(W::BITS);
        match by.as_constant() {
            Some(amount) => {
                let half = W::constant(u64::from(W::BITS / 2));
                Self {
                    bits: self.bits.shl(amount),
                    wide: self.wide.shl(by.wide),
                    narrow: if amount.ult(half) {
                        self.narrow.shl(Interval::constant(amount.low()))
                    } else {
                        Interval::constant(W::Half::zero())
                    },
                }
                .reduced()
            }
            None => Self::range(self.wide.shl(by.wide)),
        }
    }

    /// Logical `a >> b`, the amount masked to the width.
    pub fn lshr(self, by: Self) -> Self {
        let by = by.amount_below(W::BITS);
        Self {
            bits: by
                .as_constant()
                .map_or(Tnum::unknown(), |amount| self.bits.lshr(amount)),
            wide: self.wide.lshr(by.wide),
            narrow: Interval::full(),
        }
        .reduced()
    }

    /// Arithmetic `a >> b`, the amount masked to the width.
    pub fn ashr(self, by: Self) -> Self {
        let by = by.amount_below(W::BITS);
        Self {
            bits: by
                .as_constant()
                .map_or(Tnum::unknown(), |amount| self.bits.ashr(amount)),
            wide: self.wide.ashr(by.wide),
            narrow: Interval::full(),
        }
        .reduced()
    }

    /// The amount as the machine takes it, for a shift of a value of that many bits.
    pub(super) fn amount_below(self, bits: u32) -> Self {
        let most = W::constant(u64::from(bits - 1));
        if self.unsigned().1.ule(most) {
            return self;
        }
        self.and(Self::constant(most))
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
        let most = W::ones().lshr(W::constant(u64::from(W::BITS - bits)));
        self.and(Self::constant(most))
    }

    /// The low bits, sign-extended; `bits` from 1 to the width.
    pub fn sign_extend(self, bits: u32) -> Self {
        let by = W::constant(u64::from(W::BITS - bits));
        let lo = W::signed_min().ashr(by);
        let fits = Interval::new(lo, lo.not());
        let wide = if self.wide.is_subset(fits) {
            self.wide
        } else if bits == W::Half::BITS {
            let (lo, hi) = self.narrow.signed();
            Interval::new(sign_extend_half(lo), sign_extend_half(hi))
        } else {
            fits
        };
        Self {
            bits: self.bits.shl(by).ashr(by),
            wide,
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

/// Signed quotient, truncated towards zero; 0 for a zero divisor, wrapping for the least number
/// by -1.
pub(super) fn signed_quotient<B: BitVec>(x: B, y: B) -> B {
    B::apart(move || {
        if y.same(B::zero()) {
            return B::zero();
        }
        let magnitude = |v: B| if v.slt(B::zero()) { v.neg() } else { v };
        let quotient = magnitude(x).udiv(magnitude(y));
        if x.slt(B::zero()) == y.slt(B::zero()) {
            quotient
        } else {
            quotient.neg()
        }
    })
}

fn sign_extend_half<W: Word>(x: W::Half) -> W {
    let up = W::constant(u64::from(W::BITS - W::Half::BITS));
    W::from_low(x).shl(up).ashr(up)
}

/// Unsigned range of a tnum.
fn span_of<B: BitVec>(t: Tnum<B>) -> Interval<B> {
    Interval::new(t.umin(), t.umax())
}

/// Signed range of a tnum whose sign is unknown.
fn signed_span_of<B: BitVec>(t: Tnum<B>) -> Option<Interval<B>> {
    let sign = B::signed_min();
    if t.mask.and(sign).same(B::zero()) {
        return None;
    }
    Some(Interval::new(t.value.or(sign), t.umax().and(sign.not())))
}

/// Range of the lower half of a tnum.
fn low_span_of<W: Word>(t: Tnum<W>) -> Interval<W::Half> {
    Interval::new(t.umin().low(), t.umax().low())
}

/// Moves the ends inwards to numbers whose lower half is in `narrow`.
fn tighten_ends<W: Word>(wide: Interval<W>, narrow: Interval<W::Half>) -> Option<Interval<W>> {
    lower_end(raise_start(wide, narrow)?, narrow)
}

fn raise_start<W: Word>(wide: Interval<W>, narrow: Interval<W::Half>) -> Option<Interval<W>> {
    W::apart(move || {
        if narrow.contains(wide.lo.low()) {
            return Some(wide);
        }
        let up = W::from_low(narrow.lo.sub(wide.lo.low()));
        if wide.span().ult(up) {
            return None;
        }
        Some(Interval {
            lo: wide.lo.add(up),
            hi: wide.hi,
        })
    })
}

fn lower_end<W: Word>(wide: Interval<W>, narrow: Interval<W::Half>) -> Option<Interval<W>> {
    W::apart(move || {
        if narrow.contains(wide.hi.low()) {
            return Some(wide);
        }
        let down = W::from_low(wide.hi.low().sub(narrow.hi));
        if wide.span().ult(down) {
            return None;
        }
        Some(Interval {
            lo: wide.lo,
            hi: wide.hi.sub(down),
        })
    })
}

fn widen<B: BitVec>(old: Interval<B>, newer: Interval<B>) -> Interval<B> {
    B::apart(move || {
        let join = old.join(newer);
        if join.is_subset(old) {
            return old;
        }
        let mut bits = 1;
        while bits < B::BITS {
            let top = B::one().shl(B::constant(u64::from(bits)));
            let unsigned = Interval::new(B::zero(), top.sub(B::one()));
            if join.is_subset(unsigned) {
                return unsigned;
            }
            bits += 1;
        }
        let mut bits = 1;
        while bits < B::BITS {
            let top = B::one().shl(B::constant(u64::from(bits)));
            let signed = Interval::new(top.neg(), top.sub(B::one()));
            if join.is_subset(signed) {
                return signed;
            }
            bits += 1;
        }
        Interval::full()
    })
}
