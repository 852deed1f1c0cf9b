//! What programs print is what `cat` of `trace_pipe` shows.

use crate::Skipped;
use crate::stage::{Stage, Talk, finish};

const PIPES: [&str; 2] = [
    "/sys/kernel/debug/tracing/trace_pipe",
    "/sys/kernel/tracing/trace_pipe",
];
/// Calls of each process: fewer than the lines that a process may be ahead of its guardian.
const CALLS: u64 = 200;

/// Thread id, time in microseconds and text of a line of the process `calls_malloc`.
fn parts(line: &str) -> (u32, u64, &str) {
    let parts = || {
        // The name is right-justified in 16 columns, the thread id left-justified in 7.
        let rest = line.strip_prefix("    calls_malloc-")?;
        let (tid, rest) = rest.split_at_checked(7)?;
        let rest = rest.strip_prefix(" [000] ...11 ")?;
        let (time, rest) = rest.split_once(": ")?;
        let (seconds, micros) = time.split_once('.')?;
        let text = rest.strip_prefix("bpf_trace_printk: ")?;
        let time = seconds.trim_start().parse::<u64>().ok()? * 1_000_000;
        let micros = micros.parse::<u64>().ok().filter(|_| micros.len() == 6)?;
        Some((tid.trim_end().parse().ok()?, time + micros, text))
    };
    parts().unwrap_or_else(|| panic!("{line:?}"))
}

/// Lines from before and after the readers came are there once, in order, in every reader; who does
/// not want to wait is told that there is nothing more.
pub(crate) fn trace_pipe_shows_every_line() -> Result<(), Skipped> {
    let stage = Stage::new();
    stage.object("prints")?;
    stage.program("prints")?;
    stage.program("calls_malloc")?;
    let calls = CALLS.to_string();
    let victim = || Talk::start(stage.command("./calls_malloc").args(["1", &calls]));
    let mut victims = [victim(), victim()];
    let pids = victims.each_mut().map(Talk::line);
    let mut tool =
        Talk::start(&mut stage.bpftime(&["load", "./prints", "prints.bpf.o", &pids[0], &pids[1]]));
    assert_eq!(tool.line(), "ready");

    let [mut early, mut late] = victims;
    early.poke();
    assert_eq!(early.line(), "done");
    assert_eq!(early.code(), Some(0));
    let mut first = Talk::start(&mut stage.bpftime(&["load", "cat", PIPES[0]]));
    let mut lines: Vec<String> = (0..CALLS).map(|_| first.line()).collect();
    let mut second = Talk::start(&mut stage.bpftime(&["load", "sh", "-c", SECOND]));
    assert_eq!(second.line(), "open");
    late.poke();
    assert_eq!(late.line(), "done");
    lines.extend((0..CALLS).map(|_| first.line()));

    let mut before = 0;
    for (number, line) in (0..).zip(&lines) {
        let (tid, time, text) = parts(line);
        let expected = if number % 2 == 0 {
            format!("call {number} of 1 2 more")
        } else {
            format!("call {number}")
        };
        assert_eq!(text, expected);
        assert!(!pids.contains(&tid.to_string()), "a thread called: {line}");
        assert!(time >= before, "{line}");
        before = time;
    }
    for line in &lines[CALLS as usize..] {
        assert_eq!(&second.line(), line);
    }
    tool.hang_up();
    assert_eq!(tool.code(), Some(0));
    assert_eq!(late.code(), Some(0));
    for mut reader in [first, second] {
        reader.interrupt();
        assert_eq!(reader.line(), "", "a line too many");
    }

    let input = format!("if={}", PIPES[1]);
    let nothing = finish(&mut stage.bpftime(&["load", "dd", "iflag=nonblock", &input]));
    let said = String::from_utf8_lossy(&nothing.stderr);
    assert!(said.contains("Resource temporarily unavailable"), "{said}");
    assert!(nothing.stdout.is_empty(), "{nothing:?}");
    Ok(())
}

/// Says when it has opened the file, and goes on as `cat`.
const SECOND: &str = "exec < /sys/kernel/tracing/trace_pipe && echo open && exec cat";
