//! Programs that another verifier judges wrongly.

use std::process::Command;

use bpftime_loader::Object;
use bpftime_tests::paths;
use bpftime_verifier::{Code, Options, verify};

/// What is right: no code where the program is to be accepted.
const RIGHT: &[(&str, Option<Code>)] = &[("join_null", Some(Code::MapValueBounds))];

#[test]
fn what_others_judge_wrongly_is_judged_right() {
    let Some(folder) = paths::vectors().map(|vectors| vectors.join("regressions")) else {
        return;
    };
    let Some(clang) = ["clang-19", "clang"]
        .into_iter()
        .find(|name| Command::new(name).arg("--version").output().is_ok())
    else {
        eprintln!("skipped: no clang");
        return;
    };
    let scratch = tempfile::tempdir().expect("a folder");
    let mut judged = 0;
    for entry in std::fs::read_dir(&folder).expect("the programs").flatten() {
        let source = entry.path();
        let Some(name) = source.file_stem().and_then(|name| name.to_str()) else {
            continue;
        };
        let (_, right) = RIGHT
            .iter()
            .find(|(known, _)| *known == name)
            .unwrap_or_else(|| panic!("{name}: say in this test what is right"));
        let object = scratch.path().join(format!("{name}.o"));
        let status = Command::new(clang)
            .args(["-target", "bpf", "-O2", "-g", "-c", "-o"])
            .args([&object, &source])
            .status()
            .expect("clang runs");
        assert!(status.success(), "{name} does not compile");
        let bytes = std::fs::read(&object).expect("just written");
        for program in Object::parse(&bytes).expect("loads").into_programs() {
            let verdict = verify(program.into_program(), &Options::linux());
            let code = verdict.err().map(|rejection| rejection.code);
            assert_eq!(code, *right, "{name}");
            judged += 1;
        }
    }
    assert!(judged >= RIGHT.len(), "{judged} programs");
}
