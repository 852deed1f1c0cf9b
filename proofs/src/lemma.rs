//! What is proved of functions of the domains, in a form in which other proofs go by it.
//!
//! A [`Lemma`] says: for all arguments and all numbers of which the *premises* hold, the
//! *conclusions* hold of the result. It is proved by running the function on unknowns
//! ([`Lemma::prove`]). In a modular proof a call of the function is not run: its result is a new
//! unknown, and for the numbers of which the premises are known to hold there, so are the
//! conclusions ([`Clause`]).

use std::any::Any;
use std::collections::HashMap;
use std::rc::Rc;

use crate::lemmas;
use crate::machine::{Machine, Spec, SpecWord};
use crate::term::{Prop, Term};

type Given<W, A, const K: usize> = Box<dyn Fn(&mut dyn Machine<W>) -> (A, [W; K])>;

type Premises<W, A, const K: usize> = Box<dyn Fn(A, [W; K]) -> Vec<<W as Spec>::Prop>>;
type Hints<W, A, const K: usize> = Box<dyn Fn(&mut dyn Machine<W>, A, [W; K])>;
type Conclusions<W, A, R, const K: usize> = Box<dyn Fn(A, [W; K], R) -> Vec<<W as Spec>::Prop>>;
type Only<W, A, R, const K: usize> = Box<dyn Fn(A, [W; K]) -> R>;

/// A lemma of a function with arguments `A` and result `R`, on `K` numbers.
pub(crate) struct About<W: SpecWord, A, R, const K: usize> {
    /// Any arguments and numbers of which the premises hold.
    pub(crate) given: Given<W, A, K>,
    pub(crate) run: Box<dyn Fn(A) -> R>,
    /// What has to hold of one of the numbers.
    pub(crate) each: Box<dyn Fn(A, usize, W) -> Vec<W::Prop>>,
    /// What has to hold beside that.
    pub(crate) joint: Premises<W, A, K>,
    /// What to show and use in the proof, before the function is run.
    pub(crate) hints: Option<Hints<W, A, K>>,
    pub(crate) conclusions: Conclusions<W, A, R, K>,
    /// Numbers that the conclusions speak of.
    pub(crate) made: Box<dyn Fn(A, [W; K]) -> Vec<W>>,
    /// The only result of which the conclusions hold, should there be one.
    pub(crate) only: Option<Only<W, A, R, K>>,
}

