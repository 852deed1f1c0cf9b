//! Every vector of bpf_conformance in every engine.
//!
//! A vector is a program in text, the memory it is given (address in `r1`, length in `r2`), and
//! the result it must have. The checked interpreter runs all of them; those that the verifier
//! accepts run in the interpreter and as machine code, too, and must leave the same memory. The
//! vectors that the verifier rightly rejects are listed here, each with the reason, and the test
//! fails when the list is not exact.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bpftime_helpers::CAPABILITIES;
use bpftime_isa::{Insn, ProgType, Program, asm};
use bpftime_tests::paths;
use bpftime_verifier::{Options, verify};
use bpftime_vm::{Executable, HostEnvironment, Input, RunError, TrapReason, jit};

/// Vectors that the verifier rejects, and why that is right.
const REJECTED: &[(&str, &str)] = &[(
    "callx.data",
    "a call through a register has no target that could be verified; Linux does not have it",
)];

/// Vectors that the checked interpreter stops, too, and why.
const TRAPPED: &[(&str, &str)] = &[(
    "callx.data",
    "the interpreter has no calls through a register, as no accepted program has one",
)];

/// Instructions after which a vector is taken to hang.
const LIMIT: u64 = 1_000_000;

struct Vector {
    name: String,
    insns: Vec<Insn>,
    memory: Vec<u8>,
    result: u64,
}

#[test]
fn every_vector_gives_its_result_in_every_engine() {
    let Some(folder) = paths::vectors() else {
        return;
    };
    let mut total = 0;
    let mut failures = Vec::new();
    let mut rejected = BTreeMap::new();
    let mut trapped = BTreeMap::new();
    let mut names: Vec<_> = fs::read_dir(folder.join("bpf_conformance"))
        .expect("the vectors can be listed")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "data")
        })
        .collect();
    names.sort();
    for path in names {
        total += 1;
        let vector = read(&path);
        match in_checked_interpreter(&vector) {
            Ok((result, _)) if result == vector.result => {}
            Ok((result, _)) => failures.push(format!(
                "{}: the checked interpreter gives {result:#x} instead of {:#x}",
                vector.name, vector.result
            )),
            Err(trap) => drop(trapped.insert(vector.name.clone(), trap)),
        }
        match in_verified_engines(&vector) {
            Ok(()) => {}
            Err(Failure::Rejected(reason)) => drop(rejected.insert(vector.name.clone(), reason)),
            Err(Failure::Wrong(what)) => failures.push(format!("{}: {what}", vector.name)),
        }
    }
    let accepted = total - rejected.len();
    println!("bpf_conformance: {total} vectors, {accepted} accepted and run in all three engines");
    for (name, reason) in &rejected {
        println!("rejected: {name}: {reason}");
    }
    for (name, trap) in &trapped {
        println!("trapped: {name}: {trap}");
    }
    assert_eq!(total, 313, "vectors in the folder");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(
        rejected.keys().map(String::as_str).collect::<Vec<_>>(),
        REJECTED.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        "the vectors that the verifier rejects"
    );
    assert_eq!(
        trapped.keys().map(String::as_str).collect::<Vec<_>>(),
        TRAPPED.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
        "the vectors that the checked interpreter stops"
    );
}

/// The checked interpreter is not to give the expected results by accident: with one byte less
/// memory, each vector that reads the last byte must trap.
#[test]
fn vectors_trap_when_their_memory_is_short() {
    let Some(folder) = paths::vectors() else {
        return;
    };
    for name in ["ldxb-all", "ldxdw", "stxb-chain", "ldxw-all"] {
        let mut vector = read(&folder.join(format!("bpf_conformance/{name}.data")));
        while in_checked_interpreter(&vector).is_ok() {
            assert!(
                vector.memory.pop().is_some(),
                "{name} gives a result without memory"
            );
        }
        let error = in_checked_interpreter(&vector).expect_err("it trapped a moment ago");
        assert!(
            matches!(
                &error,
                RunError::Trap(trap) if matches!(trap.reason, TrapReason::OutOfBounds { .. })
            ),
            "{name}: {error}"
        );
    }
}

