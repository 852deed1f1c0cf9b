//! What the guardian's threads say to the broker.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};

use super::protocol::FromGuardian;
use crate::sys::wire;

/// The guardian's way to speak; messages of several threads do not mix.
#[derive(Clone, Debug)]
pub struct Voice(Arc<Mutex<UnixStream>>);

impl Voice {
    /// Speaks into a socket that nobody else writes.
    pub fn new(stream: &UnixStream) -> io::Result<Self> {
        Ok(Self(Arc::new(Mutex::new(stream.try_clone()?))))
    }

    /// Says something. The broker may be gone, which the next read tells.
    pub fn say(&self, message: &FromGuardian) {
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = wire::send(&stream, message, &[]);
    }
}
