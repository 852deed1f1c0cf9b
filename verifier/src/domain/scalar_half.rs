//! Operations of half width: 32-bit arithmetic, zero-extended.
//!
//! Only those whose result is not the lower half of the full operation's result.

use super::bits::{BitVec, Word};
use super::interval::Interval;
use super::scalar::{Scalar, signed_quotient};
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
        self.half_interval(other, |a, b| {
            if a.is_constant() && b.is_constant() {
                Interval::constant(signed_quotient(a.lo, b.lo))
            } else {
                a.sdiv(b)
            }
        })
    }

    /// Signed 32-bit remainder.
    pub fn srem_half(self, other: Self) -> Self {
        self.half_interval(other, |a, b| {
            if a.is_constant() && b.is_constant() {
                Interval::constant(a.lo.sub(signed_quotient(a.lo, b.lo).mul(b.lo)))
            } else {
                a.srem(b)
            }
        })
    }

    /// 32-bit `a << b`, the amount masked to 5 bits.
    pub fn shl_half(self, by: Self) -> Self {
        let by = by.amount_below(W::Half::BITS);
        Self::from_half(
            by.as_constant()
                .map_or(Tnum::unknown(), |amount| self.bits.shl(amount)),
            self.narrow.shl(by.narrow),
        )
    }

    /// 32-bit logical `a >> b`, the amount masked to 5 bits.
    pub fn lshr_half(self, by: Self) -> Self {
        let by = by.amount_below(W::Half::BITS);
        Self::from_half(
            by.as_constant().map_or(Tnum::unknown(), |amount| {
                self.bits.keep(W::low_mask()).lshr(amount)
            }),
            self.narrow.lshr(by.narrow),
        )
    }

    /// 32-bit arithmetic `a >> b`, the amount masked to 5 bits.
    pub fn ashr_half(self, by: Self) -> Self {
        let by = by.amount_below(W::Half::BITS);
        let up = W::constant(u64::from(W::BITS - W::Half::BITS));
        Self::from_half(
            by.as_constant().map_or(Tnum::unknown(), |amount| {
                self.bits.shl(up).ashr(up).ashr(amount)
            }),
            self.narrow.ashr(by.narrow),
        )
    }
}
