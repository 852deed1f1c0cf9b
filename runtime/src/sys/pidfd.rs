//! Processes by descriptor, and descriptors of other processes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

/// `PIDFD_THREAD` (Linux 6.9): the descriptor names one thread.
const PIDFD_THREAD: libc::c_uint = libc::O_EXCL as libc::c_uint;

fn pidfd_open(id: i32, flags: libc::c_uint) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and touches no memory of this process.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, id, flags) };
    owned(fd)
}

fn owned(fd: libc::c_long) -> io::Result<OwnedFd> {
    let fd = RawFd::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A descriptor of a process by its id.
pub fn open_process(pid: i32) -> io::Result<OwnedFd> {
    pidfd_open(pid, 0)
}

/// A descriptor of a thread by its id. `EINVAL` before Linux 6.9.
pub fn open_thread_itself(tid: i32) -> io::Result<OwnedFd> {
    pidfd_open(tid, PIDFD_THREAD)
}

/// A descriptor of a thread by its id; of its process where the kernel knows no thread
/// descriptors (threads of one process share their descriptor table unless they ask not to).
pub fn open_thread(tid: i32) -> io::Result<OwnedFd> {
    open_thread_itself(tid).or_else(|_| {
        let pid = super::process::tgid_of(tid)?;
        pidfd_open(pid, 0)
    })
}

/// A copy of another process's descriptor.
pub fn get_fd(pidfd: impl AsFd, fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: pidfd_getfd takes three integers and touches no memory of this process.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_fd().as_raw_fd(), fd, 0) };
    owned(fd)
}

/// Whether the process or thread has ended (it may still be a zombie).
pub fn has_exited(pidfd: impl AsFd) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
    matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1))
}
