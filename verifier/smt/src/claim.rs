//! Facts as formulas.

use bpftime_verifier::domain::value::Kind;
use bpftime_verifier::refine::Fact;
use z3::ast::{BV, Bool};

use crate::state::State;
use crate::value::{Atom, both, constant, either, yes};

/// Whether the fact holds.
pub(crate) fn holds(state: &State, fact: &Fact) -> Bool {
    let (reg, judge): (_, &dyn Fn(&Atom) -> Bool) = match *fact {
        Fact::Unreachable => return Bool::from_bool(false),
        Fact::Number {
            reg,
            least,
            most,
            half,
        } => (reg, &move |atom| match atom {
            Atom::Number(term) => number(term, least, most, half),
            _ => Bool::from_bool(false),
        }),
        Fact::Pointer {
            reg,
            kind,
            least,
            most,
            multiple,
            remainder,
        } => (reg, &move |atom| match atom {
            Atom::Pointer(other, offset) if *other == kind => {
                let low = u64::from(multiple) - 1;
                let aligned = match low {
                    0 => yes(),
                    _ => offset
                        .bvand(constant(low))
                        .eq(constant(u64::from(remainder) & low)),
                };
                both(&number(offset, least, most, false), &aligned)
            }
            _ => Bool::from_bool(false),
        }),
        Fact::InPacket { reg, least, end } => (reg, &move |atom| match atom {
            Atom::Pointer(Kind::Packet, offset) => {
                let len = &state.packet.len;
                let end = constant(end.into());
                let from = number(offset, least, i64::MAX, false);
                let fits = offset.bvsle(len.bvsub(&end));
                both(&from, &both(&end.bvule(len), &fits))
            }
            _ => Bool::from_bool(false),
        }),
    };
    let mut any = Bool::from_bool(false);
    for (guard, atom) in &state.reg(reg).0 {
        any = either(&any, &both(guard, &judge(atom)));
    }
    any
}

/// Whether the number is within bounds, signed.
fn number(term: &BV, least: i64, most: i64, half: bool) -> Bool {
    let (term, bits) = if half {
        (term.extract(31, 0), 32)
    } else {
        (term.clone(), 64)
    };
    let (first, last) = match half {
        true => (i32::MIN.into(), i32::MAX.into()),
        false => (i64::MIN, i64::MAX),
    };
    let mut all = yes();
    if least > first {
        all = both(&all, &term.bvsge(BV::from_i64(least, bits)));
    }
    if most < last {
        all = both(&all, &term.bvsle(BV::from_i64(most, bits)));
    }
    all
}
