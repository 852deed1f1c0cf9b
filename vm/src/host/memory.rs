//! Memory of programs that run in this process.

use std::io;
use std::ptr::{self, NonNull};

/// Zeroed, private, readable and writable pages, given back on drop.
#[derive(Debug)]
pub(super) struct Pages {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the pages are owned and can be used from any thread.
unsafe impl Send for Pages {}

impl Pages {
    /// Pages for `len` bytes (at least one page), anywhere.
    pub(super) fn new(len: usize) -> io::Result<Self> {
        Self::map(len, 0)
    }

    /// Pages for `len` bytes (at least one page) below 4 GiB, so that their addresses fit the
    /// 32-bit packet pointers of `xdp_md` and `__sk_buff`.
    pub(super) fn low(len: usize) -> io::Result<Self> {
        Self::map(len, libc::MAP_32BIT)
    }

    fn map(len: usize, flags: i32) -> io::Result<Self> {
        let len = len.max(1);
        // SAFETY: a new mapping at an address that the kernel picks.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags,
                -1,
                0,
            )
        };
        match NonNull::new(base.cast::<u8>()) {
            Some(base) if base.as_ptr().cast() != libc::MAP_FAILED => Ok(Self { base, len }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The first byte.
    pub(super) fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// Address of the first byte.
    pub(super) fn address(&self) -> u64 {
        self.base() as u64
    }

    /// The bytes from `start`, at most `len`.
    pub(super) fn bytes(&self, start: usize, len: usize) -> &[u8] {
        let start = start.min(self.len);
        let len = len.min(self.len - start);
        // SAFETY: within the mapping, which is initialised and lives as long as `self`; programs
        // run only while the owner is borrowed mutably.
        unsafe { std::slice::from_raw_parts(self.base().add(start), len) }
    }

    /// The bytes from `start`, at most `len`.
    pub(super) fn bytes_mut(&mut self, start: usize, len: usize) -> &mut [u8] {
        let start = start.min(self.len);
        let len = len.min(self.len - start);
        // SAFETY: as in `bytes`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.base().add(start), len) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length, and nothing refers to it.
        unsafe { libc::munmap(self.base().cast(), self.len) };
    }
}
