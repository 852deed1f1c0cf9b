//! What the loader finds in declarations: parts of values and structures that belong to the kernel, what lists
//! and trees hold, functions that are called when programs throw, variables in arenas. Each fact is that of
//! the C source, and of each compiler.

use std::path::Path;

use bpftime_isa::{GraphNode, Instruction, LocalStruct, MapField, MapFieldKind, MapType, OnThrow};
use bpftime_isa::{Imm64, decode};
use bpftime_loader::{LoadError, Object};

use crate::support::{Compiler, compile, compilers};

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

fn load(compiler: Compiler, fixture: &str) -> Object {
    let directory = tempfile::tempdir().expect("a directory");
    let bytes = std::fs::read(compile(compiler, fixture, directory.path())).expect("an object");
    Object::parse(&bytes).unwrap_or_else(|error| panic!("{fixture}, {compiler:?}: {error}"))
}

/// The fixture with a text in the place of another.
fn load_changed(
    compiler: Compiler,
    fixture: &str,
    (from, to): (&str, &str),
) -> Result<Object, LoadError> {
    let directory = tempfile::tempdir().expect("a directory");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let source = std::fs::read_to_string(fixtures.join(fixture).with_extension("bpf.c"));
    let source = source.expect("the fixture");
    assert!(source.contains(from), "{fixture} has no {from:?}");
    // An absolute path takes the place of the fixtures' folder.
    let changed = directory.path().join("changed");
    std::fs::write(changed.with_extension("bpf.c"), source.replace(from, to)).expect("written");
    let changed = changed.to_str().expect("a path in UTF-8");
    let bytes = std::fs::read(compile(compiler, changed, directory.path())).expect("an object");
    Object::parse(&bytes)
}

fn kptr(target: &str, referenced: bool, percpu: bool) -> MapFieldKind {
    MapFieldKind::Kptr {
        target: target.to_owned(),
        referenced,
        percpu,
    }
}

/// Places and kinds.
fn parts(fields: &[MapField]) -> Vec<(u32, u32, MapFieldKind)> {
    let parts = fields.iter();
    parts
        .map(|field| (field.offset, field.size, field.kind.clone()))
        .collect()
}

#[test]
fn parts_of_values_and_structures_are_those_of_the_source() {
    if !Path::new(VMLINUX).exists() {
        eprintln!("skipped: without {VMLINUX} there are no kernel functions");
        return;
    }
    for compiler in compilers() {
        let object = load(compiler, "objects");
        let program = object.programs().find(|program| program.name == "throws");
        let program = program.unwrap_or_else(|| panic!("{compiler:?}: no program"));
        let structure = |name: &str| -> &LocalStruct {
            let mut structs = program.objects.iter();
            let found = structs.find(|local| local.name == name);
            found.unwrap_or_else(|| panic!("{compiler:?}: no {name}"))
        };
        let item = structure("item");
        assert_eq!(item.size, 72);
        assert_eq!(
            parts(&item.fields),
            [
                (8, 24, MapFieldKind::ListNode),
                (32, 32, MapFieldKind::RbNode),
                (64, 4, MapFieldKind::Refcount),
            ]
        );
        // Numbers alone, and structures of such; not pointers, nor parts of the kernel's.
        let numbers = ["numbers", "inner", "pointing", "item"].map(|name| structure(name).numbers);
        assert_eq!(numbers, [true, true, false, false], "{compiler:?}");

        let map = |name: &str| {
            let mut maps = object.maps().iter();
            let found = maps.find(|map| map.name == name);
            parts(&found.unwrap_or_else(|| panic!("no map {name}")).fields)
        };
        let holds = |offset| {
            Some(GraphNode {
                type_id: item.type_id,
                offset,
            })
        };
        let mut held = vec![
            (0, 4, MapFieldKind::SpinLock),
            (8, 16, MapFieldKind::ListHead { holds: holds(8) }),
            (24, 16, MapFieldKind::RbRoot { holds: holds(32) }),
        ];
        // The oldest compiler has no tags of types, so that pointers are plain memory.
        if compiler.clang != "clang-14" {
            held.push((40, 8, kptr("numbers", true, true)));
            held.push((48, 8, kptr("item", true, false)));
            held.push((56, 8, kptr("item", false, false)));
        }
        assert_eq!(map("held"), held, "{compiler:?}");
        // Nothing told, no such structure, no such member, nodes of the other kind.
        let list = MapFieldKind::ListHead { holds: None };
        assert_eq!(
            map("odd"),
            [
                (0, 4, MapFieldKind::ResSpinLock),
                (8, 16, list.clone()),
                (24, 16, list.clone()),
                (40, 16, list.clone()),
                (56, 16, list),
                (72, 16, MapFieldKind::RbRoot { holds: None }),
                (88, 16, MapFieldKind::Workqueue),
            ],
            "{compiler:?}"
        );
    }
}

#[test]
fn what_a_program_calls_when_it_throws_is_what_its_tag_says() {
    if !Path::new(VMLINUX).exists() {
        eprintln!("skipped: without {VMLINUX} there are no kernel functions");
        return;
    }
    for compiler in compilers() {
        let object = load(compiler, "objects");
        let on_throw = |name: &str| {
            let mut programs = object.programs();
            programs
                .find(|program| program.name == name)
                .map(|program| program.on_throw.clone())
        };
        match on_throw("throws") {
            Some(OnThrow::Calls(called)) => {
                assert_eq!(called.name, "on_throw");
                assert_eq!(called.on_throw, OnThrow::IsCalled);
                assert!(!called.insns.is_empty());
            }
            other => panic!("{compiler:?}: {other:?}"),
        }
        assert_eq!(on_throw("ends"), Some(OnThrow::Ends), "{compiler:?}");
        // One that is not there, and one of two, are none.
        let refused: Vec<&str> = object
            .refused()
            .iter()
            .map(|program| program.name.as_str())
            .collect();
        assert_eq!(refused, ["throws_nowhere", "throws_twice"], "{compiler:?}");
    }
}

#[test]
fn variables_in_arenas_are_at_addresses_of_the_arena() {
    for compiler in compilers() {
        let object = load(compiler, "arenas");
        let arena = object
            .maps()
            .iter()
            .find(|map| map.map_type == MapType::Arena);
        let arena = arena.unwrap_or_else(|| panic!("{compiler:?}: no arena"));
        assert_eq!((arena.max_entries, arena.value_size), (2, 0));
        assert_eq!(object.maps().len(), 1, "{compiler:?}: no other map of them");
        let program = object.programs().next().expect("a program");
        let decoded = decode(&program.insns).expect("instructions");
        let offsets: Vec<u32> = decoded
            .iter()
            .filter_map(|decoded| match decoded.insn {
                Instruction::LoadImm64 {
                    value: Imm64::MapIdxValue { index: 0, offset },
                    ..
                } => Some(offset),
                _ => None,
            })
            .collect();
        // `second[3]`, or `second` and a distance.
        let there = |offset: &u32| matches!(*offset, 8 | 32);
        assert!(
            !offsets.is_empty() && offsets.iter().all(there),
            "{compiler:?}: {offsets:?}"
        );

        let none = load_changed(compiler, "arenas", ("(*type)[33]", "(*type)[2]"));
        let small = load_changed(
            compiler,
            "arenas",
            ("(*max_entries)[2]", "(*max_entries)[1]"),
        );
        for (result, wanted) in [(none, "no map of type"), (small, "7208 bytes of variables")] {
            let error = result
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default();
            assert!(
                error.contains(wanted),
                "{compiler:?}: {error:?} has no {wanted:?}"
            );
        }
    }
}
