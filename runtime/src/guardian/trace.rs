//! Text of `bpf_trace_printk` on its way from the target to the broker.
//!
//! A thread waits on the futex word of the target's ring, so that lines are told, with the time, as
//! soon as they are written, and a target that prints nothing costs nothing.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use super::protocol::{FromGuardian, TraceLine};
use super::trace_ring::{Reader, Record, Ring};
use super::voice::Voice;
use crate::sys::{futex, process};

/// How soon is looked again for a record that is being written.
const SECOND_LOOK: Duration = Duration::from_millis(10);
/// How long the thread sleeps at most, should the target have broken the futex word.
const PATIENCE: Duration = Duration::from_millis(500);

/// Passes the lines of one injection on, until dropped.
#[derive(Debug)]
pub struct Follower {
    ring: Arc<Ring>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Follows the ring in the control memory of a process.
    pub fn start(pid: i32, control: impl AsFd, voice: Voice) -> io::Result<Self> {
        let ring = Arc::new(Ring::new(control)?);
        let ended = Arc::new(AtomicBool::new(false));
        let (followed, told) = (ring.clone(), ended.clone());
        let thread = std::thread::Builder::new()
            .name("trace".into())
            .spawn(move || follow(pid, &followed, &told, &voice))?;
        Ok(Self {
            ring,
            ended,
            thread: Some(thread),
        })
    }
}

impl Drop for Follower {
    /// Waits until all that the ring holds has been told.
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        // Another value, so that the thread does not begin to wait.
        self.ring.futex().fetch_add(1, Ordering::Release);
        futex::wake(self.ring.futex());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has told of itself.
            let _ = thread.join();
        }
    }
}

fn follow(pid: i32, ring: &Arc<Ring>, ended: &AtomicBool, voice: &Voice) {
    let mut reader = Reader::new(ring.clone());
    // Kept, as lines may be found when the process has ended.
    let mut process_name = process::comm_of(pid);
    loop {
        let raised = ring.futex().load(Ordering::Acquire);
        let last = ended.load(Ordering::Acquire);
        let taken = reader.take(last);
        if !taken.records.is_empty() || taken.lost > 0 {
            let name = process::comm_of(pid);
            if !name.is_empty() {
                process_name = name;
            }
            voice.say(&FromGuardian::Trace {
                lost: taken.lost,
                lines: lines(pid, &process_name, taken.records),
            });
        }
        if last {
            return;
        }
        let patience = if reader.is_waiting() {
            SECOND_LOOK
        } else {
            PATIENCE
        };
        futex::wait(ring.futex(), raised, patience);
    }
}

/// Adds to records what the kernel's trace tells. A thread that has ended, or whose number is that
/// of another pid namespace, has the process's name.
fn lines(pid: i32, process_name: &str, records: Vec<Record>) -> Vec<TraceLine> {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |time| {
        time.tv_sec() as u64 * 1_000_000 + time.tv_nsec() as u64 / 1_000
    });
    let mut names = HashMap::new();
    let line = |record: Record| {
        let name = || {
            let own = u32::try_from(pid) == Ok(record.tgid);
            own.then(|| process::comm_of_thread(pid, record.tid))
                .flatten()
                .unwrap_or_else(|| process_name.to_owned())
        };
        TraceLine {
            tid: record.tid,
            comm: names.entry(record.tid).or_insert_with(name).clone(),
            time_us: now,
            text: record.text,
        }
    };
    records.into_iter().map(line).collect()
}
