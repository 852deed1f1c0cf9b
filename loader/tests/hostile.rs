//! Files that are broken, by accident or on purpose, give an error that says where; no panic,
//! no hang.

mod support;

use std::time::{Duration, Instant};

use bpftime_loader::{Environment, LoadError, Object, Options};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use support::{FIXTURES, compile, compilers};

/// Changed files for each fixture and compiler that is used.
const CASES: usize = 1000;

/// Far more than any file may take; a hang is what this finds.
const LONGEST: Duration = Duration::from_secs(30);

fn options() -> Options {
    Options {
        name: "hostile".to_owned(),
        environment: Environment::host(),
    }
}

fn parse(bytes: &[u8], what: &str) -> Result<Object, LoadError> {
    let start = Instant::now();
    let result = Object::parse_with(bytes, &options());
    assert!(start.elapsed() < LONGEST, "{what}: takes too long");
    if let Err(error @ LoadError::Internal { .. }) = &result {
        panic!("{what}: {error}");
    }
    result
}

#[test]
fn changed_files_give_a_result() {
    let directory = tempfile::tempdir().unwrap();
    let mut rng = StdRng::seed_from_u64(0x6270_6674);
    let (mut taken, mut refused) = (0, 0);
    for compiler in compilers().into_iter().filter(|c| c.cpu == "v3") {
        for fixture in FIXTURES {
            let path = compile(compiler, fixture, directory.path());
            let original = std::fs::read(path).unwrap();
            assert!(parse(&original, fixture).is_ok());
            for case in 0..CASES {
                let bytes = change(&original, &mut rng);
                match parse(&bytes, &format!("{compiler:?} {fixture} case {case}")) {
                    Ok(_) => taken += 1,
                    Err(_) => refused += 1,
                }
            }
        }
    }
    eprintln!("{taken} changed files taken, {refused} refused");
    assert!(taken + refused == 0 || (taken > 0 && refused > 0));
}

/// A file with some bytes changed, or its end missing.
fn change(original: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = original.to_vec();
    // The section headers at the end, which decide most, get half of the changes.
    let tail = bytes.len().saturating_sub(40 * 64);
    for _ in 0..rng.random_range(1..=4) {
        let from = if rng.random_bool(0.5) { tail } else { 0 };
        let at = rng.random_range(from..bytes.len());
        match rng.random_range(0..4) {
            0 => bytes[at] ^= 1 << rng.random_range(0..8),
            1 => bytes[at] = rng.random(),
            2 => {
                bytes[at] = *[0, 1, 0x7f, 0x80, 0xff]
                    .get(rng.random_range(0..5))
                    .unwrap()
            }
            _ => {
                let end = bytes.len().min(at + rng.random_range(1..=8));
                let value = if rng.random_bool(0.5) { 0xff } else { 0 };
                bytes[at..end].fill(value);
            }
        }
    }
    if rng.random_bool(0.1) {
        bytes.truncate(rng.random_range(0..=bytes.len()));
    }
    bytes
}

#[test]
fn every_truncation_gives_a_result() {
    let directory = tempfile::tempdir().unwrap();
    let Some(compiler) = compilers().pop() else {
        return;
    };
    let path = compile(compiler, "functions", directory.path());
    let bytes = std::fs::read(path).unwrap();
    for len in (0..bytes.len()).step_by(7) {
        let result = parse(&bytes[..len], &format!("{len} bytes"));
        assert!(result.is_err(), "{len} of {} bytes are taken", bytes.len());
    }
}

