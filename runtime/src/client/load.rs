//! A tool under the broker.

use std::ffi::OsString;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::process::ExitStatus;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};

use super::child::{self, send_fd};
use super::{Failure, socket};
use crate::broker::protocol::{Request, Response};
use crate::notify::filter;
use crate::notify::install::install;

/// Bytes of a command line that the broker is told.
const MAX_SHOWN: usize = 4096;

/// Runs a tool whose `bpf()` calls and their like are answered by the broker, until it ends.
pub fn load(command: &[OsString]) -> Result<ExitStatus, Failure> {
    // The filter needs `no_new_privs`.
    child::refuse_setuid(command, "under bpftime load; run a copy without these bits")?;
    let filter = filter::program();
    let prepare = move |stream: &UnixStream| {
        let listener = install(&filter)?;
        send_fd(stream, listener.as_raw_fd())
    };
    // SAFETY: `prepare` makes system calls and allocates nothing.
    let waiting = unsafe { child::fork(command, prepare) }?;
    let listener = match receive_fd(&waiting.stream) {
        Some(listener) => listener,
        None => {
            waiting.cancel();
            return Err(Failure(
                "system calls of the tool cannot be handed to the broker: the kernel has no \
                 seccomp user notification, or this process runs under another supervisor \
                 (a container runtime, or bpftime load itself)"
                    .to_owned(),
            ));
        }
    };
    let request = Request::Load {
        pid: waiting.pid,
        command: shown(command),
    };
    let stderr = std::io::stderr();
    let answer = socket::request(&request, &[listener.as_fd(), stderr.as_fd()]);
    // The broker has its own copy; this one would keep the tool's calls waiting for ever if
    // the broker died.
    drop(listener);
    match answer {
        Ok(Response::Done) => waiting.release()?.wait(),
        Ok(Response::Failed { sentence }) => {
            waiting.cancel();
            Err(Failure(sentence))
        }
        Ok(_) => {
            waiting.cancel();
            Err(Failure(
                "the broker gives an answer to another question".to_owned(),
            ))
        }
        Err(failure) => {
            waiting.cancel();
            Err(failure)
        }
    }
}

/// The beginning of a command line, for people.
fn shown(command: &[OsString]) -> Vec<String> {
    let mut room = MAX_SHOWN;
    let mut words = Vec::new();
    for word in command {
        let mut word = word.to_string_lossy().into_owned();
        word.truncate(word.floor_char_boundary(room));
        room = room.saturating_sub(word.len() + 1);
        words.push(word);
        if room == 0 {
            break;
        }
    }
    words
}

/// The descriptor that the child sends; none if it sends nothing.
fn receive_fd(stream: &UnixStream) -> Option<OwnedFd> {
    let mut byte = [0];
    let mut space = cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut parts, Some(&mut space), flags).ok()?;
    message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::ScmRights(fds) => {
            // SAFETY: the kernel has just installed this descriptor for us.
            fds.first().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) })
        }
        _ => None,
    })
}
