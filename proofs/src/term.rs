//! Terms: bit vectors that stand for all numbers at once.
//!
//! A [`Term`] is the number of a node in a table of this thread; equal nodes have equal numbers.
//! What is constant is computed at once. [`Prop`] is a truth value of the same kind. A comparison
//! through [`BitVec`] asks the [`crate::driver`] which way to go.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use bpftime_verifier::domain::bits::{BitVec, Word, pure};

use crate::driver;
use crate::machine::{Spec, Truth};

/// A bit vector of `N` bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Term<const N: u32>(pub(crate) u32);

/// A truth value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Prop(pub(crate) u32);

/// What a node does with its arguments.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Op {
    /// `value`.
    Const,
    /// An unknown with the number `value`.
    Var,
    Add,
    Sub,
    Mul,
    /// All ones for a zero divisor, as in SMT-LIB.
    Udiv,
    /// The dividend for a zero divisor.
    Urem,
    /// Truncated, wrapping; 0 for a zero divisor.
    Sdiv,
    /// With the sign of the dividend, which it is for a zero divisor.
    Srem,
    And,
    Or,
    Xor,
    Not,
    Shl,
    Lshr,
    Ashr,
    /// Second argument if the first holds, else the third.
    Ite,
    /// The low bits of a wider one.
    Low,
    /// Zero extension.
    Extend,
    Eq,
    Ult,
    Slt,
    /// Negation of a truth value.
    Negation,
    /// Conjunction.
    Both,
}

/// One node; truth values have width 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Node {
    pub(crate) op: Op,
    pub(crate) width: u32,
    pub(crate) args: [u32; 3],
    pub(crate) value: u64,
}

#[derive(Default)]
struct Table {
    nodes: Vec<Node>,
    numbers: HashMap<Node, u32>,
    unknowns: u64,
    /// Unknowns in a term, sorted.
    mentioned: HashMap<u32, Rc<[u32]>>,
}

thread_local! {
    static TABLE: RefCell<Table> = RefCell::default();
}

/// Forgets all terms. None made before may be used after.
pub(crate) fn reset() {
    TABLE.with_borrow_mut(|table| *table = Table::default());
}

pub(crate) fn node(number: u32) -> Node {
    TABLE.with_borrow(|table| table.nodes[number as usize])
}

/// The unknowns that a term mentions, sorted.
pub(crate) fn mentioned(number: u32) -> Rc<[u32]> {
    if let Some(known) = TABLE.with_borrow(|table| table.mentioned.get(&number).cloned()) {
        return known;
    }
    let term = node(number);
    let mut all: Vec<u32> = if term.op == Op::Var {
        vec![number]
    } else {
        Vec::new()
    };
    for argument in &term.args[..arity(term.op)] {
        all.extend(mentioned(*argument).iter());
    }
    all.sort_unstable();
    all.dedup();
    let all: Rc<[u32]> = all.into();
    TABLE.with_borrow_mut(|table| table.mentioned.insert(number, Rc::clone(&all)));
    all
}

fn intern(node: Node) -> u32 {
    TABLE.with_borrow_mut(|table| {
        if let Some(known) = table.numbers.get(&node) {
            return *known;
        }
        let number = u32::try_from(table.nodes.len()).expect("fewer than 2^32 terms");
        table.nodes.push(node);
        table.numbers.insert(node, number);
        number
    })
}

fn literal(width: u32, value: u64) -> u32 {
    intern(Node {
        op: Op::Const,
        width,
        args: [0; 3],
        value: value & ones(width),
    })
}

/// A new unknown.
pub(crate) fn unknown(width: u32) -> u32 {
    let value = TABLE.with_borrow_mut(|table| {
        table.unknowns += 1;
        table.unknowns
    });
    intern(Node {
        op: Op::Var,
        width,
        args: [0; 3],
        value,
    })
}

/// The greatest number of that width; 1 for truth values.
pub(crate) fn ones(width: u32) -> u64 {
    if width == 0 {
        1
    } else {
        u64::MAX >> (64 - width)
    }
}

fn signed(width: u32, value: u64) -> i64 {
    let up = 64 - width;
    ((value << up) as i64) >> up
}

