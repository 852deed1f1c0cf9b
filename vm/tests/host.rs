//! Programs with contexts, packets, helpers and maps in this process, in all engines.

use std::fs;
use std::sync::{Arc, Mutex};

use bpftime_helpers::CAPABILITIES;
use bpftime_isa::{AttachType, MapDef, MapType, ProgType, Program, asm};
use bpftime_verifier::{Options, VerifiedProgram, verify};
use bpftime_vm::{Executable, HostEnvironment, Input, InputError, RunError, TrapReason, jit};

fn program(prog_type: ProgType, text: &str, maps: Vec<MapDef>) -> Program {
    Program {
        name: "test".to_owned(),
        license: "GPL".to_owned(),
        maps,
        ..Program::new(
            prog_type,
            asm::parse(text).unwrap_or_else(|error| panic!("{error}")),
        )
    }
}

fn map(map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> MapDef {
    MapDef {
        name: "map".to_owned(),
        ..MapDef::new(map_type, key_size, value_size, max_entries)
    }
}

fn verified(program: &Program, memory_len: Option<u64>) -> VerifiedProgram {
    let options = Options {
        memory_len,
        record_operands: true,
        ..Options::new(CAPABILITIES)
    };
    verify(program.clone(), &options).unwrap_or_else(|rejection| panic!("{rejection}"))
}

fn load(verified: &VerifiedProgram) -> Executable {
    Executable::load(jit::compile(verified).expect("compiles")).expect("mapped")
}

/// Runs a program once per engine, each time in a new environment, and looks at what is left.
fn in_all_engines(
    program: &Program,
    bytes: &[u8],
    mut look: impl FnMut(&str, u64, &HostEnvironment, &Input),
) {
    let verified = verified(program, Some(bytes.len() as u64));
    let executable = load(&verified);
    for engine in ["checked", "interpreter", "jit"] {
        let mut environment = HostEnvironment::new(&program.maps).expect("an environment");
        let mut input = Input::new(program.prog_type, None, bytes).expect("input");
        let result = match engine {
            "checked" => environment.run_checked(program, &mut input, 10_000),
            "interpreter" => environment.interpret(&verified, &mut input),
            _ => environment.run(&executable, &mut input),
        };
        let result = result.unwrap_or_else(|error| panic!("{engine}: {error}"));
        look(engine, result, &environment, &input);
    }
}

/// Drops packets to an address that ends in the byte 9, and writes the packet's length to it.
const XDP: &str = "
    r2 = *(u32 *)(r1 + 0)
    r3 = *(u32 *)(r1 + 4)
    r4 = r2
    r4 += 34
    r0 = 2
    if r4 > r3 goto +6
    r5 = *(u8 *)(r2 + 33)
    if r5 != 9 goto +4
    r3 -= r2
    *(u16 *)(r2 + 0) = r3
    r0 = 1
    exit
    exit";

#[test]
fn xdp_programs_read_and_write_the_packet() {
    let program = program(ProgType::Xdp, XDP, Vec::new());
    let mut packet = [0u8; 60];
    packet[33] = 9;
    for (len, expected) in [(60, 1), (34, 1), (33, 2), (0, 2)] {
        in_all_engines(&program, &packet[..len], |engine, result, _, input| {
            assert_eq!(result, expected, "{engine}, {len} bytes");
            let mut left = packet[..len].to_vec();
            if expected == 1 {
                left[0] = len as u8;
            }
            assert_eq!(input.bytes(), left, "{engine}, {len} bytes");
        });
    }
}

#[test]
fn one_input_serves_many_runs() {
    let program = program(ProgType::Xdp, XDP, Vec::new());
    let executable = load(&verified(&program, None));
    let mut environment = HostEnvironment::new(&[]).expect("an environment");
    let mut input = Input::new(ProgType::Xdp, None, &[0; 100]).expect("input");
    let mut run = |input: &mut Input| environment.run(&executable, input).expect("runs");
    assert_eq!(run(&mut input), 2);
    let mut packet = [1u8; 80];
    packet[33] = 9;
    input.fill(&packet);
    assert_eq!(run(&mut input), 1);
    assert_eq!(input.bytes().len(), 80);
    assert_eq!(input.bytes()[..2], [80, 0]);
    input.fill(&packet[..20]);
    assert_eq!(run(&mut input), 2);
}

#[test]
fn socket_buffers_know_their_length() {
    // `len` is the first field of `__sk_buff`, `data` is at 76 and `data_end` at 80.
    let text = "
        r0 = *(u32 *)(r1 + 0)
        r2 = *(u32 *)(r1 + 76)
        r3 = *(u32 *)(r1 + 80)
        r4 = r2
        r4 += 1
        if r4 > r3 goto +3
        r2 = *(u8 *)(r2 + 0)
        r2 <<= 16
        r0 |= r2
        exit";
    let program = program(ProgType::SchedCls, text, Vec::new());
    in_all_engines(&program, &[7; 61], |engine, result, _, _| {
        assert_eq!(result, 7 << 16 | 61, "{engine}");
    });
}

#[test]
fn probes_read_registers() {
    // x86-64 `pt_regs`: `di` at 112, `ip` at 128.
    let text = "r0 = *(u64 *)(r1 + 112)\nr2 = *(u64 *)(r1 + 128)\nr0 += r2\nexit";
    let program = program(ProgType::Kprobe, text, Vec::new());
    let mut regs = [0u8; 168];
    regs[112..120].copy_from_slice(&0x1122_0000_0000_0001u64.to_le_bytes());
    regs[128..136].copy_from_slice(&0x4433u64.to_le_bytes());
    in_all_engines(&program, &regs, |engine, result, _, _| {
        assert_eq!(result, 0x1122_0000_0000_4434, "{engine}");
    });
}

#[test]
fn hash_maps_count() {
    let text = "
        *(u64 *)(r10 - 8) = 77
        r1 = map_idx(0) ll
        r2 = r10
        r2 += -8
        call 1
        if r0 != 0 goto +9
        *(u64 *)(r10 - 16) = 1
        r1 = map_idx(0) ll
        r2 = r10
        r2 += -8
        r3 = r10
        r3 += -16
        r4 = 0
        call 2
        exit
        r1 = 1
        lock *(u64 *)(r0 + 0) += r1
        r0 = *(u64 *)(r0 + 0)
        exit";
    let text = text.replace("goto +9", "goto +10");
    let maps = vec![map(MapType::Hash, 8, 8, 4)];
    let program = program(ProgType::Memory, &text, maps);
    let verified = verified(&program, Some(0));
    let executable = load(&verified);
    let mut environment = HostEnvironment::new(&program.maps).expect("an environment");
    let mut input = Input::new(ProgType::Memory, None, &[]).expect("input");
    // The map keeps its contents from run to run, whatever the engine.
    let results = [
        environment
            .run_checked(&program, &mut input, 1000)
            .expect("runs"),
        environment
            .run_checked(&program, &mut input, 1000)
            .expect("runs"),
        environment.interpret(&verified, &mut input).expect("runs"),
        environment.run(&executable, &mut input).expect("runs"),
    ];
    assert_eq!(results, [0, 2, 3, 4]);
    let mut value = [0; 8];
    let map = environment.map(0).expect("the map");
    map.lookup_user(&77u64.to_le_bytes(), &mut value, 0)
        .expect("the key");
    assert_eq!(value, 4u64.to_le_bytes());
}

#[test]
fn global_variables_are_values_of_arrays() {
    let text = "
        r1 = map_idx(0) + 4 ll
        r0 = *(u32 *)(r1 + 0)
        r0 += 1
        *(u32 *)(r1 + 0) = r0
        exit";
    let mut program = program(ProgType::Memory, text, Vec::new());
    let mut data = map(MapType::Array, 4, 8, 1);
    data.initial = Some(Arc::from([0xaa, 0xaa, 0xaa, 0xaa, 41, 0, 0, 0]));
    program.maps = vec![data];
    in_all_engines(&program, &[], |engine, result, environment, _| {
        assert_eq!(result, 42, "{engine}");
        let mut value = [0; 8];
        let map = environment.map(0).expect("the map");
        map.lookup_user(&[0; 4], &mut value, 0).expect("the value");
        assert_eq!(value, [0xaa, 0xaa, 0xaa, 0xaa, 42, 0, 0, 0], "{engine}");
    });
}

#[test]
fn ring_buffer_records_are_memory_until_they_are_submitted() {
    let text = "
        r1 = map_idx(0) ll
        r2 = 16
        r3 = 0
        call 131
        if r0 == 0 goto +6
        *(u64 *)(r0 + 0) = 5
        *(u64 *)(r0 + 8) = 6
        r6 = r0
        r1 = r0
        r2 = 0
        call 132
        r0 = 3
        exit";
    let maps = vec![map(MapType::RingBuf, 0, 0, 4096)];
    let good = program(ProgType::Memory, text, maps.clone());
    in_all_engines(&good, &[], |engine, result, _, _| {
        assert_eq!(result, 3, "{engine}")
    });
    // Use after submit, and a write past the end.
    for (from, to) in [
        ("r0 = 3", "*(u64 *)(r6 + 0) = 7\nr0 = 3"),
        ("(r0 + 8)", "(r0 + 9)"),
    ] {
        let bad = program(ProgType::Memory, &text.replace(from, to), maps.clone());
        assert!(
            verify(bad.clone(), &Options::new(CAPABILITIES)).is_err(),
            "{to}"
        );
        let mut environment = HostEnvironment::new(&bad.maps).expect("an environment");
        let mut input = Input::new(ProgType::Memory, None, &[]).expect("input");
        let error = environment
            .run_checked(&bad, &mut input, 1000)
            .expect_err("it is stopped");
        let RunError::Trap(trap) = error else {
            panic!("{error}");
        };
        assert!(
            matches!(trap.reason, TrapReason::OutOfBounds { .. }),
            "{trap}"
        );
        // What the stopped program had reserved is free again, and the ring goes on.
        let result = environment.run_checked(&good, &mut input, 1000);
        assert_eq!(result.expect("runs"), 3);
    }
}

#[test]
fn helpers_see_this_process() {
    let maps = Vec::new;
    let tgid = u64::from(std::process::id());
    let pid = program(ProgType::Memory, "call 14\nr0 >>= 32\nexit", maps());
    in_all_engines(&pid, &[], |engine, result, _, _| {
        assert_eq!(result, tgid, "{engine}")
    });
    // The name of this thread, through the stack.
    let text = "r1 = r10\nr1 += -16\nr2 = 16\ncall 16\nr0 = *(u64 *)(r10 - 16)\nexit";
    let comm = program(ProgType::Memory, text, maps());
    let name = fs::read("/proc/thread-self/comm").expect("a name");
    let mut expected = [0; 8];
    let len = name.len().saturating_sub(1).min(8);
    expected[..len].copy_from_slice(&name[..len]);
    in_all_engines(&comm, &[], |engine, result, _, _| {
        assert_eq!(result.to_le_bytes(), expected, "{engine}");
    });
    // A read of an address where nothing is.
    let text = "r1 = r10\nr1 += -8\nr2 = 8\nr3 = 16\ncall 112\nexit";
    let fault = program(ProgType::Kprobe, text, maps());
    in_all_engines(&fault, &[], |engine, result, _, _| {
        assert_eq!(result as i64, -14, "{engine}");
    });
}

#[test]
fn printed_lines_go_to_the_sink() {
    // "n=%d" and a NUL.
    let text = "
        *(u32 *)(r10 - 8) = 0x64253d6e
        *(u32 *)(r10 - 4) = 0
        r1 = r10
        r1 += -8
        r2 = 5
        r3 = 42
        call 6
        exit";
    let program = program(ProgType::Kprobe, text, Vec::new());
    let executable = load(&verified(&program, None));
    let lines = Arc::new(Mutex::new(Vec::new()));
    let mut environment = HostEnvironment::new(&[]).expect("an environment");
    let sink = Arc::clone(&lines);
    environment.set_trace_sink(move |line| {
        sink.lock().expect("no panic").push(line.to_vec());
    });
    let mut input = Input::new(ProgType::Kprobe, None, &[]).expect("input");
    environment.run(&executable, &mut input).expect("runs");
    assert_eq!(*lines.lock().expect("no panic"), [b"n=42".to_vec()]);
}

#[test]
fn code_runs_only_with_what_it_was_verified_for() {
    let memory = program(ProgType::Memory, "r0 = *(u8 *)(r1 + 7)\nexit", Vec::new());
    let executable = load(&verified(&memory, Some(8)));
    let mut environment = HostEnvironment::new(&[]).expect("an environment");
    let mut run = |input: &mut Input| environment.run(&executable, input);
    let mut short = Input::new(ProgType::Memory, None, &[0; 7]).expect("input");
    assert!(matches!(
        run(&mut short),
        Err(RunError::MemoryLen {
            given: 7,
            verified: Some(8)
        })
    ));
    let mut packet = Input::new(ProgType::Xdp, None, &[0; 8]).expect("input");
    assert!(matches!(run(&mut packet), Err(RunError::Input { .. })));
    let mut exact = Input::new(ProgType::Memory, None, &[3; 8]).expect("input");
    assert_eq!(run(&mut exact).expect("runs"), 3);
    let array = map(MapType::Array, 4, 8, 1);
    let mut other = HostEnvironment::new(std::slice::from_ref(&array)).expect("an environment");
    assert!(matches!(
        other.run(&executable, &mut exact),
        Err(RunError::Maps)
    ));
}

#[test]
fn input_is_refused_with_a_reason() {
    let too_long = Input::new(ProgType::Kprobe, None, &[0; 4096]).expect_err("too long");
    assert!(matches!(too_long, InputError::TooLong { .. }));
    let unknown = Input::new(ProgType::Unspec, Some(AttachType(3)), &[]).expect_err("unknown");
    assert!(unknown.to_string().contains("unspec"), "{unknown}");
}

#[test]
fn code_is_never_writable_and_goes_away() {
    let program = program(ProgType::Memory, "r0 = 1\nexit", Vec::new());
    let executable = load(&verified(&program, Some(0)));
    let address = format!("{:x}-", executable.entry_point().address() & !0xfff);
    let line = || {
        let maps = fs::read_to_string("/proc/self/maps").expect("mappings");
        maps.lines()
            .find(|line| line.starts_with(&address))
            .map(str::to_owned)
    };
    let mapped = line().expect("the code is mapped");
    assert!(mapped.contains(" r-xs "), "{mapped}");
    assert!(mapped.contains("memfd:bpftime-program"), "{mapped}");
    let path = format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&executable.as_fd())
    );
    let error = fs::write(path, b"x").expect_err("the file is sealed");
    assert_eq!(error.raw_os_error(), Some(libc::EPERM));
    drop(executable);
    assert!(!line().is_some_and(|line| line.contains("memfd:bpftime-program")));
}

#[test]
fn repeated_runs_find_what_the_last_one_left() {
    let text = "r0 = *(u64 *)(r1 + 0)\nr0 += 1\n*(u64 *)(r1 + 0) = r0\nexit";
    let program = program(ProgType::Memory, text, Vec::new());
    let executable = load(&verified(&program, Some(8)));
    let mut environment = HostEnvironment::new(&[]).expect("an environment");
    let mut input = Input::new(ProgType::Memory, None, &[0; 8]).expect("input");
    let (result, time) = environment
        .run_repeatedly(&executable, &mut input, 1000)
        .expect("runs");
    assert_eq!(result, 1000);
    assert_eq!(input.bytes(), 1000u64.to_le_bytes());
    assert!(!time.is_zero());
}
