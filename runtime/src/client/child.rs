//! A child that waits before its `exec`, and its end.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread::JoinHandle;

use super::Failure;

/// A child that waits between `fork` and `exec`.
#[derive(Debug)]
pub struct Waiting {
    /// Its process id.
    pub pid: i32,
    /// The parent's end: the child goes on when it reads a byte, and ends without one.
    pub stream: UnixStream,
    spawning: JoinHandle<io::Result<Child>>,
    name: String,
}

/// Forks. The child calls `prepare` with its end of the stream, then waits.
///
/// # Safety
/// `prepare` runs between `fork` and `exec` and must do only what is allowed there (no locks, no
/// allocation: other threads of the parent may have held them).
pub unsafe fn fork(
    command: &[OsString],
    prepare: impl Fn(&UnixStream) -> io::Result<()> + Send + Sync + 'static,
) -> Result<Waiting, Failure> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| Failure("there is no command to run".to_owned()))?;
    let cannot = |error: io::Error| Failure(format!("cannot start a process: {error}"));
    let (mut ours, theirs) = UnixStream::pair().map_err(cannot)?;
    let mut spawn = Command::new(program);
    spawn.args(arguments);
    let parents_end = ours.as_raw_fd();
    let before_exec = move || {
        // SAFETY: takes an integer. The descriptor is the child's copy of the parent's end, which
        // nothing here uses. Left open, it would keep the child waiting for ever when the parent
        // cancels or is killed.
        unsafe { libc::close(parents_end) };
        // SAFETY: takes integers only. Where a Yama policy restricts tracing, it lets the
        // broker and the guardian in, which are no ancestors of this process.
        unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY, 0, 0, 0) };
        let pid = std::process::id();
        (&theirs).write_all(&pid.to_le_bytes())?;
        prepare(&theirs)?;
        let mut released = [0];
        match (&theirs).read(&mut released) {
            Ok(1) => Ok(()),
            // Cancelled, or the parent was killed. An error would go to the parent, and the standard
            // library aborts with a message where there is none to read it.
            // SAFETY: takes an integer and does not return.
            _ => unsafe { libc::_exit(1) },
        }
    };
    // SAFETY: the closure writes and reads a socket, makes system calls, and does what `prepare`
    // does, which the caller answers for.
    unsafe { spawn.pre_exec(before_exec) };
    // `spawn` returns when the child has executed the command, so it waits in a thread.
    let spawning = std::thread::spawn(move || {
        let child = spawn.spawn();
        // Closes the parent's copy of the child's end, so that a child that dies is noticed.
        drop(spawn);
        child
    });
    let mut pid = [0; 4];
    let name = program.to_string_lossy().into_owned();
    ours.read_exact(&mut pid).map_err(cannot)?;
    Ok(Waiting {
        pid: i32::from_le_bytes(pid),
        stream: ours,
        spawning,
        name,
    })
}

/// Refuses a set-user-id command where it would run without its privilege, and fail in strange ways;
/// the sentence ends with `advice`.
pub fn refuse_setuid(command: &[OsString], advice: &str) -> Result<(), Failure> {
    let Some(name) = command.first() else {
        return Ok(());
    };
    let path = Path::new(name);
    let found = if path.components().count() > 1 {
        Some(path.to_owned())
    } else {
        let folders = std::env::var_os("PATH").unwrap_or_default();
        let mut candidates = std::env::split_paths(&folders).map(|folder| folder.join(path));
        candidates.find(|candidate| candidate.is_file())
    };
    match found.map(std::fs::metadata) {
        Some(Ok(meta)) if meta.is_file() && meta.mode() & 0o6000 != 0 => Err(Failure(format!(
            "{} is set-user-id or set-group-id, which has no effect {advice}",
            name.to_string_lossy()
        ))),
        _ => Ok(()),
    }
}

