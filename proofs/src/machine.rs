//! What claims are written in: numbers with a meaning of their own, and a machine to run on.
//!
//! A claim is one generic function. On a [`crate::symbolic::Symbolic`] machine it is proved for
//! all numbers; on a [`crate::replay::Replay`] machine it is tried with given ones.

use bpftime_verifier::domain::bits::{BitVec, Word};

/// A truth value.
pub trait Truth: Copy {
    /// True or false.
    fn literal(value: bool) -> Self;
    /// It does not hold.
    fn negation(self) -> Self;
    /// Both hold.
    fn and(self, other: Self) -> Self;
    /// One of them holds.
    fn or(self, other: Self) -> Self {
        self.negation().and(other.negation()).negation()
    }
    /// The other holds if this one does.
    fn implies(self, other: Self) -> Self {
        self.and(other.negation()).negation()
    }
    /// Both or neither hold.
    fn agrees(self, other: Self) -> Self {
        self.implies(other).and(other.implies(self))
    }
}

/// Numbers as claims speak of them: comparisons that do not branch, and signed division as the
/// instruction set defines it (RFC 9669 section 4.1).
pub trait Spec: BitVec {
    /// What a comparison gives.
    type Prop: Truth;
    /// Equality.
    fn is(self, other: Self) -> Self::Prop;
    /// Unsigned less than.
    fn below(self, other: Self) -> Self::Prop;
    /// Signed less than.
    fn signed_below(self, other: Self) -> Self::Prop;
    /// Truncated quotient, wrapping; 0 for a zero divisor.
    fn sdiv(self, other: Self) -> Self;
    /// Remainder with the sign of the dividend, which it is for a zero divisor.
    fn srem(self, other: Self) -> Self;
    /// One of two.
    fn if_else(condition: Self::Prop, yes: Self, no: Self) -> Self;

    /// Unsigned less than or equal.
    fn at_most(self, other: Self) -> Self::Prop {
        other.below(self).negation()
    }
    /// Signed less than or equal.
    fn signed_at_most(self, other: Self) -> Self::Prop {
        other.signed_below(self).negation()
    }
    /// Unsigned quotient; 0 for a zero divisor.
    fn quotient(self, other: Self) -> Self {
        Self::if_else(other.is(Self::zero()), Self::zero(), self.udiv(other))
    }
    /// Unsigned remainder; the dividend for a zero divisor.
    fn remainder(self, other: Self) -> Self {
        Self::if_else(other.is(Self::zero()), self, self.urem(other))
    }
}

/// A number with a lower half of the same kind.
pub trait SpecWord: Spec + Word<Half: Spec<Prop = <Self as Spec>::Prop>> {}
impl<W: Spec + Word<Half: Spec<Prop = <W as Spec>::Prop>>> SpecWord for W {}

/// What runs a claim.
pub trait Machine<W: SpecWord> {
    /// An input: any number.
    fn wide(&mut self) -> W;
    /// An input of half width: any number.
    fn half(&mut self) -> W::Half;
    /// From here on only what satisfies this counts.
    fn assume(&mut self, condition: W::Prop);
    /// States what has to hold.
    fn show(&mut self, what: &'static str, condition: W::Prop);
    /// Names a number of which results that are known only by what is proved of them may have
    /// to be told that they contain it; its lower half is named with it.
    fn follow(&mut self, number: W);
    /// The number, of which a modular proof knows only what is assumed from here on.
    fn hide(&mut self, number: W) -> W;
    /// As [`Self::hide`] for the half width.
    fn hide_half(&mut self, number: W::Half) -> W::Half;
    /// From here on goes by what is known of products, quotients and shifts, no matter how they
    /// are computed.
    fn forget_arithmetic(&mut self);
    /// Says that this goes by something else that is claimed.
    fn use_of(&mut self, name: &'static str);

    /// States what has to hold and goes by it from here on.
    fn note(&mut self, what: &'static str, condition: W::Prop) {
        self.show(what, condition);
        self.assume(condition);
    }
}

impl Truth for bool {
    fn literal(value: bool) -> Self {
        value
    }
    fn negation(self) -> Self {
        !self
    }
    fn and(self, other: Self) -> Self {
        self && other
    }
}

macro_rules! primitive {
    ($unsigned:ty, $signed:ty) => {
        impl Spec for $unsigned {
            type Prop = bool;
            fn is(self, other: Self) -> bool {
                self == other
            }
            fn below(self, other: Self) -> bool {
                self < other
            }
            fn signed_below(self, other: Self) -> bool {
                (self as $signed) < (other as $signed)
            }
            fn sdiv(self, other: Self) -> Self {
                match other as $signed {
                    0 => 0,
                    divisor => (self as $signed).wrapping_div(divisor) as $unsigned,
                }
            }
            fn srem(self, other: Self) -> Self {
                match other as $signed {
                    0 => self,
                    divisor => (self as $signed).wrapping_rem(divisor) as $unsigned,
                }
            }
            fn if_else(condition: bool, yes: Self, no: Self) -> Self {
                if condition { yes } else { no }
            }
        }
    };
}
primitive!(u64, i64);
primitive!(u32, i32);
