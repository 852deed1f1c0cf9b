//! Memory files that enter a process.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use crate::error::{Error, Result};

/// Every memory file that is mapped in a process has a name that starts so; what does not is
/// never unmapped.
pub const NAME_PREFIX: &str = "bpftime";

/// A memory file of fixed size with `content`, followed by zeros up to `len`. With `sealed` the
/// content is fixed too.
pub(crate) fn create(name: &CStr, content: &[u8], len: u64, sealed: bool) -> Result<File> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: `name` is a C string; the call returns a new descriptor or -1.
    let mut fd = unsafe { libc::memfd_create(name.as_ptr(), flags | libc::MFD_EXEC) };
    if fd < 0 {
        // Kernels before 6.3 do not know MFD_EXEC, and make every memfd executable.
        // SAFETY: as above.
        fd = unsafe { libc::memfd_create(name.as_ptr(), flags) };
    }
    if fd < 0 {
        return Err(Error::os("memfd_create"));
    }
    // SAFETY: the kernel has just returned this descriptor, nobody else owns it.
    let file = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let failed = |source| Error::Os {
        what: "filling a memfd",
        source,
    };
    file.set_len(len.max(content.len() as u64))
        .map_err(failed)?;
    file.write_all_at(content, 0).map_err(failed)?;
    let mut seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW;
    if sealed {
        seals |= libc::F_SEAL_WRITE | libc::F_SEAL_SEAL;
    }
    // SAFETY: fcntl with integers.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) } < 0 {
        return Err(Error::os("sealing a memfd"));
    }
    Ok(file)
}

/// Whether `fd` is a memory file whose name starts with [`NAME_PREFIX`].
pub(crate) fn is_ours(fd: i32) -> bool {
    std::fs::read_link(format!("/proc/self/fd/{fd}")).is_ok_and(|path| {
        path.to_string_lossy()
            .starts_with(&format!("/memfd:{NAME_PREFIX}"))
    })
}
