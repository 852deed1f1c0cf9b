//! System calls inside the process, and getting memory and descriptors into it.

use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

use super::Stopped;
use super::executor::Executor;
use crate::error::{Error, Result};

/// Bytes of scratch memory that a session has inside the process.
const SCRATCH_LEN: u64 = 4096;
/// Layout of the scratch memory for `recvmsg`: `struct msghdr`, `struct iovec`, one byte of
/// data, room for one control message with one descriptor; and the two ends of a socket pair.
const IOVEC: u64 = 64;
const DATA: u64 = 88;
const CONTROL: u64 = 96;
const CONTROL_LEN: u64 = 24;
const PAIR: u64 = 128;

/// Page protection, as in `mmap(2)`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protection {
    /// `PROT_NONE`.
    None,
    /// `PROT_READ`.
    Read,
    /// `PROT_READ | PROT_WRITE`.
    ReadWrite,
    /// `PROT_READ | PROT_EXEC`. There is no protection with write and execute.
    ReadExecute,
}

impl Protection {
    fn bits(self) -> u64 {
        (match self {
            Self::None => libc::PROT_NONE,
            Self::Read => libc::PROT_READ,
            Self::ReadWrite => libc::PROT_READ | libc::PROT_WRITE,
            Self::ReadExecute => libc::PROT_READ | libc::PROT_EXEC,
        }) as u64
    }
}

/// Where a mapping goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum At {
    /// Where the kernel likes.
    Anywhere,
    /// At this address, which must be free (`MAP_FIXED_NOREPLACE`).
    Free(u64),
    /// At this address, over what is there (`MAP_FIXED`): only for ranges mapped by us.
    Over(u64),
}

impl At {
    fn address_and_flags(self) -> (u64, u64) {
        match self {
            Self::Anywhere => (0, 0),
            Self::Free(address) => (address, libc::MAP_FIXED_NOREPLACE as u64),
            Self::Over(address) => (address, libc::MAP_FIXED as u64),
        }
    }
}

/// What a conversation with the process needs; made on first use, removed at the end.
#[derive(Debug, Default)]
pub(super) struct Session {
    scratch: Option<u64>,
    channel: Option<Channel>,
}

/// A socket pair with one end here and one inside the process.
#[derive(Debug)]
struct Channel {
    here: OwnedFd,
    inside: i32,
}