enum Failure {
    Rejected(String),
    Wrong(String),
}

fn in_checked_interpreter(vector: &Vector) -> Result<(u64, Vec<u8>), RunError> {
    let mut environment = HostEnvironment::new(&[]).expect("an environment");
    let mut input = input(vector);
    let result = environment.run_checked(&program(vector), &mut input, LIMIT)?;
    Ok((result, input.bytes().to_vec()))
}

fn in_verified_engines(vector: &Vector) -> Result<(), Failure> {
    let options = Options {
        memory_len: Some(vector.memory.len() as u64),
        ..Options::new(CAPABILITIES)
    };
    let verified = verify(program(vector), &options)
        .map_err(|rejection| Failure::Rejected(rejection.to_string()))?;
    let wrong = |what: String| Failure::Wrong(what);
    let expected_memory = match in_checked_interpreter(vector) {
        Ok((_, memory)) => memory,
        Err(error) => {
            return Err(wrong(format!(
                "accepted, but stopped when checked: {error}"
            )));
        }
    };
    let code = jit::compile(&verified).map_err(|error| wrong(error.to_string()))?;
    let executable = Executable::load(code).map_err(|error| wrong(error.to_string()))?;
    let mut environment = HostEnvironment::new(&[]).expect("an environment");
    for engine in ["interpreter", "jit"] {
        let mut input = input(vector);
        let result = match engine {
            "jit" => environment.run(&executable, &mut input),
            _ => environment.interpret(&verified, &mut input),
        }
        .map_err(|error| wrong(format!("{engine}: {error}")))?;
        if result != vector.result {
            let expected = vector.result;
            return Err(wrong(format!(
                "{engine}: {result:#x} instead of {expected:#x}"
            )));
        }
        if input.bytes() != expected_memory {
            return Err(wrong(format!("{engine}: other memory than when checked")));
        }
    }
    Ok(())
}

fn input(vector: &Vector) -> Input {
    Input::new(ProgType::Memory, None, &vector.memory).expect("memory")
}

fn program(vector: &Vector) -> Program {
    Program {
        name: vector.name.clone(),
        license: "GPL".to_owned(),
        ..Program::new(ProgType::Memory, vector.insns.clone())
    }
}

/// Reads a vector. The format is described in `README.md` beside the vectors.
fn read(path: &Path) -> Vector {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name")
        .to_owned();
    let text = fs::read_to_string(path).expect("the vector can be read");
    let mut sections: BTreeMap<&str, String> = BTreeMap::new();
    let mut current = None;
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("-- ") {
            current = Some(title.trim());
        } else if let Some(title) = current {
            let section = sections.entry(title).or_default();
            section.push_str(line);
            section.push('\n');
        }
    }
    for title in sections.keys() {
        // What a vector with another section asks for would not be done.
        let known = ["asm", "raw", "c", "mem", "result", "no register offset"];
        assert!(known.contains(title), "{name}: section {title:?}");
    }
    let assembled = sections
        .get("asm")
        .map(|text| asm::parse(text).unwrap_or_else(|error| panic!("{name}: {error}")));
    let raw = sections.get("raw").map(|text| {
        text.split_whitespace()
            .map(|word| Insn::from_le_bytes(number(word).to_le_bytes()))
            .collect::<Vec<_>>()
    });
    if let (Some(assembled), Some(raw)) = (&assembled, &raw) {
        assert_eq!(assembled, raw, "{name}: the text and the raw words differ");
    }
    Vector {
        insns: assembled.or(raw).expect("a program"),
        memory: sections.get("mem").map_or(Vec::new(), |text| {
            text.split_whitespace()
                .map(|byte| u8::from_str_radix(byte, 16).expect("a byte"))
                .collect()
        }),
        result: number(sections.get("result").expect("a result").trim()),
        name,
    }
}

fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    }
    .unwrap_or_else(|error| panic!("{text}: {error}"))
}
