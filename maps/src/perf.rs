//! Perf ring buffers, as `mmap` of a perf event descriptor shows them.
//!
//! One page with the positions (`struct perf_event_mmap_page`), then a power of two of data
//! pages, in which records wrap byte by byte. There is one producer at a time: a ring belongs to
//! a virtual CPU, which an invocation leases.

use core::sync::atomic::{AtomicU64, Ordering};

use bpftime_abi::{Errno, MapType};

use crate::geometry::PAGE_SIZE;
use crate::mapref::MapRef;
use crate::mem;

/// `BPF_F_CURRENT_CPU`, also the mask of the index in the flags of `bpf_perf_event_output`.
pub const BPF_F_CURRENT_CPU: u64 = 0xffff_ffff;

/// `PERF_RECORD_LOST`.
const RECORD_LOST: u32 = 2;
/// `PERF_RECORD_SAMPLE`.
const RECORD_SAMPLE: u32 = 9;
/// `PERF_RECORD_MISC_USER`.
const MISC_USER: u32 = 2;
/// Bytes of a `PERF_RECORD_LOST`: header, id, number.
const LOST_LEN: u64 = 24;
/// Greatest record: the header counts its size in 16 bits.
const MAX_RECORD: u64 = 0xfff8;

/// Offset of `data_head` in the first page.
const DATA_HEAD: usize = 1024;
/// Offset of `data_tail` in the first page.
const DATA_TAIL: usize = 1032;
/// Offset of `data_offset` in the first page.
const DATA_OFFSET: usize = 1040;
/// Offset of `data_size` in the first page.
const DATA_SIZE: usize = 1048;
/// Offset of the number of records lost since the last one written; not part of the kernel's
/// structure, in a part of the page that it leaves unused.
const LOST: usize = 2048;

/// A perf ring buffer of which samples hold raw data only (`PERF_SAMPLE_RAW`), as libbpf opens
/// them.
///
/// The environment keeps a private table of these for each perf event array. It publishes an
/// entry by writing `len` first and `base` last, and takes it away by writing a null `base`
/// before it unmaps (when no program runs).
#[derive(Debug)]
#[repr(C)]
pub struct PerfRing {
    /// Address of the first page in this process, or 0 when there is no ring.
    pub base: AtomicU64,
    /// Bytes of data after the first page: a power of two, at least a page.
    pub len: AtomicU64,
}

impl PerfRing {
    /// No ring.
    pub const fn none() -> Self {
        Self {
            base: AtomicU64::new(0),
            len: AtomicU64::new(0),
        }
    }

    /// Writes what the kernel writes when a ring is mapped (`data_offset`, `data_size`).
    ///
    /// # Safety
    /// `len + 4096` bytes at the page-aligned address `base` are writable.
    pub unsafe fn format(base: *mut u8, len: u64) {
        // SAFETY: in the first page.
        unsafe {
            mem::store(base.wrapping_add(DATA_OFFSET), PAGE_SIZE);
            mem::store(base.wrapping_add(DATA_SIZE), len);
        }
    }

    /// The mapping, if there is one and its length makes sense.
    fn mapping(&self) -> Option<Mapping> {
        let base = self.base.load(Ordering::Acquire);
        let len = self.len.load(Ordering::Relaxed);
        if base == 0 || !len.is_power_of_two() || len < PAGE_SIZE {
            return None;
        }
        Some(Mapping {
            base: base as *mut u8,
            len,
        })
    }
}

impl MapRef {
    /// Writes a sample (`bpf_perf_event_output`). `true` if [`Self::wake_word`] is now to be
    /// woken (futex, all waiters).
    ///
    /// `EINVAL` for unknown flags, `E2BIG` for an index outside the array or a sample that no
    /// record can hold, `ENOENT` without a ring there, `EOPNOTSUPP` for another CPU's ring,
    /// `ENOSPC` when the ring is full.
    ///
    /// # Safety
    /// `size` bytes at `data` are readable, and the rings in the table are mapped.
    pub unsafe fn perf_output(
        &self,
        flags: u64,
        cpu: u32,
        data: *const u8,
        size: u64,
    ) -> Result<bool, Errno> {
        if flags & !BPF_F_CURRENT_CPU != 0 || self.geometry.map_type != MapType::PerfEventArray {
            return Err(Errno::EINVAL);
        }
        let index = if flags == BPF_F_CURRENT_CPU {
            cpu
        } else {
            flags as u32
        };
        if index >= self.geometry.max_entries {
            return Err(Errno::E2BIG);
        }
        let ring = self
            .perf_ring(index)
            .and_then(PerfRing::mapping)
            .ok_or(Errno::ENOENT)?;
        if index != cpu {
            return Err(Errno::EOPNOTSUPP);
        }
        // SAFETY: passed on; the ring is mapped by contract.
        unsafe { ring.write(data, size) }?;
        // The consumer reads up to the head that it saw first, then sets its tail: that it had
        // caught up cannot be told from here, so it is woken each time, as the kernel does with
        // wakeup_events = 1.
        Ok(self.raise_wake())
    }

