//! Maps as a tool sees them: sums over all CPUs, global variables, constants, batches.

use crate::lab::Lab;

#[test]
fn per_cpu_values_add_up() {
    let lab = Lab::new(&["counts", "subject"]);
    let report = lab.compare(&["./counts", "work", "end"], &["./subject", "8", "2000"]);
    assert_eq!(report.number("calls"), 8 * 2000, "{report:?}");
    assert_eq!(
        report.number("numbers"),
        8 * (1999 * 2000 / 2),
        "{report:?}"
    );
    let by_thread: Vec<&String> = report
        .tool
        .iter()
        .filter(|line| line.starts_with("thread "))
        .collect();
    assert_eq!(by_thread.len(), 8, "{report:?}");
    assert!(
        by_thread.iter().all(|line| line.ends_with(": 2000")),
        "{report:?}"
    );
}

/// A constant that the tool sets between open and load is what the program sees.
#[test]
fn constants_are_set_before_the_load() {
    let lab = Lab::new(&["counts", "subject"]);
    let report = lab.compare(&["./counts", "thread", "end"], &["./subject", "4", "500"]);
    assert_eq!(report.number("calls"), 500, "{report:?}");
    assert!(
        report.tool.contains(&"thread 1: 500".to_owned()),
        "{report:?}"
    );
}

/// A variable that the tool changes in its mapping is what the running program computes with.
#[test]
fn variables_change_under_the_running_program() {
    let lab = Lab::new(&["counts", "subject"]);
    let report = lab.compare(
        &["./counts", "globals", "end"],
        &["./subject", "2", "300", "/dev/null", "500"],
    );
    let products: Vec<&String> = report
        .tool
        .iter()
        .filter(|line| line.starts_with("product"))
        .collect();
    assert_eq!(
        products,
        ["product 70", "product -28", "product 21"],
        "{report:?}"
    );
}

/// Far more threads than CPUs that programs can be told, each for a short time.
#[test]
fn more_threads_than_cpus() {
    let lab = Lab::new(&["counts", "subject"]);
    let report = lab.compare(&["./counts", "count", "end"], &["./subject", "200", "50"]);
    assert_eq!(report.number("calls"), 200 * 50 + 200 * 10, "{report:?}");
}

/// `bpf_loop` with a function that ends it early.
#[test]
fn functions_are_called_back() {
    let lab = Lab::new(&["counts", "subject"]);
    let report = lab.compare(&["./counts", "loop", "end"], &["./subject", "2", "500"]);
    let rounds = (0..500).map(|number| (number & 31).min(21));
    let (rounds, sums): (Vec<i64>, Vec<i64>) = rounds
        .map(|rounds| (rounds, rounds * (rounds - 1) / 2))
        .unzip();
    assert_eq!(report.number("rounds"), 2 * rounds.iter().sum::<i64>());
    assert_eq!(report.number("sums"), 2 * sums.iter().sum::<i64>());
}
