//! The kernel's own verifier tests: refinement accepts no program that Linux 6.18 rejects, except
//! those for which it is said here why they are safe.

use std::path::PathBuf;

use bpftime_loader::vectors::{self, Expected};
use bpftime_smt::Z3Refiner;
use bpftime_verifier::{Options, verify_refined};

/// Test, and why it is safe.
const SAFE: &[(&str, &str)] = &[(
    "calls: pkt_ptr spill into caller stack 9",
    "data and data_end are the same whenever they are loaded, as no helper that moves the packet is \
     called; the main program compares data + 8 with data_end and leaves if it is beyond, so the 4 \
     bytes that are read from data after the call are in the packet",
)];

#[test]
fn nothing_is_accepted_that_linux_rejects() {
    let folder = std::env::var_os("BPFTIME_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    if !folder.is_dir() {
        eprintln!("skipped: no vectors; set BPFTIME_VECTORS");
        return;
    }
    let (mut refined, mut safe) = (Vec::new(), 0);
    for name in ["verifier-6.1.json", "verifier-6.12.json"] {
        let path = folder.join("kernel_verifier").join(name);
        for vector in vectors::read(&path).expect("vectors") {
            let (Ok(program), Some(expected)) = (vector.program, vector.expected) else {
                continue;
            };
            let judged = verify_refined(program, &Options::linux(), &mut Z3Refiner::default());
            let proved = judged.is_ok_and(|verified| verified.facts().refinement.is_some());
            let argued = SAFE.iter().any(|(name, _)| *name == vector.name);
            match (proved, expected) {
                (true, Expected::Rejected) if argued => safe += 1,
                (true, Expected::Rejected) => panic!("{}: {}", vector.file, vector.name),
                (true, Expected::Accepted) => refined.push(vector.name),
                (false, _) => {}
            }
        }
    }
    println!("accepted because of proofs: {refined:?}");
    assert!(safe > 0, "the list of arguments is stale");
    assert!(
        refined
            .iter()
            .any(|name| name == "pkt_end < pkt taken check")
    );
}
