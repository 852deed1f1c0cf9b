//! What is claimed of the domains, one generic function each.

pub(crate) mod alu;
pub(crate) mod branch;
pub(crate) mod given;
mod interval;
pub(crate) mod scalar;
mod tnum;

use crate::driver::{self, Manner, Outcome};
use crate::facts::{self, Fact};
use crate::lemma::Lemma;
use crate::lemmas;
use crate::replay::Replay;

/// One claim.
#[derive(Clone, Debug)]
pub struct Claim {
    /// What it is about.
    pub group: &'static str,
    /// Its name, unique in the group.
    pub name: String,
    /// Widths at which it is proved, widest first; none if z3 did not manage, which is reported.
    pub widths: &'static [u32],
    /// Whether its proof goes by what is proved of the functions that are called.
    pub modular: bool,
    /// Whether it takes more than a few seconds.
    pub slow: bool,
    /// The function that it is a lemma on, or nothing.
    pub(crate) function: &'static str,
    case: usize,
    at: At,
    replay: fn(&mut Replay, usize),
}

impl Claim {
    /// A lemma on a function.
    pub(crate) fn about(self, function: &'static str) -> Self {
        Self { function, ..self }
    }

    /// Proves or refutes it at a width, within about that many milliseconds for a question.
    pub fn prove(&self, width: u32, limit: u32) -> Outcome {
        let Some(body) = (self.at)(width) else {
            return Outcome::Unknown {
                what: "no such width",
            };
        };
        let manner = Manner {
            modular: self.modular,
            about: self.function,
            limit,
        };
        // In a thread of its own, for z3 to start from nothing: the outcome depends on the claim alone.
        let case = self.case;
        let proof = move || driver::prove(width, manner, &|| body(case));
        let thread = std::thread::Builder::new().stack_size(STACK).spawn(proof);
        let outcome = thread.map(std::thread::JoinHandle::join);
        match outcome.expect("a thread") {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Tries it on 64-bit numbers; gives what does not hold.
    pub fn replay(&self, inputs: Vec<u64>) -> Option<&'static str> {
        let mut machine = Replay::new(inputs);
        (self.replay)(&mut machine, self.case);
        machine.failed()
    }

    /// Tries it on so many inputs made up; gives how often it applied, and inputs on which it does
    /// not hold.
    pub fn try_out(&self, tries: u64) -> (u64, Option<Vec<u64>>) {
        let mut applied = 0;
        for seed in 1..=tries {
            let mut machine = Replay::made_up(seed);
            (self.replay)(&mut machine, self.case);
            applied += u64::from(machine.applied());
            if machine.failed().is_some() {
                return (applied, Some(machine.into_inputs()));
            }
        }
        (applied, None)
    }
}

/// Bytes of stack for a proof, which goes through deep terms.
const STACK: usize = 64 << 20;

/// Claims, and broken versions, that take long.
const SLOW: [(&str, &str); 33] = [
    ("tnum", "mul"),
    ("tnum", "sub"),
    ("interval", "mul"),
    ("interval", "sdiv"),
    ("interval", "and"),
    ("interval", "or"),
    ("interval", "xor"),
    ("interval", "widen first"),
    ("interval", "widen second"),
    ("interval", "join first"),
    ("interval", "join second"),
    ("deduce", "settled"),
    ("scalar", "sign_extended 32"),
    ("numbers", "product between signed"),
    ("refine", "interval eq"),
    ("refine", "interval ne"),
    ("refine", "interval ule"),
    ("refine", "interval slt"),
    ("refine", "interval sle"),
    ("alu", "sub32"),
    ("alu", "mul32"),
    ("alu", "sdiv32"),
    ("alu", "mod32"),
    ("alu", "smod32"),
    ("alu", "lsh32"),
    ("alu", "rsh32"),
    ("alu", "arsh32"),
    ("alu", "mul of upper ends"),
    ("alu", "div by positive"),
    ("alu", "mod below the divisor"),
    ("alu", "sdiv unsigned"),
    ("alu", "div32 of wholes"),
    ("alu", "sub32 extended"),
];

/// How a claim is run: its function at a width, and on numbers.
pub(crate) type Runs = (At, fn(&mut Replay, usize));

/// The function at a width, if it is one of those; it takes the case.
type At = fn(u32) -> Option<fn(usize)>;

/// A function generic over numbers and machine, for one case of many, as [`Runs`].
macro_rules! runs {
    (|$m:ident, $w:ident, $case:ident| $body:expr) => {{
        fn body<$w: $crate::machine::SpecWord, M: $crate::machine::Machine<$w>>(
            $m: &mut M,
            $case: usize,
        ) {
            $body
        }
        let at: fn(u32) -> Option<fn(usize)> = |width| {
            use $crate::symbolic::Symbolic;
            use $crate::term::Term;
            Some(match width {
                64 => |case| body::<Term<64>, _>(&mut Symbolic, case),
                32 => |case| body::<Term<32>, _>(&mut Symbolic, case),
                16 => |case| body::<Term<16>, _>(&mut Symbolic, case),
                8 => |case| body::<Term<8>, _>(&mut Symbolic, case),
                _ => return None,
            })
        };
        let replay: fn(&mut $crate::replay::Replay, usize) =
            |machine, case| body::<u64, _>(machine, case);
        (at, replay)
    }};
}
pub(crate) use runs;

/// A lemma on a wrong version, as a claim.
macro_rules! broken_lemma {
    ($name:literal, |$w:ident| $lemma:expr) => {{
        let runs = $crate::claims::runs!(|m, $w, _case| $lemma.prove(m));
        let lemma: $crate::lemma::Lemma<u64> = {
            type $w = u64;
            $lemma
        };
        let (group, _) = lemma.function.split_once(' ').expect("a group and a name");
        $crate::claims::claim_of((group, $name), &[64], lemma.modular, runs, 0)
            .about(lemma.function)
    }};
}
pub(crate) use broken_lemma;

/// A claim with one case, proved in a plain or in a modular way.
macro_rules! claim {
    ($group:literal, $name:literal, $widths:expr, plain, |$m:ident, $w:ident| $body:expr) => {
        $crate::claims::claim!($group, $name, $widths, false, |$m, $w| $body)
    };
    ($group:literal, $name:literal, $widths:expr, modular, |$m:ident, $w:ident| $body:expr) => {
        $crate::claims::claim!($group, $name, $widths, true, |$m, $w| $body)
    };
    ($group:literal, $name:literal, $widths:expr, $modular:literal, |$m:ident, $w:ident| $body:expr) => {{
        let runs = $crate::claims::runs!(|$m, $w, _case| $body);
        $crate::claims::claim_of(($group, $name), $widths, $modular, runs, 0)
    }};
}
pub(crate) use claim;

pub(crate) fn claim_of(
    (group, name): (&'static str, &str),
    widths: &'static [u32],
    modular: bool,
    (at, replay): Runs,
    case: usize,
) -> Claim {
    Claim {
        group,
        name: name.to_owned(),
        widths,
        modular,
        slow: SLOW.contains(&(group, name)),
        function: "",
        case,
        at,
        replay,
    }
}

/// The lemmas, as claims.
fn lemmas() -> Vec<Claim> {
    let runs = runs!(|m, W, case| lemmas::all::<W>()[case].prove(m));
    let claim = |(case, lemma): (usize, Lemma<u64>)| {
        let (group, name) = lemma.function.split_once(' ').expect("a group and a name");
        let name = format!("{name} {}", lemma.part);
        let name = name.trim_end();
        claim_of((group, name), lemma.widths, lemma.modular, runs, case).about(lemma.function)
    };
    lemmas::all::<u64>()
        .into_iter()
        .enumerate()
        .map(claim)
        .collect()
}

/// The facts, as claims.
fn facts() -> Vec<Claim> {
    let runs = runs!(|m, W, case| facts::all::<W>()[case].prove(m));
    let claim = |(case, fact): (usize, Fact<u64>)| {
        let (group, name) = fact.name.split_once(' ').expect("a group and a name");
        claim_of((group, name), &[64, 32], false, runs, case).about(fact.name)
    };
    facts::all::<u64>()
        .into_iter()
        .enumerate()
        .map(claim)
        .collect()
}

/// All claims.
pub fn all() -> Vec<Claim> {
    let mut claims = facts();
    claims.extend(tnum::claims());
    claims.extend(interval::claims());
    claims.extend(lemmas());
    claims.extend(scalar::claims());
    claims.extend(alu::claims());
    claims.extend(branch::claims());
    claims
}
