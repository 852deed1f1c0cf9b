//! What libbpf gives to the kernel for an object is what the loader makes of it: instructions
//! after CO-RE, calls and map references, functions, source lines, and map definitions.
//!
//! libbpf is bpftool's; a preloaded library writes down its system calls. With
//! `BPFTIME_OBJECTS=DIRECTORY`, all objects below it are compared too, as far as libbpf takes
//! them.

mod declarations;
mod support;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use bpftime_isa::{Insn, MapDef, Program};
use bpftime_loader::{Environment, Object, Options, object};
use serde_json::Value;
use support::{FIXTURES, compile, compilers};

#[test]
fn programs_and_maps_are_those_of_libbpf() {
    let compilers = compilers();
    let directory = tempfile::tempdir().unwrap();
    let Some(shim) = recorder(directory.path()) else {
        return;
    };
    let mut compared = 0;
    for compiler in compilers {
        for fixture in FIXTURES {
            let path = compile(compiler, fixture, directory.path());
            let records = record(&shim, &path).unwrap();
            compared += compare(&path, &records, &format!("{compiler:?} {fixture}"));
        }
    }
    eprintln!("{compared} programs compared with libbpf");
}

#[test]
fn programs_of_given_objects_are_those_of_libbpf() {
    let Some(given) = std::env::var_os("BPFTIME_OBJECTS") else {
        eprintln!("skipped: BPFTIME_OBJECTS names no directory");
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let Some(shim) = recorder(directory.path()) else {
        return;
    };
    let mut directories = vec![PathBuf::from(given)];
    let (mut compared, mut objects) = (0, 0);
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "o") {
                compared += compare_given(&shim, &path);
                objects += 1;
            }
        }
    }
    eprintln!("{compared} programs of {objects} objects compared with libbpf");
}

/// Compares the programs that libbpf got as far as loading; gives their number.
fn compare_given(shim: &Path, path: &Path) -> usize {
    let log = tempfile::NamedTempFile::new().unwrap();
    let records = match record_to(shim, path, log.path()) {
        Ok(records) | Err((records, _)) => records,
    };
    let options = Options {
        name: object::object_name(path),
        environment: Environment::host(),
    };
    let bytes = std::fs::read(path).unwrap();
    let Ok(object) = Object::parse_with(&bytes, &options) else {
        let taken = records.iter().any(|record| record["map"].is_string());
        assert!(!taken, "libbpf takes {}", path.display());
        return 0;
    };
    let fds = descriptors(&records);
    let mut compared = 0;
    for program in object.programs() {
        let name = short(&program.name);
        // The last try is without what older kernels do not know; its instructions are the same.
        let record = records.iter().find(|record| {
            record["program"] == name && record["insns"].as_array().is_some_and(|i| i.len() > 2)
        });
        if let Some(record) = record {
            compare_program(program, record, &fds, &format!("{} {name}", path.display()));
            compared += 1;
        }
    }
    compared
}

/// Compiles the recording library, if this machine can use it.
fn recorder(directory: &Path) -> Option<PathBuf> {
    // Reading the kernel's own list of programs needs the same privilege as loading one.
    let listed = Command::new("bpftool").args(["prog", "list"]).output();
    if !listed.as_ref().is_ok_and(|output| output.status.success()) {
        eprintln!(
            "skipped: bpftool is not installed or may not use bpf() (needs root): {listed:?}"
        );
        return None;
    }
    let shim = directory.join("shim.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/shim.c");
    let status = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(&shim)
        .arg(source)
        .arg("-ldl")
        .status();
    if !status.as_ref().is_ok_and(|status| status.success()) {
        eprintln!("skipped: cc is not installed: {status:?}");
        return None;
    }
    Some(shim)
}

/// Lets bpftool load an object and gives what libbpf asked of the kernel.
fn record(shim: &Path, object: &Path) -> Result<Vec<Value>, (Vec<Value>, String)> {
    record_to(shim, object, &object.with_extension("log"))
}

