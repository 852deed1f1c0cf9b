//! Shared mappings.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

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

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length and nobody else unmaps it.
        // Failure is impossible for such a range, and there would be nothing to do about it.
        let _ = unsafe { munmap(self.address, self.len) };
    }
}
