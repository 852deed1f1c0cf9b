//! An arrow between crates goes down only, and unsafe code stays where the design allows it.

use std::collections::BTreeMap;
use std::process::Command;

use bpftime_tests::paths;

/// Layer of each crate, from the architecture page. A crate depends on lower layers, and within
/// its own layer only on what `WITHIN` names.
const LAYERS: &[(&str, u32)] = &[
    ("bpftime-abi", 0),
    ("bpftime-isa", 0),
    ("bpftime-loader", 1),
    ("bpftime-verifier", 1),
    ("bpftime-maps", 1),
    ("bpftime-attach", 1),
    ("bpftime-helpers", 2),
    ("bpftime-smt", 2),
    ("bpftime-vm", 2),
    ("bpftime-runtime", 4),
    ("bpftime-cli", 5),
    ("bpftime-drivers", 5),
    ("bpftime-tests", 6),
    ("bpftime-bench", 6),
    ("bpftime-bench-programs", 6),
    ("bpftime-bench-verifier", 6),
    ("bpftime-bench-vm", 6),
    ("bpftime-proofs", 6),
];

/// Arrows within a layer: `isa` is written in terms of `abi`, `vm` runs with `vm/helpers`, the engines are
/// measured with a fixed set of programs.
const WITHIN: &[(&str, &str)] = &[
    ("bpftime-isa", "bpftime-abi"),
    ("bpftime-vm", "bpftime-helpers"),
    ("bpftime-bench-vm", "bpftime-bench-programs"),
];

/// Arrows that go down but not there: the reason is in the architecture page.
const FORBIDDEN: &[(&str, &str)] = &[
    ("bpftime-attach", "bpftime-vm"),
    ("bpftime-loader", "bpftime-maps"),
    ("bpftime-verifier", "z3"),
];

/// Crates without a line of unsafe code.
const SAFE: &[&str] = &["isa", "loader", "verifier", "verifier/smt", "cli"];

/// Direct dependencies by package, development dependencies left out.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(paths::workspace())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("valid JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    packages
        .iter()
        .map(|package| {
            let needed = package["dependencies"]
                .as_array()
                .expect("dependencies")
                .iter()
                .filter(|dependency| dependency["kind"] != "dev")
                .map(|dependency| dependency["name"].as_str().expect("name").to_owned())
                .collect();
            (package["name"].as_str().expect("name").to_owned(), needed)
        })
        .collect()
}

#[test]
fn arrows_go_down() {
    let layers: BTreeMap<_, _> = LAYERS.iter().copied().collect();
    let all = dependencies();
    assert!(
        all.len() >= LAYERS.len(),
        "a crate of the table is gone: {:?}",
        all.keys()
    );
    for (package, needed) in &all {
        let layer = layers
            .get(package.as_str())
            .unwrap_or_else(|| panic!("{package} has no layer"));
        for dependency in needed {
            assert!(
                !FORBIDDEN.contains(&(package, dependency)),
                "{package} must not depend on {dependency}"
            );
            let Some(below) = layers.get(dependency.as_str()) else {
                continue;
            };
            assert!(
                below < layer || WITHIN.contains(&(package, dependency)),
                "{package} (layer {layer}) must not depend on {dependency} (layer {below})"
            );
        }
    }
}

#[test]
fn safe_crates_forbid_unsafe_code() {
    for folder in SAFE {
        for root in ["src/lib.rs", "src/main.rs"] {
            let path = paths::workspace().join(folder).join(root);
            let Ok(text) = std::fs::read_to_string(&path) else {
                continue;
            };
            assert!(
                text.contains("#![forbid(unsafe_code)]"),
                "{} lacks #![forbid(unsafe_code)]",
                path.display()
            );
        }
    }
}