/// As [`record`], with the place of the log; of a failure, also what was asked before it.
fn record_to(shim: &Path, object: &Path, log: &Path) -> Result<Vec<Value>, (Vec<Value>, String)> {
    let _ = std::fs::remove_file(log);
    let pin = format!("/sys/fs/bpf/bpftime-loader-test-{}", std::process::id());
    let output = Command::new("bpftool")
        .args(["prog", "loadall"])
        .arg(object)
        .arg(&pin)
        .env("LD_PRELOAD", shim)
        .env("BPF_LOG", log)
        .output()
        .unwrap();
    let _ = std::fs::remove_dir_all(&pin);
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let records = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    if output.status.success() {
        Ok(records)
    } else {
        Err((
            records,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ))
    }
}

/// Compares an object with what was recorded; gives the number of programs.
fn compare(path: &Path, records: &[Value], what: &str) -> usize {
    let options = Options {
        name: object::object_name(path),
        environment: Environment::host(),
    };
    let bytes = std::fs::read(path).unwrap();
    let object = Object::parse_with(&bytes, &options).unwrap();
    assert!(
        object.refused().is_empty(),
        "{what}: {:?}",
        object.refused()
    );

    let created = |map: &MapDef| {
        let name = short(&map.name);
        let record = records.iter().find(|record| record["map"] == name);
        record.unwrap_or_else(|| panic!("{what}: libbpf creates no map {name}"))
    };
    for map in object.maps() {
        let record = created(map);
        let same = record["type"] == map.map_type as u32
            && record["key"] == map.key_size
            && record["value"] == map.value_size
            && record["entries"] == map.max_entries
            && record["flags"] == map.flags;
        assert!(same, "{what}: {map:?} is {record} to libbpf");
        let frozen = records.iter().any(|r| r["freeze"] == record["fd"]);
        assert_eq!(map.frozen, frozen, "{what}: {map:?}");
        if let Some(inner) = &map.inner {
            let held = records.iter().find(|record| {
                record["map"] == short(&inner.name)
                    || record["map"]
                        .as_str()
                        .is_some_and(|name| name.starts_with("inner_"))
                        && !inner.name.starts_with("outer_hash")
            });
            let held = held.unwrap_or_else(|| panic!("{what}: no {}", inner.name));
            assert_eq!(held["type"], inner.map_type as u32, "{what}: {inner:?}");
            assert_eq!(held["value"], inner.value_size, "{what}: {inner:?}");
            assert_eq!(held["entries"], inner.max_entries, "{what}: {inner:?}");
        }
    }
    let fds = descriptors(records);
    for program in object.programs() {
        let record = records
            .iter()
            .find(|r| r["program"] == short(&program.name));
        let record = record.unwrap_or_else(|| panic!("{what}: no program {}", program.name));
        compare_program(program, record, &fds, &format!("{what} {}", program.name));
        assert!(!program.lines.is_empty(), "{what}: no lines");
    }
    object.programs().len()
}

/// Names of the maps that were created, by descriptor.
fn descriptors(records: &[Value]) -> HashMap<i64, String> {
    records
        .iter()
        .filter_map(|record| {
            let name = record["map"].as_str()?.to_owned();
            Some((record["fd"].as_i64()?, name))
        })
        .collect()
}

