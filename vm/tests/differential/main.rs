//! Random programs in all engines.
//!
//! What the verifier accepts must never be stopped by the checked interpreter, which trusts
//! nobody, and must leave the same result, memory and map in the interpreter and as machine code.
//! So this tests the verifier's soundness and both engines at once. `BPFTIME_PROGRAMS` sets the
//! number of programs, `BPFTIME_SEED` (0 to 255) which ones.

mod generate;

use std::cell::Cell;

use bpftime_helpers::CAPABILITIES;
use bpftime_isa::{Insn, ProgType, Program, decode};
use bpftime_verifier::{Options, VerifiedProgram, verify};
use bpftime_vm::{Executable, HostEnvironment, Input, RunError, TrapReason, jit};
use generate::{ENTRIES, MEMORY_LEN, VALUE_LEN};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

/// Instructions after which a run is taken to hang.
const LIMIT: u64 = 20_000;

/// Everything that a run leaves.
#[derive(PartialEq, Debug)]
struct Outcome {
    result: u64,
    bytes: Vec<u8>,
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
        bytes: input.bytes().to_vec(),
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

fn checked(program: &Program, bytes: &[u8]) -> Result<Outcome, RunError> {
    let mut environment = HostEnvironment::new(&program.maps).expect("an environment");
    let mut input = Input::new(program.prog_type, None, bytes).expect("input");
    let result = environment.run_checked(program, &mut input, LIMIT)?;
    Ok(outcome(&environment, &input, result))
}

/// Runs a program everywhere. Tells whether the verifier accepted it, or what went wrong.
fn run_everywhere(program: &Program, inputs: &[Vec<u8>]) -> Result<bool, String> {
    let options = Options {
        memory_len: Some(MEMORY_LEN as u64),
        allow_ptr_leaks: false,
        allow_uninit_stack: false,
        ..Options::new(CAPABILITIES)
    };
    let Ok(verified) = verify(program.clone(), &options) else {
        return never_traps_if_accepted(program, inputs).map(|()| false);
    };
    let compiled = |verified: &VerifiedProgram| -> Result<Executable, String> {
        let code = jit::compile(verified).map_err(|error| error.to_string())?;
        Executable::load(code).map_err(|error| error.to_string())
    };
    let executable = compiled(&verified)?;
    // With what is known of registers the code is another.
    let recorded = Options {
        record_operands: true,
        ..options
    };
    let by_facts = verify(program.clone(), &recorded).map_err(|error| error.to_string())?;
    let by_facts = compiled(&by_facts)?;
    for bytes in inputs {
        let expected = match checked(program, bytes) {
            Ok(expected) => expected,
            Err(error) if verified.facts().max_insns.is_none() && is_long(&error) => continue,
            Err(error) => {
                return Err(format!(
                    "accepted, but stopped when checked: {error}\n{bytes:x?}"
                ));
            }
        };
        for engine in ["interpreter", "jit", "jit by facts"] {
            let mut environment = HostEnvironment::new(&program.maps).expect("an environment");
            let mut input = Input::new(program.prog_type, None, bytes).expect("input");
            let result = match engine {
                "jit" => environment.run(&executable, &mut input),
                "jit by facts" => environment.run(&by_facts, &mut input),
                _ => environment.interpret(&verified, &mut input),
            }
            .map_err(|error| format!("{engine}: {error}\n{bytes:x?}"))?;
            let got = outcome(&environment, &input, result);
            if got != expected {
                return Err(format!(
                    "{engine}: {got:x?}\nchecked: {expected:x?}\n{bytes:x?}"
                ));
            }
        }
    }
    Ok(true)
}

/// With the rules for privileged programs, results may depend on addresses and on bytes that were
/// never written, but no access may be wrong; nor where the verifier joins states at once.
fn never_traps_if_accepted(program: &Program, inputs: &[Vec<u8>]) -> Result<(), String> {
    let separate = Options {
        memory_len: Some(MEMORY_LEN as u64),
        ..Options::new(CAPABILITIES)
    };
    let mut joined = separate.clone();
    joined.budget.states_per_shape = 1;
    joined.budget.states_per_block = 1;
    for options in [separate, joined] {
        let Ok(verified) = verify(program.clone(), &options) else {
            continue;
        };
        for bytes in inputs {
            match checked(program, bytes) {
                Ok(_) => {}
                Err(error) if verified.facts().max_insns.is_none() && is_long(&error) => {}
                Err(error) => {
                    return Err(format!(
                        "accepted as privileged, but stopped when checked: {error}\n{bytes:x?}"
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Whether the program was stopped for its length alone, as one with a `may_goto` may be.
fn is_long(error: &RunError) -> bool {
    matches!(
        error,
        RunError::Trap(trap) if matches!(trap.reason, TrapReason::BudgetSpent { .. })
    )
}

/// Runs random programs; on a failure, makes the program smaller as long as it fails.
fn differential(programs: impl Strategy<Value = Program>, inputs: BoxedStrategy<Vec<Vec<u8>>>) {
    let count = std::env::var("BPFTIME_PROGRAMS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(400u32);
    let seed = std::env::var("BPFTIME_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0u8);
    let config = Config {
        cases: count,
        failure_persistence: None,
        max_shrink_iters: 2000,
        ..Config::default()
    };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let (accepted, trapping) = (Cell::new(0), Cell::new(0));
    let result = runner.run(&(programs, inputs), |(program, inputs)| {
        match run_everywhere(&program, &inputs) {
            Ok(true) => accepted.set(accepted.get() + 1),
            Ok(false) => {
                if inputs.iter().any(|bytes| checked(&program, bytes).is_err()) {
                    trapping.set(trapping.get() + 1);
                }
            }
            Err(what) => {
                let text = disassemble(&program.insns);
                return Err(TestCaseError::fail(format!("{what}\n{text}")));
            }
        }
        Ok(())
    });
    if let Err(TestError::Fail(what, _)) = result {
        panic!("{what}");
    }
    let (accepted, trapping) = (accepted.get(), trapping.get());
    println!("{count} programs: {accepted} accepted, {trapping} rejected ones trapped");
    // Without programs of both kinds the test would show nothing.
    assert!(
        accepted > count / 100,
        "only {accepted} of {count} accepted"
    );
    assert!(trapping > count / 100, "only {trapping} of {count} trap");
}

#[test]
fn accepted_memory_programs_agree_and_never_trap() {
    differential(generate::memory_program(), memories().boxed());
}

#[test]
fn accepted_packet_programs_agree_and_never_trap() {
    let packet = (0usize..80, any::<u8>(), any::<bool>()).prop_map(|(len, seed, small)| {
        let byte = |index: usize| (index as u8).wrapping_mul(seed);
        let limit = if small { 40 } else { 255 };
        (0..len)
            .map(|index| byte(index) % limit)
            .collect::<Vec<u8>>()
    });
    let packets = proptest::collection::vec(packet, 4..8);
    differential(generate::packet_program(), packets.boxed());
}

/// Several contents of the memory: random, small numbers, all the same.
fn memories() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let random = proptest::collection::vec(any::<u8>(), MEMORY_LEN);
    let small = proptest::collection::vec(0u8..70, MEMORY_LEN).prop_map(|mut bytes| {
        for (index, byte) in bytes.iter_mut().enumerate() {
            // Small 64-bit numbers where the prologue loads some.
            if index % 5 != 0 {
                *byte = 0;
            }
        }
        bytes
    });
    let constant = prop_oneof![Just(0u8), Just(0xff), Just(0x7f), Just(0x80)]
        .prop_map(|byte| vec![byte; MEMORY_LEN]);
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
    let result = runner.run(
        &(generate::memory_program(), slots),
        |(mut program, slots)| {
            let noise = slots.iter().map(|slot| Insn::from_le_bytes(*slot));
            let middle = program.insns.len() / 2;
            program.insns.splice(middle..middle, noise);
            let error = checked(&program, &[0x41; MEMORY_LEN]).err();
            let ran = matches!(error, None | Some(RunError::Trap(_)));
            prop_assert!(ran, "{:?}", error);
            Ok(())
        },
    );
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
        license: "GPL".to_owned(),
        ..Program::new(ProgType::Memory, Vec::new())
    }
}
