//! Documents tell the truth about files: each path that one names exists.

use std::path::Path;

use bpftime_tests::paths;

/// Text between single backquotes, line by line; fenced blocks are left out.
fn quoted(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

/// Targets of `[text](target)`.
fn linked(text: &str) -> Vec<&str> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')').map(|(link, _)| link))
        .collect()
}

fn documents() -> Vec<std::path::PathBuf> {
    let root = paths::workspace();
    let mut found = vec![root.join("README.md"), root.join("CHANGELOG.md")];
    for entry in std::fs::read_dir(root.join("docs")).expect("docs/ exists") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found
}

/// Whether the words look like a path of this repository rather than code or a system path.
fn names_a_path(words: &str) -> bool {
    const TOP: [&str; 15] = [
        "abi/",
        "attach/",
        "benches/",
        "cli/",
        "docs/",
        "examples/",
        "isa/",
        "loader/",
        "maps/",
        "runtime/",
        "scripts/",
        "tests/",
        "verifier/",
        "vm/",
        ".ci/",
    ];
    TOP.iter().any(|top| words.starts_with(top)) && !words.contains([' ', '*', '<', '{'])
}

#[test]
fn named_paths_exist() {
    let root = paths::workspace();
    let mut checked = 0;
    for document in documents() {
        let text = std::fs::read_to_string(&document)
            .unwrap_or_else(|error| panic!("{}: {error}", document.display()));
        let folder = document.parent().expect("in a folder");
        for path in quoted(&text)
            .into_iter()
            .filter(|words| names_a_path(words))
        {
            assert!(
                root.join(path).exists(),
                "{} names {path}",
                document.display()
            );
            checked += 1;
        }
        for link in linked(&text) {
            if link.contains("://") || link.starts_with('#') {
                continue;
            }
            let path = Path::new(link.split('#').next().unwrap_or(link));
            assert!(
                folder.join(path).exists(),
                "{} links to {link}",
                document.display()
            );
            checked += 1;
        }
    }
    assert!(
        checked > 20,
        "only {checked} paths found: does the extraction still work?"
    );
}
