//! Where the broker listens, and how it is started.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::Failure;
use crate::broker::protocol::{Envelope, Request, Response, VERSION};
use crate::sys::file::close_others_on_exec;
use crate::sys::wire;

/// How long a broker waits for clients before it ends.
pub const IDLE: Duration = Duration::from_secs(10);

/// How long a new broker may take to listen.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// How many brokers may end, one after the other, while they are asked.
const TRIES: u32 = 5;

/// A log that is longer when a broker starts is begun anew.
const MAX_LOG: u64 = 1 << 20;

/// The directory of the user's broker: `$BPFTIME_RUNTIME_DIR`, else `$XDG_RUNTIME_DIR/bpftime`,
/// else `/tmp/bpftime-UID`. Created with mode 0700 if it is not there.
pub fn directory() -> Result<PathBuf, Failure> {
    let uid = nix::unistd::getuid().as_raw();
    let path = match (
        std::env::var_os("BPFTIME_RUNTIME_DIR"),
        std::env::var_os("XDG_RUNTIME_DIR"),
    ) {
        // The broker works elsewhere.
        (Some(own), _) if !own.is_empty() => std::path::absolute(own)
            .map_err(|error| Failure(format!("cannot find the working directory: {error}")))?,
        (_, Some(xdg)) if owned_by(Path::new(&xdg), uid) => PathBuf::from(xdg).join("bpftime"),
        _ => PathBuf::from(format!("/tmp/bpftime-{uid}")),
    };
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(Failure(format!(
                "cannot create {}: {error}",
                path.display()
            )));
        }
        _ => {}
    }
    // Somebody else may have made it first (in /tmp): then it is not used.
    let meta = std::fs::symlink_metadata(&path)
        .map_err(|error| Failure(format!("cannot look at {}: {error}", path.display())))?;
    if !meta.is_dir() || meta.uid() != uid || meta.mode() & 0o077 != 0 {
        return Err(Failure(format!(
            "{} must be a directory of yours that nobody else may enter (mode 0700)",
            path.display()
        )));
    }
    Ok(path)
}

fn owned_by(path: &Path, uid: u32) -> bool {
    path.is_absolute()
        && std::fs::metadata(path).is_ok_and(|meta| meta.is_dir() && meta.uid() == uid)
}

fn socket_path(directory: &Path) -> PathBuf {
    directory.join("broker.sock")
}

/// Connects to the broker if one runs.
pub fn connect() -> Result<Option<UnixStream>, Failure> {
    let path = socket_path(&directory()?);
    match UnixStream::connect(&path) {
        Ok(stream) => Ok(Some(stream)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(Failure(format!(
            "cannot reach the broker at {}: {error}",
            path.display()
        ))),
    }
}

/// Connects to the broker, starting one if there is none.
pub fn connect_or_start() -> Result<UnixStream, Failure> {
    if let Some(stream) = connect()? {
        return Ok(stream);
    }
    let directory = directory()?;
    let log = directory.join("broker.log");
    let cannot = |error: io::Error| Failure(format!("cannot start the broker: {error}"));
    let stderr = File::options()
        .create(true)
        .append(true)
        .open(&log)
        .map_err(cannot)?;
    if stderr.metadata().is_ok_and(|meta| meta.len() > MAX_LOG) {
        stderr.set_len(0).map_err(cannot)?;
    }
    let mut broker = Command::new("/proc/self/exe");
    // What the user's shell has left open is none of the broker's business, and a pipe among it
    // would not end before the broker does.
    // SAFETY: one system call between `fork` and `exec`.
    unsafe { broker.pre_exec(close_others_on_exec) };
    broker
        .arg("broker")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::from(stderr))
        .current_dir("/")
        .env("BPFTIME_RUNTIME_DIR", &directory)
        .spawn()
        .map_err(cannot)?;
    let deadline = Instant::now() + START_PATIENCE;
    while Instant::now() < deadline {
        if let Some(stream) = connect()? {
            return Ok(stream);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(Failure(format!(
        "the broker does not start; see {}",
        log.display()
    )))
}

/// Asks the broker, which is started if there is none; once more if it goes away meanwhile.
pub fn request(request: &Request, fds: &[BorrowedFd<'_>]) -> Result<Response, Failure> {
    for _ in 0..TRIES {
        let stream = connect_or_start()?;
        if let Some(response) = ask(&stream, request.clone(), fds)? {
            return Ok(response);
        }
    }
    Err(Failure(
        "the broker ends before it answers; see broker.log in its directory".to_owned(),
    ))
}

/// Asks one question. `None` if the broker went away before it answered.
fn ask(
    stream: &UnixStream,
    request: Request,
    fds: &[BorrowedFd<'_>],
) -> Result<Option<Response>, Failure> {
    let envelope = Envelope {
        version: VERSION,
        request,
    };
    let lost = |error: io::Error| Failure(format!("the broker cannot be talked to: {error}"));
    match wire::send(stream, &envelope, fds) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(None),
        other => other.map_err(lost)?,
    }
    match wire::receive(stream) {
        Ok(Some((response, _))) => Ok(Some(response)),
        Ok(None) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
        Err(error) => Err(lost(error)),
    }
}

/// Runs the broker: `bpftime broker`. Returns when it has been idle for so long, or at once if
/// another runs.
pub fn run_broker(idle: Duration) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure(format!("the broker fails: {error}"));
    // Its own session: Ctrl-C at a tool's terminal must not end it. Fails (EPERM) only for a
    // group leader, which is one started by hand.
    let _ = nix::unistd::setsid();
    // Nobody of the same user reads its memory or takes its descriptors by accident.
    nix::sys::prctl::set_dumpable(false).map_err(|errno| failed(errno.into()))?;
    // Each map takes four descriptors. Failure leaves the limit as it is.
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
    let directory = directory()?;
    let lock = File::create(directory.join("broker.lock")).map_err(failed)?;
    let path = socket_path(&directory);
    // Another broker may be on its way out: it holds the lock, but listens no more.
    let deadline = Instant::now() + START_PATIENCE;
    let mut lock = Some(lock);
    let _lock = loop {
        let Some(file) = lock.take() else {
            return Ok(());
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => break held,
            Err((file, _)) => {
                if UnixStream::connect(&path).is_ok() || Instant::now() > deadline {
                    return Ok(());
                }
                lock = Some(file);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    };
    // Left by a broker that was killed; with the lock held, nobody listens there.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed)?;
    crate::broker::server::serve(listener, &path, idle).map_err(failed)
}
