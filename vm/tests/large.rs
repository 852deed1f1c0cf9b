//! Large programs are compiled in time that does not grow with the square of their size. There is no clock
//! here: with such growth these tests would take minutes.

use std::fmt::Write as _;

use bpftime_helpers::CAPABILITIES;
use bpftime_isa::{ProgType, Program, asm};
use bpftime_verifier::{Options, verify};
use bpftime_vm::{Executable, HostEnvironment, Input, jit};

/// Compiled, with facts and without, and interpreted, the program gives the same for the numbers.
fn runs_alike(text: &str, numbers: [u64; 2]) -> u64 {
    let program = Program {
        license: "GPL".to_owned(),
        ..Program::new(ProgType::Memory, asm::parse(text).expect("a program"))
    };
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    let mut results = Vec::new();
    for record_operands in [false, true] {
        let options = Options {
            memory_len: Some(16),
            record_operands,
            ..Options::new(CAPABILITIES)
        };
        let verified = verify(program.clone(), &options).unwrap_or_else(|no| panic!("{no}"));
        let code = jit::compile(&verified).expect("compiles");
        let executable = Executable::load(code).expect("mapped");
        let mut environment = HostEnvironment::new(&[]).expect("an environment");
        let mut input = Input::new(ProgType::Memory, None, &bytes).expect("input");
        results.push(environment.run(&executable, &mut input).expect("runs"));
        let mut input = Input::new(ProgType::Memory, None, &bytes).expect("input");
        results.push(environment.interpret(&verified, &mut input).expect("runs"));
    }
    assert!(
        results.iter().all(|result| *result == results[0]),
        "{results:?}"
    );
    results[0]
}

#[test]
fn many_branches() {
    const BRANCHES: u64 = 12_000;
    let mut text = String::from("r2 = *(u64 *)(r1 + 0)\nr3 = *(u64 *)(r1 + 8)\nr0 = 0\n");
    for number in 0..BRANCHES {
        let _ = writeln!(
            text,
            "if r2 > {number} goto d{number}\nr0 += r3\nd{number}:"
        );
    }
    text += "exit";
    // Added by each branch that is not taken.
    assert_eq!(runs_alike(&text, [100, 7]), (BRANCHES - 100) * 7);
}

#[test]
fn many_functions() {
    const FUNCTIONS: u64 = 8_000;
    let mut text = String::from("r6 = 0\n");
    for number in 0..FUNCTIONS {
        let _ = writeln!(text, "call f{number}\nr6 += r0");
    }
    text += "r0 = r6\nexit\n";
    for number in 0..FUNCTIONS {
        let _ = writeln!(text, "f{number}:\nr0 = {number}\nexit");
    }
    assert_eq!(runs_alike(&text, [0, 0]), FUNCTIONS * (FUNCTIONS - 1) / 2);
}
