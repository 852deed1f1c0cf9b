//! What is fuzzed, as functions of bytes; each fuzz target is glue.
//!
//! - [`slots`]: bytes are a program; the verifier judges it, and what it accepts is run
//! - [`object`]: bytes are an object file
//! - [`text`]: bytes are assembly
//!
//! A function panics where something is wrong, and only there.

use bpftime_helpers::CAPABILITIES;
use bpftime_isa::{Insn, MapDef, MapType, ProgType, Program, asm, decode};
use bpftime_loader::Object;
use bpftime_verifier::{Budget, Options, verify};
use bpftime_vm::{CompileError, Executable, HostEnvironment, Input, RunError, TrapReason, jit};

/// Bytes that a memory program, or an XDP program as its packet, is given.
const INPUT: usize = 64;
/// Instructions after which a run is taken to hang.
const LIMIT: u64 = 100_000;

/// Little, so that many programs are judged in a second.
fn budget() -> Budget {
    Budget {
        max_steps: 20_000,
        max_comparisons: 100_000,
        ..Budget::default()
    }
}

/// Programs: two bytes say what kind of program, the next 64 are its input, the rest its slots. Tells whether
/// it was accepted, and run to its end.
pub fn slots(bytes: &[u8]) -> bool {
    let Some(([kind, rules], rest)) = bytes.split_first_chunk() else {
        return false;
    };
    let Some((input, rest)) = rest.split_first_chunk::<INPUT>() else {
        return false;
    };
    let insns = rest
        .as_chunks()
        .0
        .iter()
        .map(|slot| Insn::from_le_bytes(*slot));
    let prog_type = [ProgType::Memory, ProgType::Xdp, ProgType::SchedCls][usize::from(kind % 3)];
    let program = Program {
        name: "fuzzed".to_owned(),
        license: "GPL".to_owned(),
        maps: maps(),
        ..Program::new(prog_type, insns.collect())
    };
    let options = Options {
        budget: budget(),
        memory_len: Some(INPUT as u64),
        // Otherwise results depend on addresses, and on what was on the stack.
        allow_ptr_leaks: false,
        allow_uninit_stack: false,
        record_operands: rules & 1 == 1,
        ..Options::new(CAPABILITIES)
    };
    let outcome = |engine: &Engine<'_>| outcome(&program, input, engine);
    let checked: &Engine<'_> =
        &|environment, given| environment.run_checked(&program, given, LIMIT);
    // With the rules for privileged programs results may depend on addresses, but no access may be wrong.
    let privileged = Options {
        allow_ptr_leaks: true,
        allow_uninit_stack: true,
        ..options.clone()
    };
    if verify(program.clone(), &privileged).is_ok() && !is_long(outcome(checked).as_ref()) {
        outcome(checked).expect("accepted as privileged, and stopped when checked");
    }
    let _ = verify(
        program.clone(),
        &Options {
            budget: budget(),
            ..Options::linux()
        },
    );
    let Ok(verified) = verify(program.clone(), &options) else {
        return false;
    };
    let expected = match outcome(checked) {
        error if is_long(error.as_ref()) => return false,
        expected => expected.expect("accepted, and stopped when checked"),
    };
    if varies(&verified) {
        return true;
    }
    let interpreted = outcome(&|environment, given| environment.interpret(&verified, given));
    assert_eq!(interpreted.ok().as_ref(), Some(&expected), "interpreter");
    let code = match jit::compile(&verified) {
        Ok(code) => code,
        // What it calls back is known only if it is recorded.
        Err(CompileError::Unsupported { .. }) if !options.record_operands => return true,
        Err(error) => panic!("accepted, and not compiled: {error}"),
    };
    let executable = Executable::load(code).expect("it can be mapped");
    let compiled = outcome(&|environment, given| environment.run(&executable, given));
    assert_eq!(compiled.ok().as_ref(), Some(&expected), "JIT");
    true
}

type Engine<'a> = dyn Fn(&mut HostEnvironment, &mut Input) -> Result<u64, RunError> + 'a;

/// What a run gives and leaves: the result, the input, and all values of the arrays.
type Outcome = (u64, Vec<u8>, Vec<Vec<u8>>);

fn outcome(program: &Program, input: &[u8], engine: &Engine<'_>) -> Result<Outcome, RunError> {
    let mut environment = HostEnvironment::new(&program.maps).expect("the maps can be made");
    let mut given = Input::new(program.prog_type, None, input).expect("an input");
    let result = engine(&mut environment, &mut given)?;
    let mut values = Vec::new();
    for (index, map) in program.maps.iter().enumerate() {
        let here = environment.map(index).expect("the map");
        for entry in 0..map.max_entries {
            let mut value = vec![0; here.geometry().user_value_size()];
            // Of the hash there is nothing by such keys, or what the program put there.
            let mut key = u64::from(entry).to_le_bytes().to_vec();
            key.truncate(map.key_size as usize);
            if here.lookup_user(&key, &mut value, 0).is_ok() {
                values.push(value);
            }
        }
    }
    Ok((result, given.bytes().to_vec(), values))
}

/// Whether a run was ended for its length alone.
fn is_long<T>(outcome: Result<T, &RunError>) -> bool {
    matches!(outcome, Err(RunError::Trap(trap)) if matches!(trap.reason, TrapReason::BudgetSpent { .. }))
}

/// Whether it calls a helper, whose results may be others each time (clocks, random numbers).
fn varies(verified: &bpftime_verifier::VerifiedProgram) -> bool {
    /// Of maps, and `bpf_loop`.
    const STEADY: [u32; 4] = [1, 2, 3, 181];
    let mut helpers = verified.facts().helpers.iter();
    helpers.any(|number| !STEADY.contains(number))
}

fn maps() -> Vec<MapDef> {
    vec![
        MapDef::new(MapType::Array, 4, 48, 4),
        MapDef::new(MapType::Hash, 8, 16, 4),
        MapDef::new(MapType::PerCpuArray, 4, 8, 2),
    ]
}

/// Objects: they are read or refused, and their programs judged.
pub fn object(bytes: &[u8]) {
    let Ok(object) = Object::parse(bytes) else {
        return;
    };
    let options = Options {
        budget: budget(),
        ..Options::linux()
    };
    for program in object.into_programs() {
        if let Err(rejection) = verify(program.into_program(), &options) {
            assert!(!rejection.kernel_log().is_empty());
        }
    }
}

/// Assembly: what is understood is the same program when it is printed and read again.
pub fn text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(slots) = asm::parse(text) else {
        return;
    };
    let Ok(decoded) = decode(&slots) else {
        return;
    };
    let printed: String = decoded
        .iter()
        .map(|item| format!("{}\n", item.insn))
        .collect();
    match asm::parse(&printed) {
        Ok(again) => assert_eq!(again, slots, "{printed}"),
        Err(error) => panic!("{error}: {printed}"),
    }
}
