//! Many users of one process at a time, and parties that hang.

use std::process::ExitCode;
use std::sync::Barrier;

use bpftime_runtime::client::{ask, detach};

use crate::Skipped;
use crate::stage::{Stage, Talk, finish};

/// How many do the same at once.
const CROWD: usize = 8;
/// What who succeeds prints.
const WON: &str = "done";
const ROUNDS: usize = 5;

/// What [`assert_one_wins`] runs: many threads that ask for the same at the same moment. Prints a line for
/// each.
pub(crate) fn crowd(what: &str, pid: i32) -> ExitCode {
    let barrier = Barrier::new(CROWD);
    let one = || {
        barrier.wait();
        let result = match what {
            "attach" => ask::attach(pid).map(drop),
            _ => detach::detach(pid),
        };
        let sentence = result.map_or_else(|failure| failure.0, |()| WON.to_owned());
        println!("{sentence}");
    };
    std::thread::scope(|scope| {
        for _ in 0..CROWD {
            scope.spawn(one);
        }
    });
    ExitCode::SUCCESS
}

/// Asserts that of many that do the same at once one succeeds, and that the others are told why
/// not.
fn assert_one_wins(stage: &Stage, what: &str, pid: &str, sentence: &str) {
    let output = finish(&mut stage.bpftime(&["crowd", what, pid]));
    let said = String::from_utf8_lossy(&output.stdout);
    let (won, lost): (Vec<_>, Vec<_>) = said.lines().partition(|line| *line == WON);
    assert_eq!((won.len(), lost.len()), (1, CROWD - 1), "{said}");
    for line in lost {
        assert_eq!(line, sentence);
    }
}

/// The number that the broker answers to a question.
fn number(stage: &Stage, what: &str) -> i32 {
    let output = finish(&mut stage.bpftime(&[what]));
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().unwrap_or_else(|_| panic!("{output:?}"))
}

/// The children of the broker, which are its guardians.
fn guardians(stage: &Stage) -> Vec<i32> {
    let broker = format!("PPid:\t{}", number(stage, "broker-pid"));
    let processes = std::fs::read_dir("/proc").expect("procfs");
    let pids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let is_child = |pid: &i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        status.lines().any(|line| line == broker) && !status.contains("State:\tZ")
    };
    pids.filter(is_child).collect()
}

/// Of many that attach to or detach from a process at once, one succeeds each time, and the
/// process never has two guardians.
pub(crate) fn one_of_many_attaches() -> Result<(), Skipped> {
    let stage = Stage::new();
    stage.program("calls_malloc")?;
    let mut victim = Talk::start(stage.command("./calls_malloc").args(["1", "1"]));
    let pid = victim.line();
    for _ in 0..ROUNDS {
        let sentence = format!("process {pid} is attached already");
        assert_one_wins(&stage, "attach", &pid, &sentence);
        assert_eq!(guardians(&stage).len(), 1);
        let detached = finish(&mut stage.bpftime(&["detach", &pid]));
        assert!(detached.status.success(), "{detached:?}");
    }
    victim.poke();
    assert_eq!(victim.line(), "done");
    assert_eq!(victim.code(), Some(0));
    Ok(())
}

/// Of many that detach from a process at once, one succeeds.
pub(crate) fn one_of_many_detaches() -> Result<(), Skipped> {
    let stage = Stage::new();
    stage.program("calls_malloc")?;
    let mut victim = Talk::start(stage.command("./calls_malloc").args(["1", "1"]));
    let pid = victim.line();
    for _ in 0..ROUNDS {
        let attached = finish(&mut stage.bpftime(&["attach", &pid]));
        assert!(attached.status.success(), "{attached:?}");
        let sentence = format!("process {pid} is not attached");
        assert_one_wins(&stage, "detach", &pid, &sentence);
    }
    victim.poke();
    assert_eq!(victim.line(), "done");
    assert_eq!(victim.code(), Some(0));
    Ok(())
}
