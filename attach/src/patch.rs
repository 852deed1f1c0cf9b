//! Replacing instructions while all threads are stopped.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::target::Stopped;

/// How long threads get to leave the bytes that are to be replaced.
const PATIENCE: Duration = Duration::from_secs(2);

/// Bytes to be replaced at once; at most 8.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) address: u64,
    /// One of these must be there now.
    pub(crate) from: Vec<Vec<u8>>,
    pub(crate) to: Vec<u8>,
    /// Addresses at which no thread may be or come back to.
    pub(crate) no_thread_in: Range<u64>,
}

/// What a change found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// The new bytes are there.
    Done,
    /// Something else is there than any of the bytes that were expected; nothing was changed.
    Foreign,
}

/// Makes one change. Threads that are in the way are let run, with all others, until they are
/// not; they are never single-stepped, because a thread that is, and whose tracer is killed, dies
/// of `SIGTRAP`.
pub(crate) fn replace(stopped: &mut Stopped<'_>, change: &Change) -> Result<Outcome> {
    let mut now = vec![0; change.to.len()];
    let in_the_way = || Error::Site {
        pid: stopped_pid(stopped),
        address: change.address,
        reason: format!(
            "threads stayed within its first instructions for {} s",
            PATIENCE.as_secs()
        ),
    };
    let failed = in_the_way();
    wait_until_clear(stopped, std::slice::from_ref(&change.no_thread_in), failed)?;
    // Looked at after the last wait: the process may have unloaded or changed the code meanwhile.
    if stopped.read(change.address, &mut now).is_err() {
        return Ok(Outcome::Foreign);
    }
    if now == change.to {
        return Ok(Outcome::Done);
    }
    if !change.from.contains(&now) {
        return Ok(Outcome::Foreign);
    }
    stopped.poke_at_once(change.address, &change.to)?;
    Ok(Outcome::Done)
}

fn stopped_pid(stopped: &Stopped<'_>) -> i32 {
    stopped.target().pid()
}

fn wait_until_clear(stopped: &mut Stopped<'_>, ranges: &[Range<u64>], failed: Error) -> Result<()> {
    if ranges.iter().all(|range| range.is_empty()) {
        return Ok(());
    }
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(50);
    while !stopped.references(ranges)?.is_empty() {
        if Instant::now() > deadline {
            return Err(failed);
        }
        stopped.run_for(pause)?;
        pause = (pause * 2).min(Duration::from_millis(10));
    }
    Ok(())
}
