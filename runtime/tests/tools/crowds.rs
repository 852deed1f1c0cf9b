//! Many users of one process at a time, and parties that hang.

use std::io::Read;
use std::process::ExitCode;
use std::sync::{Barrier, mpsc};
use std::time::{Duration, Instant};

use bpftime_runtime::client::{ask, detach};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Skipped;
use crate::stage::{Stage, Talk, finish};

/// How many do the same at once.
const CROWD: usize = 8;
/// What who succeeds prints.
const WON: &str = "done";
const ROUNDS: usize = 5;
/// Nothing that waits for a hung party is this quick.
const SOON: Duration = Duration::from_secs(12);

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

/// Goes on however the test ends: a stopped guardian would outlive it.
struct Stopped(Pid);

impl Stopped {
    fn new(pid: i32) -> Self {
        let pid = Pid::from_raw(pid);
        kill(pid, Signal::SIGSTOP).expect("it runs");
        Self(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have ended.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// While one guardian hangs, a tool attaches everywhere else, and what the hung one has missed is
/// made good when it goes on.
pub(crate) fn a_hung_guardian_stalls_nobody_else() -> Result<(), Skipped> {
    let stage = Stage::new();
    stage.object("events")?;
    stage.program("events")?;
    stage.program("calls_malloc")?;
    let victim = || Talk::start(stage.command("./calls_malloc").args(["1", "1"]));
    let [mut hung, mut other] = [victim(), victim()];
    let attach = |pid: &str| {
        let output = finish(&mut stage.bpftime(&["attach", pid]));
        assert!(output.status.success(), "{output:?}");
    };
    let [hung_pid, other_pid] = [hung.line(), other.line()];
    attach(&hung_pid);
    let stopped = Stopped::new(guardians(&stage)[0]);
    let begun = Instant::now();
    attach(&other_pid);
    let mut tool =
        Talk::start(&mut stage.bpftime(&["load", "./events", "events.bpf.o", "-1", "0"]));
    assert_eq!(tool.line(), "ready");
    let ready = begun.elapsed();
    assert!(ready < SOON, "the tool was ready after {ready:?}");
    let attached = |pid: &str| {
        let output = finish(&mut stage.bpftime(&["attached", pid]));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let asked = Instant::now();
    assert_eq!(attached(&other_pid), "2 attached");
    assert_eq!(attached(&hung_pid), "0 attached, has a problem");
    let answered = asked.elapsed();
    assert!(answered < SOON, "answers took {answered:?}");
    drop(stopped);
    let deadline = Instant::now() + SOON;
    while attached(&hung_pid) != "2 attached" {
        assert!(Instant::now() < deadline, "{}", attached(&hung_pid));
        std::thread::sleep(Duration::from_millis(100));
    }
    tool.hang_up();
    assert!(tool.line().starts_with("records "));
    assert_eq!(tool.code(), Some(0));
    for victim in [&mut hung, &mut other] {
        victim.poke();
        assert_eq!(victim.line(), "done");
    }
    assert_eq!(hung.code(), Some(0));
    assert_eq!(other.code(), Some(0));
    Ok(())
}

/// A tool that nobody reads the standard error of hears what went wrong when it is read, and
/// never waits for it.
pub(crate) fn an_unread_standard_error_stalls_nobody() -> Result<(), Skipped> {
    /// More sentences than a pipe holds.
    const SENTENCES: &str = "3000";
    let stage = Stage::new();
    stage.program("asks_in_vain")?;
    let (mut errors, theirs) = std::io::pipe().expect("a pipe");
    let mut tool = Talk::start(
        stage
            .bpftime(&["load", "./asks_in_vain", SENTENCES])
            .stderr(theirs),
    );
    let (tell, hear) = mpsc::channel();
    let reading = std::thread::spawn(move || {
        let line = tool.line();
        let _ = tell.send(line);
        tool
    });
    let said = hear.recv_timeout(SOON);
    let maps = number(&stage, "maps");
    // A tool that is stalled goes on when its pipe is read, so that the test ends in any case.
    let text = std::thread::spawn(move || {
        let mut text = String::new();
        errors.read_to_string(&mut text).expect("text");
        text
    });
    let tool = reading.join().expect("it speaks");
    assert_eq!(tool.code(), Some(0));
    let text = text.join().expect("it is read");
    assert_eq!(said.as_deref(), Ok("done"));
    assert_eq!(maps, 0);
    let mut lines: Vec<&str> = text.lines().collect();
    let last = lines.pop().expect("a line");
    assert!(last.ends_with(" more sentences were left out"), "{last}");
    assert!(lines.len() > 100, "{} lines", lines.len());
    for line in lines {
        assert!(line.starts_with("bpftime: raw tracepoints are"), "{line}");
    }
    Ok(())
}

/// A process starts at once, however often what is attached changes while it waits for its `exec`.
pub(crate) fn changing_probes_do_not_keep_processes_from_starting() -> Result<(), Skipped> {
    let stage = Stage::new();
    stage.object("prints")?;
    stage.program("toggles")?;
    let mut tools =
        [(); 2].map(|()| Talk::start(&mut stage.bpftime(&["load", "./toggles", "prints.bpf.o"])));
    for tool in &mut tools {
        assert_eq!(tool.line(), "ready");
    }
    for round in 0..20 {
        let begun = Instant::now();
        let output = finish(&mut stage.bpftime(&["start", "true"]));
        assert_eq!(output.status.code(), Some(0), "{round}: {output:?}");
        assert!(begun.elapsed() < SOON, "{round}: {:?}", begun.elapsed());
    }
    for tool in tools {
        assert_eq!(tool.code(), Some(0));
    }
    Ok(())
}

/// A process starts though its guardian is killed, at whatever moment.
pub(crate) fn a_killed_guardian_does_not_keep_a_process_from_starting() -> Result<(), Skipped> {
    let stage = Stage::new();
    stage.object("prints")?;
    stage.program("toggles")?;
    let mut tool = Talk::start(&mut stage.bpftime(&["load", "./toggles", "prints.bpf.o"]));
    assert_eq!(tool.line(), "ready");
    let broker = number(&stage, "broker-pid");
    // Threads of the broker that come and go start guardians.
    let guardian = || {
        let threads = std::fs::read_dir(format!("/proc/{broker}/task")).expect("it runs");
        let children = threads.filter_map(|thread| {
            std::fs::read_to_string(thread.ok()?.path().join("children")).ok()
        });
        children
            .flat_map(|list| {
                list.split(' ')
                    .filter_map(|pid| pid.parse().ok())
                    .collect::<Vec<i32>>()
            })
            .find(|pid| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                String::from_utf8_lossy(&line).contains("guardian")
            })
    };
    for round in 0..60_u64 {
        let mut command = stage.bpftime(&["start", "true"]);
        let starter = std::thread::spawn(move || finish(&mut command));
        let found = loop {
            let found = guardian();
            if found.is_some() || starter.is_finished() {
                break found;
            }
        };
        std::thread::sleep(Duration::from_micros(round * 100));
        if let Some(pid) = found {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let output = starter.join().expect("no panic");
        assert_eq!(output.status.code(), Some(0), "{round}: {output:?}");
    }
    assert_eq!(tool.code(), Some(0));
    Ok(())
}
