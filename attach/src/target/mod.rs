//! A process to work on: [`Target`] names it, [`Stopped`] holds all its threads.

pub(crate) mod executor;
mod fds;
pub mod gaps;
mod interrupted;
mod memory;
mod references;
mod rseq;
mod stop;
mod stub;

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

pub use fds::{At, Protection};
pub use references::Reference;
pub use stop::{Stopped, Thread};

use crate::error::{Error, Result};
use crate::process::{Maps, Seccomp, Status, Task};

/// How a target is treated.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long to wait for all threads to stop. Default: 5 seconds.
    pub stop_timeout: Duration,
    /// Make system calls inside the process although it has a seccomp filter. A filter that
    /// kills for `mmap`, `munmap`, `madvise`, `socketpair`, `recvmsg` or `close` will kill it.
    /// Default: no.
    pub trust_seccomp_filter: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            stop_timeout: Duration::from_secs(5),
            trust_seccomp_filter: false,
        }
    }
}

/// A running process, held by a pidfd so that a reused pid is never mistaken for it.
#[derive(Debug)]
pub struct Target {
    pid: i32,
    pidfd: OwnedFd,
    start_time: u64,
    options: Options,
}

impl Target {
    /// Names a process. Nothing happens to it.
    pub fn open(pid: i32) -> Result<Self> {
        Self::open_with(pid, Options::default())
    }

    /// As [`Target::open`].
    pub fn open_with(pid: i32, options: Options) -> Result<Self> {
        if pid <= 0 {
            return Err(Error::Gone { pid });
        }
        let status = Status::read(pid)?;
        if status.tgid != pid {
            return Err(Error::NotALeader {
                pid,
                leader: status.tgid,
            });
        }
        // SAFETY: pidfd_open takes two integers and returns a descriptor or -1.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        if fd < 0 {
            let error = Error::os("pidfd_open");
            return Err(match &error {
                Error::Os { source, .. } if source.raw_os_error() == Some(libc::ESRCH) => {
                    Error::Gone { pid }
                }
                _ => error,
            });
        }
        // SAFETY: the kernel has just returned this descriptor, nobody else owns it.
        let pidfd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let task = Task::read(pid)?;
        let target = Self {
            pid,
            pidfd,
            start_time: task.start_time,
            options,
        };
        // The pidfd still names a living process, so what was read before belongs to it.
        target.check_alive()?;
        Ok(target)
    }

    /// Process id in our pid namespace.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Clock ticks after boot at which the process started.
    pub fn start_time(&self) -> u64 {
        self.start_time
    }

    /// Readable (`poll`) once the process has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// How it is treated.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Its mappings now.
    pub fn maps(&self) -> Result<Maps> {
        Maps::read(self.pid)
    }

    /// [`Error::Gone`] once the process has ended.
    pub fn check_alive(&self) -> Result<()> {
        let mut poll = libc::pollfd {
            fd: self.pidfd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid pollfd, no waiting.
        if unsafe { libc::poll(&raw mut poll, 1, 0) } > 0 {
            return Err(Error::Gone { pid: self.pid });
        }
        Ok(())
    }

    /// Stops every thread. They go on when the result is dropped, or when this process dies.
    pub fn stop(&self) -> Result<Stopped<'_>> {
        Stopped::seize(self)
    }

    /// Whether system calls can be made inside, as far as the main thread's seccomp state goes.
    pub fn check_seccomp(&self) -> Result<()> {
        self.check_seccomp_of(self.pid)
    }

    /// As [`Target::check_seccomp`] for one thread: each has its own filters.
    fn check_seccomp_of(&self, tid: i32) -> Result<()> {
        let refuse = |mode, advice| {
            Err(Error::Seccomp {
                pid: self.pid,
                mode,
                advice,
            })
        };
        match Status::read(tid)?.seccomp {
            Seccomp::Disabled => Ok(()),
            Seccomp::Strict => refuse("strict mode", "it cannot be attached to"),
            Seccomp::Filter if self.options.trust_seccomp_filter => Ok(()),
            Seccomp::Filter => refuse(
                "a filter",
                "what its filter would do with the system calls that are made inside it is not \
                 known, so it cannot be attached to",
            ),
        }
    }

    /// Reads memory; all of `buffer` or an error.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> Result<()> {
        memory::read(self.pid, address, buffer)
    }

    /// Writes memory that the process itself may write; all of `bytes` or an error.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<()> {
        // As long as it has not ended, its pid is nobody else's.
        self.check_alive()?;
        memory::write(self.pid, address, bytes)
    }
}
