//! Anonymous files, seals and file identity.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

/// What an open file is, whatever descriptor refers to it: device and inode.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct FileId {
    /// Device of the file system.
    pub device: u64,
    /// Inode.
    pub inode: u64,
}

impl FileId {
    /// Identity of the file behind a descriptor.
    pub fn of(fd: impl AsFd) -> io::Result<Self> {
        let stat = nix::sys::stat::fstat(fd)?;
        Ok(Self {
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }
}

/// Makes all descriptors but the standard ones close on `exec`. May be called between `fork` and
/// `exec`.
pub fn close_others_on_exec() -> io::Result<()> {
    // SAFETY: takes integers, and closes nothing yet.
    let result = unsafe {
        libc::close_range(
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC as libc::c_int,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// An anonymous file of a fixed size, which nobody can shrink or grow: a peer that truncates a
/// file which others have mapped would kill them with SIGBUS.
pub fn fixed_memfd(name: &str, len: u64) -> io::Result<OwnedFd> {
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let file = File::from(fd);
    file.set_len(len)?;
    let fd = OwnedFd::from(file);
    add_seals(&fd, SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW)?;
    Ok(fd)
}

/// An anonymous file with these bytes, which nobody can change any more.
pub fn sealed_memfd(name: &str, bytes: &[u8]) -> io::Result<OwnedFd> {
    use std::io::Write;
    let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut file = File::from(fd);
    file.write_all(bytes)?;
    let fd = OwnedFd::from(file);
    add_seals(
        &fd,
        SealFlag::F_SEAL_SHRINK
            | SealFlag::F_SEAL_GROW
            | SealFlag::F_SEAL_WRITE
            | SealFlag::F_SEAL_SEAL,
    )?;
    Ok(fd)
}

/// Adds seals to a file made with `MFD_ALLOW_SEALING`. `EBUSY` if a write seal meets a
/// writable mapping.
pub fn add_seals(fd: impl AsFd, seals: SealFlag) -> io::Result<()> {
    fcntl(fd, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(())
}

/// Opens the file behind a descriptor once more: an open file of its own, not a copy of the
/// descriptor.
pub fn reopen(fd: impl AsFd, write: bool) -> io::Result<OwnedFd> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    Ok(OpenOptions::new()
        .read(true)
        .write(write)
        .open(path)?
        .into())
}

/// Whether `fd`, which must be an open file of its own (see [`reopen`]), is the only open file
/// of its inode: nobody else has it open or mapped.
///
/// The kernel grants a write lease only then, so asking for one answers the question. The lease
/// is given back at once.
pub fn is_sole_user(fd: impl AsFd) -> bool {
    let raw = fd.as_fd().as_raw_fd();
    // SAFETY: F_SETLEASE takes an integer and touches no memory of this process.
    let granted = unsafe { libc::fcntl(raw, libc::F_SETLEASE, libc::F_WRLCK) } == 0;
    if granted {
        // SAFETY: as above.
        unsafe { libc::fcntl(raw, libc::F_SETLEASE, libc::F_UNLCK) };
    }
    granted
}

/// A pair of connected sockets: one end for the tool, one for the broker, which sees a hang-up
/// when the last copy of the tool's end is closed.
pub fn handle_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sole_user_sees_other_open_files_but_not_copies() {
        let original = fixed_memfd("test", 4096).unwrap();
        let mine = reopen(&original, true).unwrap();
        assert!(is_sole_user(&mine));
        let other = reopen(&original, true).unwrap();
        let copy = other.try_clone().unwrap();
        drop(other);
        assert!(!is_sole_user(&mine));
        drop(copy);
        assert!(is_sole_user(&mine));
    }

    #[test]
    fn sizes_are_fixed() {
        let fd = fixed_memfd("test", 4096).unwrap();
        assert!(File::from(fd.try_clone().unwrap()).set_len(0).is_err());
        assert!(File::from(fd).set_len(8192).is_err());
    }

    #[test]
    fn sealed_files_cannot_be_written() {
        use std::io::Write;
        let fd = sealed_memfd("test", b"abc").unwrap();
        assert!(File::from(fd).write_all(b"x").is_err());
    }
}