#[test]
fn files_of_another_kind_are_told_apart() {
    assert!(matches!(parse(b"", "empty"), Err(LoadError::Empty)));
    let error = parse(b"#!/bin/sh\n", "script").unwrap_err();
    assert!(matches!(error, LoadError::NotElf { .. }), "{error}");
    assert!(error.to_string().contains("23 21 2f 62"), "{error}");

    let mut elf = vec![0u8; 64];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    elf[16] = 1;
    elf[18] = 247;
    let with = |at: usize, value: u8| {
        let mut changed = elf.clone();
        changed[at] = value;
        parse(&changed, "header").unwrap_err()
    };
    assert!(matches!(with(4, 1), LoadError::Not64Bit));
    assert!(matches!(with(5, 2), LoadError::BigEndian));
    let other = with(18, 62);
    assert!(matches!(other, LoadError::WrongMachine { machine: 62 }));
    let executable = with(16, 2);
    assert!(matches!(
        executable,
        LoadError::NotRelocatable { file_type: 2 }
    ));
    assert!(matches!(
        parse(&elf, "header only").unwrap_err(),
        LoadError::NoPrograms
    ));
    assert!(matches!(
        parse(&elf[..40], "half a header").unwrap_err(),
        LoadError::Elf { .. }
    ));

    let this = std::fs::read("/proc/self/exe").unwrap();
    let error = Object::parse_with(&this, &options()).unwrap_err();
    let told = matches!(
        error,
        LoadError::WrongMachine { .. } | LoadError::TooLarge { .. }
    );
    assert!(told, "{error}");
}

#[test]
fn big_endian_objects_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    for compiler in compilers() {
        let source = directory.path().join("x.c");
        let object = directory.path().join("x.o");
        std::fs::write(&source, "int f(void *ctx) { return 1; }").unwrap();
        let status = std::process::Command::new(compiler.clang)
            .args(["-target", "bpfeb", "-O2", "-c", "-o"])
            .arg(&object)
            .arg(&source)
            .status()
            .unwrap();
        assert!(status.success());
        let bytes = std::fs::read(&object).unwrap();
        assert!(matches!(parse(&bytes, "bpfeb"), Err(LoadError::BigEndian)));
    }
}

/// Compiles C text with the newest compiler and options in the place of `-g`.
fn object_of(text: &str, options: &[&str]) -> Option<Vec<u8>> {
    let compiler = compilers().pop()?;
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("x.c");
    let object = directory.path().join("x.o");
    std::fs::write(&source, text).unwrap();
    let status = std::process::Command::new(compiler.clang)
        .args(["-target", "bpf", "-O2", "-I/usr/include/x86_64-linux-gnu"])
        .args(options)
        .args(["-c", "-o"])
        .arg(&object)
        .arg(&source)
        .status()
        .unwrap();
    assert!(status.success());
    Some(std::fs::read(object).unwrap())
}

/// The message of the error that C text gives.
fn error_of(text: &str, options: &[&str]) -> Option<String> {
    let bytes = object_of(text, options)?;
    Some(parse(&bytes, text).unwrap_err().to_string())
}

#[test]
fn errors_name_the_place() {
    const HEADERS: &str = "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n";
    let cases = [
        // Map definitions without type information.
        (
            "struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, int); \
             __type(value, int); } m SEC(\".maps\");\n\
             SEC(\"xdp\") int p(void *c) { int k = 0; return bpf_map_lookup_elem(&m, &k) != 0; }",
            &[][..],
            &["`.maps`", ".BTF", "-g"][..],
        ),
        // A function that is nowhere.
        (
            "extern int elsewhere(void *c);\nSEC(\"xdp\") int p(void *c) { return elsewhere(c); }",
            &["-g"],
            &["`elsewhere`", "`xdp`", "0x0"],
        ),
        (
            "struct { __uint(type, 999); } m SEC(\".maps\");\n\
             SEC(\"xdp\") int p(void *c) { return (long)&m; }",
            &["-g"],
            &["map `m`", "999"],
        ),
        (
            "struct { __uint(type, 1); __uint(colour, 3); } m SEC(\".maps\");\n\
             SEC(\"xdp\") int p(void *c) { return (long)&m; }",
            &["-g"],
            &["map `m`", "`colour`"],
        ),
        (
            "extern int CONFIG_NO_SUCH_OPTION __kconfig;\n\
             SEC(\"xdp\") int p(void *c) { return CONFIG_NO_SUCH_OPTION; }",
            &["-g"],
            &["`CONFIG_NO_SUCH_OPTION`", "__weak"],
        ),
        (
            "char big[5UL << 30];\nSEC(\"xdp\") int p(void *c) { return big[5]; }",
            &["-g"],
            &["`.bss`", "5368709120"],
        ),
        (
            "static int x;\nint *pointers[] = { &x };",
            &["-g"],
            &["no program"],
        ),
    ];
    for (text, options, expected) in cases {
        let Some(error) = error_of(&format!("{HEADERS}{text}"), options) else {
            return;
        };
        for part in expected {
            assert!(error.contains(part), "{error:?} does not say {part}");
        }
    }
}

