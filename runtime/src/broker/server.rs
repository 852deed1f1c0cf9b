//! The broker's process: its socket, its threads, its end.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::protocol::{Envelope, Request, Response, VERSION};
use super::session::Session;
use super::state::Broker;
use super::target::Detached;
use super::targets::Reason;
use crate::notify::Listener;
use crate::sys::{process, wire};

/// How long a client may take to say what it wants.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);

/// Longest request, in bytes.
const MAX_REQUEST: usize = 1 << 20;

/// Bytes of stack of a thread that verifies and compiles programs.
const STACK: usize = 16 << 20;

/// Clients that are served; whether new ones are.
#[derive(Debug, Default)]
struct Door(Mutex<Option<usize>>);

impl Door {
    /// Nobody is in.
    fn new() -> Self {
        Self(Mutex::new(Some(0)))
    }

    fn locked(&self) -> MutexGuard<'_, Option<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a client in, unless the door is closed.
    fn enter(self: &Arc<Self>) -> Option<Visit> {
        *self.locked().as_mut()? += 1;
        Some(Visit(self.clone()))
    }

    /// Closes the door for ever, if nobody is in and `idle` agrees.
    fn close(&self, idle: impl FnOnce() -> bool) -> bool {
        let mut clients = self.locked();
        if *clients == Some(0) && idle() {
            *clients = None;
        }
        clients.is_none()
    }
}

/// A client that is served.
#[derive(Debug)]
struct Visit(Arc<Door>);

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(clients) = self.0.locked().as_mut() {
            *clients -= 1;
        }
    }
}

/// Serves the socket until there have been neither clients nor sessions nor targets for as long
/// as `idle`. `listener` is bound to `path`.
pub fn serve(listener: UnixListener, path: &Path, idle: Duration) -> io::Result<()> {
    let broker = Arc::new(Broker::new()?);
    let door = Arc::new(Door::new());
    let (accepting, entrance) = (broker.clone(), door.clone());
    std::thread::Builder::new()
        .name("accept".into())
        .spawn(move || {
            for stream in listener.incoming() {
                match stream {
                    Ok(stream) => greet(&accepting, &entrance, stream),
                    Err(error) => {
                        // Out of descriptors, most likely: wait until some are closed.
                        tracing::warn!("cannot accept a client: {error}");
                        std::thread::sleep(Duration::from_millis(100));
                    }
                }
            }
        })?;
    let is_idle = || broker.idle_ms() > idle.as_millis();
    let aside = path.with_extension("closing");
    loop {
        broker.housekeeping();
        if !is_idle() {
            continue;
        }
        // A client that connects from here on finds nobody and starts a new broker, which waits
        // for this one's end. One that was faster is served first; one that waits to be
        // accepted is hung up on and tries again.
        std::fs::rename(path, &aside)?;
        if door.close(is_idle) {
            return std::fs::remove_file(&aside);
        }
        std::fs::rename(&aside, path)?;
    }
}

/// Checks who the client is and serves it in a thread.
fn greet(broker: &Arc<Broker>, door: &Arc<Door>, stream: UnixStream) {
    let own = nix::unistd::getuid().as_raw();
    match getsockopt(&stream, PeerCredentials) {
        Ok(peer) if peer.uid() == own => {}
        // The directory's mode keeps others out; this is the second lock.
        _ => return,
    }
    let Some(visit) = door.enter() else {
        return;
    };
    broker.touch();
    let broker = broker.clone();
    let thread = std::thread::Builder::new()
        .name("client".into())
        .stack_size(STACK);
    let spawned = thread.spawn(move || {
        if let Err(error) = serve_client(&broker, stream) {
            tracing::warn!("a client failed: {error}");
        }
        broker.touch();
        drop(visit);
    });
    if let Err(error) = spawned {
        tracing::warn!("no thread for a client: {error}");
    }
}

