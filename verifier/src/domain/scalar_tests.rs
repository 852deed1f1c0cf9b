//! Soundness of scalars on 8 and 4 bits against sets of numbers.
//!
//! The scalars tried are what joins, operations and comparisons make of random numbers; every
//! number in them is tried. A generator with a fixed seed keeps the test the same everywhere.

use bpftime_isa::{Cond, Width};

use super::interval::Interval;
use super::refine::assume;
use super::scalar::Scalar;

type S = Scalar<u8>;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn byte(&mut self) -> u8 {
        (self.next() >> 32) as u8
    }

    /// Joins, sometimes sharpened by a comparison, so that wrapped and partial shapes occur.
    fn scalar(&mut self) -> S {
        let mut s = S::constant(self.byte());
        for _ in 0..self.next() % 4 {
            let near = s.wide.lo.wrapping_add(self.byte() % 16);
            let x = if self.next().is_multiple_of(2) {
                near
            } else {
                self.byte()
            };
            s = s.join(S::constant(x));
        }
        match self.next() % 6 {
            0 => s = S::unknown(),
            1 => s = s.mul(S::constant(1 << (self.next() % 5))),
            _ => {}
        }
        if self.next().is_multiple_of(2) {
            let (cond, width) = (CONDS[self.next() as usize % CONDS.len()], self.width());
            let taken = self.next().is_multiple_of(2);
            if let Some((sharper, _)) = assume(cond, width, taken, s, S::constant(self.byte())) {
                s = sharper;
            }
        }
        s
    }

    fn width(&mut self) -> Width {
        if self.next().is_multiple_of(2) {
            Width::W32
        } else {
            Width::W64
        }
    }
}

const CONDS: [Cond; 11] = [
    Cond::Eq,
    Cond::Ne,
    Cond::Gt,
    Cond::Ge,
    Cond::Lt,
    Cond::Le,
    Cond::Set,
    Cond::Sgt,
    Cond::Sge,
    Cond::Slt,
    Cond::Sle,
];

fn members(s: S) -> Vec<u8> {
    (0..=255).filter(|x| s.contains(*x)).collect()
}

fn sext4(x: u8) -> i8 {
    ((x << 4) as i8) >> 4
}

fn holds(cond: Cond, width: Width, x: u8, y: u8) -> bool {
    let (ux, uy, sx, sy) = match width {
        Width::W64 => (x, y, x as i8, y as i8),
        Width::W32 => (x & 15, y & 15, sext4(x), sext4(y)),
    };
    match cond {
        Cond::Eq => ux == uy,
        Cond::Ne => ux != uy,
        Cond::Gt => ux > uy,
        Cond::Ge => ux >= uy,
        Cond::Lt => ux < uy,
        Cond::Le => ux <= uy,
        Cond::Set => ux & uy != 0,
        Cond::Sgt => sx > sy,
        Cond::Sge => sx >= sy,
        Cond::Slt => sx < sy,
        Cond::Sle => sx <= sy,
    }
}

#[test]
fn comparisons_keep_every_number_for_which_they_hold() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..2_000 {
        let (a, b) = (random.scalar(), random.scalar());
        let cond = CONDS[random.next() as usize % CONDS.len()];
        let width = random.width();
        let taken = random.next().is_multiple_of(2);
        let result = assume(cond, width, taken, a, b);
        let of_b = members(b);
        for x in members(a) {
            for &y in &of_b {
                if holds(cond, width, x, y) != taken {
                    continue;
                }
                let (ra, rb) = result.unwrap_or_else(|| {
                    panic!("false bottom: {a:?} {cond:?} {width:?} {taken} {b:?}: {x} {y}")
                });
                assert!(
                    ra.contains(x) && rb.contains(y),
                    "{a:?} {cond:?} {width:?} {taken} {b:?}: {x} {y}: {ra:?} {rb:?}"
                );
            }
        }
    }
}

