//! Every program of bpf_conformance assembles.
//!
//! The vectors are read from `$BPFTIME_VECTORS`, else from `../shared/vectors` beside the
//! workspace; without them the test says so and passes.

use std::path::PathBuf;

use bpftime_isa::{Insn, asm, decode, encode};

fn vectors() -> PathBuf {
    match std::env::var_os("BPFTIME_VECTORS") {
        Some(path) => path.into(),
        None => {
            let crate_dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
            let crate_dir = crate_dir.canonicalize().unwrap_or(crate_dir);
            crate_dir.join("../../shared/vectors")
        }
    }
}

/// The lines of a section, or `None` if the file has no such section.
fn section(text: &str, name: &str) -> Option<String> {
    let mut lines = text.lines();
    lines.find(|line| line.trim() == format!("-- {name}"))?;
    let body: Vec<&str> = lines.take_while(|line| !line.starts_with("-- ")).collect();
    Some(body.join("\n"))
}

#[test]
fn every_program_assembles() {
    let dir = vectors().join("bpf_conformance");
    let Ok(entries) = std::fs::read_dir(&dir) else {
        println!("skipped: no vectors in {}", dir.display());
        return;
    };
    let mut count = 0;
    let mut with_raw = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "data") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let code = section(&text, "asm").expect("every file has a program as text");
        let insns = asm::parse(&code).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let decoded = decode(&insns).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let instructions: Vec<_> = decoded.iter().map(|d| d.insn).collect();
        assert_eq!(encode(&instructions), insns, "{}", path.display());
        if let Some(raw) = section(&text, "raw") {
            let words = raw.split_whitespace();
            let raw: Vec<Insn> = words
                .map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).unwrap())
                .map(|word| Insn::from_le_bytes(word.to_le_bytes()))
                .collect();
            assert_eq!(raw, insns, "{}", path.display());
            with_raw += 1;
        }
        count += 1;
    }
    assert!(count >= 313, "only {count} files");
    assert!(with_raw > 0, "no file says what its program is in binary");
}
