//! Memory of another process.

use std::fs::File;
use std::io::{self, IoSliceMut, Read, Seek};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
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

/// The memory that a process had when this was opened, whoever has its id since.
#[derive(Debug)]
pub struct Held {
    memory: File,
    maps: File,
}

impl Held {
    /// Opens the memory of the process that a thread belongs to.
    pub fn open(tid: i32) -> io::Result<Self> {
        Ok(Self {
            memory: File::options()
                .write(true)
                .open(format!("/proc/{tid}/mem"))?,
            maps: File::open(format!("/proc/{tid}/maps"))?,
        })
    }

    /// Whether some process has the memory; `false` where the kernel cannot tell (before Linux
    /// 6.11).
    pub fn is_in_use(&self) -> bool {
        let mut query = MapQuery {
            size: size_of::<MapQuery>() as u64,
            flags: COVERING_OR_NEXT,
            ..MapQuery::default()
        };
        // SAFETY: the kernel reads and writes one structure of the size that it says.
        let result = unsafe { libc::ioctl(self.maps.as_raw_fd(), QUERY, &raw mut query) };
        result == 0
    }

    /// Writes all bytes at `to`; `EFAULT` if the process itself could not write one of them, or
    /// has given up this memory.
    pub fn write(&self, to: u64, bytes: &[u8]) -> io::Result<()> {
        let end = to.checked_add(bytes.len() as u64).ok_or_else(fault)?;
        // The file would also write where the process may only read.
        let mut at = to;
        while at < end {
            at = self.end_of_writable(at)?.ok_or_else(fault)?;
        }
        self.memory.write_all_at(bytes, to).map_err(|_| fault())
    }

    /// Where the mapping ends that has an address and can be written, if there is one.
    fn end_of_writable(&self, address: u64) -> io::Result<Option<u64>> {
        let mut query = MapQuery {
            size: size_of::<MapQuery>() as u64,
            flags: WRITABLE,
            address,
            ..MapQuery::default()
        };
        // SAFETY: the kernel reads and writes one structure of the size that it says.
        let result = unsafe { libc::ioctl(self.maps.as_raw_fd(), QUERY, &raw mut query) };
        if result == 0 {
            return Ok(Some(query.end).filter(|end| *end > address));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => Ok(None),
            // Linux before 6.11.
            Some(libc::ENOTTY) => self.end_of_writable_by_text(address),
            _ => Err(error),
        }
    }

    fn end_of_writable_by_text(&self, address: u64) -> io::Result<Option<u64>> {
        let mut text = String::new();
        let mut maps = &self.maps;
        maps.rewind()?;
        maps.read_to_string(&mut text)?;
        Ok(text.lines().find_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let (start, end) = words.next()?.split_once('-')?;
            let writable = words.next()?.as_bytes().get(1) == Some(&b'w');
            let number = |text| u64::from_str_radix(text, 16).ok();
            let (start, end) = (number(start)?, number(end)?);
            (writable && (start..end).contains(&address)).then_some(end)
        }))
    }
}

/// `PROCMAP_QUERY`.
const QUERY: libc::c_ulong = 0xc068_6611;
/// `PROCMAP_QUERY_VMA_WRITABLE`.
const WRITABLE: u64 = 2;
/// `PROCMAP_QUERY_COVERING_OR_NEXT_VMA`.
const COVERING_OR_NEXT: u64 = 16;

