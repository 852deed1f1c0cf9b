//! The broker answers as the kernel does.

use std::process::Command;

use crate::Skipped;
use crate::stage::{Stage, finish};

/// Lines in which the broker is known to differ, with the reason.
const KNOWN: [(&str, &str); 6] = [
    (
        "hash mmap ",
        "a socket refuses mmap with ENODEV, a map that cannot be mapped with ENOTSUPP",
    ),
    ("array mmap ", "the same"),
    ("percpu hash mmap ", "the same"),
    ("percpu array mmap ", "the same"),
    (
        "map frozen writable ",
        "programs write the memory, so it cannot be sealed for others",
    ),
    (
        "memlock ",
        "maps are not locked memory here, so the limit may always be raised",
    ),
];

/// Each call gives the same result and error number as the kernel's own.
pub(crate) fn calls_agree_with_the_kernel() -> Result<(), Skipped> {
    let stage = Stage::new();
    stage.program("calls")?;
    let ours = finish(&mut stage.bpftime(&["load", "./calls"]));
    assert!(ours.status.success(), "{ours:?}");
    let ours = String::from_utf8_lossy(&ours.stdout).into_owned();
    assert!(
        ours.lines().count() > 250,
        "only {} lines",
        ours.lines().count()
    );
    let kernel = finish(&mut Command::new(stage.path().join("calls")));
    let kernel = String::from_utf8_lossy(&kernel.stdout).into_owned();
    if !kernel.starts_with("create hash 0 0\n") {
        return Err(Skipped(
            "this user may not make bpf() calls to compare with".to_owned(),
        ));
    }
    let differences: Vec<_> = ours
        .lines()
        .zip(kernel.lines())
        .filter(|(ours, kernel)| ours != kernel)
        .filter(|(ours, _)| !KNOWN.iter().any(|(label, _)| ours.starts_with(label)))
        .collect();
    assert!(
        differences.is_empty(),
        "ours and the kernel's: {differences:#?}"
    );
    assert_eq!(ours.lines().count(), kernel.lines().count());
    Ok(())
}