/// What the operation gives for numbers; `of` is the width of the first argument.
pub(crate) fn compute(op: Op, width: u32, of: u32, [a, b, c]: [u64; 3]) -> u64 {
    let amount = u32::try_from(b).unwrap_or(u32::MAX);
    let result = match op {
        Op::Const | Op::Var => a,
        Op::Add => a.wrapping_add(b),
        Op::Sub => a.wrapping_sub(b),
        Op::Mul => a.wrapping_mul(b),
        Op::Udiv => a.checked_div(b).unwrap_or(u64::MAX),
        Op::Urem => a.checked_rem(b).unwrap_or(a),
        Op::Sdiv => match signed(of, b) {
            0 => 0,
            divisor => signed(of, a).wrapping_div(divisor) as u64,
        },
        Op::Srem => match signed(of, b) {
            0 => a,
            divisor => signed(of, a).wrapping_rem(divisor) as u64,
        },
        Op::And | Op::Both => a & b,
        Op::Or => a | b,
        Op::Xor => a ^ b,
        Op::Not => !a,
        Op::Shl => a.checked_shl(amount).unwrap_or(0),
        Op::Lshr => a.checked_shr(amount).unwrap_or(0),
        Op::Ashr => (signed(of, a) >> amount.min(63)) as u64,
        Op::Ite => {
            if a == 1 {
                b
            } else {
                c
            }
        }
        Op::Low | Op::Extend => a,
        Op::Eq => u64::from(a == b),
        Op::Ult => u64::from(a < b),
        Op::Slt => u64::from(signed(of, a) < signed(of, b)),
        Op::Negation => 1 - a,
    };
    result & ones(width)
}

/// How many arguments it takes.
pub(crate) fn arity(op: Op) -> usize {
    match op {
        Op::Const | Op::Var => 0,
        Op::Not | Op::Low | Op::Extend | Op::Negation => 1,
        Op::Ite => 3,
        _ => 2,
    }
}

fn as_literal(number: u32) -> Option<u64> {
    let node = node(number);
    (node.op == Op::Const).then_some(node.value)
}

fn make(op: Op, width: u32, args: [u32; 3]) -> u32 {
    let count = arity(op);
    let known = args.map(as_literal);
    if known[..count].iter().all(Option::is_some) {
        let of = node(args[0]).width;
        return literal(width, compute(op, width, of, known.map(|x| x.unwrap_or(0))));
    }
    if let Some(simpler) = simplify(op, width, args, known) {
        return simpler;
    }
    let args = match op {
        Op::Mul => [args[0].min(args[1]), args[0].max(args[1]), 0],
        _ => args,
    };
    intern(Node {
        op,
        width,
        args,
        value: 0,
    })
}

/// Whether a number is a lower half, all ones.
fn is_low_mask(width: u32, value: Option<u64>) -> bool {
    width >= 8 && value == Some(ones(width / 2))
}

/// The low bits, so many.
pub(crate) fn low(width: u32, number: u32) -> u32 {
    make(Op::Low, width, [number, 0, 0])
}

fn low_half_extended(width: u32, number: u32) -> u32 {
    make(Op::Extend, width, [low(width / 2, number), 0, 0])
}

/// The identities that keep terms small, and that write what is the same in one way: low bits are
/// taken of inputs, not of sums.
fn simplify(op: Op, width: u32, [a, b, c]: [u32; 3], known: [Option<u64>; 3]) -> Option<u32> {
    let [ka, kb, _] = known;
    match op {
        Op::Add | Op::Or | Op::Xor if ka == Some(0) => Some(b),
        Op::Add | Op::Or | Op::Xor | Op::Sub | Op::Shl | Op::Lshr | Op::Ashr if kb == Some(0) => {
            Some(a)
        }
        Op::Sub | Op::Xor if a == b => Some(literal(width, 0)),
        Op::And | Op::Or if a == b => Some(a),
        Op::And | Op::Mul if ka == Some(0) || kb == Some(0) => Some(literal(width, 0)),
        Op::Mul if ka == Some(1) => Some(b),
        Op::Mul if kb == Some(1) => Some(a),
        Op::And if ka == Some(ones(width)) => Some(b),
        Op::And if kb == Some(ones(width)) => Some(a),
        Op::And if is_low_mask(width, kb) => Some(low_half_extended(width, a)),
        Op::And if is_low_mask(width, ka) => Some(low_half_extended(width, b)),
        Op::Not if node(a).op == Op::Not => Some(node(a).args[0]),
        Op::Negation if node(a).op == Op::Negation => Some(node(a).args[0]),
        Op::Eq if a == b => Some(literal(0, 1)),
        Op::Ult | Op::Slt if a == b => Some(literal(0, 0)),
        Op::Ult if kb == Some(0) || ka == Some(ones(node(a).width)) => Some(literal(0, 0)),
        Op::Both if a == b || kb == Some(1) => Some(a),
        Op::Both if ka == Some(1) => Some(b),
        Op::Both if ka == Some(0) || kb == Some(0) => Some(literal(0, 0)),
        Op::Ite if ka == Some(1) || b == c => Some(b),
        Op::Ite if ka == Some(0) => Some(c),
        Op::Low if node(a).op == Op::Extend && node(node(a).args[0]).width == width => {
            Some(node(a).args[0])
        }
        Op::Low => {
            let inner = node(a);
            match inner.op {
                Op::Add | Op::Sub | Op::Mul | Op::And | Op::Or | Op::Xor => {
                    let [x, y, _] = inner.args;
                    Some(make(inner.op, width, [low(width, x), low(width, y), 0]))
                }
                Op::Not => Some(make(Op::Not, width, [low(width, inner.args[0]), 0, 0])),
                _ => None,
            }
        }
        _ => None,
    }
}