impl Waiting {
    /// Lets the child execute its command.
    pub fn release(self) -> Result<Running, Failure> {
        pass_signals_on(self.pid);
        // A child that was killed meanwhile shows in what `spawn` returns.
        let _ = (&self.stream).write_all(&[1]);
        let name = self.name;
        match self.spawning.join() {
            Ok(Ok(child)) => Ok(Running { child }),
            failed => {
                CHILD.store(0, Ordering::Relaxed);
                Err(Failure(match failed {
                    Ok(Err(error)) => format!("cannot run {name}: {error}"),
                    _ => format!("cannot run {name}"),
                }))
            }
        }
    }

    /// Ends the child without executing its command.
    pub fn cancel(self) {
        drop(self.stream);
        // To the parent, a child that ends looks like one that has executed its command.
        if let Ok(Ok(mut child)) = self.spawning.join() {
            let _ = child.wait();
        }
    }
}

/// A running child.
#[derive(Debug)]
pub struct Running {
    child: Child,
}

/// The child that signals are passed on to.
static CHILD: AtomicI32 = AtomicI32::new(0);

extern "C" fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let from_terminal = matches!(signal, libc::SIGINT | libc::SIGQUIT)
        // SAFETY: the kernel gives a valid record to a handler that was set with SA_SIGINFO.
        && unsafe { (*info).si_code } == libc::SI_KERNEL;
    let pid = CHILD.load(Ordering::Relaxed);
    if pid > 0 && !from_terminal {
        // SAFETY: kill takes two integers and may be called in a signal handler.
        unsafe { libc::kill(pid, signal) };
    }
}

/// From here on, signals for this process go to the child.
fn pass_signals_on(pid: i32) {
    CHILD.store(pid, Ordering::Relaxed);
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = pass_on;
    // SAFETY: all-zero bytes are a valid value of this plain C structure: no signal is blocked.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
    for signal in [
        libc::SIGTERM,
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGUSR1,
        libc::SIGUSR2,
    ] {
        // SAFETY: the handler does only what is allowed in one; there is no old action to write.
        unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) };
    }
}

impl Running {
    /// Waits for the child. Ctrl-C and its like reach the child from the terminal as well, and it
    /// decides; what only this process gets is passed on.
    pub fn wait(mut self) -> Result<ExitStatus, Failure> {
        let status = self.child.wait();
        CHILD.store(0, Ordering::Relaxed);
        status.map_err(|error| Failure(format!("cannot wait for the command: {error}")))
    }
}

/// The exit code that a shell gives for an ended process: its own, or 128 plus the signal.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Sends one descriptor with one byte. Allocates nothing: it is called between `fork` and
/// `exec`.
pub fn send_fd(stream: &UnixStream, fd: i32) -> io::Result<()> {
    /// Room for one control message with one descriptor, aligned as the kernel wants it.
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        fd: i32,
        padding: i32,
    }
    let mut byte = [0u8];
    let mut part = libc::iovec {
        iov_base: byte.as_mut_ptr().cast(),
        iov_len: 1,
    };
    let mut control = Control {
        header: libc::cmsghdr {
            cmsg_len: size_of::<libc::cmsghdr>() + size_of::<i32>(),
            cmsg_level: libc::SOL_SOCKET,
            cmsg_type: libc::SCM_RIGHTS,
        },
        fd,
        padding: 0,
    };
    // SAFETY: all-zero bytes are a valid value of this plain C structure.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>();
    // SAFETY: the message refers to one byte and one complete control message on this stack.
    let sent = unsafe { libc::sendmsg(stream.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    if sent == 1 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_cancelled_child_ends() {
        // SAFETY: does nothing.
        let waiting = unsafe { fork(&["true".into()], |_| Ok(())) }.unwrap();
        let (tell, hear) = channel();
        std::thread::spawn(move || {
            waiting.cancel();
            tell.send(())
        });
        hear.recv_timeout(Duration::from_secs(10))
            .expect("the child ends and cancel returns");
    }
}