/// `struct procmap_query`.
#[repr(C)]
#[derive(Default)]
struct MapQuery {
    size: u64,
    flags: u64,
    address: u64,
    start: u64,
    end: u64,
    /// Fields that are not asked for, from the mapping's flags to its name and build id.
    rest: [u64; 8],
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
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::sys::file::fixed_memfd;
    use crate::sys::mapping::Mapping;

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
    fn only_what_the_process_may_write_is_written() {
        const PAGE: usize = 4096;
        let file = fixed_memfd("test", 3 * PAGE as u64).unwrap();
        let mapping = Mapping::new(&file, 3 * PAGE, true).unwrap();
        let start = mapping.as_ptr() as u64;
        let held = Held::open(own()).unwrap();
        let asked: [&dyn Fn(u64) -> io::Result<Option<u64>>; 2] =
            [&|at| held.end_of_writable(at), &|at| {
                held.end_of_writable_by_text(at)
            }];
        held.write(start + 4090, b"0123456789").unwrap();
        assert_eq!(mapping.read(4090, 10).unwrap(), b"0123456789");
        for ask in asked {
            assert_eq!(ask(start + 4096).unwrap(), Some(start + 3 * PAGE as u64));
        }
        // SAFETY: the middle page of the mapping, which Rust has no reference to.
        let protected =
            unsafe { libc::mprotect(mapping.as_ptr().add(PAGE).cast(), PAGE, libc::PROT_READ) };
        assert_eq!(protected, 0);
        for ask in asked {
            assert_eq!(ask(start).unwrap(), Some(start + PAGE as u64));
            assert_eq!(ask(start + PAGE as u64).unwrap(), None);
        }
        for at in [start + 4090, start + 4096, start + 8190, 0, u64::MAX - 4] {
            let error = held.write(at, &[7; 10]).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EFAULT), "{at:#x}");
        }
        assert_eq!(mapping.read(4090, 10).unwrap(), b"0123456789");
        held.write(start, &[]).unwrap();
        held.write(start + 4086, b"0123456789").unwrap();
        held.write(start + 8192, b"0123456789").unwrap();
    }

    /// A child that only waits, with this id if there is one.
    fn child(id: Option<i32>) -> Option<i32> {
        let set_tid = id.unwrap_or(0);
        // SAFETY: all-zero bytes are a valid value of this plain C structure.
        let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
        arguments.exit_signal = libc::SIGCHLD as u64;
        if id.is_some() {
            arguments.set_tid = (&raw const set_tid) as u64;
            arguments.set_tid_size = 1;
        }
        // SAFETY: as fork(2); the child makes system calls only.
        let pid = unsafe {
            libc::syscall(
                libc::SYS_clone3,
                &raw const arguments,
                size_of::<libc::clone_args>(),
            )
        };
        if pid == 0 {
            loop {
                // SAFETY: waits.
                unsafe { libc::syscall(libc::SYS_pause) };
            }
        }
        (pid > 0).then_some(pid as i32)
    }

    fn end(pid: i32) {
        // SAFETY: a child of this test's, not waited for yet; both take integers and a null pointer.
        unsafe {
            libc::kill(pid, libc::SIGKILL);
            libc::waitpid(pid, std::ptr::null_mut(), 0);
        }
    }

    #[test]
    fn a_process_with_the_same_id_is_left_alone() {
        static WORD: AtomicU64 = AtomicU64::new(1);
        let place = WORD.as_ptr() as u64;
        let first = child(None).expect("a child");
        let held = Held::open(first).unwrap();
        held.write(place, &2u64.to_le_bytes()).unwrap();
        let mut word = [0; 8];
        read(first, place, &mut word).unwrap();
        assert_eq!(u64::from_le_bytes(word), 2);
        assert!(held.is_in_use());
        end(first);
        assert!(!held.is_in_use());
        let Some(second) = child(Some(first)) else {
            eprintln!("skipped: this user may not choose process ids");
            return;
        };
        assert_eq!(second, first);
        let error = held.write(place, &3u64.to_le_bytes()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
        read(second, place, &mut word).unwrap();
        end(second);
        assert_eq!(u64::from_le_bytes(word), 1);
    }

    #[test]
    fn an_endless_string_is_refused() {
        let long = vec![b'x'; 3 * PATH_MAX];
        let error = read_c_string(own(), long.as_ptr() as u64).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENAMETOOLONG));
    }
}