impl Prop {
    /// True or false, if it is known which.
    pub fn as_literal(self) -> Option<bool> {
        as_literal(self.0).map(|value| value == 1)
    }
}

impl Truth for Prop {
    fn literal(value: bool) -> Self {
        Self(literal(0, u64::from(value)))
    }
    fn negation(self) -> Self {
        Self(make(Op::Negation, 0, [self.0, 0, 0]))
    }
    fn and(self, other: Self) -> Self {
        Self(make(Op::Both, 0, [self.0, other.0, 0]))
    }
}

/// The truth values whose conjunction this is; none if it is true.
pub(crate) fn conjuncts(prop: Prop) -> Vec<Prop> {
    let node = node(prop.0);
    match node.op {
        Op::Both => {
            let mut all = conjuncts(Prop(node.args[0]));
            all.extend(conjuncts(Prop(node.args[1])));
            all
        }
        Op::Const if node.value == 1 => Vec::new(),
        _ => vec![prop],
    }
}

/// One of two terms of the same width.
pub(crate) fn choose(condition: Prop, yes: u32, no: u32) -> u32 {
    make(Op::Ite, node(yes).width, [condition.0, yes, no])
}

impl<const N: u32> Term<N> {
    fn binary(op: Op, a: Self, b: Self) -> Self {
        Self(make(op, N, [a.0, b.0, 0]))
    }

    fn comparison(op: Op, a: Self, b: Self) -> Prop {
        Prop(make(op, 0, [a.0, b.0, 0]))
    }
}

impl<const N: u32> BitVec for Term<N> {
    const BITS: u32 = N;

    fn op<A: Copy + 'static, R: Copy + 'static>(
        name: &'static str,
        args: A,
        f: impl Fn(A) -> R,
    ) -> R {
        pure(&f);
        driver::op::<N, A, R>(name, args, &f)
    }

    fn constant(value: u64) -> Self {
        Self(literal(N, value))
    }
    fn add(self, other: Self) -> Self {
        Self::binary(Op::Add, self, other)
    }
    fn sub(self, other: Self) -> Self {
        Self::binary(Op::Sub, self, other)
    }
    fn mul(self, other: Self) -> Self {
        Self::binary(Op::Mul, self, other)
    }
    fn udiv(self, other: Self) -> Self {
        Self::binary(Op::Udiv, self, other)
    }
    fn urem(self, other: Self) -> Self {
        Self::binary(Op::Urem, self, other)
    }
    fn and(self, other: Self) -> Self {
        Self::binary(Op::And, self, other)
    }
    fn or(self, other: Self) -> Self {
        Self::binary(Op::Or, self, other)
    }
    fn xor(self, other: Self) -> Self {
        Self::binary(Op::Xor, self, other)
    }
    fn not(self) -> Self {
        Self(make(Op::Not, N, [self.0, 0, 0]))
    }
    fn shl(self, by: Self) -> Self {
        Self::binary(Op::Shl, self, by)
    }
    fn lshr(self, by: Self) -> Self {
        Self::binary(Op::Lshr, self, by)
    }
    fn ashr(self, by: Self) -> Self {
        Self::binary(Op::Ashr, self, by)
    }
    fn same(self, other: Self) -> bool {
        driver::decide(self.is(other))
    }
    fn ult(self, other: Self) -> bool {
        driver::decide(self.below(other))
    }
    fn slt(self, other: Self) -> bool {
        driver::decide(self.signed_below(other))
    }
}

impl<const N: u32> Spec for Term<N> {
    type Prop = Prop;

    fn is(self, other: Self) -> Prop {
        Self::comparison(Op::Eq, self, other)
    }
    fn below(self, other: Self) -> Prop {
        Self::comparison(Op::Ult, self, other)
    }
    fn signed_below(self, other: Self) -> Prop {
        Self::comparison(Op::Slt, self, other)
    }
    fn sdiv(self, other: Self) -> Self {
        Self::binary(Op::Sdiv, self, other)
    }
    fn srem(self, other: Self) -> Self {
        Self::binary(Op::Srem, self, other)
    }
    fn if_else(condition: Prop, yes: Self, no: Self) -> Self {
        Self(choose(condition, yes.0, no.0))
    }
}

macro_rules! halves {
    ($($whole:literal $half:literal),*) => {$(
        impl Word for Term<$whole> {
            type Half = Term<$half>;
            fn low(self) -> Term<$half> {
                Term(make(Op::Low, $half, [self.0, 0, 0]))
            }
            fn from_low(half: Term<$half>) -> Self {
                Term(make(Op::Extend, $whole, [half.0, 0, 0]))
            }
        }
    )*};
}
halves!(64 32, 32 16, 16 8, 8 4);

#[cfg(test)]
#[path = "term_tests.rs"]
mod tests;
