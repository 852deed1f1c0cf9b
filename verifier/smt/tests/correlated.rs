//! Branches that depend on one another, more of them than states are kept apart.

use std::fmt::Write as _;

use bpftime_isa::{MapDef, MapType, ProgType, Program, asm};
use bpftime_smt::{Answer, Z3Refiner};
use bpftime_verifier::{Options, Rejection, VerifiedProgram, verify, verify_refined};

fn program(text: &str) -> Program {
    Program {
        name: "test".into(),
        license: "GPL".into(),
        maps: vec![MapDef {
            name: "map".into(),
            ..MapDef::new(MapType::Array, 4, 48, 1)
        }],
        ..Program::new(
            ProgType::Xdp,
            asm::parse(text).unwrap_or_else(|error| panic!("{error}: {text}")),
        )
    }
}

/// What the places hold if their bit is set; zero otherwise.
#[derive(Clone, Copy)]
enum Stored {
    MapValue,
    Stack,
}

/// Stores a pointer in each of `count` places of the stack, or zero, by bits of a number; then uses
/// each whose bit is set. `wrong`: of the last it tests another bit.
fn by_bits(count: usize, stored: Stored, wrong: bool) -> Program {
    let mut text = String::from("r7 = *(u32 *)(r1 + 12)\nr6 = map_idx(0x0) + 0x0 ll\n");
    for bit in 0..count {
        let place = 8 * (bit + 1);
        let pointer = match stored {
            Stored::MapValue => "r2 = r6",
            Stored::Stack => "r2 = r10",
        };
        let _ = write!(
            text,
            "r2 = 0\nr3 = r7\nr3 &= {}\nif r3 == 0 goto +1\n{pointer}\n*(u64 *)(r10 - {place}) = r2\n",
            1 << bit,
        );
    }
    for bit in 0..count {
        let place = 8 * (bit + 1);
        let tested = if wrong && bit + 1 == count { 0 } else { bit };
        let offset = match stored {
            Stored::MapValue => "+ 8",
            Stored::Stack => "- 512",
        };
        let _ = write!(
            text,
            "r3 = r7\nr3 &= {}\nif r3 == 0 goto +2\nr2 = *(u64 *)(r10 - {place})\n\
             *(u8 *)(r2 {offset}) = 1\n",
            1 << tested,
        );
    }
    text.push_str("r0 = 0\nexit\n");
    program(&text)
}

fn refine(program: Program) -> Result<VerifiedProgram, Box<Rejection>> {
    verify_refined(program, &Options::linux(), &mut Z3Refiner::default())
}

#[test]
fn pointers_that_are_there_by_bits_of_a_number() {
    for stored in [Stored::MapValue, Stored::Stack] {
        let right = by_bits(12, stored, false);
        assert!(verify(right.clone(), &Options::linux()).is_err());
        if let Err(rejection) = refine(right) {
            panic!("{rejection}");
        }
        let rejection = refine(by_bits(12, stored, true)).expect_err("it is wrong");
        let answer = rejection.refuted.as_ref().map(|refuted| &refuted.answer);
        assert!(matches!(answer, Some(Answer::Refuted(_))), "{rejection}");
    }
}
