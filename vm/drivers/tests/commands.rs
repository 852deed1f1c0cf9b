//! The commands, run as others' runners run them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bpftime_isa::{Insn, asm};

/// Vectors that no engine runs: a call through a register has no target that could be verified.
const REJECTED: &[&str] = &["callx.data"];

struct Vector {
    name: String,
    insns: Vec<Insn>,
    memory: String,
    result: u64,
}

/// The vectors of bpf_conformance, if they are there.
fn vectors() -> Vec<Vector> {
    let folder = std::env::var_os("BPFTIME_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let Ok(entries) = std::fs::read_dir(folder.join("bpf_conformance")) else {
        eprintln!("skipped: no vectors in {}", folder.display());
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .filter(|path| path.extension().is_some_and(|ext| ext == "data"))
        .map(|path| read(&path))
        .collect()
}

fn read(path: &Path) -> Vector {
    let text = std::fs::read_to_string(path).expect("the vector can be read");
    let section = |wanted: &str| {
        let mut inside = false;
        let mut found: Option<String> = None;
        for line in text.lines() {
            if let Some(title) = line.strip_prefix("-- ") {
                inside = title.trim() == wanted;
                if inside {
                    found = Some(String::new());
                }
            } else if let (true, Some(found)) = (inside, &mut found) {
                found.push_str(line);
                found.push('\n');
            }
        }
        found
    };
    let insns = match section("asm") {
        Some(text) => asm::parse(&text).expect("the text can be assembled"),
        None => section("raw")
            .expect("a program")
            .split_whitespace()
            .map(|word| Insn::from_le_bytes(number(word).to_le_bytes()))
            .collect(),
    };
    Vector {
        name: path.file_name().expect("a name").to_string_lossy().into(),
        insns,
        memory: section("mem").unwrap_or_default(),
        result: number(section("result").expect("a result").trim()),
    }
}

fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).expect("digits"),
        None => text.parse().expect("digits"),
    }
}

fn bytes(insns: &[Insn]) -> Vec<u8> {
    insns.iter().flat_map(|insn| insn.to_le_bytes()).collect()
}

/// As the runner writes bytes: two digits and two blanks each.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}  ")).collect()
}

fn plugin(program: &str, arguments: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bpftime-conformance-plugin"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the plugin starts");
    let mut input = child.stdin.take().expect("its standard input");
    writeln!(input, "{program}").expect("it reads the program");
    drop(input);
    child.wait_with_output().expect("it ends")
}

#[test]
fn the_plugin_gives_the_result_of_every_vector() {
    let vectors = vectors();
    let mut failures = Vec::new();
    for engine in ["interpreter", "jit"] {
        for vector in &vectors {
            let memory: Vec<u8> = vector
                .memory
                .split_whitespace()
                .map(|byte| u8::from_str_radix(byte, 16).expect("a byte"))
                .collect();
            let memory = hex(&memory);
            let mut arguments = vec!["--engine", engine];
            if !memory.is_empty() {
                arguments.insert(0, &memory);
            }
            let output = plugin(&hex(&bytes(&vector.insns)), &arguments);
            let text = String::from_utf8_lossy(&output.stdout);
            let result = u64::from_str_radix(text.trim(), 16).ok();
            let rejected = REJECTED.contains(&vector.name.as_str());
            if rejected == output.status.success() || !rejected && result != Some(vector.result) {
                failures.push(format!(
                    "{} in {engine}: {text:?} instead of {:x}; {}",
                    vector.name,
                    vector.result,
                    String::from_utf8_lossy(&output.stderr)
                ));
            }
        }
    }
    println!("{} vectors", vectors.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_plugin_runs_nothing_that_is_rejected() {
    let insns = asm::parse("r0 = *(u64 *)(r1 + 1)\nexit").expect("assembles");
    let program = hex(&bytes(&insns));
    let enough = plugin(&program, &["00 11 22 33 44 55 66 77 88"]);
    assert_eq!(
        String::from_utf8_lossy(&enough.stdout),
        "8877665544332211\n"
    );
    for memory in ["00 11 22 33 44 55 66 77", ""] {
        let output = plugin(&program, &[memory]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(error.contains("rejected"), "{error}");
    }
}

#[test]
fn the_driver_prints_what_a_run_costs() {
    let folder = tempfile::tempdir().expect("a folder");
    let [program, memory] = ["program", "memory"].map(|name| folder.path().join(name));
    // The sum of all bytes, by a function that is called for each.
    let text = "r6 = r1\nr7 = r2\nr8 = 0\nr9 = 0\nagain:\nif r9 >= r7 goto out\nr1 = r6\nr1 += r9\n\
                call f\nr8 += r0\nr9 += 1\ngoto again\nout:\nr0 = r8\nexit\n\
                f:\nr0 = *(u8 *)(r1 + 0)\nexit\n";
    let insns = asm::parse(text).expect("assembles");
    std::fs::write(&program, bytes(&insns)).expect("written");
    std::fs::write(&memory, [7u8; 40]).expect("written");
    for engine in ["interpreter", "jit"] {
        let output = Command::new(env!("CARGO_BIN_EXE_bpftime-driver"))
            .args([&program, &memory])
            .args(["25", "--engine", engine])
            .output()
            .expect("the driver runs");
        let line = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        let fields: Vec<(&str, &str)> = line
            .split_whitespace()
            .map(|field| field.split_once('=').expect("a name and a value"))
            .collect();
        let names: Vec<&str> = fields.iter().map(|field| field.0).collect();
        let expected = [
            "compile_ns",
            "ns_per_run",
            "compile_cold_ns",
            "ns_min",
            "result",
        ];
        assert_eq!(names, expected);
        assert_eq!(fields[4].1, "0x118", "{engine}: 40 times 7");
        for (name, value) in &fields[..4] {
            let value: f64 = value.parse().expect("a number");
            assert!(value > 0.0, "{engine}: {name}={value}");
        }
    }
}

#[test]
fn an_unknown_engine_is_refused() {
    let output = plugin("95 00 00 00 00 00 00 00", &["--engine", "none"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("interpreter, jit"));
}
