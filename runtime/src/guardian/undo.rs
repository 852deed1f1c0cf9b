//! A process given back as it was, without a guardian.

use std::time::Duration;

use bpftime_attach::{Target, inject};

use crate::sys::process;

/// Removes everything from a process; one sentence if that cannot be.
pub fn undo(pid: i32) -> Result<(), String> {
    let target = Target::open(pid).map_err(|error| error.to_string())?;
    let was_guarded = no_other_guardian(&target).is_err();
    wait_for_other_guardian(&target)?;
    let done = inject::detach(&target).map_err(|error| error.to_string())?;
    // A guardian whose broker has just ended undoes it itself.
    if !done.was_attached && !was_guarded {
        return Err(format!("process {pid} is not attached"));
    }
    match left(pid, &done) {
        None => Ok(()),
        Some(sentence) => Err(sentence),
    }
}

/// One sentence if a living guardian has the process: that of another broker, which would at once do
/// again what somebody else undoes.
fn no_other_guardian(target: &Target) -> Result<(), String> {
    let Ok(Some(guardian)) = inject::guardian(target) else {
        return Ok(());
    };
    let own = i32::try_from(std::process::id()) == Ok(guardian);
    if own || guardian <= 0 || !process::is_guardian(guardian) {
        return Ok(());
    }
    Err(format!(
        "process {} is attached by another broker, whose guardian is process {guardian}; detach it with \
         that one (BPFTIME_RUNTIME_DIR or XDG_RUNTIME_DIR and user say which), or end the guardian",
        target.pid()
    ))
}

/// Waits for a guardian that has just been killed, or told to end: an error if it still has the process
/// after a second.
pub fn wait_for_other_guardian(target: &Target) -> Result<(), String> {
    const TRIES: u32 = 50;
    const PAUSE: Duration = Duration::from_millis(20);
    for _ in 0..TRIES {
        if no_other_guardian(target).is_ok() {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    no_other_guardian(target)
}

/// What a detach could not undo, as a sentence. Code that threads have yet to leave is none of
/// that: it does nothing.
pub fn left(pid: i32, done: &inject::Detached) -> Option<String> {
    if done.foreign.is_empty() {
        return None;
    }
    let places: Vec<_> = done
        .foreign
        .iter()
        .map(|address| format!("{address:#x}"))
        .collect();
    Some(format!(
        "process {pid} is detached, but its code at {} was changed by somebody else and is left \
         as it is",
        places.join(", ")
    ))
}
