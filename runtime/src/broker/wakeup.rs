//! Wakes tools that wait for ring buffers.
//!
//! A tool waits with `epoll` on an eventfd that the broker put in the map's place
//! ([`crate::bpf::epoll`]). A program that has written wakes a futex word in the map's control
//! memory; a thread of the broker waits there and raises the eventfd. The eventfd is in the tool's
//! `epoll` edge-triggered, so it never needs to be read.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bpftime_abi::{Errno, MapType};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::event::EventKind;
use super::map::Map;
use crate::sys::futex;

/// How long a thread waits at most before it looks whether its map is still there.
const PATIENCE: Duration = Duration::from_millis(500);

/// How soon after a wake-up a thread looks whether its consumer has missed a record; twice as long
/// each time that nothing has come, up to [`PATIENCE`].
///
/// A consumer publishes its position without a barrier before it looks at the next record, so that
/// it can find the record busy while the producer, which commits it, still sees the old position
/// and wakes nobody. Where the kernel's own ring buffer is waited for, `epoll_wait` looks at the
/// positions again before it sleeps; an eventfd cannot.
const SECOND_LOOK: Duration = Duration::from_millis(1);

/// A new eventfd.
pub fn event_fd() -> Result<EventFd, Errno> {
    EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
        .map_err(|errno| Errno(errno as i32))
}

/// Raises an eventfd. A full counter means that the tool has been told often enough.
pub fn raise(event: &EventFd) {
    let _ = event.write(1);
}

/// Starts a thread that wakes the tools that wait for a map, unless there is one.
pub fn watch(map: &Arc<Map>) {
    if map.handle().wake_word().is_null() || map.watched.swap(true, Ordering::AcqRel) {
        return;
    }
    let weak = Arc::downgrade(map);
    let spawned = std::thread::Builder::new()
        .name("wakeup".into())
        .spawn(move || wait_until_gone(&weak));
    if let Err(error) = spawned {
        tracing::error!("no thread to wake consumers of map {}: {error}", map.id);
        map.watched.store(false, Ordering::Release);
    }
}

fn wait_until_gone(weak: &Weak<Map>) {
    let mut seen = None;
    let mut patience = SECOND_LOOK;
    while let Some(map) = weak.upgrade() {
        let handle = map.handle();
        if seen.is_none() {
            // From here on producers wake; the map's memory is ours alone when it ends, so the
            // count need not go back.
            handle.begin_wait();
        }
        // SAFETY: not null (checked by `watch`), and `map` keeps the memory mapped.
        let word = unsafe { &*handle.wake_word() };
        let now = word.load(Ordering::SeqCst);
        if seen != Some(now) {
            // Also the first time: what came before this thread waited woke nobody.
            raise_all(&map);
            patience = SECOND_LOOK;
        } else {
            if has_unread(&map) {
                raise(&map.wake);
            }
            patience = PATIENCE.min(patience * 2);
        }
        seen = Some(now);
        futex::wait(word, now, patience);
    }
}

/// Whether a ring buffer has records that its consumer has not read, committed or not.
fn has_unread(map: &Map) -> bool {
    const AVAILABLE: u64 = 0;
    map.geometry().map_type == MapType::RingBuf && map.handle().query(AVAILABLE) != 0
}

/// Wakes every tool that waits for the map.
pub fn raise_all(map: &Map) {
    if map.geometry().map_type == MapType::RingBuf {
        raise(&map.wake);
    }
    for ring in map.rings().values() {
        if let EventKind::Output(output) = &ring.kind {
            raise(&output.wake);
        }
    }
}
