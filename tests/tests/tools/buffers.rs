//! Ring buffers and perf buffers: every record arrives, whole and in order, and soon.

use crate::lab::{Lab, Report, Way, finished, number};

const THREADS: &str = "4";
const CALLS: &str = "1000";
const ALL: i64 = 4000;

/// Every call of every thread was received once, in order, with the right contents.
fn assert_all(report: &Report) {
    assert_eq!(report.number("received"), ALL, "{report:?}");
    assert_eq!(report.number("made"), ALL, "{report:?}");
    assert_whole(report);
    // From the program's clock to the tool's; on a quiet machine it is tens of microseconds.
    assert!(report.number("mean") < 100_000, "{report:?}");
}

fn assert_whole(report: &Report) {
    for what in [
        "out-of-order",
        "not-monotonic",
        "wrong-text",
        "wrong-fields",
    ] {
        assert_eq!(report.number(what), 0, "{what}: {report:?}");
    }
    assert_eq!(report.number("pid"), report.victim_pid(), "{report:?}");
    assert_eq!(
        number_of_victim(report, "uid"),
        report.number("uid"),
        "{report:?}"
    );
}

fn number_of_victim(report: &Report, word: &str) -> i64 {
    number(&report.victim, word)
}

#[test]
fn a_ring_buffer_gives_every_record() {
    let lab = Lab::new(&["events", "subject"]);
    let report = lab.compare(
        &["./events", "ring", "4000"],
        &["./subject", THREADS, CALLS],
    );
    assert_all(&report);
    assert_eq!(report.number("dropped"), 0, "{report:?}");
}

/// More threads than processors preempt each other inside the helpers, and the consumer misses
/// wake-ups if it is not looked after. Repeated, as both are a matter of luck.
#[test]
fn a_ring_buffer_loses_nothing_when_threads_crowd() {
    let lab = Lab::new(&["events", "subject"]);
    for round in 0..5 {
        let report = lab.observe(
            Way::Ours,
            &["./events", "ring", "8000"],
            &["./subject", "8", "1000"],
        );
        assert_eq!(report.number("received"), 8000, "round {round}: {report:?}");
        assert_eq!(report.number("dropped"), 0, "round {round}: {report:?}");
        assert_whole(&report);
    }
}

/// As many records fit into 4096 bytes as the kernel's own ring buffer takes; the rest is refused.
#[test]
fn a_full_ring_buffer_refuses_records() {
    let lab = Lab::new(&["events", "subject"]);
    let report = lab.compare(&["./events", "full", "400"], &["./subject", "1", "400"]);
    // A record of 112 bytes and its header take 120, and one byte stays free.
    assert_eq!(report.number("received"), 4095 / 120, "{report:?}");
    assert_eq!(report.number("dropped"), 400 - 4095 / 120, "{report:?}");
    assert_whole(&report);
}

#[test]
fn a_perf_buffer_gives_every_record() {
    let lab = Lab::new(&["events", "subject"]);
    let report = lab.compare(
        &["./events", "perf", "4000"],
        &["./subject", THREADS, CALLS],
    );
    assert_all(&report);
    assert_eq!(report.number("lost"), 0, "{report:?}");
}

/// Records of several processes are in one ring buffer; none is lost or torn.
#[test]
fn several_victims_share_a_ring_buffer() {
    let lab = Lab::new(&["events", "subject"]);
    let tool = lab.tool(Way::Ours, &["./events", "ring", "6000"]);
    let victims: Vec<_> = (0..3)
        .map(|_| lab.victim(Way::Ours, &["./subject", "4", "500"]))
        .collect();
    for victim in victims {
        finished(victim);
    }
    let lines = finished(tool);
    assert_eq!(number(&lines, "received"), 6000, "{lines:?}");
    assert_eq!(number(&lines, "dropped"), 0, "{lines:?}");
    assert_eq!(number(&lines, "wrong-text"), 0, "{lines:?}");
}
