//! What it costs that the number domains are generic over bit vectors: operations on `u64` beside the same
//! written by hand for `u64`.

mod measure;

use std::hint::black_box;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use bpftime_verifier::domain::interval::Interval;
use bpftime_verifier::domain::tnum::Tnum;
use clap::Parser;
use serde::Serialize;
use serde_json::json;

use crate::measure::{measure, median};

/// Measures the number domains on 64-bit words beside the same written by hand.
#[derive(Parser)]
struct Arguments {
    /// Where the figures go as JSON.
    json: PathBuf,
    /// Rounds, in which both alternate; the median of each counts.
    #[arg(long, default_value_t = 31)]
    rounds: usize,
}

/// Pairs of operands.
const OPERANDS: usize = 1024;
/// How often a round goes through them.
const PASSES: usize = 64;

type Bits = Tnum<u64>;
type Arc = Interval<u64>;

mod by_hand {
    use super::{Arc, Bits};

    pub(super) fn tnum_add(a: Bits, b: Bits) -> Bits {
        let value = a.value.wrapping_add(b.value);
        let greatest = value.wrapping_add(a.mask.wrapping_add(b.mask));
        let mask = (value ^ greatest) | a.mask | b.mask;
        Bits {
            value: value & !mask,
            mask,
        }
    }

    pub(super) fn tnum_and(a: Bits, b: Bits) -> Bits {
        let value = a.value & b.value;
        Bits {
            value,
            mask: (a.value | a.mask) & (b.value | b.mask) & !value,
        }
    }

    pub(super) fn tnum_range(lo: u64, hi: u64) -> Bits {
        let mask = u64::MAX.checked_shr((lo ^ hi).leading_zeros()).unwrap_or(0);
        Bits {
            value: lo & !mask,
            mask,
        }
    }

    pub(super) fn tnum_mul(a: Bits, b: Bits) -> Bits {
        if a.mask == 0 && b.mask == 0 {
            return Bits {
                value: a.value.wrapping_mul(b.value),
                mask: 0,
            };
        }
        let mut sum = Bits { value: 0, mask: 0 };
        for bit in 0..64 {
            let (value, mask) = (b.value << bit, b.mask << bit);
            if a.value >> bit & 1 == 1 {
                sum = tnum_add(sum, Bits { value, mask });
            } else if a.mask >> bit & 1 == 1 {
                let mask = value | mask;
                sum = tnum_add(sum, Bits { value: 0, mask });
            }
        }
        sum
    }

    fn arc(lo: u64, hi: u64) -> Arc {
        if hi.wrapping_add(1) == lo {
            Arc {
                lo: 0,
                hi: u64::MAX,
            }
        } else {
            Arc { lo, hi }
        }
    }

    pub(super) fn interval_add(a: Arc, b: Arc) -> Arc {
        let (span_a, span_b) = (a.hi.wrapping_sub(a.lo), b.hi.wrapping_sub(b.lo));
        if span_a.checked_add(span_b).is_none() {
            return Arc {
                lo: 0,
                hi: u64::MAX,
            };
        }
        arc(a.lo.wrapping_add(b.lo), a.hi.wrapping_add(b.hi))
    }

    pub(super) fn interval_mul(a: Arc, b: Arc) -> Arc {
        let unsigned = |a: Arc| {
            if a.lo <= a.hi {
                (a.lo, a.hi)
            } else {
                (0, u64::MAX)
            }
        };
        let ((a_lo, a_hi), (b_lo, b_hi)) = (unsigned(a), unsigned(b));
        if a_hi.checked_mul(b_hi).is_some() {
            return arc(a_lo * b_lo, a_hi * b_hi);
        }
        let signed = |a: Arc| {
            let (lo, hi) = (a.lo as i64, a.hi as i64);
            if lo <= hi {
                (lo, hi)
            } else {
                (i64::MIN, i64::MAX)
            }
        };
        let ((a_lo, a_hi), (b_lo, b_hi)) = (signed(a), signed(b));
        let small = |x: i64| i32::try_from(x).is_ok();
        if small(a_lo) && small(a_hi) && small(b_lo) && small(b_hi) {
            let products = [a_lo * b_lo, a_lo * b_hi, a_hi * b_lo, a_hi * b_hi];
            let lo = products.into_iter().min().unwrap_or(0);
            let hi = products.into_iter().max().unwrap_or(0);
            return arc(lo as u64, hi as u64);
        }
        Arc {
            lo: 0,
            hi: u64::MAX,
        }
    }
}

