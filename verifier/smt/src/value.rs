//! What a register or a place of the stack holds, as terms.

use bpftime_verifier::domain::value::Kind;
use z3::ast::{Ast, BV, Bool};

/// One of the things that a value may be.
#[derive(Clone, Debug)]
pub(crate) enum Atom {
    /// A number of 64 bits.
    Number(BV),
    /// A pointer that is not null, with its offset.
    Pointer(Kind, BV),
    /// Anything, a number or a pointer of any kind.
    Opaque,
}

/// A value: alternatives, exactly one of which holds in a run.
#[derive(Clone, Debug)]
pub(crate) struct Value(pub(crate) Vec<(Bool, Atom)>);

/// A number as a term.
pub(crate) fn constant(number: u64) -> BV {
    BV::from_u64(number, 64)
}

/// The truth.
pub(crate) fn yes() -> Bool {
    Bool::from_bool(true)
}

impl Value {
    fn one(atom: Atom) -> Self {
        Self(vec![(yes(), atom)])
    }

    pub(crate) fn number(number: BV) -> Self {
        Self::one(Atom::Number(number))
    }

    pub(crate) fn constant(number: u64) -> Self {
        Self::number(constant(number))
    }

    pub(crate) fn pointer(kind: Kind, offset: BV) -> Self {
        Self::one(Atom::Pointer(kind, offset))
    }

    pub(crate) fn opaque() -> Self {
        Self::one(Atom::Opaque)
    }

    /// Null if the condition holds, else the value.
    pub(crate) fn or_null(self, null: &Bool) -> Self {
        choose(null, &Self::constant(0), &self)
    }

    /// The only alternative.
    pub(crate) fn only(&self) -> Option<&Atom> {
        match self.0.as_slice() {
            [(_, atom)] => Some(atom),
            _ => None,
        }
    }

    /// The number, if it is one for certain.
    pub(crate) fn as_number(&self) -> Option<&BV> {
        match self.only() {
            Some(Atom::Number(number)) => Some(number),
            _ => None,
        }
    }

    /// Whether every alternative is a number; then there is one.
    pub(crate) fn is_number(&self) -> bool {
        self.as_number().is_some()
    }

    /// Replaces alternatives.
    pub(crate) fn map(&self, change: impl FnMut(&Atom) -> Value) -> Self {
        let changed = self.0.iter().map(|(_, atom)| atom).map(change);
        let parts: Vec<(Bool, Value)> = self
            .0
            .iter()
            .map(|(guard, _)| guard.clone())
            .zip(changed)
            .collect();
        gather(&parts)
    }
}

/// The value that goes with the condition that holds; one does.
pub(crate) fn gather(parts: &[(Bool, Value)]) -> Value {
    let Some(((_, last), rest)) = parts.split_last() else {
        return Value::opaque();
    };
    let mut result = last.clone();
    for (guard, value) in rest.iter().rev() {
        result = choose(guard, value, &result);
    }
    result
}

fn same_sort(a: &Atom, b: &Atom) -> bool {
    match (a, b) {
        (Atom::Number(_), Atom::Number(_)) | (Atom::Opaque, Atom::Opaque) => true,
        (Atom::Pointer(a, _), Atom::Pointer(b, _)) => a == b,
        _ => false,
    }
}

fn same_atom(a: &Atom, b: &Atom) -> bool {
    match (a, b) {
        (Atom::Number(a), Atom::Number(b)) => a.ast_eq(b),
        (Atom::Pointer(k, a), Atom::Pointer(l, b)) => k == l && a.ast_eq(b),
        (Atom::Opaque, Atom::Opaque) => true,
        _ => false,
    }
}

fn same(a: &Value, b: &Value) -> bool {
    a.0.len() == b.0.len()
        && a.0
            .iter()
            .zip(&b.0)
            .all(|((g, x), (h, y))| g.ast_eq(h) && same_atom(x, y))
}

/// `a` if the condition holds, else `b`.
pub(crate) fn choose(condition: &Bool, a: &Value, b: &Value) -> Value {
    if same(a, b) || condition.as_bool() == Some(true) {
        return a.clone();
    }
    if condition.as_bool() == Some(false) {
        return b.clone();
    }
    let not = condition.not();
    let mut result: Vec<(Bool, Atom)> = Vec::new();
    for (guard, atom) in &a.0 {
        let here = both(condition, guard);
        let other = b.0.iter().find(|(_, other)| same_sort(atom, other));
        let Some((there, other)) = other else {
            result.push((here, atom.clone()));
            continue;
        };
        let guard = either(&here, &both(&not, there));
        let joined = match (atom, other) {
            (Atom::Number(x), Atom::Number(y)) => Atom::Number(pick(condition, x, y)),
            (Atom::Pointer(kind, x), Atom::Pointer(_, y)) => {
                Atom::Pointer(*kind, pick(condition, x, y))
            }
            _ => Atom::Opaque,
        };
        result.push((guard, joined));
    }
    for (guard, atom) in &b.0 {
        if !a.0.iter().any(|(_, other)| same_sort(atom, other)) {
            result.push((both(&not, guard), atom.clone()));
        }
    }
    if let [(guard, _)] = result.as_mut_slice() {
        // The only one there is holds.
        *guard = yes();
    }
    Value(result)
}

fn pick(condition: &Bool, x: &BV, y: &BV) -> BV {
    if x.ast_eq(y) {
        return x.clone();
    }
    condition.ite(x, y)
}

/// Conjunction, without the obvious.
pub(crate) fn both(a: &Bool, b: &Bool) -> Bool {
    match (a.as_bool(), b.as_bool()) {
        (Some(true), _) => b.clone(),
        (_, Some(true)) => a.clone(),
        (Some(false), _) | (_, Some(false)) => Bool::from_bool(false),
        _ => Bool::and(&[a, b]),
    }
}

/// Disjunction, without the obvious.
pub(crate) fn either(a: &Bool, b: &Bool) -> Bool {
    match (a.as_bool(), b.as_bool()) {
        (Some(false), _) => b.clone(),
        (_, Some(false)) => a.clone(),
        (Some(true), _) | (_, Some(true)) => yes(),
        _ => Bool::or(&[a, b]),
    }
}

/// Sum, computed where both are known.
pub(crate) fn sum(a: &BV, b: &BV) -> BV {
    match (a.as_u64(), b.as_u64()) {
        (Some(x), Some(y)) => constant(x.wrapping_add(y)),
        (_, Some(0)) => a.clone(),
        (Some(0), _) => b.clone(),
        _ => a.bvadd(b),
    }
}

/// The term with its constants computed.
pub(crate) fn folded(term: BV) -> BV {
    if term.as_u64().is_some() {
        return term;
    }
    let simple = term.simplify();
    if simple.as_u64().is_some() {
        simple
    } else {
        term
    }
}
