//! Whether the programs of tools ever were in a command that was started for them.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::ask;
use crate::broker::protocol::TargetHook;

/// When is looked first, and at least how often. A command that ends before is not spoken of: what it
/// has just executed may not have been noticed.
const FIRST: Duration = Duration::from_millis(300);
const LAST: Duration = Duration::from_millis(500);

/// Looks at a target from time to time until something is attached in it.
#[derive(Debug)]
pub struct Watch {
    pid: i32,
    end: Sender<()>,
    thread: JoinHandle<Option<String>>,
}

impl Watch {
    /// Begins to look.
    pub fn start(pid: i32) -> Self {
        let (end, ended) = channel();
        let thread = std::thread::spawn(move || look(pid, &ended));
        Self { pid, end, thread }
    }

    /// Ends it with the process; one sentence if probes were wanted and none was seen attached.
    pub fn end(self) -> Option<String> {
        // It may have seen enough.
        let _ = self.end.send(());
        let reason = self.thread.join().ok().flatten()?;
        Some(format!(
            "no probe was seen attached in process {}: {reason}. Only the process that is started, and \
             programs that it executes itself, are probed, not commands that it starts: start these \
             themselves, or attach to them",
            self.pid
        ))
    }
}

/// Why nothing was attached when last looked at, or nothing if something was, or was not wanted.
fn look(pid: i32, ended: &Receiver<()>) -> Option<String> {
    let mut reason = None;
    let mut pause = FIRST;
    while ended.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        pause = (pause * 2).min(LAST);
        let Ok(Some(status)) = ask::status() else {
            continue;
        };
        let Some(target) = status.targets.iter().find(|target| target.pid == pid) else {
            continue;
        };
        let was_there = |hook: &TargetHook| hook.attached || hook.hits > 0;
        if target.hooks.iter().any(was_there) {
            return None;
        }
        reason = target.hooks.iter().find_map(|hook| hook.failure.clone());
    }
    reason
}
