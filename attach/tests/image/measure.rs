//! What a probe costs. Not a test of time: prints a table, on request.
//!
//! ```console
//! cargo test --release -p bpftime-attach --test image -- --ignored --nocapture measure
//! ```

use std::arch::asm;
use std::time::Instant;

use crate::harness::{Program, counter, handle, harness};
use crate::programs::{program_count, program_return_0};
use crate::victims;

/// Calls a function of two arguments `times` times, and gives nanoseconds per call: the best of
/// several runs.
fn measure(function: (usize, usize)) -> f64 {
    // Short, so that some runs are not interrupted on a busy machine.
    const TIMES: u64 = 20_000;
    (0..400)
        .map(|_| {
            let start = Instant::now();
            // SAFETY: the victim follows the C calling convention.
            unsafe {
                asm!(
                    "2:",
                    "mov edi, 1",
                    "mov esi, 2",
                    "call r12",
                    "dec r13",
                    "jnz 2b",
                    in("r12") function.0,
                    inout("r13") TIMES => _,
                    clobber_abi("C"),
                );
            }
            start.elapsed().as_nanos() as f64 / TIMES as f64
        })
        .fold(f64::INFINITY, f64::min)
}

#[test]
#[ignore = "prints what probes cost on this machine"]
fn measure_the_cost_of_probes() {
    let Some(harness) = harness() else { return };
    let runs = counter();
    let return_0 = [Program::new(program_return_0, &[])];
    let count = [Program::new(program_count, &[handle(runs)])];
    let baseline = measure(victims::victim_measure::extent());
    eprintln!("not probed                 {baseline:6.2} ns");
    let print = |what: &str, function: (usize, usize)| {
        let time = measure(function);
        eprintln!("{what:26} {time:6.2} ns, adds {:6.2} ns", time - baseline);
    };

    harness.hook(victims::victim_measure::extent(), &return_0, &[]);
    print("entry, returns 0", victims::victim_measure::extent());
    harness.hook(victims::victim_measure_count::extent(), &count, &[]);
    print(
        "entry, one atomic add",
        victims::victim_measure_count::extent(),
    );
    harness.hook(victims::victim_measure_none::extent(), &[], &[]);
    print("entry, no program", victims::victim_measure_none::extent());
    harness.hook(victims::victim_measure_return::extent(), &[], &return_0);
    print(
        "return, returns 0",
        victims::victim_measure_return::extent(),
    );
    harness.hook(victims::victim_measure_both::extent(), &return_0, &return_0);
    print("entry and return", victims::victim_measure_both::extent());
}
