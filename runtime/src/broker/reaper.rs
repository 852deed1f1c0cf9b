//! Notices that a tool has closed its last descriptor of an object.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::objects::Counter;
use crate::sys::file::FileId;

/// Watches the broker's ends of descriptor pairs for a hang-up.
#[derive(Debug)]
pub struct Reaper {
    epoll: Epoll,
    tokens: Counter,
    watched: Mutex<HashMap<u64, FileId>>,
}

impl Reaper {
    /// Watches nothing yet.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            tokens: Counter::default(),
            watched: Mutex::default(),
        })
    }

    /// Watches an end; `id` is what [`Self::wait`] gives when the other end is gone. Closing
    /// the watched end ends the watch.
    pub fn watch(&self, end: impl AsFd, id: FileId) -> io::Result<()> {
        let token = u64::from(self.tokens.next());
        self.watched
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(token, id);
        // A hang-up is always reported; one report is enough.
        let event = EpollEvent::new(EpollFlags::EPOLLONESHOT, token);
        Ok(self.epoll.add(end, event)?)
    }

    /// Waits for hang-ups, at most `timeout_ms`, and gives the descriptors that are gone.
    pub fn wait(&self, timeout_ms: u16) -> Vec<FileId> {
        let mut events = [EpollEvent::empty(); 64];
        let count = self
            .epoll
            .wait(&mut events, EpollTimeout::from(timeout_ms))
            .unwrap_or(0);
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        events[..count]
            .iter()
            .filter_map(|event| watched.remove(&event.data()))
            .collect()
    }
}
