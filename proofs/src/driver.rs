//! Explores what code does on terms.
//!
//! A comparison of terms is a fork where both answers are possible. [`explore`] runs a function
//! again and again, each time another way, until all are seen. [`apart`], which the domains call
//! around functions without side effects, explores one such function on its own and goes on with
//! one result: the choice between its results, each under the conditions of its way.
//!
//! Where a claim follows numbers through a computation ([`follow`]), `apart` may go further and
//! *cut*: it proves that each of its results contains the followed numbers, and goes on with new
//! unknowns of which just that is known. What is then shown holds for all results that contain
//! them, so for the real one.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use crate::machine::Truth;
use crate::shape::{Handler, handler_of};
use crate::solve::{Answer, Oracle};
use crate::term::{self, Prop};

/// Milliseconds for the first try, as integers and as bit vectors.
const QUICK: (u32, u32) = (1_000, 4_000);

/// Ways through one function before giving up.
const MAX_WAYS: usize = 20_000;

/// What became of a claim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It holds for all inputs.
    Proved(Effort),
    /// It does not hold for these inputs.
    Refuted {
        /// Which part of it.
        what: &'static str,
        /// Inputs in the order in which the claim asks for them.
        inputs: Vec<u64>,
    },
    /// Neither was found within the limits.
    Unknown {
        /// Which part of it.
        what: &'static str,
    },
}

/// What a proof took.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Effort {
    /// Questions to z3.
    pub questions: u64,
    /// Ways through the claim.
    pub ways: u64,
}

/// One merged or cut result.
struct Merged {
    parts: Vec<u32>,
    /// Whether there is a result.
    present: Prop,
    /// What is known of the parts, if they are new unknowns.
    facts: Vec<Prop>,
}

enum Event {
    /// A fork, with the way taken; `open` while the other is still to be gone.
    Fork {
        taken: Prop,
        yes: bool,
        open: bool,
    },
    Apart(Rc<Merged>),
}

struct Frame {
    /// Length of the path where the function was entered.
    base: usize,
    events: Vec<Event>,
    /// Event that comes next; those before have been gone through.
    at: usize,
}

struct Driver {
    oracle: Oracle,
    path: Vec<Prop>,
    frames: Vec<Frame>,
    cuts: bool,
    patient: (u32, u32),
    followed: Vec<(u32, u32)>,
    inputs: Vec<u32>,
    /// Input that the claim will ask for next.
    next_input: usize,
    ways: u64,
}

impl Driver {
    /// Whether it holds on the path: by what is relevant to it, or else by all that is known;
    /// quickly, or else with more patience.
    fn always(&mut self, path: &[Prop], claimed: Prop) -> Answer {
        let some = relevant(path, &self.followed, claimed);
        let mut refuted = some.len() == path.len();
        for limits in [QUICK, self.patient] {
            if !refuted {
                match self.oracle.always(&some, claimed, &[], limits) {
                    Answer::Always => return Answer::Always,
                    Answer::Not(_) => refuted = true,
                    Answer::Unknown => {}
                }
            }
            match self.oracle.always(path, claimed, &self.inputs, limits) {
                Answer::Unknown => {}
                known => return known,
            }
        }
        Answer::Unknown
    }
}

/// The conditions that matter to a question: those that speak of what it speaks of, and of
/// nothing beyond what these mention, and the numbers that are followed. Fewer conditions make a
/// question harder to answer with yes, never wrong.
fn relevant(path: &[Prop], followed: &[(u32, u32)], question: Prop) -> Vec<Prop> {
    let mut known = HashSet::new();
    for (_, number) in followed {
        known.extend(term::mentioned(*number).iter().copied());
    }
    let own: HashSet<u32> = term::mentioned(question.0)
        .iter()
        .copied()
        .filter(|unknown| !known.contains(unknown))
        .collect();
    known.extend(&own);
    for prop in path {
        let mentioned = term::mentioned(prop.0);
        if mentioned.iter().any(|unknown| own.contains(unknown)) {
            known.extend(mentioned.iter().copied());
        }
    }
    let within = |prop: &&Prop| term::mentioned(prop.0).iter().all(|x| known.contains(x));
    path.iter().filter(within).copied().collect()
}

/// Ends a claim early.
struct Stop(Outcome);

thread_local! {
    static DRIVER: RefCell<Option<Driver>> = const { RefCell::new(None) };
}

