//! Proves the claims and refutes the broken versions; exits with 1 if anything is not as it
//! should be. `prove [--quick] [FILTER]`.

use std::process::ExitCode;

use bpftime_proofs::report;

fn main() -> ExitCode {
    let mut quick = false;
    let mut filter = String::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => quick = true,
            other => other.clone_into(&mut filter),
        }
    }
    if report::run(quick, &filter) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
