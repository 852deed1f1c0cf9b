//! Compiles the C fixtures with the compilers that are there.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The fixtures, without extension.
pub(crate) const FIXTURES: [&str; 5] = ["core", "data", "externs", "functions", "maps"];

/// A compiler and an instruction set that it knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compiler {
    pub(crate) clang: &'static str,
    pub(crate) cpu: &'static str,
}

/// The oldest and the newest clang that are supported, with each instruction set.
pub(crate) const COMPILERS: [Compiler; 5] = [
    Compiler {
        clang: "clang-14",
        cpu: "v2",
    },
    Compiler {
        clang: "clang-14",
        cpu: "v3",
    },
    Compiler {
        clang: "clang-19",
        cpu: "v2",
    },
    Compiler {
        clang: "clang-19",
        cpu: "v3",
    },
    Compiler {
        clang: "clang-19",
        cpu: "v4",
    },
];

/// The compilers that are installed; says which are not.
pub(crate) fn compilers() -> Vec<Compiler> {
    let installed = |compiler: &Compiler| {
        let output = Command::new(compiler.clang).arg("--version").output();
        if output.is_err() {
            eprintln!("skipped: {} is not installed", compiler.clang);
        }
        output.is_ok()
    };
    COMPILERS.into_iter().filter(installed).collect()
}

/// Compiles a fixture into a directory.
pub(crate) fn compile(compiler: Compiler, fixture: &str, directory: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(fixture)
        .with_extension("bpf.c");
    // Not the compiler in the name: libbpf makes map names of it.
    let object = directory.join(fixture).with_extension("bpf.o");
    let status = Command::new(compiler.clang)
        .args(["-target", "bpf", "-g", "-O2", "-c"])
        .arg(format!("-mcpu={}", compiler.cpu))
        .arg("-I/usr/include/x86_64-linux-gnu")
        .arg(&source)
        .arg("-o")
        .arg(&object)
        .status()
        .unwrap();
    assert!(
        status.success(),
        "{compiler:?} refuses {}",
        source.display()
    );
    object
}