fn compare_program(program: &Program, record: &Value, fds: &HashMap<i64, String>, what: &str) {
    assert_eq!(record["type"], program.prog_type as u32, "{what}: type");
    let attach = program.attach_type.map_or(0, |attach| attach.0);
    assert_eq!(record["attach"], attach, "{what}: attach type");
    let theirs: Vec<Insn> = words(&record["insns"])
        .map(|words| {
            let mut bytes = [0; 8];
            bytes[..4].copy_from_slice(&words[0].to_le_bytes());
            bytes[4..].copy_from_slice(&words[1].to_le_bytes());
            Insn::from_le_bytes(bytes)
        })
        .collect();
    assert_eq!(program.insns.len(), theirs.len(), "{what}: length");
    for (slot, (ours, theirs)) in program.insns.iter().zip(&theirs).enumerate() {
        // libbpf refers to maps by descriptor (1, with a value 2), we by index (5 and 6).
        let mut expected = *theirs;
        if theirs.opcode == 0x18 && matches!(theirs.src, 1 | 2) {
            expected.src = theirs.src + 4;
            // A pinned map of an earlier run has a descriptor but was not created.
            let Some(name) = fds.get(&i64::from(theirs.imm)) else {
                assert_eq!(ours.src, expected.src, "{what}: slot {slot}");
                continue;
            };
            let index = program.maps.iter().position(|map| short(&map.name) == name);
            let index = index.unwrap_or_else(|| panic!("{what}: slot {slot} needs map {name}"));
            expected.imm = i32::try_from(index).unwrap();
        }
        // A call of a weak kernel function that is not there: libbpf before 1.2 calls number 0.
        if expected.opcode == 0x85 && expected.src == 2 && expected.imm == 0 {
            expected.src = 0;
            expected.imm = 2_002_000_000;
        }
        assert_eq!(*ours, expected, "{what}: slot {slot}");
    }
    let functions: Vec<u32> = words(&record["functions"]).map(|words| words[0]).collect();
    let ours: Vec<u32> = program.subprograms.iter().map(|sub| sub.insn).collect();
    assert_eq!(ours, functions, "{what}: functions");
    let lines: Vec<(u32, u32)> = words(&record["lines"])
        .map(|words| (words[0], words[3]))
        .collect();
    let ours: Vec<(u32, u32)> = program
        .lines
        .iter()
        .map(|line| (line.insn, line.line << 10 | line.column))
        .collect();
    assert_eq!(ours, lines, "{what}: lines");
}

/// Records as the recorder writes them: lists of 32-bit words.
fn words(records: &Value) -> impl Iterator<Item = Vec<u32>> {
    let records = records.as_array().unwrap().iter();
    records.map(|record| {
        let words = record.as_array().unwrap().iter();
        words
            .map(|word| u32::try_from(word.as_u64().unwrap()).unwrap())
            .collect()
    })
}

/// A name as the kernel gets it.
fn short(name: &str) -> &str {
    name.get(..15).unwrap_or(name)
}

/// What is said of global functions is what their C declarations say.
mod contracts {
    use bpftime_isa::{Contract, ContractArg};
    use bpftime_loader::Object;

    use crate::support::{compile, compilers};

    const NUMBER: ContractArg = ContractArg::Number;
    const CONTEXT: ContractArg = ContractArg::Context;

    fn memory(size: u32, nullable: bool) -> ContractArg {
        ContractArg::Memory { size, nullable }
    }

    #[test]
    fn contracts_are_what_the_declarations_say() {
        let directory = tempfile::tempdir().expect("a directory");
        let contract = |arguments: &[ContractArg]| {
            Some(Contract {
                arguments: arguments.to_vec(),
            })
        };
        let wanted = [
            ("numbers", contract(&[NUMBER; 4])),
            ("context", contract(&[CONTEXT, memory(16, true)])),
            ("tagged", contract(&[CONTEXT, memory(16, false)])),
            ("array", contract(&[memory(24, true), memory(1, true)])),
            ("nothing", None),
            // No result, a tag that asks for more than is known here, memory of no size, a static function.
            ("untold", None),
            ("anything", None),
            ("own", None),
        ];
        for compiler in compilers() {
            let object = compile(compiler, "contracts", directory.path());
            let bytes = std::fs::read(object).expect("an object");
            let object = Object::parse(&bytes).expect("loads");
            let program = object.programs().next().expect("a program");
            for (name, contract) in &wanted {
                let mut functions = program.subprograms.iter();
                let function = functions.find(|function| function.name == *name);
                let function = function.unwrap_or_else(|| panic!("{compiler:?} leaves out {name}"));
                assert_eq!(function.contract, *contract, "{name}, {compiler:?}");
            }
        }
    }
}
