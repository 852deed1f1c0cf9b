//! Claims on terms: for all inputs.

use crate::driver;
use crate::machine::{Machine, SpecWord};
use crate::term::{Prop, Term};

/// A machine whose inputs are unknowns.
#[derive(Clone, Copy, Debug)]
pub struct Symbolic;

impl<const N: u32, const H: u32> Machine<Term<N>> for Symbolic
where
    Term<N>: SpecWord<Prop = Prop> + bpftime_verifier::domain::bits::Word<Half = Term<H>>,
{
    fn wide(&mut self) -> Term<N> {
        Term(driver::input(N))
    }
    fn half(&mut self) -> Term<H> {
        Term(driver::input(H))
    }
    fn assume(&mut self, condition: Prop) {
        driver::assume(condition);
    }
    fn show(&mut self, what: &'static str, condition: Prop) {
        driver::show(what, condition);
    }
    fn follow(&mut self, number: Term<N>) {
        driver::follow(N, number.0);
    }
    fn hide(&mut self, number: Term<N>) -> Term<N> {
        Term(driver::hide(N, number.0))
    }
    fn hide_half(&mut self, number: Term<H>) -> Term<H> {
        Term(driver::hide(H, number.0))
    }
    fn forget_arithmetic(&mut self) {
        driver::forget_arithmetic();
    }
    fn use_of(&mut self, name: &'static str) {
        driver::use_of(name, N);
    }
}
