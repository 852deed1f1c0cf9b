//! Processes that change while they are probed.

use std::time::{Duration, Instant};

use crate::Skipped;
use crate::stage::{Stage, Talk, finish};

/// A guardian notices a change within this time, on a machine that is busy.
const SOON: Duration = Duration::from_secs(5);

/// Waits until the probe of a process is there, or is not.
fn wait_for(stage: &Stage, pid: &str, state: &str) {
    let deadline = Instant::now() + SOON;
    loop {
        let output = finish(&mut stage.bpftime(&["attached", pid]));
        let said = String::from_utf8_lossy(&output.stdout);
        if said.starts_with(state) {
            return;
        }
        assert!(Instant::now() < deadline, "{said} instead of {state}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Says one word, and gives the answer.
fn ask(talk: &mut Talk) -> String {
    talk.poke();
    talk.line()
}

/// A library that is unloaded and loaded again is probed again, wherever it is then.
pub(crate) fn a_reloaded_library_is_probed_again() -> Result<(), Skipped> {
    let stage = Stage::new();
    stage.object("prints")?;
    stage.program("counts")?;
    stage.program("reload")?;
    stage.library("reloaded")?;
    let library = stage.path().join("reloaded.so");
    let library = library.to_string_lossy();
    let mut victim = Talk::start(stage.command("./reload").arg(&*library));
    let pid = victim.line();
    assert_eq!(ask(&mut victim), "loaded");
    let arguments = [
        "load",
        "./counts",
        "prints.bpf.o",
        &pid,
        &library,
        "reloaded",
    ];
    let mut tool = Talk::start(&mut stage.bpftime(&arguments));
    assert_eq!(tool.line(), "ready");
    for round in 1..=4 {
        wait_for(&stage, &pid, "1 attached");
        assert_eq!(ask(&mut victim), "called");
        assert_eq!(ask(&mut tool), (10 * round).to_string());
        assert_eq!(ask(&mut victim), "unloaded");
        if round % 2 == 0 {
            wait_for(&stage, &pid, "0 attached");
        }
        assert_eq!(ask(&mut victim), "loaded");
    }
    assert_eq!(tool.code(), Some(0));
    assert_eq!(ask(&mut victim), "called");
    assert_eq!(victim.code(), Some(0));
    Ok(())
}

/// What a shell starts is not followed, and who started the shell is told so; what it executes in
/// its own place is, and then nothing is said.
pub(crate) fn a_started_shell_tells_that_its_commands_are_not_followed() -> Result<(), Skipped> {
    let stage = Stage::new();
    stage.object("prints")?;
    stage.program("counts")?;
    stage.program("calls_malloc")?;
    let victim = stage.path().join("calls_malloc");
    let victim = victim.to_string_lossy();
    let arguments = ["load", "./counts", "prints.bpf.o", "-1", &victim, "main"];
    let mut tool = Talk::start(&mut stage.bpftime(&arguments));
    assert_eq!(tool.line(), "ready");
    let started = |script: &str| {
        let output = finish(&mut stage.bpftime(&["start", "sh", "-c", script]));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = started("(sleep 1.5; echo) | ./calls_malloc 1 1; true");
    assert!(said.contains("no probe was seen attached"), "{said}");
    assert!(said.contains("has not loaded"), "{said}");
    let said = started("exec 0< /dev/zero; exec ./calls_malloc 1 100000");
    assert_eq!(said, "");
    assert_eq!(tool.code(), Some(0));
    Ok(())
}

/// A process whose first thread has ended is a zombie to a careless look, and can be attached to.
pub(crate) fn a_process_without_its_first_thread_is_alive() -> Result<(), Skipped> {
    let stage = Stage::new();
    stage.program("leaderless")?;
    let mut victim = Talk::start(&mut stage.command("./leaderless"));
    let pid = victim.line();
    for command in ["attach", "detach"] {
        let output = finish(&mut stage.bpftime(&[command, &pid]));
        assert!(output.status.success(), "{command}: {output:?}");
    }
    assert_eq!(victim.code(), Some(0));
    Ok(())
}

/// Two brokers do not take a process away from each other.
pub(crate) fn a_process_has_one_guardian_of_all_brokers() -> Result<(), Skipped> {
    let stage = Stage::new();
    stage.object("prints")?;
    stage.program("counts")?;
    stage.program("calls_malloc")?;
    let mut victim = Talk::start(stage.command("./calls_malloc").args(["1", "1"]));
    let pid = victim.line();
    let arguments = [
        "load",
        "./counts",
        "prints.bpf.o",
        &pid,
        "libc.so.6",
        "malloc",
    ];
    let mut tool = Talk::start(&mut stage.bpftime(&arguments));
    assert_eq!(tool.line(), "ready");
    let other = stage.path().join("run/other");
    for command in ["attach", "detach"] {
        let mut command = stage.bpftime(&[command, &pid]);
        let output = finish(command.env("BPFTIME_RUNTIME_DIR", &other));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("is attached by another broker"), "{said}");
    }
    wait_for(&stage, &pid, "1 attached");
    victim.poke();
    assert_eq!(victim.line(), "done");
    assert_eq!(ask(&mut tool), "1");
    assert_eq!(tool.code(), Some(0));
    assert_eq!(victim.code(), Some(0));
    Ok(())
}
