//! Memory of another process.

use std::io::{self, IoSlice, IoSliceMut};

use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;

/// Longest path that is read from another process, the kernel's `PATH_MAX`.
const PATH_MAX: usize = 4096;

fn fault() -> io::Error {
    io::Error::from_raw_os_error(libc::EFAULT)
}

fn address(value: u64) -> io::Result<usize> {
    usize::try_from(value).map_err(|_| fault())
}

/// Reads exactly `buffer.len()` bytes at `from`; `EFAULT` if any of them cannot be read.
pub fn read(pid: i32, from: u64, buffer: &mut [u8]) -> io::Result<()> {
    if buffer.is_empty() {
        return Ok(());
    }
    let len = buffer.len();
    let remote = [RemoteIoVec {
        base: address(from)?,
        len,
    }];
    let done = process_vm_readv(Pid::from_raw(pid), &mut [IoSliceMut::new(buffer)], &remote)?;
    if done == len { Ok(()) } else { Err(fault()) }
}

/// Writes all bytes at `to`; `EFAULT` if any of them cannot be written.
pub fn write(pid: i32, to: u64, bytes: &[u8]) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let remote = [RemoteIoVec {
        base: address(to)?,
        len: bytes.len(),
    }];
    let done = process_vm_writev(Pid::from_raw(pid), &[IoSlice::new(bytes)], &remote)?;
    if done == bytes.len() {
        Ok(())
    } else {
        Err(fault())
    }
}

/// Reads a NUL-terminated string of less than 4096 bytes; `ENAMETOOLONG` if it is longer.
pub fn read_c_string(pid: i32, from: u64) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut at = from;
    while text.len() < PATH_MAX {
        // Never across a page: the next one may not be there, and the string may not need it.
        let piece = 256 - (at % 256) as usize;
        let mut buffer = [0; 256];
        let buffer = &mut buffer[..piece];
        read(pid, at, buffer)?;
        if let Some(end) = buffer.iter().position(|byte| *byte == 0) {
            text.extend_from_slice(&buffer[..end]);
            return Ok(text);
        }
        text.extend_from_slice(buffer);
        at = at.checked_add(piece as u64).ok_or_else(fault)?;
    }
    Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> i32 {
        nix::unistd::getpid().as_raw()
    }

    #[test]
    fn reads_what_is_there_and_faults_elsewhere() {
        let text = c"/some/path";
        assert_eq!(
            read_c_string(own(), text.as_ptr() as u64).unwrap(),
            b"/some/path"
        );
        let mut byte = [0];
        assert_eq!(
            read(own(), 0, &mut byte).unwrap_err().raw_os_error(),
            Some(libc::EFAULT)
        );
    }

    #[test]
    fn an_endless_string_is_refused() {
        let long = vec![b'x'; 3 * PATH_MAX];
        let error = read_c_string(own(), long.as_ptr() as u64).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG));
    }
}