#[test]
fn many_zeros_take_no_memory() {
    let text = |bytes: u32| {
        format!(
            "char big[{bytes}];\n__attribute__((section(\"xdp\"))) int p(void *c) {{ return big[5]; }}"
        )
    };
    for (bytes, kept) in [(1 << 20, true), (200 << 20, false)] {
        let Some(object) = object_of(&text(bytes), &["-g"]) else {
            return;
        };
        let object = parse(&object, "zeros").unwrap();
        let map = &object.maps()[0];
        assert_eq!(map.value_size, bytes);
        assert_eq!(map.initial.is_some(), kept);
    }
}

#[test]
fn one_bad_program_does_not_hide_the_others() {
    let text = "extern int elsewhere(void *c);\n\
                __attribute__((section(\"xdp\"))) int good(void *c) { return 2; }\n\
                __attribute__((section(\"xdp\"))) int bad(void *c) { return elsewhere(c); }";
    let Some(bytes) = object_of(text, &["-g"]) else {
        return;
    };
    let object = parse(&bytes, text).unwrap();
    let names: Vec<&str> = object.programs().map(|p| p.name.as_str()).collect();
    assert_eq!(names, ["good"]);
    assert_eq!(object.refused().len(), 1);
    assert_eq!(object.refused()[0].name, "bad");
}

/// The kernel's `bpf_rcu_read_lock` takes nothing: a weak declaration with arguments is of a version that it
/// does not have, and one without `__weak` cannot be loaded.
#[test]
fn versions_of_functions_are_told_apart_by_type() {
    if std::fs::metadata("/sys/kernel/btf/vmlinux").is_err() {
        eprintln!("skipped: no types of this machine's kernel");
        return;
    }
    let weak = "#define KSYM __attribute__((weak, section(\".ksyms\")))\n\
             extern void bpf_rcu_read_lock___v1(int flags) KSYM;\n\
             extern void bpf_rcu_read_lock___v2(void) KSYM;\n\
             __attribute__((section(\"xdp\"))) int p(void *c) { return bpf_rcu_read_lock___v1 != 0; }\n\
             __attribute__((section(\"xdp\"))) int q(void *c) { return bpf_rcu_read_lock___v2 != 0; }";
    let Some(object) = object_of(weak, &["-g"]) else {
        return;
    };
    let object = parse(&object, "versions").unwrap();
    // Whether the 64-bit load is of a kernel function's address (`BPF_PSEUDO_BTF_ID`).
    let refers = |name: &str| {
        let program = object.programs().find(|program| program.name == name);
        let mut loads = program.unwrap().insns.iter();
        loads.find(|insn| insn.opcode == 0x18).unwrap().src == 3
    };
    assert!(!refers("p"));
    assert!(refers("q"));
    let strong = "extern void bpf_rcu_read_lock___v1(int flags) __attribute__((section(\".ksyms\")));\n\
                  __attribute__((section(\"xdp\"))) int p(void *c) { bpf_rcu_read_lock___v1(1); return 0; }";
    let Some(object) = object_of(strong, &["-g"]) else {
        return;
    };
    let error = parse(&object, "versions").unwrap_err().to_string();
    assert!(error.contains("bpf_rcu_read_lock___v1"), "{error}");
}
