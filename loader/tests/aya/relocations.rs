//! CO-RE, one expression at a time, for a target whose types are laid out otherwise. The right
//! values follow from the C declarations of the target.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bpftime_loader::{Btf, TargetBtf};

use crate::support::{Compiler, compilers};
use crate::{btf_of, first, ours, slots, theirs};

/// The target's types.
const TARGET: &str = "
    struct pair { long before; int a; int b; } pair;
    struct cube { long before; int cells[2][3][4]; } cube;
    struct bits { int before; unsigned low : 3, middle : 7; } bits;
    enum colour { RED = 5, GREEN = 9 } colour;
";

/// The program's types, and the program up to the expression.
const LOCAL: &str = r#"
    #pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
    struct pair { int b; int a; };
    struct cube { int cells[2][3][4]; };
    struct bits { unsigned middle : 7; };
    struct absent { int x; };
    enum colour { RED = 1, GREEN = 2 };
    #pragma clang attribute pop
    __attribute__((section("socket"), used)) int program(void *context)
    {
        struct pair *pair = context;
        struct cube *cube = context;
        struct bits *bits = context;
        struct absent *absent = context;
        return "#;

/// What aya-obj makes of an expression.
enum Theirs {
    /// The right value.
    Same,
    /// Another value, without an error; why.
    Wrong(i32, &'static str),
}
use Theirs::{Same, Wrong};

const ELEMENT_SIZE: &str = "the size of an array of arrays is taken for that of its last dimension";

/// Expression, the right value, what aya-obj gives. Of `__builtin_preserve_field_info`, 0 asks for
/// the offset, 1 for the size, 2 whether the field exists, 4 and 5 for shifts of a bit field.
const EXPRESSIONS: [(&str, i32, Theirs); 14] = [
    ("__builtin_preserve_field_info(pair->a, 0)", 8, Same),
    ("__builtin_preserve_field_info(pair[2].a, 0)", 40, Same),
    ("__builtin_preserve_field_info(pair->b, 1)", 4, Same),
    ("__builtin_preserve_field_info(pair->b, 2)", 1, Same),
    ("__builtin_preserve_field_info(absent->x, 2)", 0, Same),
    ("__builtin_preserve_field_info(bits->middle, 4)", 54, Same),
    ("__builtin_preserve_field_info(bits->middle, 5)", 57, Same),
    (
        "__builtin_preserve_field_info(cube->cells[0][2][3], 0)",
        8 + 2 * 16 + 12,
        Same,
    ),
    (
        "__builtin_preserve_field_info(cube->cells[1][2][3], 0)",
        8 + 48 + 2 * 16 + 12,
        Wrong(8 + 16 + 2 * 16 + 12, ELEMENT_SIZE),
    ),
    (
        "__builtin_preserve_field_info(cube->cells, 1)",
        96,
        Wrong(16, ELEMENT_SIZE),
    ),
    ("__builtin_preserve_type_info(*pair, 0)", 1, Same),
    ("__builtin_preserve_type_info(*pair, 1)", 16, Same),
    ("__builtin_preserve_type_info(*absent, 0)", 0, Same),
    (
        "__builtin_preserve_enum_value(*(enum colour *)GREEN, 1)",
        9,
        Same,
    ),
];

/// Compiles a source text.
pub(crate) fn build(compiler: Compiler, source: &str, directory: &Path) -> Vec<u8> {
    let path = directory.join("source.c");
    let object = directory.join("source.o");
    std::fs::write(&path, source).unwrap();
    let status = Command::new(compiler.clang)
        .args(["-target", "bpf", "-g", "-O2", "-c"])
        .arg(format!("-mcpu={}", compiler.cpu))
        .arg(&path)
        .arg("-o")
        .arg(&object)
        .status()
        .unwrap();
    assert!(status.success(), "{compiler:?} refuses {source}");
    std::fs::read(&object).unwrap()
}

#[test]
fn relocations_are_right_and_aya_differs_where_it_is_known_to() {
    let directory = tempfile::tempdir().unwrap();
    for compiler in compilers() {
        let target = build(compiler, TARGET, directory.path());
        let target = btf_of(&target, directory.path());
        let parsed = TargetBtf::Given(Arc::new(Btf::parse(target.clone()).unwrap()));
        for (expression, right, aya) in &EXPRESSIONS {
            let what = format!("{compiler:?} {expression}");
            let bytes = build(
                compiler,
                &format!("{LOCAL}{expression};\n}}\n"),
                directory.path(),
            );
            let ours = ours(&bytes, parsed.clone()).unwrap();
            let ours = first(&slots(ours.programs().next().unwrap()));
            assert_eq!(ours.imm, *right, "{what}: {ours:?}");
            let theirs = theirs::load(&bytes, &target).unwrap();
            let theirs = first(&theirs.programs["program"].slots);
            match aya {
                Same => assert_eq!(theirs, ours, "{what}"),
                Wrong(value, reason) => {
                    assert_eq!(theirs.imm, *value, "{what}: no longer so? {reason}");
                }
            }
        }
    }
}

#[test]
fn the_id_of_a_local_type_is_the_same() {
    let directory = tempfile::tempdir().unwrap();
    for compiler in compilers() {
        let target = build(compiler, TARGET, directory.path());
        let target = btf_of(&target, directory.path());
        let parsed = TargetBtf::Given(Arc::new(Btf::parse(target.clone()).unwrap()));
        for expression in ["pair", "absent"] {
            let source = format!("{LOCAL}__builtin_btf_type_id(*{expression}, 0);\n}}\n");
            let bytes = build(compiler, &source, directory.path());
            let ours = ours(&bytes, parsed.clone()).unwrap();
            let ours = first(&slots(ours.programs().next().unwrap()));
            let theirs = theirs::load(&bytes, &target).unwrap();
            let theirs = first(&theirs.programs["program"].slots);
            assert!(ours.imm > 0, "{compiler:?} {expression}");
            assert_eq!(theirs, ours, "{compiler:?} {expression}");
        }
    }
}