fn with<R>(f: impl FnOnce(&mut Driver) -> R) -> R {
    DRIVER.with_borrow_mut(|driver| f(driver.as_mut().expect("terms live inside a proof")))
}

/// Proves or refutes a claim. With `cuts`, results of functions are forgotten but for what the
/// claim follows; a refutation may then be one of the forgetting, and is given as unknown.
pub(crate) fn prove(width: u32, limit: u32, cuts: bool, claim: &dyn Fn()) -> Outcome {
    term::reset();
    DRIVER.set(Some(Driver {
        oracle: Oracle::new(width > 16),
        path: Vec::new(),
        frames: Vec::new(),
        cuts,
        patient: (limit / 3, limit),
        followed: Vec::new(),
        inputs: Vec::new(),
        next_input: 0,
        ways: 0,
    }));
    let run = || {
        explore(|| {
            with(|driver| {
                driver.next_input = 0;
                driver.ways += 1;
            });
            claim();
        });
    };
    let result = catch_unwind(AssertUnwindSafe(run));
    let effort = with(|driver| Effort {
        questions: driver.oracle.asked,
        ways: driver.ways,
    });
    DRIVER.set(None);
    match result {
        Ok(()) => Outcome::Proved(effort),
        Err(thrown) => match thrown.downcast::<Stop>() {
            Ok(stop) => stop.0,
            Err(other) => resume_unwind(other),
        },
    }
}

fn stop(outcome: Outcome) -> ! {
    // Not a panic: nothing is printed.
    resume_unwind(Box::new(Stop(outcome)))
}

/// An input of the claim.
pub(crate) fn input(width: u32) -> u32 {
    with(|driver| {
        if driver.next_input == driver.inputs.len() {
            driver.inputs.push(term::unknown(width));
        }
        driver.next_input += 1;
        driver.inputs[driver.next_input - 1]
    })
}

pub(crate) fn assume(condition: Prop) {
    with(|driver| driver.path.push(condition));
}

pub(crate) fn follow(width: u32, number: u32) {
    with(|driver| {
        if !driver.followed.contains(&(width, number)) {
            driver.followed.push((width, number));
        }
    });
}

/// Ends the claim unless the condition always holds here.
pub(crate) fn show(what: &'static str, condition: Prop) {
    let answer = with(|driver| {
        let path = std::mem::take(&mut driver.path);
        let answer = driver.always(&path, condition);
        driver.path = path;
        answer
    });
    match answer {
        Answer::Always => {}
        Answer::Not(inputs) if !with(|driver| driver.cuts) => {
            stop(Outcome::Refuted { what, inputs })
        }
        Answer::Not(_) | Answer::Unknown => stop(Outcome::Unknown { what }),
    }
}

/// Which way to go at a comparison.
pub(crate) fn decide(condition: Prop) -> bool {
    if let Some(known) = condition.as_literal() {
        return known;
    }
    with(|driver| {
        if driver.path.contains(&condition) {
            return true;
        }
        if driver.path.contains(&condition.negation()) {
            return false;
        }
        let frame = driver.frames.last_mut().expect("a claim is explored");
        if frame.at == frame.events.len() {
            let path = relevant(&driver.path, &driver.followed, condition);
            let yes = driver.oracle.possible(&path, condition);
            let no = !yes || driver.oracle.possible(&path, condition.negation());
            frame.events.push(Event::Fork {
                taken: if yes { condition } else { condition.negation() },
                yes,
                open: yes && no,
            });
        }
        let Event::Fork { taken, yes, .. } = &frame.events[frame.at] else {
            unreachable!("the same events again");
        };
        frame.at += 1;
        driver.path.push(*taken);
        *yes
    })
}

/// All results of a function, each with the conditions of its way.
fn explore<R>(f: impl Fn() -> R) -> Vec<(Vec<Prop>, R)> {
    with(|driver| {
        driver.frames.push(Frame {
            base: driver.path.len(),
            events: Vec::new(),
            at: 0,
        });
    });
    let mut results = Vec::new();
    loop {
        let result = f();
        let more = with(|driver| {
            let frame = driver.frames.last_mut().expect("pushed above");
            results.push((driver.path.split_off(frame.base), result));
            frame.at = 0;
            next_way(&mut frame.events)
        });
        if results.len() > MAX_WAYS {
            stop(Outcome::Unknown {
                what: "too many ways",
            });
        }
        if !more {
            break;
        }
    }
    with(|driver| driver.frames.pop());
    results
}

