//! Functions of programs that helpers call back, in all engines.

use bpftime_helpers::CAPABILITIES;
use bpftime_isa::{ProgType, Program, asm};
use bpftime_verifier::{Options, verify};
use bpftime_vm::{Executable, HostEnvironment, Input, TrapReason, jit};

const EINVAL: u64 = -22i64 as u64;
const E2BIG: u64 = -7i64 as u64;

/// A memory program with 16 bytes.
fn program(text: &str) -> Program {
    Program {
        license: "GPL".to_owned(),
        ..Program::new(
            ProgType::Memory,
            asm::parse(text).unwrap_or_else(|error| panic!("{error}")),
        )
    }
}

/// Checks what the program gives for two numbers, in each engine.
fn check(program: &Program, numbers: [u64; 2], expected: u64) {
    let options = Options {
        memory_len: Some(16),
        record_operands: true,
        ..Options::new(CAPABILITIES)
    };
    let verified = verify(program.clone(), &options).unwrap_or_else(|no| panic!("{no}"));
    let code = jit::compile(&verified).expect("compiles");
    let executable = Executable::load(code).expect("mapped");
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    for engine in ["checked", "interpreter", "jit"] {
        let mut environment = HostEnvironment::new(&[]).expect("an environment");
        let mut input = Input::new(program.prog_type, None, &bytes).expect("input");
        let result = match engine {
            "checked" => environment.run_checked(program, &mut input, 100_000_000),
            "interpreter" => environment.interpret(&verified, &mut input),
            _ => environment.run(&executable, &mut input),
        };
        let result = result.unwrap_or_else(|error| panic!("{engine}: {error}"));
        assert_eq!(result, expected, "{engine}: {numbers:?}");
    }
}

/// Adds the numbers of the rounds to a number on the stack, until a round's number is that of the second
/// number; gives the rounds times 2^32 plus the sum.
const SUM: &str = "
    r6 = *(u64 *)(r1 + 0)
    r7 = *(u64 *)(r1 + 8)
    *(u64 *)(r10 - 8) = 0
    *(u64 *)(r10 - 16) = r7
    r1 = r6
    r2 = func(add) ll
    r3 = r10
    r3 += -16
    r4 = 0
    call 181
    r0 <<= 32
    r1 = *(u64 *)(r10 - 8)
    r1 <<= 32
    r1 >>= 32
    r0 |= r1
    exit
    add: r3 = *(u64 *)(r2 + 8)
    r3 += r1
    *(u64 *)(r2 + 8) = r3
    r0 = 0
    r4 = *(u64 *)(r2 + 0)
    if r1 != r4 goto +1
    r0 = 1
    exit";

#[test]
fn rounds_are_counted_and_end_early() {
    let program = program(SUM);
    let never = u64::MAX;
    for (rounds, last, done, sum) in [
        (0, never, 0, 0),
        (1, never, 1, 0),
        (10, never, 10, 45),
        (10, 0, 1, 0),
        (10, 4, 5, 10),
        (10, 9, 10, 45),
        (10, 10, 10, 45),
        // The number of rounds has 32 bits.
        (1 << 32 | 3, never, 3, 3),
        (1 << 32, never, 0, 0),
        (100_000, never, 100_000, (99_999 * 50_000) & 0xffff_ffff),
    ] {
        check(&program, [rounds, last], done << 32 | sum);
    }
}

#[test]
fn too_many_rounds_and_unknown_flags_are_refused() {
    let text = "
        r6 = *(u64 *)(r1 + 0)
        r4 = *(u64 *)(r1 + 8)
        r1 = r6
        r2 = func(f) ll
        r3 = 0
        call 181
        exit
        f: r0 = 1
        exit";
    let program = program(text);
    for (rounds, flags, expected) in [
        (5, 0, 1),
        (5, 1, EINVAL),
        (5, 1 << 40, EINVAL),
        (1 << 23, 0, 1),
        ((1 << 23) + 1, 0, E2BIG),
        (u64::from(u32::MAX), 0, E2BIG),
        // Flags are looked at first.
        (u64::from(u32::MAX), 1, EINVAL),
    ] {
        check(&program, [rounds, flags], expected);
    }
}

#[test]
fn loops_run_in_loops() {
    // Each round of the outer loop runs the inner one as often as its number says; both add 1.
    let text = "
        r6 = *(u64 *)(r1 + 0)
        *(u64 *)(r10 - 8) = 0
        r1 = r6
        r2 = func(outer) ll
        r3 = r10
        r3 += -8
        r4 = 0
        call 181
        r0 = *(u64 *)(r10 - 8)
        exit
        outer: r6 = r2
        r2 = func(inner) ll
        r3 = r6
        r4 = 0
        call 181
        r1 = *(u64 *)(r6 + 0)
        r1 += 1000
        *(u64 *)(r6 + 0) = r1
        r0 = 0
        exit
        inner: r1 = *(u64 *)(r2 + 0)
        r1 += 1
        *(u64 *)(r2 + 0) = r1
        r0 = 0
        exit";
    let program = program(text);
    for rounds in [0u64, 1, 2, 7, 100] {
        let expected = rounds * rounds.saturating_sub(1) / 2 + 1000 * rounds;
        check(&program, [rounds, 0], expected);
    }
}

#[test]
fn what_is_no_function_is_not_called() {
    let stopped = |text: &str| {
        let mut environment = HostEnvironment::new(&[]).expect("an environment");
        let mut input = Input::new(ProgType::Memory, None, &[0; 16]).expect("input");
        environment
            .run_checked(&program(text), &mut input, 1000)
            .expect_err("stopped")
    };
    let error = stopped("r1 = 1\nr2 = 3\nr3 = 0\nr4 = 0\ncall 181\nexit");
    assert!(error.to_string().contains("functions"), "{error}");
    let bpftime_vm::RunError::Trap(trap) = stopped("r1 = 1\nr2 = 3\nr4 = 0\ncall 181\nexit") else {
        panic!("no trap");
    };
    assert!(
        matches!(trap.reason, TrapReason::Uninitialised(_)),
        "{trap}"
    );
}
