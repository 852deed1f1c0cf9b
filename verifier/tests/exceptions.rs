//! What is called when a program throws is judged with it.

mod common;

use std::sync::Arc;

use bpftime_isa::kernel_types::{KernelTypes, Walked};
use bpftime_isa::{MapType, OnThrow, ProgType, asm};
use bpftime_verifier::verify;

/// A kernel whose only function is `bpf_throw`, number 1.
#[derive(Debug)]
struct Types;

impl KernelTypes for Types {
    fn read(&self, _: u32, _: u32, _: u32) -> Option<Walked> {
        None
    }

    fn contains(&self, _: u32, _: u32, _: &str) -> bool {
        false
    }

    fn structure(&self, _: &str) -> Option<u32> {
        None
    }

    fn name(&self, type_id: u32) -> Option<String> {
        (type_id == 1).then(|| "bpf_throw".to_owned())
    }
}

/// Packets of control groups may be answered with 0 or 1.
const THROWS: &str = "r1 = *(u32 *)(r1 + 0)\ncall kfunc(0x1)\nr0 = 0\nexit";
const THROWS_ONE: &str = "r1 = 1\ncall kfunc(0x1)\nr0 = 0\nexit";

fn judged(main: &str, called: Option<(&str, OnThrow)>) -> String {
    let program = |text: &str, on_throw: OnThrow| {
        let insns = asm::parse(text).expect("a program");
        let maps = vec![common::map(MapType::Array, 4, 8, 1)];
        let mut program = common::program(ProgType::CgroupSkb, insns, maps);
        program.on_throw = on_throw;
        program
    };
    let on_throw = called.map_or(OnThrow::Ends, |(text, is)| {
        OnThrow::Calls(Arc::new(program(text, is)))
    });
    let mut options = common::options();
    options.kernel_types = Some(Arc::new(Types));
    match verify(program(main, on_throw), &options) {
        Ok(_) => "accept".to_owned(),
        Err(rejection) => rejection.code.to_string(),
    }
}

#[test]
fn what_is_thrown_is_the_result_or_is_given_to_a_function() {
    assert_eq!(judged(THROWS_ONE, None), "accept");
    assert_eq!(judged(THROWS, None), "return-value");
    for (called, wanted) in [
        ("r0 = 1\nexit", "accept"),
        ("r0 = r1\nr0 &= 1\nexit", "accept"),
        ("r0 = r1\nexit", "return-value"),
        (
            "r1 = map_idx(0x0) + 0x4 ll\nr0 = *(u32 *)(r1 + 0)\nr0 &= 1\nexit",
            "accept",
        ),
        (
            "r1 = map_idx(0x0) + 0x4 ll\nr0 = *(u64 *)(r1 + 0)\nr0 &= 1\nexit",
            "map-value-bounds",
        ),
        ("r0 = *(u32 *)(r1 + 0)\nexit", "not-a-pointer"),
        ("r0 = r2\nexit", "uninit-register"),
        ("r1 = 0\nr0 = *(u64 *)(r1 + 0)\nexit", "not-a-pointer"),
        ("r1 = 0\ncall kfunc(0x1)\nr0 = 0\nexit", "unsupported-call"),
        ("again:\nr1 = 0\ngoto again", "termination"),
    ] {
        assert_eq!(
            judged(THROWS, Some((called, OnThrow::IsCalled))),
            wanted,
            "{called}"
        );
    }
    assert_eq!(
        judged(THROWS, Some(("r0 = 1\nexit", OnThrow::Ends))),
        "unsupported-call"
    );
}
