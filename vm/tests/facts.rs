//! Code that is better for what the verifier proved, and does the same.

use bpftime_helpers::CAPABILITIES;
use bpftime_isa::{MapDef, MapType, ProgType, Program, Reg, asm};
use bpftime_verifier::domain::value::Kind;
use bpftime_verifier::refine::{Answer, Fact, Query, Refiner};
use bpftime_verifier::{Options, VerifiedProgram, verify, verify_refined};
use bpftime_vm::{Executable, HostEnvironment, Input, jit};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Mnemonic};

const ENTRIES: u32 = 4;

fn program(text: &str, maps: Vec<MapDef>) -> Program {
    Program {
        license: "GPL".to_owned(),
        maps,
        ..Program::new(
            ProgType::Memory,
            asm::parse(text).unwrap_or_else(|error| panic!("{error}")),
        )
    }
}

fn array(map_type: MapType, value_size: u32) -> MapDef {
    MapDef::new(map_type, 4, value_size, ENTRIES)
}

/// Without what registers hold, and with it.
fn compiled(program: &Program, memory: usize) -> [Executable; 2] {
    [false, true].map(|record_operands| {
        let options = Options {
            memory_len: Some(memory as u64),
            record_operands,
            ..Options::new(CAPABILITIES)
        };
        let verified: VerifiedProgram =
            verify(program.clone(), &options).unwrap_or_else(|rejection| panic!("{rejection}"));
        Executable::load(jit::compile(&verified).expect("compiles")).expect("mapped")
    })
}

/// The machine code's instructions as far as control goes from one to the next.
fn mnemonics(executable: &Executable) -> Vec<(Mnemonic, FlowControl)> {
    let object = executable.object();
    let code = &object.code()[object.entry()..];
    Decoder::new(64, code, DecoderOptions::NONE)
        .into_iter()
        .take_while(|instruction| instruction.mnemonic() != Mnemonic::Int3)
        .map(|instruction| (instruction.mnemonic(), instruction.flow_control()))
        .collect()
}

fn count(executable: &Executable, wanted: impl Fn(Mnemonic, FlowControl) -> bool) -> usize {
    let all = mnemonics(executable);
    all.iter().filter(|(m, flow)| wanted(*m, *flow)).count()
}

fn calls(executable: &Executable) -> usize {
    count(executable, |_, flow| {
        matches!(flow, FlowControl::Call | FlowControl::IndirectCall)
    })
}

fn run(executable: &Executable, program: &Program, bytes: &[u8]) -> (u64, HostEnvironment) {
    let mut environment = HostEnvironment::new(&program.maps).expect("an environment");
    let mut input = Input::new(program.prog_type, None, bytes).expect("input");
    let result = environment.run(executable, &mut input).expect("runs");
    (result, environment)
}

/// Writes 7 to the first byte of the value whose index is in memory, and gives 1; 2 if there is none.
const BY_MEMORY: &str = "
    r2 = r1
    r1 = map_idx(0x0) ll
    call 1
    if r0 == 0 goto none
    *(u8 *)(r0 + 0) = 7
    r0 = 1
    exit
    none: r0 = 2
    exit";

#[test]
fn values_of_arrays_are_found_without_a_call() {
    for map_type in [MapType::Array, MapType::PerCpuArray] {
        // 12 bytes are 16 apart.
        for value_size in [8, 12, 64] {
            let program = program(BY_MEMORY, vec![array(map_type, value_size)]);
            let [_, by_facts] = compiled(&program, 4);
            assert_eq!(calls(&by_facts), 0, "{map_type:?}");
            for index in [0, 1, 3, 4, 5, 0x8000_0000, u32::MAX] {
                let (result, environment) = run(&by_facts, &program, &index.to_le_bytes());
                assert_eq!(result, if index < ENTRIES { 1 } else { 2 }, "{index}");
                let map = environment.map(0).expect("the map");
                for other in 0..ENTRIES {
                    let mut value = vec![0; map.geometry().user_value_size()];
                    map.lookup_user(&other.to_le_bytes(), &mut value, 0)
                        .expect("arrays have all keys");
                    let mut expected = vec![0; value.len()];
                    expected[0] = if other == index { 7 } else { 0 };
                    assert_eq!(
                        value, expected,
                        "{map_type:?} {value_size} {index}: {other}"
                    );
                }
            }
        }
    }
}