fn serve_client(broker: &Arc<Broker>, stream: UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(CLIENT_PATIENCE))?;
    stream.set_write_timeout(Some(CLIENT_PATIENCE))?;
    let Some((envelope, fds)) = wire::receive_short::<Envelope>(&stream, MAX_REQUEST)? else {
        return Ok(());
    };
    if envelope.version != VERSION {
        let sentence = "the running broker is of another version of bpftime; end its tools and \
                        targets, wait ten seconds and try again"
            .to_owned();
        return wire::send(&stream, &Response::Failed { sentence }, &[]);
    }
    let failed = |sentence| Response::Failed { sentence };
    let response = match envelope.request {
        Request::Load { pid, command } => return load(broker, &stream, pid, command, fds),
        Request::Start { pid } => start(broker, pid).map_or_else(failed, |()| Response::Done),
        Request::Attach { pid } => attach(broker, pid).unwrap_or_else(failed),
        Request::Detach { pid } => detach(broker, pid),
        Request::Status => Response::Status(super::report::status(broker)),
        Request::Maps => Response::Maps(super::report::maps(broker)),
        Request::DumpMap { map } => {
            super::report::dump(broker, &map).map_or_else(failed, Response::Dump)
        }
    };
    wire::send(&stream, &response, &[])
}

/// Runs a session in this thread.
fn load(
    broker: &Arc<Broker>,
    stream: &UnixStream,
    pid: i32,
    command: Vec<String>,
    fds: Vec<OwnedFd>,
) -> io::Result<()> {
    let mut fds = fds.into_iter();
    let Some(listener) = fds.next() else {
        let sentence = "the request came without a listener".to_owned();
        return wire::send(stream, &Response::Failed { sentence }, &[]);
    };
    let stderr = fds.next();
    let session = broker.add_session(|id| Session::new(id, pid, command, broker.clone(), stderr));
    wire::send(stream, &Response::Done, &[])?;
    let _end = EndOfSession {
        broker,
        id: session.id,
    };
    session.run(&Listener::new(listener));
    Ok(())
}

/// Removes the session however its thread ends.
struct EndOfSession<'a> {
    broker: &'a Broker,
    id: u32,
}

impl Drop for EndOfSession<'_> {
    fn drop(&mut self) {
        self.broker.remove_session(self.id);
    }
}

/// What can be said about a pid before anything is tried.
fn check_pid(pid: i32) -> Result<(), String> {
    if pid <= 0 {
        return Err(format!("{pid} is not a process id"));
    }
    let owner = process::uid_of(pid).map_err(|_| format!("there is no process {pid}"))?;
    if !process::is_running(pid) {
        return Err(format!("process {pid} has ended"));
    }
    if owner != nix::unistd::getuid().as_raw() {
        return Err(format!(
            "process {pid} belongs to another user (uid {owner})"
        ));
    }
    Ok(())
}

fn start(broker: &Arc<Broker>, pid: i32) -> Result<(), String> {
    check_pid(pid)?;
    // Failures show when the file is mapped; until then there is nothing to report.
    broker.targets.start(broker, pid)
}

fn attach(broker: &Arc<Broker>, pid: i32) -> Result<Response, String> {
    check_pid(pid)?;
    if pid == nix::unistd::getpid().as_raw() {
        return Err(format!("process {pid} is the broker itself"));
    }
    let target = broker.targets.add(broker, pid, Reason::Attach)?;
    broker.targets.reconcile_one(broker, &target)?;
    let hooks = super::report::hooks(broker, &target)?;
    // Nothing of what is wanted has a place in the process: leave it as it was.
    if !hooks.is_empty() && hooks.iter().all(|hook| !hook.attached) {
        let reason = hooks.into_iter().find_map(|hook| hook.failure);
        target.detach()?;
        return Err(reason.unwrap_or_else(|| format!("nothing could be attached to process {pid}")));
    }
    Ok(Response::Attached { hooks })
}

fn detach(broker: &Arc<Broker>, pid: i32) -> Response {
    match broker.targets.get(pid).map(|target| target.detach()) {
        Some(Ok(Detached::Now)) => Response::Done,
        Some(Ok(Detached::BySomebodyElse)) => Response::Failed {
            sentence: format!("process {pid} is not attached"),
        },
        Some(Err(sentence)) => Response::Failed { sentence },
        // What is left there is for the client, as if there were no broker.
        Some(Ok(Detached::NotByItsGuardian)) | None => Response::NotATarget,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_door_stays_open_while_somebody_is_in_and_closes_for_ever() {
        let door = Arc::new(Door::new());
        let (first, second) = (door.enter().unwrap(), door.enter().unwrap());
        drop(first);
        assert!(!door.close(|| true));
        drop(second);
        assert!(!door.close(|| false));
        let third = door.enter().unwrap();
        assert!(!door.close(|| true));
        drop(third);
        assert!(door.close(|| true));
        assert!(door.enter().is_none());
    }
}
