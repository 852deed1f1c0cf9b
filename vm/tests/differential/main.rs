//! Random programs in all engines.
//!
//! What the verifier accepts must never be stopped by the checked interpreter, which trusts
//! nobody, and must leave the same result, memory and map in the interpreter and as machine code.
//! So this tests the verifier's soundness and both engines at once. `BPFTIME_PROGRAMS` sets the
//! number of programs.

mod generate;

use bpftime_helpers::CAPABILITIES;
use bpftime_isa::{Insn, ProgType, Program, decode};
use bpftime_verifier::{Options, verify};
use bpftime_vm::{Executable, HostEnvironment, Input, RunError, TrapReason, jit};
use generate::{ENTRIES, MEMORY_LEN, VALUE_LEN};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Instructions after which a run is taken to hang.
const LIMIT: u64 = 1 << 16;

/// Everything that a run leaves.
#[derive(PartialEq, Debug)]
struct Outcome {
    result: u64,
    memory: Vec<u8>,
    values: Vec<Vec<u8>>,
}

fn outcome(environment: &HostEnvironment, input: &Input, result: u64) -> Outcome {
    let values = environment.map(0).into_iter().flat_map(|map| {
        (0..ENTRIES).map(|key| {
            let mut value = vec![0; VALUE_LEN as usize];
            map.lookup_user(&key.to_le_bytes(), &mut value, 0)
                .expect("arrays have all keys");
            value
        })
    });
    Outcome {
        result,
        memory: input.bytes().to_vec(),
        values: values.collect(),
    }
}

fn disassemble(slots: &[Insn]) -> String {
    let decoded = decode(slots).expect("generated programs decode");
    let lines = decoded
        .iter()
        .map(|item| format!("{:4}: {}\n", item.slot, item.insn));
    lines.collect()
}

fn checked(program: &Program, memory: &[u8]) -> Result<Outcome, RunError> {
    let mut environment = HostEnvironment::new(&program.maps).expect("an environment");
    let mut input = Input::new(ProgType::Memory, None, memory).expect("memory");
    let result = environment.run_checked(program, &mut input, LIMIT)?;
    Ok(outcome(&environment, &input, result))
}

/// Runs a program everywhere. Tells whether the verifier accepted it.
fn run_everywhere(program: &Program, memories: &[[u8; MEMORY_LEN]]) -> bool {
    let options = Options {
        memory_len: Some(MEMORY_LEN as u64),
        allow_ptr_leaks: false,
        allow_uninit_stack: false,
        ..Options::new(CAPABILITIES)
    };
    let Ok(verified) = verify(program.clone(), &options) else {
        return false;
    };
    let text = || disassemble(&program.insns);
    let code = jit::compile(&verified).unwrap_or_else(|error| panic!("{error}\n{}", text()));
    let executable = Executable::load(code).expect("mapped");
    for memory in memories {
        let expected = checked(program, memory).unwrap_or_else(|error| {
            panic!(
                "accepted, but stopped when checked: {error}\n{memory:x?}\n{}",
                text()
            )
        });
        for engine in ["interpreter", "jit"] {
            let mut environment = HostEnvironment::new(&program.maps).expect("an environment");
            let mut input = Input::new(ProgType::Memory, None, memory).expect("memory");
            let result = match engine {
                "jit" => environment.run(&executable, &mut input),
                _ => environment.interpret(&verified, &mut input),
            }
            .unwrap_or_else(|error| panic!("{engine}: {error}\n{}", text()));
            let got = outcome(&environment, &input, result);
            assert!(
                got == expected,
                "{engine}: {got:x?}\nchecked: {expected:x?}\n{memory:x?}\n{}",
                text()
            );
        }
    }
    true
}

#[test]
fn accepted_programs_agree_everywhere_and_never_trap() {
    let count = std::env::var("BPFTIME_PROGRAMS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(2000u32);
    let seed: [u8; 32] = std::array::from_fn(|index| index as u8);
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let (programs, memories) = (generate::program(), memories());
    let (mut accepted, mut trapping) = (0, 0);
    for _ in 0..count {
        let program = programs.new_tree(&mut runner).expect("a program").current();
        let memories = memories.new_tree(&mut runner).expect("memory").current();
        if run_everywhere(&program, &memories) {
            accepted += 1;
        } else if memories
            .iter()
            .any(|memory| checked(&program, memory).is_err())
        {
            trapping += 1;
        }
    }
    println!(
        "{count} programs: {accepted} accepted, {trapping} rejected ones trapped when checked"
    );
    // Without programs of both kinds the test would show nothing.
    assert!(accepted > count / 20, "only {accepted} of {count} accepted");
    assert!(trapping > count / 20, "only {trapping} of {count} trap");
}

fn memories() -> impl Strategy<Value = Vec<[u8; MEMORY_LEN]>> {
    let random = proptest::array::uniform32(any::<(u8, u8)>()).prop_map(|pairs| {
        std::array::from_fn(|index| {
            let (even, odd) = pairs[index / 2];
            if index % 2 == 0 { even } else { odd }
        })
    });
    let small = proptest::array::uniform8(0u8..70).prop_map(|bytes| {
        std::array::from_fn(|index| if index % 8 == 0 { bytes[index / 8] } else { 0 })
    });
    let constant = prop_oneof![Just(0u8), Just(0xff), Just(0x7f), Just(0x80)]
        .prop_map(|byte| [byte; MEMORY_LEN]);
    (random, small, constant).prop_map(|(a, b, c)| vec![a, b, c])
}

#[test]
fn unproved_programs_are_stopped_or_end() {
    let mut runner = TestRunner::new(Config {
        cases: 300,
        failure_persistence: None,
        ..Config::default()
    });
    // Any slots at all: nothing may happen but a result or a trap.
    let slots = proptest::collection::vec(any::<[u8; 8]>(), 1..40);
    let result = runner.run(&(generate::program(), slots), |(mut program, slots)| {
        let noise = slots.iter().map(|slot| Insn::from_le_bytes(*slot));
        let middle = program.insns.len() / 2;
        program.insns.splice(middle..middle, noise);
        let error = checked(&program, &[0x41; MEMORY_LEN]).err();
        let ran = matches!(error, None | Some(RunError::Trap(_)));
        prop_assert!(ran, "{:?}", error);
        Ok(())
    });
    result.expect("no failure");
}

#[test]
fn a_trap_names_the_slot_and_the_access() {
    let text = "r0 = 0\nr2 = r1\nr2 += 60\nr0 = *(u64 *)(r2 + 0)\nexit";
    let program = Program {
        insns: bpftime_isa::asm::parse(text).expect("assembles"),
        ..program_without_maps()
    };
    let Err(RunError::Trap(trap)) = checked(&program, &[0; MEMORY_LEN]) else {
        panic!("60 + 8 is more than 64");
    };
    assert_eq!(trap.slot, 3);
    let TrapReason::OutOfBounds { size: 8, near, .. } = trap.reason else {
        panic!("{trap}");
    };
    let (_, _, len) = near.expect("the memory is near");
    assert_eq!(len, MEMORY_LEN as u64);
}

fn program_without_maps() -> Program {
    Program {
        name: String::new(),
        section: String::new(),
        prog_type: ProgType::Memory,
        attach_type: None,
        license: "GPL".to_owned(),
        insns: Vec::new(),
        maps: Vec::new(),
        subprograms: Vec::new(),
        lines: Vec::new(),
    }
}