impl Stopped<'_> {
    /// Makes a system call inside the process. `name` is for the error.
    ///
    /// A call that may block, or that changes the thread's own registers, mask or threads, must
    /// not be made.
    pub fn syscall(&mut self, name: &'static str, nr: i64, args: [u64; 6]) -> Result<u64> {
        let pid = self.target().pid();
        self.executor()?
            .call(pid, nr, args)?
            .map_err(|errno| Error::RemoteCall {
                pid,
                call: name,
                errno,
            })
    }

    fn executor(&mut self) -> Result<&mut Executor> {
        let executor = match self.executor.take() {
            Some(executor) => executor,
            None => Executor::begin(self)?,
        };
        Ok(self.executor.insert(executor))
    }

    /// Maps private anonymous memory; `len` is rounded up to whole pages by the kernel.
    pub fn map_anonymous(&mut self, at: At, len: u64, protection: Protection) -> Result<u64> {
        let (address, flags) = at.address_and_flags();
        let flags = flags | (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE) as u64;
        self.map(at, [address, len, protection.bits(), flags, u64::MAX, 0])
    }

    /// Maps one of our files. Nothing but the mapping stays in the process.
    pub fn map_fd(
        &mut self,
        fd: BorrowedFd<'_>,
        at: At,
        len: u64,
        protection: Protection,
        shared: bool,
    ) -> Result<u64> {
        let inside = self.send_fd(fd)?;
        let (address, flags) = at.address_and_flags();
        let sharing = if shared {
            libc::MAP_SHARED
        } else {
            libc::MAP_PRIVATE
        };
        let args = [
            address,
            len,
            protection.bits(),
            flags | sharing as u64,
            inside as u64,
            0,
        ];
        let mapped = self.map(at, args);
        let closed = self.close(inside);
        let address = mapped?;
        closed?;
        Ok(address)
    }

    fn map(&mut self, at: At, args: [u64; 6]) -> Result<u64> {
        let address = self.syscall("mmap", libc::SYS_mmap, args)?;
        match at {
            // Linux before 4.17 takes MAP_FIXED_NOREPLACE for a hint.
            At::Free(wanted) if address != wanted => {
                self.unmap(address, args[1])?;
                let pid = self.target().pid();
                Err(Error::RemoteCall {
                    pid,
                    call: "mmap",
                    errno: libc::EEXIST,
                })
            }
            _ => Ok(address),
        }
    }

    /// Unmaps memory.
    pub fn unmap(&mut self, address: u64, len: u64) -> Result<()> {
        self.syscall("munmap", libc::SYS_munmap, [address, len, 0, 0, 0, 0])
            .map(drop)
    }

    /// Changes the protection of memory.
    pub fn protect(&mut self, address: u64, len: u64, protection: Protection) -> Result<()> {
        let args = [address, len, protection.bits(), 0, 0, 0];
        self.syscall("mprotect", libc::SYS_mprotect, args).map(drop)
    }

    /// Tells the kernel how memory is used (`MADV_*`).
    pub fn advise(&mut self, address: u64, len: u64, advice: i32) -> Result<()> {
        self.syscall(
            "madvise",
            libc::SYS_madvise,
            [address, len, advice as u64, 0, 0, 0],
        )
        .map(drop)
    }

    /// Gives the process a copy of one of our descriptors (close-on-exec); its number there.
    ///
    /// It goes through a socket pair made inside, so it works across mount, network and pid
    /// namespaces. Our end of that is taken with `pidfd_getfd`.
    pub fn send_fd(&mut self, fd: BorrowedFd<'_>) -> Result<i32> {
        let pid = self.target().pid();
        let scratch = self.scratch()?;
        let (here, inside) = self.channel(scratch)?;
        let fds = [fd.as_raw_fd()];
        sendmsg::<()>(
            here,
            &[IoSlice::new(&[0])],
            &[ControlMessage::ScmRights(&fds)],
            MsgFlags::MSG_NOSIGNAL,
            None,
        )
        .map_err(|errno| Error::Os {
            what: "sending a descriptor",
            source: errno.into(),
        })?;

        let mut message = [0_u64; CONTROL as usize / 8];
        // struct msghdr: name, namelen, iov, iovlen, control, controllen, flags.
        for (index, value) in [
            (2, scratch + IOVEC),
            (3, 1),
            (4, scratch + CONTROL),
            (5, CONTROL_LEN),
        ]
        .into_iter()
        .chain([
            (IOVEC as usize / 8, scratch + DATA),
            (IOVEC as usize / 8 + 1, 1),
        ]) {
            if let Some(word) = message.get_mut(index) {
                *word = value;
            }
        }
        let bytes: Vec<u8> = message.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.write(scratch, &bytes)?;
        let flags = (libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT) as u64;
        self.syscall(
            "recvmsg",
            libc::SYS_recvmsg,
            [inside as u64, scratch, flags, 0, 0, 0],
        )?;
        // struct cmsghdr: len (u64), level, type (i32 each); then the descriptor.
        let mut control = [0; 20];
        self.read(scratch + CONTROL, &mut control)?;
        let (words, _) = control.as_chunks::<4>();
        match words {
            [len, _, level, kind, fd]
                if u32::from_le_bytes(*len) == 20
                    && i32::from_le_bytes(*level) == libc::SOL_SOCKET
                    && i32::from_le_bytes(*kind) == libc::SCM_RIGHTS =>
            {
                Ok(i32::from_le_bytes(*fd))
            }
            // The process has no room for another descriptor.
            _ => Err(Error::RemoteCall {
                pid,
                call: "recvmsg",
                errno: libc::EMFILE,
            }),
        }
    }

    /// Closes a descriptor of the process.
    pub fn close(&mut self, fd: i32) -> Result<()> {
        self.syscall("close", libc::SYS_close, [fd as u64, 0, 0, 0, 0, 0])
            .map(drop)
    }

    /// Makes what descriptors are sent through, which takes address space inside.
    pub(crate) fn open_remote_session(&mut self) -> Result<()> {
        let scratch = self.scratch()?;
        self.channel(scratch).map(drop)
    }

    fn scratch(&mut self) -> Result<u64> {
        if let Some(scratch) = self.executor()?.session.scratch {
            return Ok(scratch);
        }
        let scratch = self.map_anonymous(At::Anywhere, SCRATCH_LEN, Protection::ReadWrite)?;
        self.executor()?.session.scratch = Some(scratch);
        Ok(scratch)
    }

    /// Our end (borrowed as a number) and the number of the other end inside.
    fn channel(&mut self, scratch: u64) -> Result<(RawFd, i32)> {
        if let Some(channel) = &self.executor()?.session.channel {
            return Ok((channel.here.as_raw_fd(), channel.inside));
        }
        let kind = (libc::SOCK_STREAM | libc::SOCK_CLOEXEC) as u64;
        let args = [libc::AF_UNIX as u64, kind, 0, scratch + PAIR, 0, 0];
        self.syscall("socketpair", libc::SYS_socketpair, args)?;
        let mut pair = [0; 8];
        self.read(scratch + PAIR, &mut pair)?;
        let [a, b, c, d, e, f, g, h] = pair;
        let ours = i32::from_le_bytes([a, b, c, d]);
        let inside = i32::from_le_bytes([e, f, g, h]);
        let tid = self.any_tid()?;
        let here = take_fd(self.target().pidfd(), ours)
            .or_else(|error| take_fd(thread_fd(tid).ok_or(error)?.as_fd(), ours));
        // Only one end is needed inside.
        let closed = self.close(ours);
        let here = match (here, closed) {
            (Ok(here), Ok(())) => here,
            (Err(error), _) | (_, Err(error)) => {
                self.close(inside)?;
                return Err(error);
            }
        };
        let number = here.as_raw_fd();
        self.executor()?.session.channel = Some(Channel { here, inside });
        Ok((number, inside))
    }

    /// Removes what [`Session`] holds inside.
    pub(super) fn close_remote_session(&mut self) -> Result<()> {
        let Some(executor) = self.executor.as_mut() else {
            return Ok(());
        };
        let session = std::mem::take(&mut executor.session);
        let closed = match session.channel {
            Some(channel) => self.close(channel.inside),
            None => Ok(()),
        };
        match session.scratch {
            Some(scratch) => self.unmap(scratch, SCRATCH_LEN).and(closed),
            None => closed,
        }
    }
}

/// A descriptor of a thread (Linux 6.9), for a process whose first thread has ended before others.
fn thread_fd(tid: i32) -> Option<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and returns a descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, tid, libc::O_EXCL) };
    // SAFETY: the kernel has just returned this descriptor, nobody else owns it.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A copy of another process's descriptor.
fn take_fd(pidfd: BorrowedFd<'_>, fd: i32) -> Result<OwnedFd> {
    // SAFETY: pidfd_getfd takes three integers and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_fd().as_raw_fd(), fd, 0) };
    if fd < 0 {
        return Err(Error::os("pidfd_getfd"));
    }
    // SAFETY: the kernel has just returned this descriptor, nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
