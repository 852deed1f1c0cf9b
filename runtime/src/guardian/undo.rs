//! A process given back as it was, without a guardian.

use bpftime_attach::{Target, inject};

/// Removes everything from a process; one sentence if that cannot be.
pub fn undo(pid: i32) -> Result<(), String> {
    let target = Target::open(pid).map_err(|error| error.to_string())?;
    let done = inject::detach(&target).map_err(|error| error.to_string())?;
    if !done.was_attached {
        return Err(format!("process {pid} is not attached"));
    }
    match left(pid, &done) {
        None => Ok(()),
        Some(sentence) => Err(sentence),
    }
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