type Unary = (&'static str, fn(S) -> S, fn(u8) -> u8);
type Binary = (&'static str, fn(S, S) -> S, fn(u8, u8) -> u8);

const BINARY: &[Binary] = &[
    ("add", S::add, |x, y| x.wrapping_add(y)),
    ("sub", S::sub, |x, y| x.wrapping_sub(y)),
    ("mul", S::mul, |x, y| x.wrapping_mul(y)),
    ("and", S::and, |x, y| x & y),
    ("or", S::or, |x, y| x | y),
    ("xor", S::xor, |x, y| x ^ y),
    ("udiv", S::udiv, |x, y| x.checked_div(y).unwrap_or(0)),
    ("urem", S::urem, |x, y| x.checked_rem(y).unwrap_or(x)),
    ("sdiv", S::sdiv, |x, y| {
        if y == 0 {
            0
        } else {
            (x as i8).wrapping_div(y as i8) as u8
        }
    }),
    ("srem", S::srem, |x, y| {
        if y == 0 {
            x
        } else {
            (x as i8).wrapping_rem(y as i8) as u8
        }
    }),
    ("shl", S::shl, |x, y| x << (y & 7)),
    ("lshr", S::lshr, |x, y| x >> (y & 7)),
    ("ashr", S::ashr, |x, y| ((x as i8) >> (y & 7)) as u8),
    ("udiv half", S::udiv_half, |x, y| {
        (x & 15).checked_div(y & 15).unwrap_or(0)
    }),
    ("urem half", S::urem_half, |x, y| {
        (x & 15).checked_rem(y & 15).unwrap_or(x & 15)
    }),
    ("sdiv half", S::sdiv_half, |x, y| {
        sext4(x).checked_div(sext4(y)).unwrap_or(0) as u8 & 15
    }),
    ("srem half", S::srem_half, |x, y| {
        sext4(x).checked_rem(sext4(y)).unwrap_or(sext4(x)) as u8 & 15
    }),
    ("shl half", S::shl_half, |x, y| (x << (y & 3)) & 15),
    ("lshr half", S::lshr_half, |x, y| (x & 15) >> (y & 3)),
    ("ashr half", S::ashr_half, |x, y| {
        (sext4(x) >> (y & 3)) as u8 & 15
    }),
];

const UNARY: &[Unary] = &[
    ("neg", S::neg, |x| x.wrapping_neg()),
    ("truncate half", S::truncate_half, |x| x & 15),
    ("truncate 3", |s| s.truncate(3), |x| x & 7),
    ("sign extend half", |s| s.sign_extend(4), |x| sext4(x) as u8),
    (
        "sign extend 2",
        |s| s.sign_extend(2),
        |x| ((x << 6) as i8 >> 6) as u8,
    ),
    ("sign extend all", |s| s.sign_extend(8), |x| x),
];

#[test]
fn operations_hold_every_result() {
    let mut random = Random(0xd1b5_4a32_d192_ed03);
    for round in 0..5_000 {
        let (name, abstract_op, op) = BINARY[round % BINARY.len()];
        let (a, b) = (random.scalar(), random.scalar());
        let r = abstract_op(a, b);
        let of_b = members(b);
        for x in members(a) {
            for &y in &of_b {
                assert!(r.contains(op(x, y)), "{name}: {a:?} {b:?}: {x} {y}: {r:?}");
            }
        }
    }
    for round in 0..1_500 {
        let (name, abstract_op, op) = UNARY[round % UNARY.len()];
        let a = random.scalar();
        let r = abstract_op(a);
        for x in members(a) {
            assert!(r.contains(op(x)), "{name}: {a:?}: {x}: {r:?}");
        }
    }
}

#[test]
fn lattice_operations_hold_their_operands() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for _ in 0..2_000 {
        let (a, b) = (random.scalar(), random.scalar());
        let (join, widened, meet) = (a.join(b), a.widen(b), a.meet(b));
        for x in members(a) {
            assert!(join.contains(x) && widened.contains(x));
            if b.contains(x) {
                let m = meet.expect("a common number");
                assert!(m.contains(x), "{a:?} {b:?} {m:?}");
            }
        }
        assert!(
            members(b)
                .iter()
                .all(|x| join.contains(*x) && widened.contains(*x))
        );
        if a.is_subset(b) {
            assert!(members(a).iter().all(|x| b.contains(*x)));
        }
    }
}

#[test]
fn widening_reaches_a_fixed_point() {
    let mut random = Random(0x1234_5678_9abc_def1);
    for _ in 0..2_000 {
        let mut s = random.scalar();
        let mut changes = 0;
        for _ in 0..200 {
            let next = s.widen(random.scalar());
            if next != s {
                changes += 1;
            }
            s = next;
        }
        assert!(changes <= 40, "{changes}");
    }
}

#[test]
fn constants_stay_constants() {
    for x in (0..=255u8).step_by(3) {
        for y in 0..=255u8 {
            for (name, abstract_op, op) in BINARY {
                let r = abstract_op(S::constant(x), S::constant(y));
                assert_eq!(r.as_constant(), Some(op(x, y)), "{name} {x} {y}: {r:?}");
            }
        }
    }
}

/// The two parts of an amount need not agree: what one part alone does not bound is bounded.
#[test]
fn shift_amounts_are_bounded_even_where_their_parts_were_not_reduced() {
    let amount = Scalar::<u64> {
        wide: Interval::new(0, 31),
        narrow: Interval::new(0, 32),
        ..Scalar::unknown()
    };
    assert!(amount.contains(5));
    let bit = Scalar::<u64>::range(Interval::new(0, 1));
    assert!(bit.shl_half(amount).contains(1 << 5));
}
