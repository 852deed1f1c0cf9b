//! Hostile programs end within the limits.

use std::fmt::Write as _;

use bpftime_isa::{MapDef, MapType, ProgType, Program, asm};
use bpftime_smt::{Answer, Z3Refiner};
use bpftime_verifier::{Options, Rejection, verify_refined};

fn refine(body: &str) -> Box<Rejection> {
    let text = format!(
        "r6 = map_idx(0x0) + 0x0 ll\nr7 = *(u32 *)(r1 + 12)\nr8 = *(u32 *)(r1 + 16)\n{body}\
         if r7 > 1000 goto +2\nr6 += r7\nr0 = *(u8 *)(r6 + 0)\nr0 = 0\nexit\n"
    );
    let program = Program {
        name: "test".into(),
        license: "GPL".into(),
        maps: vec![MapDef {
            name: "map".into(),
            ..MapDef::new(MapType::Array, 4, 48, 1)
        }],
        ..Program::new(ProgType::Xdp, asm::parse(&text).expect("a program"))
    };
    let refined = verify_refined(program, &Options::linux(), &mut Z3Refiner::default());
    refined.expect_err("it is not safe")
}

fn answer(rejection: &Rejection) -> &Answer {
    let refuted = rejection.refuted.as_ref().expect("somebody was asked");
    &refuted.answer
}

#[test]
fn a_product_of_many_factors_is_not_decided() {
    let mut body = String::new();
    for _ in 0..40 {
        body.push_str("r7 *= r8\nr7 ^= r8\nr8 *= r7\nr8 += 77\n");
    }
    body.push_str("r2 = r7\nr2 %= 1001\nr7 = r2\n");
    let first = refine(&body);
    assert!(matches!(answer(&first), Answer::Unknown(_)), "{first}");
    assert_eq!(first.refuted, refine(&body).refuted, "the same each time");
}

#[test]
fn a_long_way_is_not_followed_to_its_start() {
    let mut body = String::new();
    for number in 0..20_000 {
        let _ = writeln!(body, "r7 ^= r8\nr7 += {number}");
    }
    let rejection = refine(&body);
    let Answer::Unknown(why) = answer(&rejection) else {
        panic!("{rejection}");
    };
    assert!(why.contains("instructions"), "{why}");
}

#[test]
fn many_branches_are_followed_together() {
    let mut body = String::new();
    for bit in 0..300 {
        let _ = writeln!(
            body,
            "r2 = r8\nr2 &= {}\nif r2 == 0 goto +1\nr7 += 3",
            1u32 << (bit % 30)
        );
    }
    let rejection = refine(&body);
    assert!(!matches!(answer(&rejection), Answer::Proved), "{rejection}");
}
