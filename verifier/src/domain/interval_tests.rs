//! Wrapped intervals of 4 bits against sets of numbers, in every case.

use super::bits::BitVec;
use super::bits::small::U4;
use super::interval::Interval;

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
