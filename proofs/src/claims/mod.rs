//! What is claimed of the domains, one generic function each.

mod alu;
mod branch;
mod given;
pub(crate) mod interval;
mod scalar;
pub(crate) mod tnum;

use crate::driver::{self, Outcome};
use crate::replay::Replay;

/// One claim.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// What it is about.
    pub group: &'static str,
    /// Its name, unique in the group.
    pub name: &'static str,
    /// Widths at which it is proved, widest first; none if z3 did not manage, which is reported.
    pub widths: &'static [u32],
    /// Whether intermediate results may be forgotten but for what the claim follows.
    pub cuts: bool,
    /// Whether it takes more than a few seconds.
    pub slow: bool,
    case: usize,
    at: At,
    replay: fn(&mut Replay, usize),
}

impl Claim {
    /// Proves or refutes it at a width, within that many of z3's resource units for a question.
    pub fn prove(&self, width: u32, limit: u32) -> Outcome {
        let Some(body) = (self.at)(width) else {
            return Outcome::Unknown {
                what: "no such width",
            };
        };
        driver::prove(width, limit, self.cuts, &|| body(self.case))
    }

    /// Tries it on 64-bit numbers; gives what does not hold.
    pub fn replay(&self, inputs: Vec<u64>) -> Option<&'static str> {
        let mut machine = Replay::new(inputs);
        (self.replay)(&mut machine, self.case);
        machine.failed()
    }
}

/// Claims without cuts that take more than a few seconds.
const SLOW: [(&str, &str); 10] = [
    ("tnum", "mul"),
    ("interval", "mul"),
    ("interval", "udiv"),
    ("interval", "urem"),
    ("interval", "sdiv"),
    ("interval", "srem"),
    ("interval", "shl"),
    ("interval", "lshr"),
    ("interval", "ashr"),
    ("interval", "or"),
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

/// A claim with one case.
macro_rules! claim {
    ($group:literal, $name:literal, $widths:expr, cuts: $cuts:expr, |$m:ident, $w:ident| $body:expr) => {{
        let runs = $crate::claims::runs!(|$m, $w, _case| $body);
        $crate::claims::claim_of(($group, $name), $widths, $cuts, runs, 0)
    }};
}
pub(crate) use claim;

pub(crate) fn claim_of(
    (group, name): (&'static str, &'static str),
    widths: &'static [u32],
    cuts: bool,
    (at, replay): Runs,
    case: usize,
) -> Claim {
    Claim {
        group,
        name,
        widths,
        cuts,
        slow: cuts || SLOW.contains(&(group, name)),
        case,
        at,
        replay,
    }
}

/// All claims.
pub fn all() -> Vec<Claim> {
    let mut claims = tnum::claims();
    claims.extend(interval::claims());
    claims.extend(scalar::claims());
    claims.extend(alu::claims());
    claims.extend(branch::claims());
    claims
}
