//! Objects live as long as somebody has them.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::Skipped;
use crate::stage::{Stage, Talk, finish};

fn events_tool(stage: &Stage) -> Result<(Talk, Talk), Skipped> {
    stage.object("events")?;
    stage.program("events")?;
    stage.program("calls_malloc")?;
    let mut victim = Talk::start(stage.command("./calls_malloc").args(["1", "1"]));
    let pid = victim.line();
    let mut tool =
        Talk::start(&mut stage.bpftime(&["load", "./events", "events.bpf.o", &pid, "0"]));
    assert_eq!(tool.line(), "ready");
    Ok((victim, tool))
}

/// An unmodified bpftool lists what another tool has loaded.
pub(crate) fn bpftool_sees_the_objects() -> Result<(), Skipped> {
    let Ok(version) = Command::new("bpftool").arg("version").output() else {
        return Err(Skipped("no bpftool".to_owned()));
    };
    if !version.status.success() {
        return Err(Skipped("bpftool does not work".to_owned()));
    }
    let stage = Stage::new();
    let (victim, tool) = events_tool(&stage)?;
    let bpftool = |words: &[&str]| {
        let words = [&["load", "bpftool"], words].concat();
        let output = finish(&mut stage.bpftime(&words));
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let list = |what| bpftool(&[what, "list"]);
    let maps = list("map");
    for name in [
        "name records",
        "name samples",
        "name by_cpu",
        "name events.bss",
    ] {
        assert!(maps.contains(name), "no {name:?} in {maps}");
    }
    // libbpf creates these to find out what the kernel can, and closes them.
    assert!(!maps.contains("libbpf_"), "{maps}");
    let programs = list("prog");
    assert!(programs.contains("kprobe  name on_entry"), "{programs}");
    assert!(programs.contains("kprobe  name on_return"), "{programs}");
    let line = programs.lines().find(|line| line.contains("name on_entry"));
    let id = line.and_then(|line| line.split_once(':')).expect("an id").0;
    let shown = bpftool(&["prog", "dump", "xlated", "id", id]);
    for part in ["= map[id:", "call bpf_get_current_pid_tgid", "exit"] {
        assert!(shown.contains(part), "no {part:?} in {shown}");
    }
    assert_eq!(list("link").matches("perf_event  prog").count(), 2);
    assert_eq!(tool.code(), Some(0));
    assert_eq!(victim.code(), Some(2), "it was never told to call malloc");
    Ok(())
}

/// When a tool is killed, its maps are gone and the process that it probed is given back.
pub(crate) fn objects_end_with_their_tool() -> Result<(), Skipped> {
    let stage = Stage::new();
    let (mut victim, tool) = events_tool(&stage)?;
    let count = || {
        let output = finish(&mut stage.bpftime(&["maps"]));
        String::from_utf8_lossy(&output.stdout)
            .trim()
            .parse::<u32>()
            .expect("a number")
    };
    assert_eq!(count(), 5);
    // Kills `bpftime load`; the tool sees its standard input end, and ends.
    drop(tool);
    let deadline = Instant::now() + Duration::from_secs(10);
    while count() != 0 {
        assert!(Instant::now() < deadline, "{} maps are left", count());
        std::thread::sleep(Duration::from_millis(50));
    }
    victim.poke();
    assert_eq!(victim.line(), "done");
    assert_eq!(victim.code(), Some(0));
    Ok(())
}

/// `load` and `start` end as their command does.
pub(crate) fn a_tool_gives_its_own_exit_code() -> Result<(), Skipped> {
    let stage = Stage::new();
    for command in ["load", "start"] {
        let seven = finish(&mut stage.bpftime(&[command, "sh", "-c", "exit 7"]));
        assert_eq!(seven.status.code(), Some(7), "{command}: {seven:?}");
        let killed = finish(&mut stage.bpftime(&[command, "sh", "-c", "kill -9 $$"]));
        assert_eq!(killed.status.code(), Some(128 + 9), "{command}: {killed:?}");
        let missing = finish(&mut stage.bpftime(&[command, "./no-such-command"]));
        assert_eq!(missing.status.code(), Some(1), "{command}: {missing:?}");
    }
    Ok(())
}

/// Values are copied piece by piece, however long they are.
pub(crate) fn long_values_take_no_memory_of_the_broker() -> Result<(), Skipped> {
    /// The values of `large_value.c` have 160 MiB.
    const MOST_KB: u64 = 80 << 10;
    let stage = Stage::new();
    stage.program("large_value")?;
    let mut tool = Talk::start(&mut stage.bpftime(&["load", "./large_value"]));
    assert_eq!(tool.line(), "ok");
    let output = finish(&mut stage.bpftime(&["broker-pid"]));
    let pid = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"))
        .and_then(|number| number.parse::<u64>().ok())
        .expect("a number");
    assert!(peak < MOST_KB, "the broker has used {peak} kB");
    assert_eq!(tool.code(), Some(0));
    Ok(())
}

/// What a call gives is written to the process that made it, whatever its id and memory were
/// before.
pub(crate) fn answers_reach_who_has_asked() -> Result<(), Skipped> {
    let stage = Stage::new();
    stage.program("execs")?;
    let output = finish(&mut stage.bpftime(&["load", "./execs"]));
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "ok\n",
        "{output:?}"
    );
    assert_eq!(output.status.code(), Some(0));
    Ok(())
}
