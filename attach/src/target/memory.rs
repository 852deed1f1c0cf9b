//! Memory of another process.

use crate::error::{Error, Result};
use crate::process::{living_thread, not_permitted_reason};
use crate::ptrace;

fn error(pid: i32, action: &'static str, address: u64, len: usize, errno: i32) -> Error {
    match errno {
        libc::ESRCH => Error::Gone { pid },
        libc::EPERM => Error::NotPermitted {
            pid,
            reason: not_permitted_reason(pid),
        },
        _ => Error::Memory {
            pid,
            action,
            address,
            len,
            errno,
        },
    }
}

/// Reads all of `buffer` with `process_vm_readv`.
pub(crate) fn read(pid: i32, address: u64, buffer: &mut [u8]) -> Result<()> {
    let len = buffer.len();
    let got = read_some(pid, address, buffer)?;
    if got == len {
        Ok(())
    } else {
        Err(error(pid, "read", address, len, libc::EFAULT))
    }
}

/// Reads as much as is mapped from `address` on; an error only if nothing is.
pub(crate) fn read_some(pid: i32, address: u64, buffer: &mut [u8]) -> Result<usize> {
    let len = buffer.len();
    let mut done = 0;
    let mut thread = pid;
    while done < len {
        let rest = buffer.get_mut(done..).unwrap_or_default();
        let local = libc::iovec {
            iov_base: rest.as_mut_ptr().cast(),
            iov_len: rest.len(),
        };
        let remote = remote_iovec(address.wrapping_add(done as u64), rest.len());
        // SAFETY: `local` is the writable rest of `buffer`; the kernel checks `remote`.
        let got =
            unsafe { libc::process_vm_readv(thread, &raw const local, 1, &raw const remote, 1, 0) };
        if got <= 0 {
            if done > 0 {
                break;
            }
            if another_thread(pid, &mut thread) {
                continue;
            }
            return Err(error(pid, "read", address, len, ptrace::Errno::last().0));
        }
        done += got as usize;
    }
    Ok(done)
}

/// Writes all of `bytes` with `process_vm_writev`.
pub(crate) fn write(pid: i32, address: u64, bytes: &[u8]) -> Result<()> {
    let mut done = 0;
    let mut thread = pid;
    while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
        let local = libc::iovec {
            iov_base: rest.as_ptr().cast_mut().cast(),
            iov_len: rest.len(),
        };
        let remote = remote_iovec(address.wrapping_add(done as u64), rest.len());
        // SAFETY: `local` is the rest of `bytes`, only read; the kernel checks `remote`.
        let got = unsafe {
            libc::process_vm_writev(thread, &raw const local, 1, &raw const remote, 1, 0)
        };
        if got <= 0 {
            if done == 0 && another_thread(pid, &mut thread) {
                continue;
            }
            return Err(error(
                pid,
                "write",
                address,
                bytes.len(),
                ptrace::Errno::last().0,
            ));
        }
        done += got as usize;
    }
    Ok(())
}

/// Writes `bytes`, also to memory that the process may not write (private mappings get their
/// own copy of the page). `tid` is a stopped tracee. Each aligned word is replaced at once.
pub(crate) fn poke(pid: i32, tid: i32, address: u64, bytes: &[u8]) -> Result<()> {
    let first = address & !7;
    let end = address + bytes.len() as u64;
    for at in (first..end).step_by(8) {
        let mut word = [0; 8];
        read(pid, at, &mut word)?;
        for (offset, byte) in word.iter_mut().enumerate() {
            let index = (at + offset as u64).checked_sub(address);
            if let Some(new) = index.and_then(|index| bytes.get(index as usize)) {
                *byte = *new;
            }
        }
        ptrace::poke(tid, at, u64::from_le_bytes(word))
            .map_err(|errno| error(pid, "write", address, bytes.len(), errno.0))?;
    }
    Ok(())
}

/// Replaces up to 8 bytes with one `POKE`, so that they are never seen half written. The
/// pages are written with their own content first: a page fault in the real write, which a
/// killed tracer might not survive, is then impossible.
pub(crate) fn poke_at_once(pid: i32, tid: i32, address: u64, bytes: &[u8]) -> Result<()> {
    let failed = |errno: ptrace::Errno| error(pid, "write", address, bytes.len(), errno.0);
    if bytes.len() > 8 {
        return Err(failed(ptrace::Errno(libc::EINVAL)));
    }
    // A window of 8 bytes that stays within the page of the first byte if all bytes do.
    let last = address + bytes.len().max(1) as u64 - 1;
    let start = if address >> 12 == last >> 12 {
        address.min((last | 0xfff) - 7)
    } else {
        address
    };
    let mut word = [0; 8];
    read(pid, start, &mut word)?;
    let own = u64::from_le_bytes(word);
    for page in [start, start + 7] {
        let at = page & !7;
        let mut aligned = [0; 8];
        read(pid, at, &mut aligned)?;
        ptrace::poke(tid, at, u64::from_le_bytes(aligned)).map_err(failed)?;
    }
    let skip = (address - start) as usize;
    if let Some(place) = word.get_mut(skip..skip + bytes.len()) {
        place.copy_from_slice(bytes);
    }
    let new = u64::from_le_bytes(word);
    if new != own {
        ptrace::poke(tid, start, new).map_err(failed)?;
    }
    Ok(())
}

/// Whether another thread may do where the first one has failed, having ended before others.
fn another_thread(pid: i32, thread: &mut i32) -> bool {
    if *thread != pid || ptrace::Errno::last().0 != libc::ESRCH {
        return false;
    }
    *thread = living_thread(pid);
    if *thread == pid {
        // For the message: what was looked at meanwhile has changed it.
        // SAFETY: the address of this thread's error number is always valid.
        unsafe { *libc::__errno_location() = libc::ESRCH };
    }
    *thread != pid
}

fn remote_iovec(address: u64, len: usize) -> libc::iovec {
    libc::iovec {
        iov_base: std::ptr::without_provenance_mut(address as usize),
        iov_len: len,
    }
}