/// An operation both ways.
#[derive(Serialize)]
struct Row {
    operation: &'static str,
    generic_ns: f64,
    by_hand_ns: f64,
    ratio: f64,
}

/// Nanoseconds of one operation.
fn time<T: Copy, R>(pairs: &[(T, T)], operation: impl Fn(T, T) -> R) -> f64 {
    let ((), micros, _) = measure(1, || {
        for _ in 0..PASSES {
            for (a, b) in pairs {
                black_box(operation(black_box(*a), black_box(*b)));
            }
        }
    });
    micros * 1e3 / (PASSES * pairs.len()) as f64
}

fn compare<T: Copy + std::fmt::Debug, R: PartialEq + std::fmt::Debug>(
    operation: &'static str,
    rounds: usize,
    pairs: &[(T, T)],
    generic: impl Fn(T, T) -> R,
    by_hand: impl Fn(T, T) -> R,
) -> Result<Row> {
    for (a, b) in pairs {
        let (ours, theirs) = (generic(*a, *b), by_hand(*a, *b));
        ensure!(
            ours == theirs,
            "{operation} of {a:?} and {b:?}: {ours:?} is not {theirs:?}"
        );
    }
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        first.push(time(pairs, &generic));
        second.push(time(pairs, &by_hand));
    }
    let (generic_ns, by_hand_ns) = (median(&first), median(&second));
    Ok(Row {
        operation,
        generic_ns,
        by_hand_ns,
        ratio: generic_ns / by_hand_ns,
    })
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        // Of all sizes.
        seed >> (seed % 61)
    };
    let mut pairs = |make: fn(u64, u64) -> (u64, u64)| -> Vec<((u64, u64), (u64, u64))> {
        (0..OPERANDS)
            .map(|_| (make(random(), random()), make(random(), random())))
            .collect()
    };
    let bits: Vec<(Bits, Bits)> = pairs(|value, mask| (value & !mask, mask))
        .into_iter()
        .map(|((v, m), (w, n))| (Bits { value: v, mask: m }, Bits { value: w, mask: n }))
        .collect();
    let ends = pairs(|lo, size| (lo, lo.saturating_add(size)));
    let arcs: Vec<(Arc, Arc)> = ends
        .iter()
        .map(|(a, b)| (Arc::new(a.0, a.1), Arc::new(b.0, b.1)))
        .collect();
    let ranges: Vec<(u64, u64)> = ends.iter().map(|(a, _)| *a).collect();
    let rounds = arguments.rounds;
    let rows = [
        compare("tnum add", rounds, &bits, Bits::add, by_hand::tnum_add)?,
        compare("tnum and", rounds, &bits, Bits::and, by_hand::tnum_and)?,
        compare("tnum mul", rounds, &bits, Bits::mul, by_hand::tnum_mul)?,
        compare(
            "tnum range",
            rounds,
            &ranges,
            Bits::range,
            by_hand::tnum_range,
        )?,
        compare(
            "interval add",
            rounds,
            &arcs,
            Arc::add,
            by_hand::interval_add,
        )?,
        compare(
            "interval mul",
            rounds,
            &arcs,
            Arc::mul,
            by_hand::interval_mul,
        )?,
    ];
    println!(
        "\n{:<14} {:>10} {:>10} {:>7}",
        "on 64 bits", "generic ns", "by hand ns", "ratio"
    );
    for row in &rows {
        println!(
            "{:<14} {:>10.2} {:>10.2} {:>7.2}",
            row.operation, row.generic_ns, row.by_hand_ns, row.ratio
        );
    }
    std::fs::write(&arguments.json, serde_json::to_vec_pretty(&json!(rows))?)
        .with_context(|| format!("{} cannot be written", arguments.json.display()))
}
