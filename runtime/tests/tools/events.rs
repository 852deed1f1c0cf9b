//! Programs in another process report through every kind of map.

use crate::Skipped;
use crate::stage::{Stage, Talk};

/// The number after a word.
fn number(line: &str, word: &str) -> u64 {
    let mut words = line.split(' ').skip_while(|found| *found != word);
    words
        .nth(1)
        .and_then(|number| number.parse().ok())
        .unwrap_or_else(|| panic!("{word}: {line}"))
}

/// A stock libbpf tool names a process by pid; its programs count each call there once, in a
/// global variable, a per-CPU array, a ring buffer and, at the return, a perf buffer.
pub(crate) fn programs_hear_of_every_call() -> Result<(), Skipped> {
    const THREADS: u64 = 4;
    const CALLS: u64 = 500;
    let stage = Stage::new();
    stage.object("events")?;
    stage.program("events")?;
    stage.program("calls_malloc")?;
    let (threads, calls) = (THREADS.to_string(), CALLS.to_string());
    let mut victim = Talk::start(stage.command("./calls_malloc").args([&threads, &calls]));
    let pid = victim.line();
    let mut tool =
        Talk::start(&mut stage.bpftime(&["load", "./events", "events.bpf.o", &pid, "5000"]));
    assert_eq!(tool.line(), "ready");
    victim.poke();
    assert_eq!(victim.line(), "done");
    tool.hang_up();
    let line = tool.line();
    for word in ["records", "by_cpu", "total"] {
        assert_eq!(number(&line, word), THREADS * CALLS, "{line}");
    }
    // The return probe has no lower bound, so it also hears of the C library's own calls.
    let samples = number(&line, "samples") + number(&line, "lost");
    assert!(
        (THREADS * CALLS..THREADS * CALLS + 64).contains(&samples),
        "{line}"
    );
    assert_eq!(number(&line, "strange"), 0, "{line}");
    assert_eq!(tool.code(), Some(0));
    assert_eq!(victim.code(), Some(0));
    Ok(())
}
