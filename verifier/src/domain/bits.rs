//! Bit vectors: what the scalar domains are generic over.
//!
//! The domains run on `u64` and `u32`. Tests run the very same code on 8 and 4 bits, where every
//! case can be tried, and `proofs` runs it on terms of a solver, for all numbers at once:
//! comparisons return a plain `bool`, so that a term decides (and forks) inside them, and
//! functions have names ([`BitVec::op`]), so that a proof may go by what is proved of one.

/// A fixed-width bit vector with wrapping arithmetic.
pub trait BitVec: Copy + core::fmt::Debug + 'static {
    /// Width in bits.
    const BITS: u32;

    /// Calls a function. For numbers that is all. A proof may explore the branches in it apart
    /// from those of the caller, or go by what is proved of the function of that name; so the
    /// result depends on the arguments alone, and the function captures nothing.
    #[inline(always)]
    fn op<A: Copy + 'static, R: Copy + 'static>(
        _name: &'static str,
        args: A,
        f: impl Fn(A) -> R,
    ) -> R {
        pure(&f);
        f(args)
    }

    /// The low bits of a number.
    fn constant(value: u64) -> Self;
    /// Sum modulo `2^BITS`.
    fn add(self, other: Self) -> Self;
    /// Difference modulo `2^BITS`.
    fn sub(self, other: Self) -> Self;
    /// Product modulo `2^BITS`.
    fn mul(self, other: Self) -> Self;
    /// Unsigned quotient; `other` is not zero.
    fn udiv(self, other: Self) -> Self;
    /// Unsigned remainder; `other` is not zero.
    fn urem(self, other: Self) -> Self;
    /// Bitwise and.
    fn and(self, other: Self) -> Self;
    /// Bitwise or.
    fn or(self, other: Self) -> Self;
    /// Bitwise exclusive or.
    fn xor(self, other: Self) -> Self;
    /// Bitwise complement.
    fn not(self) -> Self;
    /// Shift left; `by` is below `BITS`.
    fn shl(self, by: Self) -> Self;
    /// Logical shift right; `by` is below `BITS`.
    fn lshr(self, by: Self) -> Self;
    /// Arithmetic shift right; `by` is below `BITS`.
    fn ashr(self, by: Self) -> Self;
    /// Equality.
    fn same(self, other: Self) -> bool;
    /// Unsigned less than.
    fn ult(self, other: Self) -> bool;
    /// Signed less than.
    fn slt(self, other: Self) -> bool;

    /// Zero.
    fn zero() -> Self {
        Self::constant(0)
    }
    /// One.
    fn one() -> Self {
        Self::constant(1)
    }
    /// All bits set: the greatest unsigned number.
    fn ones() -> Self {
        Self::zero().not()
    }
    /// The least signed number: the sign bit alone.
    fn signed_min() -> Self {
        Self::constant(1 << (Self::BITS - 1))
    }
    /// The greatest signed number.
    fn signed_max() -> Self {
        Self::signed_min().not()
    }
    /// Unsigned less than or equal.
    fn ule(self, other: Self) -> bool {
        !other.ult(self)
    }
    /// Signed less than or equal.
    fn sle(self, other: Self) -> bool {
        !other.slt(self)
    }
    /// Two's complement negation.
    fn neg(self) -> Self {
        Self::zero().sub(self)
    }
    /// The lesser of two, unsigned.
    #[inline]
    fn umin(self, other: Self) -> Self {
        Self::op("umin", (self, other), |(a, b)| if b.ult(a) { b } else { a })
    }
    /// The greater of two, unsigned.
    #[inline]
    fn umax(self, other: Self) -> Self {
        Self::op("umax", (self, other), |(a, b)| if a.ult(b) { b } else { a })
    }
    /// The lesser of two, signed.
    #[inline]
    fn smin(self, other: Self) -> Self {
        Self::op("smin", (self, other), |(a, b)| if b.slt(a) { b } else { a })
    }
    /// The greater of two, signed.
    #[inline]
    fn smax(self, other: Self) -> Self {
        Self::op("smax", (self, other), |(a, b)| if a.slt(b) { b } else { a })
    }
    /// Copies the highest set bit to all lower positions: the least `2^k - 1` that is not less.
    fn smear(self) -> Self {
        let mut x = self;
        let mut by = 1;
        while by < Self::BITS {
            x = x.or(x.lshr(Self::constant(u64::from(by))));
            by *= 2;
        }
        x
    }
}

/// Refuses, when it is compiled, a function that captures anything.
#[inline(always)]
pub const fn pure<F>(_: &F) {
    const { assert!(size_of::<F>() == 0, "it depends on its arguments alone") }
}

