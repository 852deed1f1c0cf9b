//! Explores what code does on terms.
//!
//! A comparison of terms is a fork where both answers are possible. [`explore`] runs a function
//! again and again, each time another way, until all are seen. The functions of the domains come
//! here by name ([`op`]). In a *plain* proof such a function is explored on its own, and the
//! result is the choice between its results, each under the conditions of its way.
//!
//! A *modular* proof goes by what is proved of the functions ([`crate::lemma`]): a call's result
//! is a new unknown, of which just that is known. What is then shown holds for all results of
//! which it is known, so for the real one. The function that the proof is about is run, and so
//! are those of which nothing is claimed.

use std::any::Any;
use std::cell::RefCell;
use std::collections::{BTreeSet, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;

use crate::lemma::contracts;
use crate::machine::Truth;
use crate::modular::by_lemmas;
use crate::shape::handler_of;
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
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Effort {
    /// Questions to z3.
    pub questions: u64,
    /// Ways through the claim.
    pub ways: u64,
    /// What it goes by: functions of which something is claimed, with widths.
    pub used: Vec<(&'static str, u32)>,
}

/// What a function gives.
pub(crate) struct Given {
    pub(crate) parts: Vec<u32>,
    /// Whether there is a result.
    pub(crate) present: Prop,
    /// What is known if there is one, and if there is none.
    pub(crate) facts: [Vec<Prop>; 2],
    /// Numbers to be followed from there on.
    pub(crate) made: Vec<(u32, u32)>,
}

enum Event {
    /// A fork, with the way taken; `open` while the other is still to be gone.
    Fork {
        taken: Prop,
        yes: bool,
        open: bool,
    },
    Call(Rc<Given>),
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
    modular: bool,
    /// The function that the proof is about.
    about: &'static str,
    /// Functions and widths that the proof goes by.
    used: BTreeSet<(&'static str, u32)>,
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
        if path.contains(&claimed) {
            return Answer::Always;
        }
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

/// How to prove something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Whether to go by what is proved of functions that are called; a refutation may then be one
    /// of not knowing enough, and is given as unknown.
    pub(crate) modular: bool,
    /// The function that it is about, if it is about one.
    pub(crate) about: &'static str,
    /// Limit for a question, in about milliseconds.
    pub(crate) limit: u32,
}

/// Proves or refutes a claim.
pub(crate) fn prove(width: u32, manner: Manner, claim: &dyn Fn()) -> Outcome {
    term::reset();
    DRIVER.set(Some(Driver {
        oracle: Oracle::new(width > 16),
        path: Vec::new(),
        frames: Vec::new(),
        modular: manner.modular,
        about: manner.about,
        used: BTreeSet::new(),
        patient: (manner.limit / 3, manner.limit),
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
                driver.followed.clear();
                driver.oracle.remember_arithmetic();
            });
            claim();
        });
    };
    let result = catch_unwind(AssertUnwindSafe(run));
    let effort = with(|driver| Effort {
        questions: driver.oracle.asked,
        ways: driver.ways,
        used: driver.used.iter().copied().collect(),
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

/// The number; in a modular proof any number in its place.
pub(crate) fn hide(width: u32, number: u32) -> u32 {
    if with(|driver| driver.modular) {
        input(width)
    } else {
        number
    }
}

pub(crate) fn assume(condition: Prop) {
    with(|driver| driver.path.extend(term::conjuncts(condition)));
}

/// Follows a number and its lower half.
pub(crate) fn follow(width: u32, number: u32) {
    with(|driver| {
        let low = (width > 4).then(|| (width / 2, term::low(width / 2, number)));
        for number in [Some((width, number)), low].into_iter().flatten() {
            if !driver.followed.contains(&number) {
                driver.followed.push(number);
            }
        }
    });
}

pub(crate) fn forget_arithmetic() {
    with(|driver| driver.oracle.forget_arithmetic());
}

/// The proof goes by something else that is claimed.
pub(crate) fn use_of(name: &'static str, width: u32) {
    with(|driver| driver.used.insert((name, width)));
}

/// Ends the claim unless the condition always holds here.
pub(crate) fn show(what: &'static str, condition: Prop) {
    let answer = with(|driver| {
        let path = std::mem::take(&mut driver.path);
        let unknown = term::conjuncts(condition)
            .into_iter()
            .find(|part| driver.always(&path, *part) != Answer::Always);
        let answer = match unknown {
            None => Answer::Always,
            Some(_) => driver.always(&path, condition),
        };
        driver.path = path;
        answer
    });
    match answer {
        Answer::Always => {}
        Answer::Not(inputs) if !with(|driver| driver.modular) => {
            stop(Outcome::Refuted { what, inputs })
        }
        Answer::Not(_) | Answer::Unknown => stop(Outcome::Unknown { what }),
    }
}

/// Which way to go at a comparison.
pub(crate) fn decide(condition: Prop) -> bool {
    fork(condition, true)
}

/// Goes one of two ways; `asked` whether it is possible.
fn fork(condition: Prop, asked: bool) -> bool {
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
            let (mut yes, mut no) = (true, true);
            if asked {
                let path = relevant(&driver.path, &driver.followed, condition);
                yes = driver.oracle.possible(&path, condition);
                no = !yes || driver.oracle.possible(&path, condition.negation());
            }
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
        driver.path.extend(term::conjuncts(*taken));
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

/// A function of the domains, whose result depends on its arguments alone.
pub(crate) fn op<const N: u32, A: Copy + 'static, R: Copy + 'static>(
    name: &'static str,
    args: A,
    f: &dyn Fn(A) -> R,
) -> R {
    let (modular, about) = with(|driver| (driver.modular, driver.about));
    let lemmas = if modular && about != name {
        contracts(name, N)
    } else {
        None
    };
    let Some(handler) = handler_of::<R>() else {
        return f(args);
    };
    let given = match lemmas {
        Some(lemmas) => once(|| {
            with(|driver| driver.used.insert((name, N)));
            by_lemmas::<N>(handler, &lemmas, &args)
        }),
        None if modular => return f(args),
        None => once(|| merge(explore(|| (handler.parts)(&f(args) as &dyn Any)))),
    };
    let present = fork(given.present, !modular);
    with(|driver| {
        let facts = given.facts[usize::from(!present)].iter();
        driver
            .path
            .extend(facts.flat_map(|fact| term::conjuncts(*fact)));
    });
    for (width, number) in &given.made {
        follow(*width, *number);
    }
    let parts = present.then_some(given.parts.as_slice());
    *(handler.build)(parts)
        .downcast::<R>()
        .expect("the handler of the type")
}

/// What was given when this way was last gone, or is now.
fn once(give: impl FnOnce() -> Given) -> Rc<Given> {
    let done = with(|driver| {
        let frame = driver.frames.last().expect("a claim is explored");
        match frame.events.get(frame.at) {
            Some(Event::Call(given)) => Some(Rc::clone(given)),
            Some(Event::Fork { .. }) => unreachable!("the same events again"),
            None => None,
        }
    });
    let given = done.unwrap_or_else(|| {
        let given = Rc::new(give());
        with(|driver| {
            let frame = driver.frames.last_mut().expect("a claim is explored");
            frame.events.push(Event::Call(Rc::clone(&given)));
        });
        given
    });
    with(|driver| driver.frames.last_mut().expect("a claim is explored").at += 1);
    given
}

/// The choice between the results of all ways.
fn merge(results: Vec<(Vec<Prop>, Option<Vec<u32>>)>) -> Given {
    let mut present = Prop::literal(false);
    let mut chosen: Option<Vec<u32>> = None;
    let all = results.iter().all(|(_, parts)| parts.is_some());
    for (way, parts) in results.into_iter().rev() {
        let Some(parts) = parts else { continue };
        let condition = way
            .iter()
            .fold(Prop::literal(true), |all, one| all.and(*one));
        present = present.or(condition);
        chosen = Some(match chosen {
            None => parts,
            Some(others) => parts
                .iter()
                .zip(&others)
                .map(|(part, other)| term::choose(condition, *part, *other))
                .collect(),
        });
    }
    Given {
        parts: chosen.unwrap_or_default(),
        present: if all { Prop::literal(true) } else { present },
        facts: [Vec::new(), Vec::new()],
        made: Vec::new(),
    }
}

/// The numbers of that width that are followed.
pub(crate) fn followed(width: u32) -> Vec<u32> {
    with(|driver| {
        let fitting = driver.followed.iter().filter(|(of, _)| *of == width);
        fitting.map(|(_, number)| *number).collect()
    })
}

/// Whether it is among what is known on the path.
pub(crate) fn is_known(premise: Prop) -> bool {
    let known = |part: &Prop| with(|driver| driver.path.contains(part));
    term::conjuncts(premise).iter().all(known)
}

/// Whether it is known, or easily seen to follow.
pub(crate) fn follows(premise: Prop) -> bool {
    is_known(premise)
        || with(|driver| {
            let path = relevant(&driver.path, &driver.followed, premise);
            let answer = driver.oracle.always(&path, premise, &[], QUICK);
            answer == Answer::Always
        })
}
