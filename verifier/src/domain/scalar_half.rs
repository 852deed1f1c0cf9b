//! Operations of half width: 32-bit arithmetic, zero-extended.
//!
//! Only those whose result is not the lower half of the full operation's result.

use super::bits::{BitVec, Word};
use super::interval::Interval;
use super::scalar::{Scalar, signed_quotient, signed_remainder};
use super::tnum::Tnum;

impl<W: Word> Scalar<W> {
    /// Half-width operation on intervals; bits are known through the interval alone.
    fn half_interval(
        self,
        other: Self,
        op: impl Fn(Interval<W::Half>, Interval<W::Half>) -> Interval<W::Half>,
    ) -> Self {
        Self::from_half(Tnum::unknown(), op(self.narrow, other.narrow))
    }

    /// Unsigned 32-bit division.
    pub fn udiv_half(self, other: Self) -> Self {
        self.half_interval(other, Interval::udiv)
    }

    /// Unsigned 32-bit remainder.
    pub fn urem_half(self, other: Self) -> Self {
        self.half_interval(other, Interval::urem)
    }

    /// Signed 32-bit division.
    pub fn sdiv_half(self, other: Self) -> Self {
        self.half_interval(other, |a, b| match (a.as_constant(), b.as_constant()) {
            (Some(x), Some(y)) => Interval::constant(signed_quotient(x, y)),
            _ => a.sdiv(b),
        })
    }

    /// Signed 32-bit remainder.
    pub fn srem_half(self, other: Self) -> Self {
        self.half_interval(other, |a, b| match (a.as_constant(), b.as_constant()) {
            (Some(x), Some(y)) => Interval::constant(signed_remainder(x, y)),
            _ => a.srem(b),
        })
    }

    /// 32-bit `a << b`, the amount masked to 5 bits.
    pub fn shl_half(self, by: Self) -> Self {
        let by = by.amount(W::Half::BITS);
        Self::from_half(
            by.as_constant()
                .map_or(Tnum::unknown(), |amount| self.bits.shl(amount)),
            self.narrow.shl(low_amount(by)),
        )
    }

    /// 32-bit logical `a >> b`, the amount masked to 5 bits.
    pub fn lshr_half(self, by: Self) -> Self {
        let by = by.amount(W::Half::BITS);
        Self::from_half(
            by.as_constant().map_or(Tnum::unknown(), |amount| {
                self.bits.keep(W::low_mask()).lshr(amount)
            }),
            self.narrow.lshr(low_amount(by)),
        )
    }

    /// 32-bit arithmetic `a >> b`, the amount masked to 5 bits.
    pub fn ashr_half(self, by: Self) -> Self {
        let by = by.amount(W::Half::BITS);
        let up = W::constant(u64::from(W::BITS - W::Half::BITS));
        Self::from_half(
            by.as_constant().map_or(Tnum::unknown(), |amount| {
                self.bits.shl(up).ashr(up).ashr(amount)
            }),
            self.narrow.ashr(low_amount(by)),
        )
    }
}

/// An amount below the number of bits of a half.
fn low_amount<W: Word>(by: Interval<W>) -> Interval<W::Half> {
    Interval {
        lo: by.lo.low(),
        hi: by.hi.low(),
    }
}
