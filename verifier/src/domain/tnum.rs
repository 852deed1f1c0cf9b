//! Tristate numbers: for each bit, known 0, known 1 or unknown.
//!
//! A [`Tnum`] stands for all `x` with `x & !mask == value`. Invariant: `value & mask == 0`.
//! Source: Vishwanathan et al., "Sound, Precise, and Fast Abstract Interpretation with Tristate
//! Numbers", CGO 2022.

use super::bits::BitVec;

/// Known bits and unknown bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Tnum<B> {
    /// Known bits; zero where unknown.
    pub value: B,
    /// Set where unknown.
    pub mask: B,
}

impl<B: BitVec> Tnum<B> {
    /// Exactly one number.
    #[inline]
    pub fn constant(value: B) -> Self {
        Self {
            value,
            mask: B::zero(),
        }
    }

    /// Any number.
    #[inline]
    pub fn unknown() -> Self {
        Self {
            value: B::zero(),
            mask: B::ones(),
        }
    }

    /// The least tnum that holds all of `lo..=hi`, unsigned, `lo <= hi`: the common prefix.
    #[inline]
    pub fn range(lo: B, hi: B) -> Self {
        B::op("tnum range", (lo, hi), |(lo, hi)| {
            let mask = lo.xor(hi).smear();
            Self {
                value: lo.and(mask.not()),
                mask,
            }
        })
    }

    /// Whether exactly one number is possible.
    #[inline]
    pub fn is_constant(self) -> bool {
        self.mask.same(B::zero())
    }

    /// Whether the number is one of those.
    #[inline]
    pub fn contains(self, x: B) -> bool {
        x.and(self.mask.not()).same(self.value)
    }

    /// Whether every number of `self` is one of `other`'s.
    #[inline]
    pub fn is_subset(self, other: Self) -> bool {
        B::op("tnum is_subset", (self, other), |(a, b)| {
            a.mask.and(b.mask.not()).same(B::zero()) && a.value.and(b.mask.not()).same(b.value)
        })
    }

    /// Least unsigned number.
    #[inline]
    pub fn umin(self) -> B {
        self.value
    }

    /// Greatest unsigned number.
    #[inline]
    pub fn umax(self) -> B {
        self.value.or(self.mask)
    }

    /// Least tnum that holds both.
    #[inline]
    pub fn join(self, other: Self) -> Self {
        B::op("tnum join", (self, other), |(a, b)| {
            let mask = a.mask.or(b.mask).or(a.value.xor(b.value));
            Self {
                value: a.value.and(mask.not()),
                mask,
            }
        })
    }

    /// Numbers that are in both, or `None` if known bits contradict each other.
    #[inline]
    pub fn meet(self, other: Self) -> Option<Self> {
        B::op("tnum meet", (self, other), |(a, b)| {
            let both_known = a.mask.or(b.mask).not();
            if !a.value.xor(b.value).and(both_known).same(B::zero()) {
                return None;
            }
            let mask = a.mask.and(b.mask);
            Some(Self {
                value: a.value.or(b.value).and(mask.not()),
                mask,
            })
        })
    }

    /// `a + b`.
    #[inline]
    pub fn add(self, other: Self) -> Self {
        B::op("tnum add", (self, other), |(a, b)| {
            let sum_mask = a.mask.add(b.mask);
            let sum_value = a.value.add(b.value);
            let carries = sum_mask.add(sum_value).xor(sum_value);
            let mask = carries.or(a.mask).or(b.mask);
            Self {
                value: sum_value.and(mask.not()),
                mask,
            }
        })
    }

    /// `a - b`.
    #[inline]
    pub fn sub(self, other: Self) -> Self {
        B::op("tnum sub", (self, other), |(a, b)| {
            let difference = a.value.sub(b.value);
            let most = difference.add(a.mask);
            let least = difference.sub(b.mask);
            let mask = most.xor(least).or(a.mask).or(b.mask);
            Self {
                value: difference.and(mask.not()),
                mask,
            }
        })
    }

    /// `a & b`.
    #[inline]
    pub fn and(self, other: Self) -> Self {
        B::op("tnum and", (self, other), |(a, b)| {
            let value = a.value.and(b.value);
            let possible = a.umax().and(b.umax());
            Self {
                value,
                mask: possible.and(value.not()),
            }
        })
    }

    /// `a | b`.
    #[inline]
    pub fn or(self, other: Self) -> Self {
        B::op("tnum or", (self, other), |(a, b)| {
            let value = a.value.or(b.value);
            Self {
                value,
                mask: a.mask.or(b.mask).and(value.not()),
            }
        })
    }

    /// `a ^ b`.
    #[inline]
    pub fn xor(self, other: Self) -> Self {
        B::op("tnum xor", (self, other), |(a, b)| {
            let mask = a.mask.or(b.mask);
            Self {
                value: a.value.xor(b.value).and(mask.not()),
                mask,
            }
        })
    }