/// A bit vector with a lower half, as 64-bit registers have 32-bit views.
pub trait Word: BitVec {
    /// The lower half.
    type Half: BitVec;
    /// The lower half of the bits.
    fn low(self) -> Self::Half;
    /// Zero extension.
    fn from_low(half: Self::Half) -> Self;
    /// The bits of the lower half set.
    fn low_mask() -> Self {
        Self::from_low(Self::Half::ones())
    }
}

macro_rules! primitive {
    ($unsigned:ty, $signed:ty) => {
        impl BitVec for $unsigned {
            const BITS: u32 = <$unsigned>::BITS;
            #[inline]
            fn constant(value: u64) -> Self {
                value as $unsigned
            }
            #[inline]
            fn add(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline]
            fn sub(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            #[inline]
            fn mul(self, other: Self) -> Self {
                self.wrapping_mul(other)
            }
            #[inline]
            fn udiv(self, other: Self) -> Self {
                self.checked_div(other).unwrap_or(0)
            }
            #[inline]
            fn urem(self, other: Self) -> Self {
                self.checked_rem(other).unwrap_or(self)
            }
            #[inline]
            fn and(self, other: Self) -> Self {
                self & other
            }
            #[inline]
            fn or(self, other: Self) -> Self {
                self | other
            }
            #[inline]
            fn xor(self, other: Self) -> Self {
                self ^ other
            }
            #[inline]
            fn not(self) -> Self {
                !self
            }
            #[inline]
            fn shl(self, by: Self) -> Self {
                self.wrapping_shl(by as u32)
            }
            #[inline]
            fn lshr(self, by: Self) -> Self {
                self.wrapping_shr(by as u32)
            }
            #[inline]
            fn ashr(self, by: Self) -> Self {
                (self as $signed).wrapping_shr(by as u32) as $unsigned
            }
            #[inline]
            fn same(self, other: Self) -> bool {
                self == other
            }
            #[inline]
            fn ult(self, other: Self) -> bool {
                self < other
            }
            #[inline]
            fn slt(self, other: Self) -> bool {
                (self as $signed) < (other as $signed)
            }
        }
    };
}

primitive!(u64, i64);
primitive!(u32, i32);

impl Word for u64 {
    type Half = u32;
    #[inline]
    fn low(self) -> u32 {
        self as u32
    }
    #[inline]
    fn from_low(half: u32) -> Self {
        u64::from(half)
    }
}

/// Small instances on which tests try every case.
#[cfg(test)]
pub mod small {
    use super::{BitVec, Word};

    primitive!(u8, i8);

    impl Word for u8 {
        type Half = U4;
        fn low(self) -> U4 {
            U4(self & 15)
        }
        fn from_low(half: U4) -> Self {
            half.0
        }
    }

    /// Four bits; the upper bits of the byte are zero.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub struct U4(pub u8);

    impl U4 {
        fn signed(self) -> i8 {
            ((self.0 << 4) as i8) >> 4
        }
    }

    impl BitVec for U4 {
        const BITS: u32 = 4;
        fn constant(value: u64) -> Self {
            U4(value as u8 & 15)
        }
        fn add(self, other: Self) -> Self {
            U4((self.0 + other.0) & 15)
        }
        fn sub(self, other: Self) -> Self {
            U4(self.0.wrapping_sub(other.0) & 15)
        }
        fn mul(self, other: Self) -> Self {
            U4(self.0.wrapping_mul(other.0) & 15)
        }
        fn udiv(self, other: Self) -> Self {
            U4(self.0 / other.0)
        }
        fn urem(self, other: Self) -> Self {
            U4(self.0 % other.0)
        }
        fn and(self, other: Self) -> Self {
            U4(self.0 & other.0)
        }
        fn or(self, other: Self) -> Self {
            U4(self.0 | other.0)
        }
        fn xor(self, other: Self) -> Self {
            U4(self.0 ^ other.0)
        }
        fn not(self) -> Self {
            U4(!self.0 & 15)
        }
        fn shl(self, by: Self) -> Self {
            U4((self.0 << by.0) & 15)
        }
        fn lshr(self, by: Self) -> Self {
            U4(self.0 >> by.0)
        }
        fn ashr(self, by: Self) -> Self {
            U4((self.signed() >> by.0) as u8 & 15)
        }
        fn same(self, other: Self) -> bool {
            self == other
        }
        fn ult(self, other: Self) -> bool {
            self.0 < other.0
        }
        fn slt(self, other: Self) -> bool {
            self.signed() < other.signed()
        }
    }
}
