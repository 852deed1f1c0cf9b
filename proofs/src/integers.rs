//! Terms as integers modulo a power of two.
//!
//! To z3 a sum of bit vectors is a circuit, and that two comparisons imply a third has to be found
//! out bit by bit. As integers from 0 to `2^width - 1` the same questions are a few inequalities.
//! Only arithmetic and comparisons are written so; with other operations there is no answer here.

use std::collections::HashMap;

use z3::ast::{Bool, Int};

use crate::solve::is_hard;
use crate::term::{Op, Prop, node};

#[derive(Clone)]
enum Ast {
    Number(Int),
    Truth(Bool),
}

/// Terms as z3's integers, and what is known of those that stand for an operation.
pub(crate) struct Integers {
    /// `None` for what is not arithmetic.
    asts: HashMap<u32, Option<Ast>>,
    known: Vec<Bool>,
    /// Whether products, quotients and remainders are taken for unknowns.
    forgetful: bool,
    /// Products of natural numbers.
    products: Vec<[Int; 3]>,
}

fn power(exponent: u32) -> Int {
    use std::str::FromStr;
    Int::from_str(&(1u128 << exponent).to_string()).expect("a number")
}

impl Integers {
    pub(crate) fn new(forgetful: bool) -> Self {
        Self {
            asts: HashMap::new(),
            known: Vec::new(),
            forgetful,
            products: Vec::new(),
        }
    }

    /// A truth value; `None` if it depends on what is not arithmetic.
    pub(crate) fn truth(&mut self, prop: Prop) -> Option<Bool> {
        match self.ast(prop.0)? {
            Ast::Truth(ast) => Some(ast),
            Ast::Number(_) => None,
        }
    }

    /// What has to be assumed beside the translated truth values.
    pub(crate) fn known(&self) -> &[Bool] {
        &self.known
    }

    fn number(&mut self, number: u32) -> Option<Int> {
        match self.ast(number)? {
            Ast::Number(ast) => Some(ast),
            Ast::Truth(_) => None,
        }
    }

    fn ast(&mut self, number: u32) -> Option<Ast> {
        if let Some(known) = self.asts.get(&number) {
            return known.clone();
        }
        let made = self.make(number);
        self.asts.insert(number, made.clone());
        made
    }

    fn make(&mut self, number: u32) -> Option<Ast> {
        let term = node(number);
        let [a, b, c] = term.args;
        if term.width == 0 {
            return Some(Ast::Truth(match term.op {
                Op::Const => Bool::from_bool(term.value == 1),
                Op::Var => Bool::new_const(format!("p{}", term.value)),
                Op::Eq => self.number(a)?.eq(self.number(b)?),
                Op::Ult => self.number(a)?.lt(self.number(b)?),
                Op::Slt => self.signed(a)?.lt(self.signed(b)?),
                Op::Negation => self.truth(Prop(a))?.not(),
                Op::Both => Bool::and(&[self.truth(Prop(a))?, self.truth(Prop(b))?]),
                _ => return None,
            }));
        }
        let modulus = power(term.width);
        if self.forgetful && is_hard(&term) {
            return Some(Ast::Number(self.unknown(&format!("f{number}"), &modulus)));
        }
        Some(Ast::Number(match term.op {
            Op::Const => Int::from_u64(term.value),
            Op::Var => self.unknown(&format!("i{}", term.value), &modulus),
            Op::Add => {
                let sum = self.number(a)? + self.number(b)?;
                sum.ge(&modulus).ite(&(&sum - &modulus), &sum)
            }
            Op::Sub => {
                let difference = self.number(a)? - self.number(b)?;
                difference.lt(0).ite(&(&difference + &modulus), &difference)
            }
            Op::Not => &modulus - 1 - self.number(a)?,
            Op::Mul => {
                let (x, y) = (self.number(a)?, self.number(b)?);
                let rest = self.unknown(&format!("m{number}"), &modulus);
                let product = self.product(&x, &y, &format!("{number}"));
                let turns = Int::new_const(format!("t{number}"));
                self.known.push(turns.ge(0));
                self.known.push(product.eq(&rest + turns * &modulus));
                // Read as signed, the product is the same but for turns.
                let (x, y) = (self.signed(a)?, self.signed(b)?);
                let size = self.product(&magnitude(&x), &magnitude(&y), &format!("s{number}"));
                let product = x.lt(0).xor(y.lt(0)).ite(&(-&size), &size);
                let turns = Int::new_const(format!("u{number}"));
                self.known.push(product.eq(&rest + turns * &modulus));
                let half = power(term.width / 2 - 1);
                let small = Bool::and(&[magnitude(&x).le(&half), magnitude(&y).le(&half)]);
                let most = power(term.width - 2);
                self.known.push(small.implies(size.le(&most)));
                rest
            }
            Op::Udiv => {
                let (x, y) = (self.number(a)?, self.number(b)?);
                let (quotient, _) = self.divided(&x, &y, number);
                y.eq(0).ite(&(&modulus - 1), &quotient)
            }
            Op::Urem => {
                let (x, y) = (self.number(a)?, self.number(b)?);
                let (_, rest) = self.divided(&x, &y, number);
                y.eq(0).ite(&x, &rest)
            }
            Op::Sdiv => {
                let (x, y) = (self.signed(a)?, self.signed(b)?);
                let (quotient, _) = self.divided(&magnitude(&x), &magnitude(&y), number);
                let opposite = x.lt(0).xor(y.lt(0));
                let signed = opposite.ite(&(-&quotient), &quotient);
                let wrapped = signed.lt(0).ite(&(&signed + &modulus), &signed);
                y.eq(0).ite(&Int::from_u64(0), &wrapped)
            }
            Op::Srem => {
                let (x, y) = (self.signed(a)?, self.signed(b)?);
                let (_, rest) = self.divided(&magnitude(&x), &magnitude(&y), number);
                let signed = x.lt(0).ite(&(-&rest), &rest);
                let signed = y.eq(0).ite(&x, &signed);
                signed.lt(0).ite(&(&signed + &modulus), &signed)
            }
            Op::Ite => {
                let condition = self.truth(Prop(a))?;
                condition.ite(&self.number(b)?, &self.number(c)?)
            }
            Op::Extend => self.number(a)?,
            Op::Low => {
                let whole = self.number(a)?;
                let rest = self.unknown(&format!("l{number}"), &modulus);
                let turns = self.unknown(&format!("h{number}"), &power(node(a).width - term.width));
                self.known.push(whole.eq(&rest + turns * &modulus));
                rest
            }
            _ => return None,
        }))
    }

