//! Puts the filter on the calling process and gives its listener.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use libc::{sock_filter, sock_fprog};

/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV` (Linux 5.19): signals wait while the broker works
/// on a call, so that the periodic signals of Go programs do not interrupt it.
const WAIT_KILLABLE_RECV: libc::c_ulong = 1 << 5;

/// Sets `no_new_privs` and the filter on the calling thread, and returns the listener.
///
/// Allocates nothing, so it may be called between `fork` and `exec`. `EBUSY` means that the
/// process has a listener already: it runs under `bpftime load` or under another supervisor.
pub fn install(program: &[sock_filter]) -> io::Result<OwnedFd> {
    let len =
        u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: takes integers only.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let filter = sock_fprog {
        len,
        filter: program.as_ptr().cast_mut(),
    };
    let set = |flags: libc::c_ulong| {
        // SAFETY: `filter` describes `program`, which the kernel only reads, during the call.
        unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const filter,
            )
        }
    };
    let mut fd = set(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | WAIT_KILLABLE_RECV);
    if fd < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EINVAL) {
        fd = set(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER);
    }
    let fd = RawFd::try_from(fd).unwrap_or(-1);
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor (close-on-exec) for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
