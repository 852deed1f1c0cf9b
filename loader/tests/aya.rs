//! aya-obj, a second loader written by others, gives the same programs and maps, except where a
//! list here says what it does instead and why that is not right. An entry that no longer holds
//! fails: then the reasons in `docs/architecture.md` for not linking it are to be read again.
//!
//! - [`theirs`]: what aya-obj makes of an object, in our terms
//! - [`relocations`]: CO-RE, one expression at a time

#[path = "aya/relocations.rs"]
mod relocations;
mod support;
#[path = "aya/theirs.rs"]
mod theirs;

use std::path::Path;
use std::sync::Arc;

use bpftime_isa::{Insn, MapDef, MapType, Program};
use bpftime_loader::{Btf, Environment, LoadError, Options, TargetBtf};
use object::{Object as _, ObjectSection as _};
use support::{FIXTURES, compile, compilers};
use theirs::{Loaded, MapKey, Slot};

/// What aya-obj refuses: fixture, start of the compiler's name, part of the error, reason.
const REFUSED: [(&str, &str, &str, &str); 3] = [
    (
        "core",
        "clang-14",
        "relocation `TypeSize` missing target BTF info",
        "a relocation that fails in code that is never reached refuses the object; libbpf makes \
         the instruction an invalid call, which the verifier finds unreachable",
    ),
    (
        "core",
        "clang-19",
        "invalid BTF relocation kind `12`",
        "TYPE_MATCHES is not known, so an object with one is refused",
    ),
    (
        "externs",
        "clang",
        "not found while relocating `options`",
        "a call of a kernel function is taken for one of a function of the object",
    ),
];

/// Flags of global data maps that aya-obj leaves out: `BPF_F_MMAPABLE`.
const MMAPABLE: u32 = 1024;

fn ours(bytes: &[u8], btf: TargetBtf) -> Result<bpftime_loader::Object, LoadError> {
    let environment = Environment {
        btf,
        ..Environment::host()
    };
    let options = Options {
        name: String::new(),
        environment,
    };
    bpftime_loader::Object::parse_with(bytes, &options)
}

#[test]
fn fixtures_are_the_same_to_aya_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    let Ok(kernel) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        eprintln!("skipped: the kernel has no BTF");
        return;
    };
    let target = TargetBtf::Given(Arc::new(Btf::parse(kernel.clone()).unwrap()));
    let mut compared = 0;
    for compiler in compilers() {
        for fixture in FIXTURES {
            let what = format!("{compiler:?} {fixture}");
            let bytes = std::fs::read(compile(compiler, fixture, directory.path())).unwrap();
            let ours = ours(&bytes, target.clone()).unwrap();
            let refused = REFUSED
                .iter()
                .find(|entry| entry.0 == fixture && compiler.clang.starts_with(entry.1));
            match (theirs::load(&bytes, &kernel), refused) {
                (Ok(theirs), None) => compared += compare(&ours, &theirs, &what),
                (Err(error), Some((_, _, text, _))) => {
                    assert!(error.contains(text), "{what}: {error}");
                }
                (Err(error), None) => panic!("{what}: aya-obj refuses: {error}"),
                (Ok(_), Some(entry)) => panic!("{what}: no longer refused, as {entry:?} says"),
            }
        }
    }
    eprintln!("{compared} programs compared with aya-obj");
}

/// Compares everything; gives the number of programs.
fn compare(ours: &bpftime_loader::Object, theirs: &Loaded, what: &str) -> usize {
    assert_eq!(ours.license(), theirs.license, "{what}");
    let mut names: Vec<_> = ours.maps().iter().map(|map| &map.name).collect();
    names.sort();
    assert!(names.into_iter().eq(theirs.maps.keys()), "{what}: maps");
    for map in ours.maps() {
        assert_eq!(in_their_terms(map), theirs.maps[&map.name], "{what}");
        if let Some(initial) = &map.initial {
            assert_eq!(**initial, *theirs.data[&map.name], "{what}: {}", map.name);
        }
    }
    assert_eq!(ours.programs().len(), theirs.programs.len(), "{what}");
    for program in ours.programs() {
        let theirs = &theirs.programs[&program.name];
        assert_eq!(theirs.section, kind(program), "{what} {}", program.name);
        assert_eq!(slots(program), theirs.slots, "{what} {}", program.name);
    }
    ours.programs().len()
}

