//! What the domains' functions return, as lists of terms.

use std::any::{Any, TypeId};

use bpftime_verifier::domain::bits::Word;
use bpftime_verifier::domain::interval::Interval;
use bpftime_verifier::domain::scalar::Scalar;
use bpftime_verifier::domain::tnum::Tnum;

use crate::machine::{Spec, SpecWord, Truth};
use crate::spec;
use crate::term::{Prop, Term};

/// A result that is made of terms, or the absence of one.
pub(crate) trait Shape: Copy + 'static {
    /// The terms; `None` if there is no result.
    fn parts(self) -> Option<Vec<u32>>;
    /// The result from its terms.
    fn build(parts: Option<&[u32]>) -> Self;
    /// What may be worth remembering of a result.
    fn facts(self, followed: &Followed) -> Vec<Prop>;
}

/// Numbers that results may have to contain, with their widths.
pub(crate) type Followed = [(u32, u32)];

fn of_width<const N: u32>(followed: &Followed) -> impl Iterator<Item = Term<N>> {
    let fitting = followed.iter().filter(|(width, _)| *width == N);
    fitting.map(|(_, number)| Term(*number))
}

impl<const N: u32> Shape for Term<N> {
    fn parts(self) -> Option<Vec<u32>> {
        Some(vec![self.0])
    }
    fn build(parts: Option<&[u32]>) -> Self {
        Term(parts.expect("a result")[0])
    }
    fn facts(self, _: &Followed) -> Vec<Prop> {
        Vec::new()
    }
}

impl<const N: u32> Shape for (Term<N>, Term<N>) {
    fn parts(self) -> Option<Vec<u32>> {
        Some(vec![self.0.0, self.1.0])
    }
    fn build(parts: Option<&[u32]>) -> Self {
        let parts = parts.expect("a result");
        (Term(parts[0]), Term(parts[1]))
    }
    fn facts(self, followed: &Followed) -> Vec<Prop> {
        let (lo, hi) = self;
        let between = |x: Term<N>| {
            let unsigned = lo.at_most(x).and(x.at_most(hi));
            [unsigned, lo.signed_at_most(x).and(x.signed_at_most(hi))]
        };
        of_width(followed).flat_map(between).collect()
    }
}

impl<const N: u32> Shape for Interval<Term<N>> {
    fn parts(self) -> Option<Vec<u32>> {
        Some(vec![self.lo.0, self.hi.0])
    }
    fn build(parts: Option<&[u32]>) -> Self {
        let (lo, hi) = Shape::build(parts);
        Self { lo, hi }
    }
    fn facts(self, followed: &Followed) -> Vec<Prop> {
        of_width(followed)
            .map(|x| spec::in_interval(self, x))
            .collect()
    }
}

impl<const N: u32> Shape for Tnum<Term<N>> {
    fn parts(self) -> Option<Vec<u32>> {
        Some(vec![self.value.0, self.mask.0])
    }
    fn build(parts: Option<&[u32]>) -> Self {
        let (value, mask) = Shape::build(parts);
        Self { value, mask }
    }
    fn facts(self, followed: &Followed) -> Vec<Prop> {
        of_width(followed)
            .map(|x| spec::in_tnum(self, x).and(spec::well_formed(self)))
            .collect()
    }
}

impl<const N: u32, const H: u32> Shape for Scalar<Term<N>>
where
    Term<N>: Word<Half = Term<H>> + SpecWord<Prop = Prop>,
{
    fn parts(self) -> Option<Vec<u32>> {
        let mut parts = self.bits.parts()?;
        parts.extend(self.wide.parts()?);
        parts.extend(self.narrow.parts()?);
        Some(parts)
    }
    fn build(parts: Option<&[u32]>) -> Self {
        let parts = parts.expect("a result");
        Self {
            bits: Shape::build(Some(&parts[..2])),
            wide: Shape::build(Some(&parts[2..4])),
            narrow: Shape::build(Some(&parts[4..])),
        }
    }
    fn facts(self, followed: &Followed) -> Vec<Prop> {
        of_width(followed)
            .map(|x| spec::in_scalar(self, x).and(spec::well_formed(self.bits)))
            .collect()
    }
}

impl<S: Shape> Shape for Option<S> {
    fn parts(self) -> Option<Vec<u32>> {
        self.and_then(S::parts)
    }
    fn build(parts: Option<&[u32]>) -> Self {
        parts.map(|parts| S::build(Some(parts)))
    }
    fn facts(self, followed: &Followed) -> Vec<Prop> {
        self.map(|result| result.facts(followed))
            .unwrap_or_default()
    }
}

/// A truth value is there (with nothing in it) if it holds.
impl Shape for bool {
    fn parts(self) -> Option<Vec<u32>> {
        self.then(Vec::new)
    }
    fn build(parts: Option<&[u32]>) -> Self {
        parts.is_some()
    }
    fn facts(self, _: &Followed) -> Vec<Prop> {
        Vec::new()
    }
}

/// How to treat a type that is known at run time only.
#[derive(Clone, Copy)]
pub(crate) struct Handler {
    of: TypeId,
    pub(crate) parts: fn(&dyn Any) -> Option<Vec<u32>>,
    pub(crate) build: fn(Option<&[u32]>) -> Box<dyn Any>,
    pub(crate) facts: fn(&[u32], &Followed) -> Vec<Prop>,
}

fn handler<S: Shape>() -> Handler {
    Handler {
        of: TypeId::of::<S>(),
        parts: |result| result.downcast_ref::<S>().expect("the type").parts(),
        build: |parts| Box::new(S::build(parts)),
        facts: |parts, followed| S::build(Some(parts)).facts(followed),
    }
}

/// The handler of a type that functions over terms of that width return, if it is one.
pub(crate) fn handler_of<const N: u32, T: 'static>() -> Option<Handler> {
    let known = [
        handler::<bool>(),
        handler::<Term<N>>(),
        handler::<(Term<N>, Term<N>)>(),
        handler::<Interval<Term<N>>>(),
        handler::<Option<Interval<Term<N>>>>(),
        handler::<Tnum<Term<N>>>(),
        handler::<Option<Tnum<Term<N>>>>(),
        handler::<Scalar<Term<64>>>(),
        handler::<Option<Scalar<Term<64>>>>(),
        handler::<Scalar<Term<32>>>(),
        handler::<Option<Scalar<Term<32>>>>(),
        handler::<Scalar<Term<16>>>(),
        handler::<Option<Scalar<Term<16>>>>(),
        handler::<Scalar<Term<8>>>(),
        handler::<Option<Scalar<Term<8>>>>(),
    ];
    known
        .into_iter()
        .find(|known| known.of == TypeId::of::<T>())
}