#[test]
fn hashes_are_still_asked() {
    let map = MapDef::new(MapType::Hash, 4, 8, ENTRIES);
    let program = program(BY_MEMORY, vec![map]);
    let [_, by_facts] = compiled(&program, 4);
    assert_eq!(calls(&by_facts), 1);
    assert_eq!(run(&by_facts, &program, &[0; 4]).0, 2);
}

#[test]
fn a_key_that_is_known_needs_no_comparison() {
    let text = "
        *(u32 *)(r10 - 4) = 3
        r2 = r10
        r2 += -4
        r1 = map_idx(0x0) ll
        call 1
        if r0 == 0 goto none
        *(u8 *)(r0 + 0) = 7
        r0 = 1
        exit
        none: r0 = 2
        exit";
    let program = program(text, vec![array(MapType::Array, 8)]);
    let [_, by_facts] = compiled(&program, 0);
    let decisions = count(&by_facts, |mnemonic, flow| {
        flow == FlowControl::ConditionalBranch
            || matches!(mnemonic, Mnemonic::Cmp | Mnemonic::Test)
            || format!("{mnemonic:?}").starts_with("Cmov")
    });
    assert_eq!((calls(&by_facts), decisions), (0, 0));
    let (result, environment) = run(&by_facts, &program, &[]);
    let mut value = [0; 8];
    let map = environment.map(0).expect("the map");
    map.lookup_user(&3u32.to_le_bytes(), &mut value, 0)
        .expect("it is there");
    assert_eq!((result, value[0]), (1, 7));
}

#[test]
fn divisors_that_are_not_zero_are_not_tested() {
    for (operation, width) in [
        ("/=", "r"),
        ("%=", "r"),
        ("/=", "w"),
        ("%=", "w"),
        ("s/=", "r"),
        ("s%=", "w"),
    ] {
        // From 1 to 256.
        let text = format!(
            "r0 = *(u64 *)(r1 + 0)\nr2 = *(u8 *)(r1 + 8)\nr2 += 1\n{width}0 {operation} {width}2\nexit"
        );
        let program = program(&text, Vec::new());
        let [without, with] = compiled(&program, 16);
        let choices = |executable| {
            count(executable, |mnemonic, _| {
                format!("{mnemonic:?}").starts_with("Cmov")
            })
        };
        assert!(choices(&without) > 0, "{operation} {width}");
        assert_eq!(choices(&with), 0, "{operation} {width}");
        for number in [
            0u64,
            1,
            255,
            1 << 31,
            1 << 63,
            u64::MAX,
            0x1234_5678_9abc_def0,
        ] {
            for divisor in [0u8, 1, 2, 255] {
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&number.to_le_bytes());
                bytes[8] = divisor;
                let results = [&without, &with].map(|code| run(code, &program, &bytes).0);
                assert_eq!(
                    results[0], results[1],
                    "{number:#x} {operation} {divisor} + 1"
                );
            }
        }
    }
}

#[test]
fn ways_that_are_never_gone_have_no_code() {
    let text = "
        r2 = *(u8 *)(r1 + 0)
        r2 &= 15
        if r2 > 20 goto never
        r0 = r2
        exit
        never: r0 = 77
        r0 *= r2
        exit";
    let program = program(text, Vec::new());
    let [_, with] = compiled(&program, 1);
    assert_eq!(
        count(&with, |_, flow| flow == FlowControl::ConditionalBranch),
        0
    );
    assert_eq!(count(&with, |mnemonic, _| mnemonic == Mnemonic::Imul), 0);
    assert_eq!(run(&with, &program, &[0x3c]).0, 12);
}

#[test]
fn private_memory_is_read_once_and_shared_memory_each_time() {
    let body = |base: &str| {
        format!("r0 = *(u64 *)({base} + 0)\nr3 = *(u64 *)({base} + 0)\nr0 += r3\nexit")
    };
    let loads = |executable: &Executable| {
        let object = executable.object();
        let code = &object.code()[object.entry()..];
        Decoder::new(64, code, DecoderOptions::NONE)
            .into_iter()
            .take_while(|instruction| instruction.mnemonic() != Mnemonic::Int3)
            .filter(|instruction| {
                matches!(instruction.mnemonic(), Mnemonic::Mov | Mnemonic::Add)
                    && instruction.memory_base() != iced_x86::Register::None
                    && instruction.memory_base() != iced_x86::Register::RSP
                    && instruction.memory_base() != iced_x86::Register::RBP
            })
            .count()
    };
    let private = program(&body("r1"), Vec::new());
    let [without, with] = compiled(&private, 8);
    assert_eq!((loads(&without), loads(&with)), (2, 1));
    let shared = program(
        &format!("r1 = map_idx(0x0) + 0x0 ll\n{}", body("r1")),
        vec![MapDef::new(MapType::Array, 4, 8, 1)],
    );
    let [without, with] = compiled(&shared, 0);
    assert_eq!(
        loads(&without),
        loads(&with),
        "the table of maps, and two of the value"
    );
}

