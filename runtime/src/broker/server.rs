//! The broker's process: its socket, its threads, its end.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::protocol::{Envelope, Request, Response, VERSION};
use super::session::Session;
use super::state::Broker;
use super::target::Detached;
use super::targets::Reason;
use crate::notify::Listener;
use crate::sys::{process, wire};

/// How long a broker without sessions and targets waits for new ones.
const IDLE: Duration = Duration::from_secs(10);
/// How long a client may take to say what it wants.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of stack of a thread that verifies and compiles programs.
const STACK: usize = 16 << 20;

/// Serves the socket until the broker is idle. `listener` is bound to `path`.
pub fn serve(listener: UnixListener, path: &Path) -> io::Result<()> {
    let broker = Arc::new(Broker::new()?);
    let accepting = broker.clone();
    std::thread::Builder::new()
        .name("accept".into())
        .spawn(move || {
            for stream in listener.incoming() {
                match stream {
                    Ok(stream) => greet(&accepting, stream),
                    Err(error) => {
                        // Out of descriptors, most likely: wait until some are closed.
                        tracing::warn!("cannot accept a client: {error}");
                        std::thread::sleep(Duration::from_millis(100));
                    }
                }
            }
        })?;
    loop {
        broker.housekeeping();
        if broker.idle_ms() > IDLE.as_millis() {
            // A client that connects from here on finds nobody and starts a new broker.
            std::fs::remove_file(path)?;
            return Ok(());
        }
    }
}

/// Checks who the client is and serves it in a thread.
fn greet(broker: &Arc<Broker>, stream: UnixStream) {
    let own = nix::unistd::getuid().as_raw();
    match getsockopt(&stream, PeerCredentials) {
        Ok(peer) if peer.uid() == own => {}
        // The directory's mode keeps others out; this is the second lock.
        _ => return,
    }
    broker.touch();
    let broker = broker.clone();
    let thread = std::thread::Builder::new()
        .name("client".into())
        .stack_size(STACK);
    let spawned = thread.spawn(move || {
        if let Err(error) = serve_client(&broker, stream) {
            tracing::warn!("a client failed: {error}");
        }
    });
    if let Err(error) = spawned {
        tracing::warn!("no thread for a client: {error}");
    }
}

fn serve_client(broker: &Arc<Broker>, stream: UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(CLIENT_PATIENCE))?;
    stream.set_write_timeout(Some(CLIENT_PATIENCE))?;
    let Some((envelope, fds)) = wire::receive::<Envelope>(&stream)? else {
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
    let target = broker.targets.add(broker, pid, Reason::Start)?;
    // Failures show when the file is mapped; until then there is nothing to report.
    broker.targets.reconcile_one(broker, &target).map(drop)
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
