//! Maps in anonymous shared memory, for tests.

use bpftime_abi::MapType;
use bpftime_maps::{Caller, Geometry, MapRef};

const PAGE: usize = 4096;

/// A map in shared memory of this process and the children that it forks.
pub(crate) struct SharedMap {
    pub(crate) map: MapRef,
    control: (*mut u8, usize),
    data: (*mut u8, usize),
}

// SAFETY: maps are made for concurrent use.
unsafe impl Sync for SharedMap {}
// SAFETY: as above.
unsafe impl Send for SharedMap {}

impl SharedMap {
    pub(crate) fn new(geometry: Geometry) -> Self {
        assert_eq!(geometry.validate(), Ok(()), "{geometry:?}");
        let control = share(geometry.control_len());
        let data = share(geometry.data_len());
        // SAFETY: fresh shared memory of the right lengths, unmapped when this is dropped.
        let map = unsafe { MapRef::init(geometry, control.0, data.0) }.unwrap();
        Self { map, control, data }
    }

    pub(crate) fn control(&self) -> (*mut u8, usize) {
        self.control
    }

    pub(crate) fn data(&self) -> (*mut u8, usize) {
        self.data
    }
}

impl Drop for SharedMap {
    fn drop(&mut self) {
        for (address, len) in [self.control, self.data] {
            if len > 0 {
                // SAFETY: mapped by `share`, used by nobody any more.
                unsafe { libc::munmap(address.wrapping_sub(PAGE).cast(), len + 2 * PAGE) };
            }
        }
    }
}

/// Shared memory between two inaccessible pages, so that a stray access crashes.
pub(crate) fn share(len: usize) -> (*mut u8, usize) {
    if len == 0 {
        return (core::ptr::null_mut(), 0);
    }
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping.
    let around = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            len + 2 * PAGE,
            libc::PROT_NONE,
            flags,
            -1,
            0,
        )
    };
    assert_ne!(around, libc::MAP_FAILED);
    let address = around.wrapping_byte_add(PAGE);
    // SAFETY: inside the mapping made above.
    let result = unsafe { libc::mprotect(address, len, libc::PROT_READ | libc::PROT_WRITE) };
    assert_eq!(result, 0);
    (address.cast(), len)
}

pub(crate) fn geometry(map_type: MapType, key: u32, value: u32, entries: u32) -> Geometry {
    Geometry {
        map_type,
        key_size: key,
        value_size: value,
        max_entries: entries,
        flags: 0,
        cpus: 2,
        seed: 0x1234_5678_9abc_def0,
    }
}

/// The calling thread, with liveness by `kill(2)`.
pub(crate) fn me() -> Caller {
    // SAFETY: no arguments that could be wrong.
    let owner = unsafe { (libc::getpid() as u64) << 32 | libc::gettid() as u64 };
    Caller::new(owner, Some(alive))
}

/// Whether the thread exists and is no zombie.
pub(crate) unsafe extern "sysv64" fn alive(owner: u64) -> bool {
    let tid = owner as u32;
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{tid}/stat")) else {
        return false;
    };
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.trim().chars().next());
    !matches!(state, Some('Z' | 'X'))
}

/// A small generator of test data (xorshift), the same on every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }
}

/// Forks; the child dies with the thread that forked it, should that fail a test.
///
/// # Safety
/// The child uses nothing that another thread may have held.
pub(crate) unsafe fn fork() -> i32 {
    // SAFETY: passed on; the child only makes a system call.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        }
        child
    }
}