/// A lemma whose types are known at run time only.
pub(crate) trait Clause<W: SpecWord> {
    /// Proves it.
    fn prove(&self, what: &'static str, machine: &mut dyn Machine<W>);
    /// How many numbers it speaks of.
    fn count(&self) -> usize;
    /// What has to hold of arguments and one number.
    fn each(&self, args: &dyn Any, at: usize, number: W) -> Vec<W::Prop>;
    /// What has to hold of arguments and numbers beside that.
    fn joint(&self, args: &dyn Any, numbers: &[W]) -> Vec<W::Prop>;
    /// What then holds of the result.
    fn conclusions(&self, args: &dyn Any, numbers: &[W], result: &dyn Any) -> Vec<W::Prop>;
    /// Numbers that this speaks of.
    fn made(&self, args: &dyn Any, numbers: &[W]) -> Vec<W>;
    /// The only result of which it holds, should there be one.
    fn only(&self, args: &dyn Any, numbers: &[W]) -> Option<Box<dyn Any>>;
}

fn of<W: SpecWord, const K: usize>(numbers: &[W]) -> [W; K] {
    numbers
        .try_into()
        .expect("as many numbers as were asked for")
}

impl<W: SpecWord, A: Copy + 'static, R: Copy + 'static, const K: usize> Clause<W>
    for About<W, A, R, K>
{
    fn prove(&self, what: &'static str, machine: &mut dyn Machine<W>) {
        let (args, numbers) = (self.given)(machine);
        for (at, number) in numbers.into_iter().enumerate() {
            for premise in (self.each)(args, at, number) {
                machine.assume(premise);
            }
            machine.follow(number);
        }
        for premise in (self.joint)(args, numbers) {
            machine.assume(premise);
        }
        if let Some(hints) = &self.hints {
            hints(machine, args, numbers);
        }
        let result = (self.run)(args);
        for conclusion in (self.conclusions)(args, numbers, result) {
            machine.show(what, conclusion);
        }
    }
    fn count(&self) -> usize {
        K
    }
    fn each(&self, args: &dyn Any, at: usize, number: W) -> Vec<W::Prop> {
        (self.each)(*args.downcast_ref().expect("its arguments"), at, number)
    }
    fn joint(&self, args: &dyn Any, numbers: &[W]) -> Vec<W::Prop> {
        (self.joint)(*args.downcast_ref().expect("its arguments"), of(numbers))
    }
    fn conclusions(&self, args: &dyn Any, numbers: &[W], result: &dyn Any) -> Vec<W::Prop> {
        let args = *args.downcast_ref().expect("its arguments");
        let result = *result.downcast_ref().expect("its result");
        (self.conclusions)(args, of(numbers), result)
    }
    fn made(&self, args: &dyn Any, numbers: &[W]) -> Vec<W> {
        (self.made)(*args.downcast_ref().expect("its arguments"), of(numbers))
    }
    fn only(&self, args: &dyn Any, numbers: &[W]) -> Option<Box<dyn Any>> {
        let only = self.only.as_ref()?;
        let args = *args.downcast_ref().expect("its arguments");
        Some(Box::new(only(args, of(numbers))))
    }
}

/// Something proved of a function of the domains.
#[derive(Clone)]
pub(crate) struct Lemma<W: SpecWord> {
    /// The function's name, as given to `BitVec::op`.
    pub(crate) function: &'static str,
    /// Which lemma of that function; empty if there is one only.
    pub(crate) part: &'static str,
    /// Widths at which it is proved.
    pub(crate) widths: &'static [u32],
    /// Whether its proof goes by what is proved of the functions that are called.
    pub(crate) modular: bool,
    pub(crate) clause: Rc<dyn Clause<W>>,
}

impl<W: SpecWord> Lemma<W> {
    /// Proves it on a machine.
    pub(crate) fn prove(&self, machine: &mut dyn Machine<W>) {
        self.clause.prove("contains", machine);
    }

    pub(crate) fn part(self, part: &'static str) -> Self {
        Self { part, ..self }
    }

    pub(crate) fn at(self, widths: &'static [u32]) -> Self {
        Self { widths, ..self }
    }

    pub(crate) fn modular(self) -> Self {
        Self {
            modular: true,
            ..self
        }
    }
}

impl<W: SpecWord, A: Copy + 'static, R: Copy + 'static, const K: usize> About<W, A, R, K> {
    /// Without hints, and without numbers made.
    pub(crate) fn new(
        given: impl Fn(&mut dyn Machine<W>) -> (A, [W; K]) + 'static,
        run: impl Fn(A) -> R + 'static,
        each: impl Fn(A, usize, W) -> Vec<W::Prop> + 'static,
        conclusions: impl Fn(A, [W; K], R) -> Vec<W::Prop> + 'static,
    ) -> Self {
        Self {
            given: Box::new(given),
            run: Box::new(run),
            each: Box::new(each),
            joint: Box::new(|_, _| Vec::new()),
            hints: None,
            conclusions: Box::new(conclusions),
            made: Box::new(|_, _| Vec::new()),
            only: None,
        }
    }

    pub(crate) fn joint(self, joint: impl Fn(A, [W; K]) -> Vec<W::Prop> + 'static) -> Self {
        Self {
            joint: Box::new(joint),
            ..self
        }
    }

    pub(crate) fn hints(self, hints: impl Fn(&mut dyn Machine<W>, A, [W; K]) + 'static) -> Self {
        Self {
            hints: Some(Box::new(hints)),
            ..self
        }
    }

