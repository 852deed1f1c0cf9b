//! Symbols as other tools see them, and damaged files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use bpftime_attach::{Elf, ElfError, Function};
use rand::Rng;

use crate::support::{self, Link};

const LIBC: &str = "/lib/x86_64-linux-gnu/libc.so.6";

/// Function name to addresses, as `readelf` prints the symbol tables.
fn readelf(path: &Path) -> Option<BTreeMap<String, BTreeSet<u64>>> {
    let output = match Command::new("readelf").args(["-sW"]).arg(path).output() {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: readelf: {error}");
            return None;
        }
    };
    let mut functions: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, value, _, "FUNC", _, _, section, name, ..] = fields.as_slice() else {
            continue;
        };
        if *section == "UND" {
            continue;
        }
        let name = name.split('@').next().unwrap_or(name);
        let address = u64::from_str_radix(value, 16).expect("hexadecimal");
        functions
            .entry(name.to_owned())
            .or_default()
            .insert(address);
    }
    Some(functions)
}

#[test]
fn functions_are_those_of_readelf() {
    let victim = support::compile("called", Link::Static, &[]);
    for path in [Some(Path::new(LIBC).to_owned()), victim]
        .into_iter()
        .flatten()
    {
        let Some(expected) = readelf(&path) else {
            return;
        };
        let elf = Elf::open(&path).expect("parsed");
        let mut found: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
        for function in elf.functions() {
            assert_eq!(elf.offset_of(function.address), Some(function.offset));
            assert_eq!(elf.address_of(function.offset), Some(function.address));
            found
                .entry(function.name.clone())
                .or_default()
                .insert(function.address);
        }
        assert!(
            expected.len() > 500,
            "{}: only {}",
            path.display(),
            expected.len()
        );
        for (name, addresses) in &expected {
            let found = found
                .get(name)
                .unwrap_or_else(|| panic!("{name} is missing"));
            assert!(
                addresses.is_subset(found),
                "{name}: {addresses:x?}, found {found:x?}"
            );
        }
    }
}

#[test]
fn versions_and_indirect_functions() {
    let elf = Elf::open(Path::new(LIBC)).expect("parsed");
    let malloc = elf.function("malloc").expect("malloc");
    assert_eq!(malloc.version, Some(("GLIBC_2.2.5".into(), true)));
    for name in ["malloc@GLIBC_2.2.5", "malloc@@GLIBC_2.2.5"] {
        assert_eq!(elf.function(name).expect(name).offset, malloc.offset);
    }
    assert!(malloc.size > 5 && malloc.global);
    assert_eq!(
        elf.function_at(malloc.offset + 3).map(|f| f.offset),
        Some(malloc.offset)
    );
    assert!(matches!(
        elf.function("malloc@NONE"),
        Err(ElfError::NotFound { .. })
    ));
    // The default version goes before the older one.
    let default = elf.function("pthread_cond_wait").expect("default");
    let old = elf.function("pthread_cond_wait@GLIBC_2.2.5").expect("old");
    assert_ne!(default.offset, old.offset);
    assert_eq!(default.version, Some(("GLIBC_2.3.2".into(), true)));
    let error = elf.function("memcpy").expect_err("indirect");
    assert!(matches!(error, ElfError::Indirect { .. }), "{error}");
    let error = elf.function("Malloc").expect_err("another case");
    assert!(error.to_string().contains("malloc"), "{error}");
}

#[test]
fn other_files_are_refused() {
    for path in ["/", "/dev/null", "/etc/passwd", "/nonexistent"] {
        assert!(Elf::open(Path::new(path)).is_err(), "{path}");
    }
    let fifo = support::folder().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("named pipe");
    assert!(matches!(Elf::open(&fifo), Err(ElfError::NotElf { .. })));
}

/// Damage anywhere gives an error or other symbols, never a panic.
#[test]
fn damaged_files() {
    let Some(path) = support::compile("called", Link::Dynamic, &[]) else {
        return;
    };
    let good = std::fs::read(&path).expect("read");
    let parse = |bytes: Vec<u8>| {
        if let Ok(elf) = Elf::parse(Path::new("damaged"), bytes) {
            for function in elf.functions() {
                let _ = elf.function(&function.name);
                let _ = elf.next_function(function.offset);
                let _ = elf.gap_before(function.offset);
                let _ = elf.function_at(function.offset.wrapping_add(1));
            }
            let _ = elf.function("probed");
        }
    };
    for len in (0..good.len()).step_by(97) {
        parse(good[..len].to_vec());
    }
    let mut rng = rand::rng();
    for _ in 0..support::iterations(3000, 100_000) {
        let mut bad = good.clone();
        // Mostly in the headers and tables, where it matters.
        for _ in 0..rng.random_range(1..6) {
            let at = match rng.random_range(0..4) {
                0 => rng.random_range(0..64),
                1 => rng.random_range(0..1024),
                2 => bad.len() - 1 - rng.random_range(0..3000),
                _ => rng.random_range(0..bad.len()),
            };
            bad[at] = rng.random();
        }
        parse(bad);
    }
}

/// Jumps across functions, as a disassembler that knows nothing of this crate lists them.
#[test]
fn jumps_into_functions_are_those_of_objdump() {
    let Some(path) = support::compile("crossing", Link::Static, &[]) else {
        return;
    };
    let elf = Elf::open(&path).expect("parsed");
    let output = match Command::new("objdump")
        .args(["-d", "--no-show-raw-insn"])
        .arg(&path)
        .output()
    {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => {
            println!("skipped: objdump: {error}");
            return;
        }
    };
    let mut expected = BTreeSet::new();
    let mut inside = String::new();
    for line in output.lines() {
        if let Some((_, name)) = line.strip_suffix(">:").and_then(|l| l.split_once('<')) {
            inside = name.to_owned();
        }
        // jmp    41efd3 <memcpy+0x3>
        let Some((name, distance)) = line
            .strip_suffix('>')
            .and_then(|l| l.rsplit_once('<'))
            .and_then(|(_, place)| place.split_once("+0x"))
        else {
            continue;
        };
        let jump = line
            .split('\t')
            .nth(1)
            .is_some_and(|text| text.starts_with('j'));
        if jump && name != inside && ["1", "2", "3", "4"].contains(&distance) {
            expected.insert((
                name.to_owned(),
                u64::from_str_radix(distance, 16).expect("hex"),
            ));
        }
    }
    assert!(
        expected.contains(&("entered".to_owned(), 3)),
        "{expected:?}"
    );
    let long = elf.long_jumps_into_functions(5);
    let into = |function: &Function| -> BTreeSet<u64> {
        let places = function.offset + 1..function.offset + 5;
        let whole = function.offset..function.offset + function.size;
        let long = long
            .iter()
            .filter(|jump| places.contains(&jump.to) && !whole.contains(&jump.from));
        let short = elf.short_jumps_into(&places, &whole);
        long.map(|jump| jump.to).chain(short).collect()
    };
    for (name, distance) in expected {
        let function = elf.function(&name).expect("a function");
        let found = into(function);
        assert!(found.contains(&(function.offset + distance)), "{name}");
    }
    let functions = elf.functions().iter().filter(|f| f.size > 0);
    let many = functions.clone().count();
    let entered = functions.filter(|f| !into(f).is_empty());
    // Nothing but hand-written assembler does that.
    let entered = entered.count();
    assert!(entered * 20 < many, "{entered} of {many}");
}
