//! What is claimed of the domains, one generic function each.

mod given;
pub(crate) mod interval;
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
    /// Widths at which it is proved, widest first.
    pub widths: &'static [u32],
    /// Whether intermediate results may be forgotten but for what the claim follows.
    pub cuts: bool,
    at: fn(u32) -> Option<fn()>,
    replay: fn(&mut Replay),
}

impl Claim {
    /// Proves or refutes it at a width, within that many of z3's resource units for a question.
    pub fn prove(&self, width: u32, limit: u32) -> Outcome {
        let Some(body) = (self.at)(width) else {
            return Outcome::Unknown {
                what: "no such width",
            };
        };
        driver::prove(limit, self.cuts, &body)
    }

    /// Tries it on 64-bit numbers; gives what does not hold.
    pub fn replay(&self, inputs: Vec<u64>) -> Option<&'static str> {
        let mut machine = Replay::new(inputs);
        (self.replay)(&mut machine);
        machine.failed()
    }
}

/// A function generic over numbers and machine, as a [`Claim`].
macro_rules! claim {
    ($group:literal, $name:literal, $widths:expr, cuts: $cuts:expr, |$m:ident, $w:ident| $body:expr) => {{
        fn body<$w: $crate::machine::SpecWord, M: $crate::machine::Machine<$w>>($m: &mut M) {
            $body
        }
        $crate::claims::claim_of(
            $group,
            $name,
            $widths,
            $cuts,
            |width| {
                use $crate::symbolic::Symbolic;
                use $crate::term::Term;
                Some(match width {
                    64 => || body::<Term<64>, _>(&mut Symbolic),
                    32 => || body::<Term<32>, _>(&mut Symbolic),
                    16 => || body::<Term<16>, _>(&mut Symbolic),
                    12 => || body::<Term<12>, _>(&mut Symbolic),
                    8 => || body::<Term<8>, _>(&mut Symbolic),
                    _ => return None,
                })
            },
            |machine| body::<u64, _>(machine),
        )
    }};
}
pub(crate) use claim;

pub(crate) fn claim_of(
    group: &'static str,
    name: &'static str,
    widths: &'static [u32],
    cuts: bool,
    at: fn(u32) -> Option<fn()>,
    replay: fn(&mut Replay),
) -> Claim {
    Claim {
        group,
        name,
        widths,
        cuts,
        at,
        replay,
    }
}

/// All claims.
pub fn all() -> Vec<Claim> {
    let mut claims = tnum::claims();
    claims.extend(interval::claims());
    claims
}
