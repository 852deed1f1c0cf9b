//! Wrong versions of what the domains do. None may be proved; for those of single functions z3 has
//! to find inputs that refute them on 64 bits, and for all there have to be inputs on which they
//! fail on `u64`, without z3.

mod branches;
mod domains;
mod instructions;
mod steps;

use crate::claims::Claim;

/// All broken versions.
pub fn all() -> Vec<Claim> {
    let mut all = domains::all();
    all.extend(steps::all());
    all.extend(instructions::all());
    all.extend(branches::all());
    all
}