    /// The number read as signed.
    fn signed(&mut self, number: u32) -> Option<Int> {
        let width = node(number).width;
        let x = self.number(number)?;
        Some(x.ge(power(width - 1)).ite(&(&x - power(width)), &x))
    }

    fn unknown(&mut self, name: &str, below: &Int) -> Int {
        let made = Int::new_const(name);
        self.known.push(made.ge(0));
        self.known.push(made.lt(below));
        made
    }

    /// The product of natural numbers, as an unknown that grows with each of them: what else there
    /// is to know is not said, for z3 to have inequalities only.
    fn product(&mut self, x: &Int, y: &Int, name: &str) -> Int {
        let product = Int::new_const(format!("p{name}"));
        let says = [
            product.ge(0),
            x.eq(0).implies(product.eq(0)),
            y.eq(0).implies(product.eq(0)),
            x.eq(1).implies(product.eq(y)),
            y.eq(1).implies(product.eq(x)),
        ];
        self.known.extend(says);
        let natural = Bool::and(&[x.ge(0), y.ge(0)]);
        for [a, b, other] in &self.products {
            let mut grows = |[a, b, less]: [&Int; 3], [x, y, more]: [&Int; 3]| {
                let natural = Bool::and(&[a.ge(0), b.ge(0), natural.clone()]);
                let below = Bool::and(&[natural.clone(), a.le(x), b.le(y)]);
                self.known.push(below.implies(less.le(more)));
                let next = Bool::and(&[natural.clone(), a.lt(x), b.le(y)]);
                self.known.push(next.implies((less + b).le(more)));
                let next = Bool::and(&[natural, a.le(x), b.lt(y)]);
                self.known.push(next.implies((less + a).le(more)));
            };
            for [a, b] in [[a, b], [b, a]] {
                grows([a, b, other], [x, y, &product]);
                grows([x, y, &product], [a, b, other]);
            }
        }
        self.products.push([x.clone(), y.clone(), product.clone()]);
        product
    }

    /// Quotient and remainder of natural numbers, if the divisor is not zero.
    fn divided(&mut self, x: &Int, y: &Int, number: u32) -> (Int, Int) {
        let quotient = Int::new_const(format!("q{number}"));
        let rest = Int::new_const(format!("r{number}"));
        let product = self.product(&quotient, y, &format!("d{number}"));
        let is = Bool::and(&[
            quotient.ge(0),
            quotient.le(x),
            rest.ge(0),
            rest.lt(y),
            x.eq(&product + &rest),
        ]);
        self.known.push(y.gt(0).implies(&is));
        (quotient, rest)
    }
}

fn magnitude(x: &Int) -> Int {
    x.lt(0).ite(&(-x), x)
}