/// Turns to the last fork whose other way is still to be gone.
fn next_way(events: &mut Vec<Event>) -> bool {
    while let Some(event) = events.last_mut() {
        if let Event::Fork { taken, yes, open } = event
            && *open
        {
            *open = false;
            *taken = taken.negation();
            *yes = !*yes;
            return true;
        }
        events.pop();
    }
    false
}

/// Runs a function without side effects on its own, if its result is made of terms.
pub(crate) fn apart<const N: u32, T: Copy + 'static>(f: &dyn Fn() -> T) -> T {
    let Some(handler) = handler_of::<N, T>() else {
        return f();
    };
    let done = with(|driver| {
        let frame = driver.frames.last().expect("a claim is explored");
        match frame.events.get(frame.at) {
            Some(Event::Apart(merged)) => Some(Rc::clone(merged)),
            Some(Event::Fork { .. }) => unreachable!("the same events again"),
            None => None,
        }
    });
    let merged = done.unwrap_or_else(|| {
        let results = explore(|| (handler.parts)(&f() as &dyn Any));
        let merged = Rc::new(merge(handler, results));
        with(|driver| {
            let frame = driver.frames.last_mut().expect("a claim is explored");
            frame.events.push(Event::Apart(Rc::clone(&merged)));
        });
        merged
    });
    with(|driver| driver.frames.last_mut().expect("a claim is explored").at += 1);
    let parts = decide(merged.present).then_some(merged.parts.as_slice());
    if parts.is_some() {
        with(|driver| driver.path.extend(&merged.facts));
    }
    *(handler.build)(parts)
        .downcast::<T>()
        .expect("the handler of the type")
}

type Results = Vec<(Vec<Prop>, Option<Vec<u32>>)>;

fn merge(handler: Handler, results: Results) -> Merged {
    let conjunction = |way: &[Prop]| {
        way.iter()
            .fold(Prop::literal(true), |all, one| all.and(*one))
    };
    let mut present = Prop::literal(false);
    let mut found: Vec<(Prop, Vec<Prop>, Vec<u32>)> = Vec::new();
    let all = results.iter().all(|(_, parts)| parts.is_some());
    for (way, parts) in results {
        if let Some(parts) = parts {
            let condition = conjunction(&way);
            present = present.or(condition);
            found.push((condition, way, parts));
        }
    }
    if all {
        present = Prop::literal(true);
    }
    if let Some(cut) = cut(handler, &found) {
        return Merged { present, ..cut };
    }
    let mut chosen: Option<Vec<u32>> = None;
    for (condition, _, parts) in found.into_iter().rev() {
        chosen = Some(match chosen {
            None => parts,
            Some(others) => parts
                .iter()
                .zip(&others)
                .map(|(part, other)| term::choose(condition, *part, *other))
                .collect(),
        });
    }
    Merged {
        parts: chosen.unwrap_or_default(),
        present,
        facts: Vec::new(),
    }
}

/// New unknowns in the place of results, if something is known of them all.
fn cut(handler: Handler, found: &[(Prop, Vec<Prop>, Vec<u32>)]) -> Option<Merged> {
    let (_, _, first) = found.first()?;
    let fresh: Vec<u32> = first
        .iter()
        .map(|part| term::unknown(term::node(*part).width))
        .collect();
    let (cuts, followed) = with(|driver| (driver.cuts, driver.followed.clone()));
    if !cuts {
        return None;
    }
    let wanted = (handler.facts)(&fresh, &followed);
    let mut holds = vec![true; wanted.len()];
    for (_, way, parts) in found {
        for (holds, fact) in holds.iter_mut().zip((handler.facts)(parts, &followed)) {
            *holds = *holds
                && with(|driver| {
                    let mut path = driver.path.clone();
                    path.extend(way);
                    driver.always(&path, fact) == Answer::Always
                });
        }
    }
    let facts: Vec<Prop> = wanted
        .into_iter()
        .zip(holds)
        .filter_map(|(fact, holds)| holds.then_some(fact))
        .collect();
    (!facts.is_empty()).then_some(Merged {
        parts: fresh,
        present: Prop::literal(true),
        facts,
    })
}
