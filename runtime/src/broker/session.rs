//! One tool, its listener and its thread.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use bpftime_abi::Errno;

use super::state::Broker;
use super::voice::Voice;
use crate::bpf::{Answer, Request, command, epoll, paths, perf};
use crate::notify::listener::Reply;
use crate::notify::{Call, Listener};

/// A tool that runs under `bpftime load`, with the processes that it starts.
#[derive(Debug)]
pub struct Session {
    /// The broker's number.
    pub id: u32,
    /// Process id of the tool.
    pub pid: i32,
    /// Its command line.
    pub command: Vec<String>,
    /// Whose objects these are.
    pub broker: Arc<Broker>,
    /// Where sentences for the user go.
    voice: Option<Voice>,
}

impl Session {
    /// A session of a tool; `stderr` is a copy of the tool's.
    pub fn new(
        id: u32,
        pid: i32,
        command: Vec<String>,
        broker: Arc<Broker>,
        stderr: Option<OwnedFd>,
    ) -> Self {
        Self {
            id,
            pid,
            command,
            broker,
            voice: stderr.map(Voice::new),
        }
    }

    /// Tells the user, on the tool's standard error, what an error number cannot say.
    pub fn say(&self, sentence: &str) {
        tracing::info!("session {}: {sentence}", self.id);
        if let Some(voice) = &self.voice {
            voice.say(sentence);
        }
    }

    /// Answers the tool's calls until its last process has ended.
    pub fn run(&self, listener: &Listener) {
        loop {
            match listener.receive() {
                Ok(Some(call)) => {
                    let reply = self.answer(&call).unwrap_or_else(Reply::Error);
                    call.answer(reply);
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::error!("session {}: its listener fails: {error}", self.id);
                    return;
                }
            }
        }
    }

    fn answer(&self, call: &Call<'_>) -> Answer {
        let request = Request {
            session: self,
            call,
        };
        let [a0, a1, a2, _, a4, _] = call.args;
        match call.number {
            libc::SYS_bpf => command::answer(&request, a0, a1, a2),
            libc::SYS_perf_event_open => perf::open(&request),
            libc::SYS_ioctl => perf::ioctl(&request),
            libc::SYS_epoll_ctl => epoll::control(&request),
            libc::SYS_open => paths::open(&request, a0, || Ok(a1)),
            libc::SYS_openat => paths::open(&request, a1, || Ok(a2)),
            libc::SYS_openat2 => paths::open(&request, a1, || paths::open_how_flags(&request, a2)),
            libc::SYS_access => paths::access(&request, a0, a1),
            libc::SYS_faccessat | libc::SYS_faccessat2 => paths::access(&request, a1, a2),
            libc::SYS_stat | libc::SYS_lstat => paths::stat(&request, a0, a1),
            libc::SYS_newfstatat => paths::stat(&request, a1, a2),
            libc::SYS_statx => paths::statx(&request, a1, a4),
            _ => Err(Errno(libc::ENOSYS)),
        }
    }
}
