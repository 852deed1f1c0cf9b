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
use bpftime_vm::{Executable, HostEnvironment, Input, RunError, TrapReason, jit};

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
    let run = |engine: &dyn Fn(&mut HostEnvironment, &mut Input) -> Result<u64, RunError>| {
        let mut environment = HostEnvironment::new(&program.maps).expect("the maps can be made");
        let mut given = Input::new(prog_type, None, input).expect("an input");
        let result = engine(&mut environment, &mut given)?;
        Ok((result, given.bytes().to_vec()))
    };
    let expected = match run(&|environment, given| environment.run_checked(&program, given, LIMIT))
    {
        Ok(expected) => expected,
        Err(RunError::Trap(trap))
            if matches!(
                trap.reason,
                TrapReason::BudgetSpent { .. } | TrapReason::Unsupported(_)
            ) =>
        {
            return false;
        }
        Err(error) => panic!("accepted, and stopped when checked: {error}"),
    };
    if varies(&verified) {
        return true;
    }
    let interpreted = run(&|environment, given| environment.interpret(&verified, given));
    assert_eq!(interpreted.ok().as_ref(), Some(&expected), "interpreter");
    let Ok(code) = jit::compile(&verified) else {
        return true;
    };
    let executable = Executable::load(code).expect("it can be mapped");
    let compiled = run(&|environment, given| environment.run(&executable, given));
    assert_eq!(compiled.ok().as_ref(), Some(&expected), "JIT");
    true
}

/// Whether it calls a helper, whose results may be others each time (clocks, random numbers).
fn varies(verified: &bpftime_verifier::VerifiedProgram) -> bool {
    const MAP_HELPERS: [u32; 3] = [1, 2, 3];
    let mut helpers = verified.facts().helpers.iter();
    helpers.any(|number| !MAP_HELPERS.contains(number))
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
