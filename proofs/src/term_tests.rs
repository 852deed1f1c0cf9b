//! Terms against numbers.

use super::*;

/// The value of a term, for these values of the unknowns.
fn value(number: u32, unknowns: &[(u32, u64)]) -> u64 {
    let term = node(number);
    match term.op {
        Op::Const => term.value,
        Op::Var => {
            let known = unknowns.iter().find(|(unknown, _)| *unknown == number);
            known.expect("one of the unknowns").1
        }
        op => {
            let mut args = [0; 3];
            for (value_of, arg) in args.iter_mut().zip(&term.args[..arity(op)]) {
                *value_of = value(*arg, unknowns);
            }
            compute(op, term.width, node(term.args[0]).width, args)
        }
    }
}

const OPS: [Op; 14] = [
    Op::Add,
    Op::Sub,
    Op::Mul,
    Op::Udiv,
    Op::Urem,
    Op::Sdiv,
    Op::Srem,
    Op::And,
    Op::Or,
    Op::Xor,
    Op::Not,
    Op::Shl,
    Op::Lshr,
    Op::Ashr,
];

/// What is written another way has the same value: terms made at random, of unknowns and of
/// the numbers that are treated in a special way, against the same computed with numbers.
#[test]
fn simpler_terms_have_the_same_values() {
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed >> 16) as usize % below
    };
    for _ in 0..2_000 {
        reset();
        let unknowns: Vec<(u32, u64)> = (0..3)
            .map(|_| (unknown(16), random(1 << 16) as u64))
            .collect();
        let special = [0, 1, 0xff, 0xffff, 0x8000].map(|x| (literal(16, x), x));
        let mut known: Vec<(u32, u64)> = [&unknowns[..], &special].concat();
        for _ in 0..12 {
            let op = OPS[random(OPS.len())];
            let (a, b) = (known[random(known.len())], known[random(known.len())]);
            let made = make(op, 16, [a.0, b.0, 0]);
            known.push((made, compute(op, 16, 16, [a.1, b.1, 0])));
            let low = make(Op::Low, 8, [made, 0, 0]);
            let half = compute(Op::Low, 8, 16, [known[known.len() - 1].1, 0, 0]);
            assert_eq!(value(low, &unknowns), half, "{op:?}");
            known.push((make(Op::Extend, 16, [low, 0, 0]), half));
            for compare in [Op::Eq, Op::Ult, Op::Slt] {
                let truth = make(compare, 0, [a.0, b.0, 0]);
                let expected = compute(compare, 0, 16, [a.1, b.1, 0]);
                assert_eq!(value(truth, &unknowns), expected, "{compare:?}");
                let no = make(Op::Negation, 0, [truth, 0, 0]);
                let both = make(Op::Both, 0, [truth, no, 0]);
                assert_eq!(value(both, &unknowns), 0);
                let chosen = make(Op::Ite, 16, [truth, a.0, b.0]);
                let one = if expected == 1 { a.1 } else { b.1 };
                assert_eq!(value(chosen, &unknowns), one);
            }
        }
        for (term, expected) in known {
            assert_eq!(value(term, &unknowns), expected, "{:?}", node(term));
        }
    }
}
