//! Shared mappings, ours and those of other processes.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::sys::stat::{major, minor};

use super::file::FileId;

/// A shared mapping of a whole file, unmapped when dropped.
///
/// Others may write the memory at any time, so it is handed out as a raw pointer only.
#[derive(Debug)]
pub struct Mapping {
    address: NonNull<libc::c_void>,
    len: usize,
}

// SAFETY: the mapping is plain memory without thread affinity; every access goes through a raw
// pointer, whose user answers for it.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `len` bytes of a file, shared; writable if `write`.
    pub fn new(fd: impl AsFd, len: usize, write: bool) -> io::Result<Self> {
        let length =
            NonZeroUsize::new(len).ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
        let protection = if write {
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE
        } else {
            ProtFlags::PROT_READ
        };
        // SAFETY: a new mapping at an address that the kernel chooses aliases nothing that Rust
        // knows of.
        let address = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, fd, 0) }?;
        Ok(Self { address, len })
    }

    /// Maps the same range of another descriptor of the file in the mapping's place; the
    /// address stays.
    pub fn replace(&self, fd: impl AsFd, write: bool) -> io::Result<()> {
        let length = NonZeroUsize::new(self.len);
        let protection = if write {
            ProtFlags::PROT_READ | ProtFlags::PROT_WRITE
        } else {
            ProtFlags::PROT_READ
        };
        let address = NonZeroUsize::new(self.address.as_ptr() as usize);
        let (Some(length), Some(address)) = (length, address) else {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        };
        let flags = MapFlags::MAP_SHARED | MapFlags::MAP_FIXED;
        // SAFETY: replaces exactly the range of this mapping, which no Rust reference points
        // into, in one step; raw pointers into it stay valid for reading.
        unsafe { mmap(Some(address), length, protection, flags, fd, 0) }?;
        Ok(())
    }

    /// Address of the first byte.
    pub fn as_ptr(&self) -> *mut u8 {
        self.address.as_ptr().cast()
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the mapping has no bytes (it always has some).
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A copy of a range, or `None` if it leaves the mapping.
    pub fn read(&self, offset: usize, len: usize) -> Option<Vec<u8>> {
        let end = offset.checked_add(len)?;
        if end > self.len {
            return None;
        }
        let mut bytes = vec![0; len];
        // SAFETY: the range lies within the mapping, which lives as long as `self`; the target
        // is a fresh buffer of that size. Concurrent writers of shared memory make the bytes
        // arbitrary, and any bytes are valid.
        unsafe {
            std::ptr::copy_nonoverlapping(self.as_ptr().add(offset), bytes.as_mut_ptr(), len);
        }
        Some(bytes)
    }

    /// Writes bytes at an offset; `None` if they leave the mapping.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Option<()> {
        let end = offset.checked_add(bytes.len())?;
        if end > self.len {
            return None;
        }
        // SAFETY: the range lies within the mapping, which lives as long as `self` and which
        // Rust references never point into.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.as_ptr().add(offset), bytes.len());
        }
        Some(())
    }
}

/// A mapping of a file in some process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MappedRange {
    /// Bytes.
    pub len: u64,
    /// The process may write it.
    pub writable: bool,
}

/// The mappings of a file of ours in a process, from `/proc/PID/maps`.
pub fn mappings_of(pid: i32, file: impl AsFd) -> io::Result<Vec<MappedRange>> {
    let id = FileId::of(file)?;
    let device = format!("{:02x}:{:02x}", major(id.device), minor(id.device));
    let text = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let ranges = text.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let permissions = fields.next()?;
        let on_device = fields.nth(1)? == device;
        let inode: u64 = fields.next()?.parse().ok()?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let len = number(end)?.checked_sub(number(start)?)?;
        let writable = permissions.as_bytes().get(1) == Some(&b'w');
        (on_device && inode == id.inode).then_some(MappedRange { len, writable })
    });
    Ok(ranges.collect())
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length and nobody else unmaps it.
        // Failure is impossible for such a range, and there would be nothing to do about it.
        let _ = unsafe { munmap(self.address, self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::fixed_memfd;

    #[test]
    fn mappings_of_a_file_are_found_with_their_length_and_rights() {
        let pid = nix::unistd::getpid().as_raw();
        let file = fixed_memfd("test", 3 * 4096).unwrap();
        let other = fixed_memfd("test", 4096).unwrap();
        assert_eq!(mappings_of(pid, &file).unwrap(), []);
        let _other = Mapping::new(&other, 4096, true).unwrap();
        let mapping = Mapping::new(&file, 2 * 4096, true).unwrap();
        let range = |writable| MappedRange {
            len: 2 * 4096,
            writable,
        };
        assert_eq!(mappings_of(pid, &file).unwrap(), [range(true)]);
        mapping.replace(&file, false).unwrap();
        assert_eq!(mappings_of(pid, &file).unwrap(), [range(false)]);
    }

    #[test]
    fn accesses_outside_are_refused() {
        let file = fixed_memfd("test", 4096).unwrap();
        let mapping = Mapping::new(&file, 4096, true).unwrap();
        assert_eq!(mapping.write(4090, &[1; 6]), Some(()));
        assert_eq!(mapping.read(4090, 6), Some(vec![1; 6]));
        assert_eq!(mapping.write(4090, &[1; 7]), None);
        assert_eq!(mapping.read(usize::MAX, 2), None);
    }
}
