//! Text and slots against clang's assembler and `llvm-objdump`, of LLVM 19.
//!
//! Where the tools are not installed, the tests say so and pass.

use std::path::Path;
use std::process::{Command, Stdio};

use bpftime_isa::{Insn, Instruction, asm, encode};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use crate::generate;

const CLANG: &str = "clang-19";
const OBJDUMP: &str = "llvm-objdump-19";
const OBJCOPY: &str = "llvm-objcopy-19";

fn available() -> bool {
    for tool in [CLANG, OBJDUMP, OBJCOPY] {
        let mut version = Command::new(tool);
        version.arg("--version").stdout(Stdio::null());
        if version.status().is_err() {
            println!("skipped: {tool} is not installed");
            return false;
        }
    }
    true
}

/// A scratch directory that goes away with the value.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("the tool starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// Assembles a source with clang.
fn clang(dir: &Path, source: &str) -> std::path::PathBuf {
    let (input, object) = (dir.join("in.s"), dir.join("out.o"));
    std::fs::write(&input, source).unwrap();
    let mut command = Command::new(CLANG);
    command.args(["-target", "bpf", "-mcpu=v4", "-c"]);
    run(command.arg(&input).arg("-o").arg(&object));
    object
}

fn instructions(count: usize) -> Vec<Instruction> {
    let mut runner = TestRunner::deterministic();
    let strategy = generate::known_to_llvm();
    (0..count)
        .map(|_| strategy.new_tree(&mut runner).unwrap().current())
        .collect()
}

fn bytes(insns: &[Insn]) -> Vec<u8> {
    insns.iter().flat_map(|insn| insn.to_le_bytes()).collect()
}

#[test]
fn display_is_what_objdump_prints() {
    if !available() {
        return;
    }
    let instructions = instructions(4000);
    let mut source = String::from(".text\n");
    for byte in bytes(&encode(&instructions)) {
        source.push_str(&format!(".byte {byte}\n"));
    }
    let dir = scratch();
    let object = clang(dir.path(), &source);
    let mut command = Command::new(OBJDUMP);
    let dump = run(command.args(["-d", "--mcpu=v4"]).arg(&object));
    let code = dump.split_once("<.text>:").expect("a section").1;
    let lines: Vec<&str> = code.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines.len(), instructions.len());
    for (line, instruction) in lines.iter().zip(&instructions) {
        let text = line.splitn(3, '\t').nth(2).expect("address, bytes, text");
        let text = text
            .split(" <.text")
            .next()
            .expect("text")
            .replace('\t', " ");
        assert_eq!(instruction.to_string(), text, "{instruction:?}");
    }
    // The dump as a whole assembles to what it is a dump of.
    assert_eq!(asm::parse(code).unwrap(), encode(&instructions));
}

#[test]
fn clang_assembles_display_to_the_same_slots() {
    if !available() {
        return;
    }
    let mut instructions = instructions(4000);
    // LLVM 19 prints distances of 32 bits but reads only those of 16.
    instructions.retain(|instruction| match instruction {
        Instruction::Jump { delta, .. } => i16::try_from(*delta).is_ok(),
        _ => true,
    });
    let mut source = String::from(".text\n");
    for instruction in &instructions {
        source.push_str(&format!("{instruction}\n"));
    }
    let dir = scratch();
    let object = clang(dir.path(), &source);
    let text = dir.path().join("text");
    let mut command = Command::new(OBJCOPY);
    command.args(["-O", "binary", "--only-section=.text"]);
    run(command.arg(&object).arg(&text));
    let expected = std::fs::read(&text).unwrap();
    let ours = bytes(&encode(&instructions));
    for (slot, (ours, theirs)) in ours.chunks(8).zip(expected.chunks(8)).enumerate() {
        assert_eq!(ours, theirs, "slot {slot}");
    }
    assert_eq!(ours.len(), expected.len());
}