/// A map as aya-obj describes it. What it leaves to its user to fill in is taken out again.
fn in_their_terms(map: &MapDef) -> MapKey {
    MapKey {
        map_type: map.map_type as u32,
        key_size: map.key_size,
        value_size: map.value_size,
        // One per CPU, and whole pages.
        max_entries: match map.map_type {
            MapType::PerfEventArray | MapType::RingBuf => None,
            _ => Some(map.max_entries),
        },
        flags: map.flags & !MMAPABLE,
        inner: map
            .inner
            .as_ref()
            .map(|inner| Box::new(in_their_terms(inner))),
    }
}

/// The name that aya-obj has for the kind of a fixture's program.
fn kind(program: &Program) -> &'static str {
    match program.section.split('/').next() {
        Some("socket") => "SocketFilter",
        Some("xdp") => "Xdp",
        Some("classifier") => "SchedClassifier",
        Some("tracepoint") => "TracePoint",
        other => panic!("section {other:?} is in no fixture that aya-obj takes"),
    }
}

fn slots(program: &Program) -> Vec<Slot> {
    let slots = program.insns.iter().map(|insn| {
        let mut slot = Slot {
            insn: *insn,
            map: None,
        };
        if insn.opcode == 0x18 && matches!(insn.src, 5 | 6) {
            slot.map = Some(program.maps[insn.imm as usize].name.clone());
            slot.insn.imm = 0;
        }
        slot
    });
    slots.collect()
}

#[test]
fn aya_refuses_objects_with_a_section_it_does_not_know() {
    const SOURCE: &str = r#"
        __attribute__((section("tc"), used)) int program(void *context) { return 1; }
    "#;
    let directory = tempfile::tempdir().unwrap();
    for compiler in compilers() {
        let bytes = relocations::build(compiler, SOURCE, directory.path());
        let object = ours(&bytes, TargetBtf::None).unwrap();
        assert_eq!(object.programs().len(), 1);
        let error = theirs::load(&bytes, &[]).unwrap_err();
        assert!(error.contains("invalid program section"), "{error}");
    }
}

#[test]
fn aya_panics_where_a_name_of_btf_ext_is_outside_the_strings() {
    const SOURCE: &str = r#"
        __attribute__((section("socket"), used)) int program(void *context) { return 1; }
    "#;
    let directory = tempfile::tempdir().unwrap();
    for compiler in compilers() {
        let mut bytes = relocations::build(compiler, SOURCE, directory.path());
        let file = object::File::parse(&*bytes).unwrap();
        let section = file.section_by_name(".BTF.ext").unwrap();
        let (start, _) = section.file_range().unwrap();
        let start = usize::try_from(start).unwrap();
        let header_len = u32::from_le_bytes(bytes[start + 4..start + 8].try_into().unwrap());
        // The functions come first: the size of a record, then the name of the section.
        let name = start + header_len as usize + 4;
        bytes[name..name + 4].fill(0x7f);
        let error = ours(&bytes, TargetBtf::None).unwrap_err();
        assert!(error.to_string().contains(".BTF.ext"), "{error}");
        assert!(std::panic::catch_unwind(|| theirs::load(&bytes, &[]).is_ok()).is_err());
    }
}

/// The first instruction of the only program.
fn first(slots: &[Slot]) -> Insn {
    slots[0].insn
}

/// The `.BTF` section of an object.
fn btf_of(bytes: &[u8], path: &Path) -> Vec<u8> {
    let file = object::File::parse(bytes).unwrap();
    let section = file.section_by_name(".BTF");
    let section = section.unwrap_or_else(|| panic!("{} has no .BTF", path.display()));
    section.data().unwrap().to_vec()
}
