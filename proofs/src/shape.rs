//! What the domains' functions return, as lists of terms.

use std::any::{Any, TypeId};
use std::collections::HashMap;

use bpftime_verifier::domain::bits::Word;
use bpftime_verifier::domain::interval::Interval;
use bpftime_verifier::domain::scalar::Scalar;
use bpftime_verifier::domain::tnum::Tnum;

use crate::term::Term;

/// A result that is made of terms, or the absence of one.
pub(crate) trait Shape: Copy + 'static {
    /// Whether there may be no result.
    const OPTIONAL: bool = false;
    /// Widths of the terms.
    fn widths() -> Vec<u32>;
    /// The terms; `None` if there is no result.
    fn parts(self) -> Option<Vec<u32>>;
    /// The result from its terms.
    fn build(parts: Option<&[u32]>) -> Self;
}

fn concat<const K: usize>(parts: [Option<Vec<u32>>; K]) -> Option<Vec<u32>> {
    let parts: Option<Vec<Vec<u32>>> = parts.into_iter().collect();
    Some(parts?.concat())
}

impl<const N: u32> Shape for Term<N> {
    fn widths() -> Vec<u32> {
        vec![N]
    }
    fn parts(self) -> Option<Vec<u32>> {
        Some(vec![self.0])
    }
    fn build(parts: Option<&[u32]>) -> Self {
        Term(parts.expect("a result")[0])
    }
}

impl<A: Shape, B: Shape> Shape for (A, B) {
    fn widths() -> Vec<u32> {
        [A::widths(), B::widths()].concat()
    }
    fn parts(self) -> Option<Vec<u32>> {
        concat([self.0.parts(), self.1.parts()])
    }
    fn build(parts: Option<&[u32]>) -> Self {
        let (first, second) = parts.expect("a result").split_at(A::widths().len());
        (A::build(Some(first)), B::build(Some(second)))
    }
}

impl<const N: u32> Shape for Interval<Term<N>> {
    fn widths() -> Vec<u32> {
        vec![N, N]
    }
    fn parts(self) -> Option<Vec<u32>> {
        (self.lo, self.hi).parts()
    }
    fn build(parts: Option<&[u32]>) -> Self {
        let (lo, hi) = Shape::build(parts);
        Self { lo, hi }
    }
}

impl<const N: u32> Shape for Tnum<Term<N>> {
    fn widths() -> Vec<u32> {
        vec![N, N]
    }
    fn parts(self) -> Option<Vec<u32>> {
        (self.value, self.mask).parts()
    }
    fn build(parts: Option<&[u32]>) -> Self {
        let (value, mask) = Shape::build(parts);
        Self { value, mask }
    }
}

impl<const N: u32, const H: u32> Shape for Scalar<Term<N>>
where
    Term<N>: Word<Half = Term<H>>,
{
    fn widths() -> Vec<u32> {
        vec![N, N, N, N, H, H]
    }
    fn parts(self) -> Option<Vec<u32>> {
        concat([self.bits.parts(), self.wide.parts(), self.narrow.parts()])
    }
    fn build(parts: Option<&[u32]>) -> Self {
        let parts = parts.expect("a result");
        Self {
            bits: Shape::build(Some(&parts[..2])),
            wide: Shape::build(Some(&parts[2..4])),
            narrow: Shape::build(Some(&parts[4..])),
        }
    }
}

impl<S: Shape> Shape for Option<S> {
    const OPTIONAL: bool = true;
    fn widths() -> Vec<u32> {
        S::widths()
    }
    fn parts(self) -> Option<Vec<u32>> {
        self.and_then(S::parts)
    }
    fn build(parts: Option<&[u32]>) -> Self {
        parts.map(|parts| S::build(Some(parts)))
    }
}

/// A truth value is there (with nothing in it) if it holds.
impl Shape for bool {
    const OPTIONAL: bool = true;
    fn widths() -> Vec<u32> {
        Vec::new()
    }
    fn parts(self) -> Option<Vec<u32>> {
        self.then(Vec::new)
    }
    fn build(parts: Option<&[u32]>) -> Self {
        parts.is_some()
    }
}

/// How to treat a type that is known at run time only.
#[derive(Clone, Copy)]
pub(crate) struct Handler {
    of: TypeId,
    pub(crate) optional: bool,
    pub(crate) widths: fn() -> Vec<u32>,
    pub(crate) parts: fn(&dyn Any) -> Option<Vec<u32>>,
    pub(crate) build: fn(Option<&[u32]>) -> Box<dyn Any>,
}

fn handler<S: Shape>() -> Handler {
    Handler {
        of: TypeId::of::<S>(),
        optional: S::OPTIONAL,
        widths: S::widths,
        parts: |result| result.downcast_ref::<S>().expect("the type").parts(),
        build: |parts| Box::new(S::build(parts)),
    }
}

/// A type and its absence.
fn both<S: Shape>() -> [Handler; 2] {
    [handler::<S>(), handler::<Option<S>>()]
}

fn of_width<const N: u32>() -> Vec<Handler> {
    [
        both::<Term<N>>(),
        both::<(Term<N>, Term<N>)>(),
        both::<Interval<Term<N>>>(),
        both::<(Interval<Term<N>>, Interval<Term<N>>)>(),
        both::<Tnum<Term<N>>>(),
    ]
    .concat()
}

thread_local! {
    static HANDLERS: HashMap<TypeId, Handler> = {
        let mut all = vec![handler::<bool>()];
        all.extend(of_width::<64>());
        all.extend(of_width::<32>());
        all.extend(of_width::<16>());
        all.extend(of_width::<8>());
        all.extend(of_width::<4>());
        all.extend(both::<Scalar<Term<64>>>());
        all.extend(both::<Scalar<Term<32>>>());
        all.extend(both::<Scalar<Term<16>>>());
        all.extend(both::<Scalar<Term<8>>>());
        all.into_iter().map(|handler| (handler.of, handler)).collect()
    };
}

/// The handler of a type that functions over terms return, if it is one.
pub(crate) fn handler_of<T: 'static>() -> Option<Handler> {
    HANDLERS.with(|all| all.get(&TypeId::of::<T>()).copied())
}
