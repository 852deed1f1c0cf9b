//! Receives calls and answers them.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bpftime_abi::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys::{errno_of, memory, pidfd, process};

/// `SECCOMP_IOCTL_NOTIF_RECV`.
const RECV: libc::c_ulong = 0xc050_2100;
/// `SECCOMP_IOCTL_NOTIF_SEND`.
const SEND: libc::c_ulong = 0xc018_2101;
/// `SECCOMP_IOCTL_NOTIF_ID_VALID`.
const ID_VALID: libc::c_ulong = 0x4008_2102;
/// `SECCOMP_IOCTL_NOTIF_ADDFD`.
const ADD_FD: libc::c_ulong = 0x4018_2103;
/// `SECCOMP_IOCTL_NOTIF_SET_FLAGS` (Linux 6.6).
const SET_FLAGS: libc::c_ulong = 0x4008_2104;
/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`: hand the processor over with the answer.
const SYNC_WAKE_UP: libc::c_ulong = 1;
/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`.
const FLAG_CONTINUE: u32 = 1;
/// `SECCOMP_ADDFD_FLAG_SEND`: installing the descriptor is the answer.
const ADD_FD_SEND: u32 = 2;

/// Most descriptors of threads that are kept. Those of threads that ended stay until then.
const MAX_THREADS: usize = 64;

/// The broker's end of a tool's filter.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
    /// Threads of the tool by id, opened once. An entry whose thread has ended fails with
    /// `ESRCH` and is opened again: the number may have been given to another thread.
    threads: RefCell<HashMap<i32, OwnedFd>>,
    /// The memory of threads that have made calls, by id.
    memories: RefCell<HashMap<i32, KnownMemory>>,
}

/// The memory of a thread, opened once.
#[derive(Debug)]
struct KnownMemory {
    /// The thread itself, not its process: while it lives, its id is its own.
    thread: OwnedFd,
    memory: Arc<memory::Held>,
}

impl KnownMemory {
    /// The memory of the thread with this id; nothing if it may change hands unseen.
    fn new(tid: i32, memory: &Arc<memory::Held>) -> Option<Self> {
        // A child between `vfork` and `exec` has its parent's memory, which lives on when the
        // child gets one of its own.
        if process::shares_memory_with_parent(tid) {
            return None;
        }
        Some(Self {
            thread: pidfd::open_thread_itself(tid).ok()?,
            memory: memory.clone(),
        })
    }

    /// Whether it is still the memory of the thread, and the thread still has its id.
    fn is_current(&self) -> bool {
        self.memory.is_in_use() && !pidfd::has_exited(&self.thread)
    }
}

/// A call that waits for its answer.
#[derive(Debug)]
pub struct Call<'a> {
    listener: &'a Listener,
    id: u64,
    /// Thread that made the call.
    pub tid: i32,
    /// System call number.
    pub number: i64,
    /// Arguments.
    pub args: [u64; 6],
    /// The memory of its process, opened when it is first written.
    memory: OnceCell<Arc<memory::Held>>,
}

/// What a call is answered with.
#[derive(Debug)]
pub enum Reply {
    /// The call returns this.
    Value(i64),
    /// The call fails.
    Error(Errno),
    /// The call returns a new descriptor of the tool's for this file.
    Fd {
        /// The file.
        fd: OwnedFd,
        /// Whether the new descriptor is closed on `exec`.
        cloexec: bool,
    },
    /// The kernel executes the call: it is none of ours.
    Native,
}

impl From<Errno> for Reply {
    fn from(errno: Errno) -> Self {
        Self::Error(errno)
    }
}

impl Listener {
    /// Takes the descriptor that [`super::install::install`] gave.
    pub fn new(fd: OwnedFd) -> Self {
        // SAFETY: takes an integer. Older kernels refuse it, and then answers are a little slower.
        unsafe { libc::ioctl(fd.as_raw_fd(), SET_FLAGS, SYNC_WAKE_UP) };
        Self {
            fd,
            threads: RefCell::default(),
            memories: RefCell::default(),
        }
    }

    /// Waits for a call; `None` when the last process with the filter has ended.
    pub fn receive(&self) -> io::Result<Option<Call<'_>>> {
        loop {
            let mut fds = [PollFd::new(self.fd.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                other => other?,
            };
            let events = fds[0].revents().unwrap_or(PollFlags::empty());
            if !events.contains(PollFlags::POLLIN) {
                return Ok(None);
            }
            // SAFETY: all-zero bytes are a valid value of this plain C structure.
            let mut notif: libc::seccomp_notif = unsafe { std::mem::zeroed() };
            // SAFETY: RECV writes one zeroed `seccomp_notif`.
            let result = unsafe { libc::ioctl(self.fd.as_raw_fd(), RECV, &raw mut notif) };
            if result == 0 {
                return Ok(Some(Call {
                    listener: self,
                    id: notif.id,
                    tid: notif.pid as i32,
                    number: notif.data.nr.into(),
                    args: notif.data.args,
                    memory: OnceCell::new(),
                }));
            }
            let error = io::Error::last_os_error();
            // ENOENT: the caller was killed between poll and here.
            if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINTR)) {
                return Err(error);
            }
        }
    }

    fn with_thread<T>(
        &self,
        tid: i32,
        action: impl Fn(BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut threads = self.threads.borrow_mut();
        if let Some(fd) = threads.get(&tid) {
            match action(fd.as_fd()) {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => threads.remove(&tid),
                other => return other,
            };
        }
        let fd = pidfd::open_thread(tid)?;
        let result = action(fd.as_fd());
        if threads.len() >= MAX_THREADS {
            threads.clear();
        }
        threads.insert(tid, fd);
        result
    }
}