#[test]
fn stores_to_memory_of_one_kind_do_not_change_another() {
    // `r6` is the stack in one run and the map in another; both are written and read again.
    let text = "
        r6 = r10
        r6 += -8
        r7 = map_idx(0x0) + 0x0 ll
        *(u64 *)(r10 - 8) = 1
        *(u64 *)(r7 + 0) = 2
        r2 = *(u8 *)(r1 + 0)
        if r2 == 0 goto go
        r6 = r7
        go: *(u64 *)(r6 + 0) = 5
        r0 = *(u64 *)(r10 - 8)
        r3 = *(u64 *)(r7 + 0)
        r3 *= 10
        r0 += r3
        r4 = *(u64 *)(r6 + 0)
        r4 *= 100
        r0 += r4
        exit";
    let program = program(text, vec![MapDef::new(MapType::Array, 4, 8, 1)]);
    for code in compiled(&program, 1) {
        assert_eq!(run(&code, &program, &[0]).0, 525);
        assert_eq!(run(&code, &program, &[1]).0, 551);
    }
}

#[test]
fn each_function_has_a_frame_of_its_own() {
    // `outer` and `inner` get a pointer into another frame, and use the same place of their own; `inner` is
    // called at two depths.
    let text = "
        *(u64 *)(r10 - 8) = 1
        r1 = r10
        r1 += -8
        call outer
        r6 = r0
        r1 = r10
        r1 += -8
        call inner
        r0 *= 1000
        r0 += r6
        exit
        outer: r6 = r1
        *(u64 *)(r10 - 8) = 20
        r1 = r10
        r1 += -8
        call inner
        r2 = *(u64 *)(r6 + 0)
        r0 += r2
        exit
        inner: r2 = r10
        r2 += -8
        *(u64 *)(r2 + 0) = 300
        r0 = *(u64 *)(r1 + 0)
        r3 = *(u64 *)(r10 - 8)
        r0 += r3
        *(u64 *)(r1 + 0) = 7
        exit";
    let program = program(text, Vec::new());
    for code in compiled(&program, 0) {
        // inner(1) is 301; outer is inner(20) + 1.
        assert_eq!(run(&code, &program, &[]).0, 301_000 + 321);
    }
}

/// Says that nothing is reached of which it is asked that, and does not know anything else.
struct NothingIsReached;

impl Refiner for NothingIsReached {
    fn solver(&self) -> String {
        "a test".to_owned()
    }

    fn kinds(&mut self, _: &Query<'_>, _: Reg) -> Vec<(Kind, Option<i64>)> {
        Vec::new()
    }

    fn prove(&mut self, _: &Query<'_>, facts: &[Fact]) -> Answer {
        if facts.contains(&Fact::Unreachable) {
            Answer::Proved
        } else {
            Answer::Unknown("not asked".to_owned())
        }
    }
}

#[test]
fn code_ends_where_a_solver_says_that_nobody_comes() {
    // A square is 0 or 1 modulo 4.
    for way in ["goto bad", "goto other"] {
        let text = format!(
            "r2 = *(u64 *)(r1 + 0)\nr2 *= r2\nr2 &= 3\nif r2 == 3 {way}\nr0 = r2\nexit\n\
             bad: r0 = *(u64 *)(r1 + 100)\nexit\nother: r3 = 1\ngoto bad"
        );
        let program = program(&text, Vec::new());
        for record_operands in [false, true] {
            let options = Options {
                memory_len: Some(8),
                record_operands,
                ..Options::new(CAPABILITIES)
            };
            let verified = verify_refined(program.clone(), &options, &mut NothingIsReached)
                .unwrap_or_else(|rejection| panic!("{rejection}"));
            let code = jit::compile(&verified).expect("compiles");
            let code = Executable::load(code).expect("mapped");
            for number in [0u64, 1, 2, 3, 0x1_0000_0001] {
                let expected = number.wrapping_mul(number) & 3;
                assert_eq!(run(&code, &program, &number.to_le_bytes()).0, expected);
            }
        }
    }
}