    pub(crate) fn made(self, made: impl Fn(A, [W; K]) -> Vec<W> + 'static) -> Self {
        Self {
            made: Box::new(made),
            ..self
        }
    }

    pub(crate) fn only(self, only: impl Fn(A, [W; K]) -> R + 'static) -> Self {
        Self {
            only: Some(Box::new(only)),
            ..self
        }
    }

    /// As a lemma of the function of that name, at the width that runs.
    pub(crate) fn of(self, function: &'static str) -> Lemma<W> {
        Lemma {
            function,
            part: "",
            widths: &[64],
            modular: false,
            clause: Rc::new(self),
        }
    }
}

/// A lemma as the driver uses it.
pub(crate) trait Contract {
    /// How many numbers it speaks of.
    fn count(&self) -> usize;
    /// What has to hold of one number.
    fn each(&self, args: &dyn Any, at: usize, number: u32) -> Vec<Prop>;
    /// What has to hold beside that.
    fn joint(&self, args: &dyn Any, numbers: &[u32]) -> Vec<Prop>;
    /// What then holds.
    fn conclusions(&self, args: &dyn Any, numbers: &[u32], result: &dyn Any) -> Vec<Prop>;
    /// Numbers that this speaks of.
    fn made(&self, args: &dyn Any, numbers: &[u32]) -> Vec<u32>;
    /// The only result.
    fn only(&self, args: &dyn Any, numbers: &[u32]) -> Option<Box<dyn Any>>;
}

struct OfTerms<const N: u32>(Rc<dyn Clause<Term<N>>>)
where
    Term<N>: SpecWord;

fn terms<const N: u32>(numbers: &[u32]) -> Vec<Term<N>> {
    numbers.iter().map(|number| Term(*number)).collect()
}

impl<const N: u32> Contract for OfTerms<N>
where
    Term<N>: SpecWord<Prop = Prop>,
{
    fn count(&self) -> usize {
        self.0.count()
    }
    fn each(&self, args: &dyn Any, at: usize, number: u32) -> Vec<Prop> {
        self.0.each(args, at, Term(number))
    }
    fn joint(&self, args: &dyn Any, numbers: &[u32]) -> Vec<Prop> {
        self.0.joint(args, &terms(numbers))
    }
    fn conclusions(&self, args: &dyn Any, numbers: &[u32], result: &dyn Any) -> Vec<Prop> {
        self.0.conclusions(args, &terms(numbers), result)
    }
    fn made(&self, args: &dyn Any, numbers: &[u32]) -> Vec<u32> {
        let made = self.0.made(args, &terms(numbers));
        made.into_iter().map(|number| number.0).collect()
    }
    fn only(&self, args: &dyn Any, numbers: &[u32]) -> Option<Box<dyn Any>> {
        self.0.only(args, &terms(numbers))
    }
}

type Contracts = HashMap<&'static str, Rc<[Rc<dyn Contract>]>>;

fn at<const N: u32>() -> Contracts
where
    Term<N>: SpecWord<Prop = Prop>,
{
    let mut all: HashMap<&'static str, Vec<Rc<dyn Contract>>> = HashMap::new();
    for lemma in lemmas::all::<Term<N>>() {
        let contract = Rc::new(OfTerms(lemma.clause));
        all.entry(lemma.function).or_default().push(contract);
    }
    all.into_iter()
        .map(|(name, contracts)| (name, contracts.into()))
        .collect()
}

thread_local! {
    static CONTRACTS: HashMap<u32, Contracts> =
        HashMap::from([(64, at::<64>()), (32, at::<32>()), (16, at::<16>()), (8, at::<8>())]);
}

/// What is proved of the function at that width, or has to be.
pub(crate) fn contracts(function: &'static str, width: u32) -> Option<Rc<[Rc<dyn Contract>]>> {
    CONTRACTS.with(|all| all.get(&width)?.get(function).cloned())
}