    /// Whether a perf event array has a ring at the index: the system call's view of its
    /// elements (`EINVAL` from an update that names no perf event is the broker's).
    pub fn has_perf_ring(&self, index: u32) -> bool {
        self.perf_ring(index)
            .is_some_and(|ring| ring.mapping().is_some())
    }
}

#[derive(Clone, Copy)]
struct Mapping {
    base: *mut u8,
    len: u64,
}

impl Mapping {
    fn position(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: callers pass the constants above: inside the first page, 8-aligned, only used
        // as atomics.
        unsafe { &*self.base.wrapping_add(offset).cast::<AtomicU64>() }
    }

    /// # Safety
    /// `size` bytes at `data` are readable, and this is mapped.
    unsafe fn write(&self, data: *const u8, size: u64) -> Result<(), Errno> {
        if size > MAX_RECORD {
            return Err(Errno::E2BIG);
        }
        // Header (8), u32 size of the raw data with its padding, data, padding.
        let len = crate::geometry::round_up(size.wrapping_add(12), 8);
        if len > MAX_RECORD {
            return Err(Errno::E2BIG);
        }
        let lost = self.position(LOST).load(Ordering::Relaxed);
        let lost_len = if lost == 0 { 0 } else { LOST_LEN };
        let head = self.position(DATA_HEAD).load(Ordering::Relaxed) & !7;
        let tail = self.position(DATA_TAIL).load(Ordering::Acquire);
        let used = head.wrapping_sub(tail);
        // The kernel keeps one byte free (`CIRC_SPACE`).
        let free = self.len.wrapping_sub(1).wrapping_sub(used);
        if used >= self.len || free < len.wrapping_add(lost_len) {
            self.position(LOST)
                .store(lost.wrapping_add(1), Ordering::Relaxed);
            return Err(Errno::ENOSPC);
        }
        let mut at = head;
        if lost != 0 {
            self.put(&mut at, RECORD_LOST as u64 | LOST_LEN << 48);
            self.put(&mut at, 0);
            self.put(&mut at, lost);
            self.position(LOST).store(0, Ordering::Relaxed);
        }
        self.put(
            &mut at,
            RECORD_SAMPLE as u64 | (MISC_USER as u64) << 32 | len << 48,
        );
        // The raw size, then the data shifted by four bytes, one aligned word at a time.
        let raw = len.wrapping_sub(12);
        let mut done = 0u64;
        let mut word = raw;
        let mut filled = 4u64;
        while done < size {
            // SAFETY: done < size.
            let byte = unsafe { mem::load::<u8>(data.wrapping_add(done as usize)) };
            if filled == 4 && size.wrapping_sub(done) >= 8 {
                // SAFETY: done + 8 <= size.
                let next = unsafe { mem::load::<u64>(data.wrapping_add(done as usize)) };
                self.put(&mut at, word & 0xffff_ffff | next << 32);
                word = next >> 32;
                done = done.wrapping_add(8);
                continue;
            }
            word |= (byte as u64) << (filled.wrapping_mul(8) & 63);
            filled = filled.wrapping_add(1);
            done = done.wrapping_add(1);
            if filled == 8 {
                self.put(&mut at, word);
                word = 0;
                filled = 0;
            }
        }
        if filled != 0 {
            self.put(&mut at, word);
        }
        self.position(DATA_HEAD).store(at, Ordering::Release);
        Ok(())
    }

    /// Writes a word at a position, which may be any multiple of 8, and moves on.
    fn put(&self, at: &mut u64, word: u64) {
        let offset = PAGE_SIZE.wrapping_add(*at & self.len.wrapping_sub(1) & !7);
        // SAFETY: masked: inside the data, 8 bytes.
        unsafe { mem::store(self.base.wrapping_add(offset as usize), word) };
        *at = at.wrapping_add(8);
    }
}