impl Call<'_> {
    /// Fails with `ESRCH` if the call does not wait any more (its thread was killed), in which
    /// case `tid` may name a stranger.
    pub fn check_valid(&self) -> Result<(), Errno> {
        let fd = self.listener.fd.as_raw_fd();
        // SAFETY: ID_VALID reads one u64.
        match unsafe { libc::ioctl(fd, ID_VALID, &raw const self.id) } {
            0 => Ok(()),
            _ => Err(Errno(libc::ESRCH)),
        }
    }

    /// Copies memory of the tool.
    pub fn read(&self, from: u64, buffer: &mut [u8]) -> Result<(), Errno> {
        let result = memory::read(self.tid, from, buffer);
        self.check_valid()?;
        result.map_err(|_| Errno::EFAULT)
    }

    /// Copies `len` bytes of the tool's memory. The caller has checked `len` against a bound.
    pub fn read_vec(&self, from: u64, len: usize) -> Result<Vec<u8>, Errno> {
        let mut buffer = vec![0; len];
        self.read(from, &mut buffer)?;
        Ok(buffer)
    }

    /// Copies a NUL-terminated path.
    pub fn read_path(&self, from: u64) -> Result<Vec<u8>, Errno> {
        let result = memory::read_c_string(self.tid, from);
        self.check_valid()?;
        result.map_err(|error| errno_of(&error))
    }

    /// Writes the tool's memory: that of the process which made the call, and of no other that
    /// has its id when it was killed meanwhile.
    pub fn write(&self, to: u64, bytes: &[u8]) -> Result<(), Errno> {
        let memory = match self.memory.get() {
            Some(memory) => memory,
            None => {
                let opened = self.open_memory()?;
                self.memory.get_or_init(|| opened)
            }
        };
        memory.write(to, bytes).map_err(|_| Errno::EFAULT)
    }

    fn open_memory(&self) -> Result<Arc<memory::Held>, Errno> {
        let mut memories = self.listener.memories.borrow_mut();
        if let Some(known) = memories.get(&self.tid)
            && known.is_current()
        {
            return Ok(known.memory.clone());
        }
        let opened = memory::Held::open(self.tid).map(Arc::new);
        let known = opened
            .as_ref()
            .ok()
            .and_then(|memory| KnownMemory::new(self.tid, memory));
        // The thread still waits, so what was opened is its own.
        self.check_valid()?;
        if memories.len() >= MAX_THREADS {
            memories.clear();
        }
        match known {
            Some(known) => memories.insert(self.tid, known),
            None => memories.remove(&self.tid),
        };
        opened.map_err(|_| Errno::EFAULT)
    }

    /// A copy of a descriptor of the tool's; `EBADF` if it has none of that number.
    pub fn fd(&self, number: i32) -> Result<OwnedFd, Errno> {
        if number < 0 {
            return Err(Errno::EBADF);
        }
        let result = self
            .listener
            .with_thread(self.tid, |thread| pidfd::get_fd(thread, number));
        self.check_valid()?;
        result.map_err(|error| errno_of(&error))
    }

    /// Answers the call. A tool that was killed meanwhile is no error: there is nobody to tell.
    pub fn answer(self, reply: Reply) {
        match reply {
            Reply::Value(value) => self.send(value, 0, 0),
            Reply::Error(errno) => self.send(0, -errno.0, 0),
            Reply::Native => self.send(0, 0, FLAG_CONTINUE),
            Reply::Fd { fd, cloexec } => {
                let request = libc::seccomp_notif_addfd {
                    id: self.id,
                    flags: ADD_FD_SEND,
                    srcfd: fd.as_raw_fd() as u32,
                    newfd: 0,
                    newfd_flags: if cloexec { libc::O_CLOEXEC as u32 } else { 0 },
                };
                let listener = self.listener.fd.as_raw_fd();
                // SAFETY: ADD_FD reads one `seccomp_notif_addfd`.
                let result = unsafe { libc::ioctl(listener, ADD_FD, &raw const request) };
                if result < 0 {
                    // Its table is full (EMFILE), or it was killed.
                    let errno = errno_of(&io::Error::last_os_error());
                    self.send(0, -errno.0, 0);
                }
            }
        }
    }

    fn send(&self, val: i64, error: i32, flags: u32) {
        let response = libc::seccomp_notif_resp {
            id: self.id,
            val,
            error,
            flags,
        };
        let listener = self.listener.fd.as_raw_fd();
        // SAFETY: SEND reads one `seccomp_notif_resp`. It fails only if the caller was killed.
        unsafe { libc::ioctl(listener, SEND, &raw const response) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_ended_do_not_use_up_the_descriptors() {
        let listener = Listener::new(std::fs::File::open("/dev/null").unwrap().into());
        let own = || nix::unistd::gettid().as_raw();
        std::thread::scope(|scope| {
            for _ in 0..3 * MAX_THREADS {
                let (told, heard) = std::sync::mpsc::channel();
                let (end, ended) = std::sync::mpsc::channel::<()>();
                scope.spawn(move || {
                    told.send(own()).unwrap();
                    let _ = ended.recv();
                });
                let tid = heard.recv().unwrap();
                listener.with_thread(tid, |_| Ok(())).unwrap();
                drop(end);
            }
        });
        assert!(listener.threads.borrow().len() <= MAX_THREADS);
    }
}
