//! Runs the command and makes objects for it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Runs `bpftime` with arguments.
pub(crate) fn bpftime(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bpftime"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .output()
        .unwrap()
}

/// What was written to stdout.
pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What was written to stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Compiles C text with the newest clang that is installed; says so if there is none.
pub(crate) fn compile(directory: &Path, name: &str, text: &str) -> Option<PathBuf> {
    let clang = ["clang-19", "clang", "clang-14"]
        .into_iter()
        .find(|clang| Command::new(clang).arg("--version").output().is_ok());
    let Some(clang) = clang else {
        eprintln!("skipped: clang is not installed");
        return None;
    };
    let source = directory.join(name).with_extension("c");
    let object = directory.join(name).with_extension("o");
    std::fs::write(&source, text).unwrap();
    let status = Command::new(clang)
        .args(["-target", "bpf", "-g", "-O2", "-c"])
        .arg("-I/usr/include/x86_64-linux-gnu")
        .arg(&source)
        .arg("-o")
        .arg(&object)
        .status()
        .unwrap();
    assert!(status.success(), "{clang} refuses {}", source.display());
    Some(object)
}