    /// `a * b`, by long multiplication over the bits of `a`: a known 1 adds `b`, an unknown bit
    /// adds `b` or nothing.
    pub fn mul(self, other: Self) -> Self {
        B::op("tnum mul", (self, other), |(a, b)| {
            if a.is_constant() && b.is_constant() {
                return Self::constant(a.value.mul(b.value));
            }
            let mut sum = Self::constant(B::zero());
            let mut shifted = b;
            let mut bit = 0;
            while bit < B::BITS {
                let at = B::one().shl(B::constant(u64::from(bit)));
                sum = Self::mul_step(sum, a, shifted, at);
                shifted = shifted.shl(B::one());
                bit += 1;
            }
            sum
        })
    }

    /// The sum with what the bit `at` of `a` contributes to the product: `b`, shifted to it, or
    /// nothing.
    #[inline]
    pub fn mul_step(sum: Self, a: Self, shifted: Self, at: B) -> Self {
        B::op(
            "tnum mul_step",
            (sum, a, shifted, at),
            |(sum, a, shifted, at)| {
                if !a.value.and(at).same(B::zero()) {
                    sum.add(shifted)
                } else if !a.mask.and(at).same(B::zero()) {
                    sum.add(Self {
                        value: B::zero(),
                        mask: shifted.umax(),
                    })
                } else {
                    sum
                }
            },
        )
    }

    /// `a << by`, `by` below the width.
    #[inline]
    pub fn shl(self, by: B) -> Self {
        B::op("tnum shl", (self, by), |(a, by)| Self {
            value: a.value.shl(by),
            mask: a.mask.shl(by),
        })
    }

    /// Logical `a >> by`, `by` below the width.
    #[inline]
    pub fn lshr(self, by: B) -> Self {
        B::op("tnum lshr", (self, by), |(a, by)| Self {
            value: a.value.lshr(by),
            mask: a.mask.lshr(by),
        })
    }

    /// Arithmetic `a >> by`, `by` below the width.
    #[inline]
    pub fn ashr(self, by: B) -> Self {
        B::op("tnum ashr", (self, by), |(a, by)| {
            let mask = a.mask.ashr(by);
            Self {
                value: a.value.ashr(by).and(mask.not()),
                mask,
            }
        })
    }

    /// `a & keep` with constant bits.
    #[inline]
    pub fn keep(self, keep: B) -> Self {
        B::op("tnum keep", (self, keep), |(a, keep)| Self {
            value: a.value.and(keep),
            mask: a.mask.and(keep),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::bits::small::U4;
    use super::*;

    fn all() -> Vec<Tnum<U4>> {
        let mut every = Vec::new();
        for value in 0..16 {
            for mask in 0..16 {
                if value & mask == 0 {
                    every.push(Tnum {
                        value: U4(value),
                        mask: U4(mask),
                    });
                }
            }
        }
        every
    }

    fn members(t: Tnum<U4>) -> impl Iterator<Item = U4> {
        (0..16).map(U4).filter(move |x| t.contains(*x))
    }

    fn sound(
        name: &str,
        abstract_op: impl Fn(Tnum<U4>, Tnum<U4>) -> Tnum<U4>,
        op: impl Fn(U4, U4) -> U4,
    ) {
        for a in all() {
            for b in all() {
                let r = abstract_op(a, b);
                assert_eq!(r.value.0 & r.mask.0, 0, "{name}: {a:?} {b:?} -> {r:?}");
                for x in members(a) {
                    for y in members(b) {
                        assert!(
                            r.contains(op(x, y)),
                            "{name}: {a:?} {b:?} -> {r:?}: {x:?} {y:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn binary_operations_hold_every_result_at_four_bits() {
        sound("add", Tnum::add, U4::add);
        sound("sub", Tnum::sub, U4::sub);
        sound("mul", Tnum::mul, U4::mul);
        sound("and", Tnum::and, U4::and);
        sound("or", Tnum::or, U4::or);
        sound("xor", Tnum::xor, U4::xor);
    }

    #[test]
    fn shifts_hold_every_result_at_four_bits() {
        for by in 0..4 {
            let by = U4(by);
            sound("shl", |a, _| a.shl(by), |x, _| x.shl(by));
            sound("lshr", |a, _| a.lshr(by), |x, _| x.lshr(by));
            sound("ashr", |a, _| a.ashr(by), |x, _| x.ashr(by));
        }
    }

    #[test]
    fn join_and_meet_are_union_and_intersection() {
        for a in all() {
            for b in all() {
                let join = a.join(b);
                assert!(a.is_subset(join) && b.is_subset(join));
                let common: Vec<U4> = members(a).filter(|x| b.contains(*x)).collect();
                match a.meet(b) {
                    None => assert!(common.is_empty()),
                    Some(m) => assert_eq!(members(m).collect::<Vec<_>>(), common),
                }
                let subset = members(a).all(|x| b.contains(x));
                assert_eq!(a.is_subset(b), subset, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn range_holds_its_members() {
        for lo in 0..16 {
            for hi in lo..16 {
                let t = Tnum::range(U4(lo), U4(hi));
                assert!((lo..=hi).all(|x| t.contains(U4(x))));
            }
        }
    }
}
