//! BPF ring buffer, laid out as the kernel maps it for consumers.
//!
//! Data memory: the consumer's page (position at offset 0), the producer's page (likewise), then
//! twice the data's size. The kernel maps its data pages twice so that a record at the end reads
//! on into the start; here, a record begins in the first half and runs on into the second. The
//! record's header never crosses: all is 8-aligned. Positions count bytes from the start of
//! time; the place is the position modulo the size.
//!
//! A record is a header of two `u32` (length with [`BUSY_BIT`] and [`DISCARD_BIT`]; page offset)
//! and its data. While a record is busy, the second word holds the thread id of the producer, so
//! that the record of a producer that died can be discarded; then, the kernel's page offset.
//! Nothing outside reads either.

use core::sync::atomic::{AtomicU64, Ordering, fence};

use bpftime_abi::{Errno, MapType};

use crate::geometry::PAGE_SIZE;
use crate::lock::Caller;
use crate::mapref::MapRef;
use crate::mem;

/// The record is not committed.
#[doc(alias = "BPF_RINGBUF_BUSY_BIT")]
pub const BUSY_BIT: u32 = 1 << 31;
/// The record is to be skipped.
#[doc(alias = "BPF_RINGBUF_DISCARD_BIT")]
pub const DISCARD_BIT: u32 = 1 << 30;
/// Bytes of a record before its data.
#[doc(alias = "BPF_RINGBUF_HDR_SZ")]
pub const HEADER_SIZE: u64 = 8;

/// Flag of commits: do not wake the consumer.
pub const BPF_RB_NO_WAKEUP: u64 = 1;
/// Flag of commits: wake the consumer though it has not caught up.
pub const BPF_RB_FORCE_WAKEUP: u64 = 2;

/// Greatest length of a record (`UINT_MAX / 4`).
const MAX_RECORD: u64 = (u32::MAX / 4) as u64;
/// Pages before the data in the kernel's structure, which page offsets count from.
const META_PAGES: u32 = 3;
/// Records that one reservation passes over in search of the oldest busy one.
const MAX_PENDING_STEPS: u32 = 1 << 16;

/// A reserved record. Its size is known from here only: the header can be overwritten by others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Record {
    /// Address of the data.
    pub data: *mut u8,
    /// Bytes of data.
    pub size: u32,
    /// Not used; keeps the size a multiple of 8.
    pub reserved: u32,
}

impl MapRef {
    /// Reserves a record of `size` bytes (`bpf_ringbuf_reserve`); nothing if there is no room,
    /// if the lock cannot be had, or if the map is no ring buffer.
    pub fn reserve(&self, caller: &Caller, size: u64) -> Option<Record> {
        Ring::new_checked(self)?.reserve(caller, size)
    }

    /// Makes a record visible to the consumer (`bpf_ringbuf_submit`). `true` if
    /// [`Self::wake_word`] is now to be woken (futex, all waiters).
    ///
    /// # Safety
    /// `record` comes from [`Self::reserve`] of this map in this process, and was neither
    /// submitted nor discarded.
    pub unsafe fn submit(&self, record: Record, flags: u64) -> bool {
        // SAFETY: passed on.
        unsafe { Ring::new(self).commit(record, flags, 0) }
    }

    /// Gives a record back without its being seen (`bpf_ringbuf_discard`). Result as with
    /// [`Self::submit`].
    ///
    /// # Safety
    /// As [`Self::submit`].
    pub unsafe fn discard(&self, record: Record, flags: u64) -> bool {
        // SAFETY: passed on.
        unsafe { Ring::new(self).commit(record, flags, DISCARD_BIT) }
    }

    /// Copies data into a new record (`bpf_ringbuf_output`). Result as with [`Self::submit`];
    /// `EINVAL` for unknown flags, `EAGAIN` when nothing could be reserved.
    ///
    /// # Safety
    /// `size` bytes at `data` are readable.
    pub unsafe fn output(
        &self,
        caller: &Caller,
        data: *const u8,
        size: u64,
        flags: u64,
    ) -> Result<bool, Errno> {
        if flags & !(BPF_RB_NO_WAKEUP | BPF_RB_FORCE_WAKEUP) != 0 {
            return Err(Errno::EINVAL);
        }
        let record = self.reserve(caller, size).ok_or(Errno::EAGAIN)?;
        // SAFETY: the record has `size` bytes; `data` by contract.
        unsafe { mem::copy(record.data, data, size as usize) };
        // SAFETY: reserved above.
        Ok(unsafe { self.submit(record, flags) })
    }

    /// State of the ring buffer (`bpf_ringbuf_query`): 0 bytes not consumed, 1 size, 2 consumer
    /// position, 3 producer position; 0 for anything else.
    pub fn query(&self, flags: u64) -> u64 {
        let Some(ring) = Ring::new_checked(self) else {
            return 0;
        };
        let consumer = ring.consumer().load(Ordering::Acquire);
        let producer = ring.producer().load(Ordering::Acquire);
        match flags {
            0 => producer.wrapping_sub(consumer),
            1 => ring.size(),
            2 => consumer,
            3 => producer,
            _ => 0,
        }
    }
}

/// A ring buffer.
pub(crate) struct Ring<'m>(&'m MapRef);

impl<'m> Ring<'m> {
    /// `map` is a ring buffer.
    pub(crate) fn new(map: &'m MapRef) -> Self {
        Self(map)
    }

    fn new_checked(map: &'m MapRef) -> Option<Self> {
        (map.geometry.map_type == MapType::RingBuf).then_some(Self(map))
    }

    fn size(&self) -> u64 {
        self.0.geometry.max_entries as u64
    }

    fn mask(&self) -> u64 {
        self.size().wrapping_sub(1)
    }

    fn consumer(&self) -> &AtomicU64 {
        // SAFETY: the data memory starts with two pages; the word is only used as an atomic.
        unsafe { &*self.0.data.cast::<AtomicU64>() }
    }

    fn producer(&self) -> &AtomicU64 {
        // SAFETY: as above.
        unsafe {
            &*self
                .0
                .data
                .wrapping_add(PAGE_SIZE as usize)
                .cast::<AtomicU64>()
        }
    }

    /// Address of the record header at a position, which may be any number.
    fn record(&self, position: u64) -> *mut u8 {
        let offset = position & self.mask() & !7;
        self.0
            .data
            .wrapping_add((2 * PAGE_SIZE).wrapping_add(offset) as usize)
    }

    /// The header at an address that comes from [`Self::record`]: length with its bits in the
    /// lower half, owner or page offset in the upper. Both change together, so that whoever sees
    /// the busy bit sees the owner, whenever that died.
    fn header<'a>(record: *mut u8) -> &'a AtomicU64 {
        // SAFETY: inside the first half of the data and 8-aligned, by the contract above; the
        // word is only used as an atomic.
        unsafe { &*record.cast::<AtomicU64>() }
    }

    fn reserve(&self, caller: &Caller, size: u64) -> Option<Record> {
        if size > MAX_RECORD {
            return None;
        }
        let len = record_len(size as u32);
        if len > self.size() {
            return None;
        }
        let header = self.0.header();
        header.lock.take(caller).ok()?;
        let record = self.reserve_locked(caller, size as u32, len);
        header.lock.release(caller);
        record
    }

    fn reserve_locked(&self, caller: &Caller, size: u32, len: u64) -> Option<Record> {
        let consumer = self.consumer().load(Ordering::Acquire);
        let producer = self.producer().load(Ordering::Relaxed) & !7;
        let end = producer.wrapping_add(len);
        let mut pending = self.advance_pending(producer);
        // Neither what is not consumed nor what is not committed may be overwritten.
        if end.wrapping_sub(pending) > self.mask() && self.discard_if_dead(caller, pending) {
            pending = self.advance_pending(producer);
        }
        if end.wrapping_sub(consumer) > self.mask() || end.wrapping_sub(pending) > self.mask() {
            return None;
        }
        let record = self.record(producer);
        Self::header(record).store(
            pack(size | BUSY_BIT, caller.owner as u32),
            Ordering::Release,
        );
        self.producer().store(end, Ordering::Release);
        Some(Record {
            data: record.wrapping_add(HEADER_SIZE as usize),
            size,
            reserved: 0,
        })
    }

    /// Moves the pending position over committed records. The lock is held.
    fn advance_pending(&self, producer: u64) -> u64 {
        let word = &self.0.header().pending;
        let mut pending = word.load(Ordering::Relaxed);
        let mut steps = 0;
        // Positions can be nonsense: a distance that cannot be is left to the caller's check.
        while producer.wrapping_sub(pending) > 0
            && producer.wrapping_sub(pending) <= self.size()
            && steps < MAX_PENDING_STEPS
        {
            let len = Self::header(self.record(pending)).load(Ordering::Acquire) as u32;
            if len & BUSY_BIT != 0 {
                break;
            }
            pending = pending.wrapping_add(record_len(len & !DISCARD_BIT));
            steps += 1;
        }
        word.store(pending, Ordering::Relaxed);
        pending
    }

    /// Discards the record at a position if it is busy and its producer is dead.
    fn discard_if_dead(&self, caller: &Caller, position: u64) -> bool {
        let Some(alive) = caller.alive else {
            return false;
        };
        let header = Self::header(self.record(position));
        let busy = header.load(Ordering::Acquire);
        let (len, owner) = (busy as u32, (busy >> 32) as u32);
        if len & BUSY_BIT == 0 || owner == 0 || owner == caller.owner as u32 {
            return false;
        }
        // SAFETY: the caller supplied the function for this purpose; it takes any number.
        if unsafe { alive(owner as u64) } {
            return false;
        }
        let offset = position & self.mask() & !7;
        let discarded = pack((len & !BUSY_BIT) | DISCARD_BIT, page_offset(offset));
        let order = (Ordering::AcqRel, Ordering::Relaxed);
        header
            .compare_exchange(busy, discarded, order.0, order.1)
            .is_ok()
    }

    /// # Safety
    /// As [`MapRef::submit`].
    unsafe fn commit(&self, record: Record, flags: u64, discard: u32) -> bool {
        let header = record.data.wrapping_sub(HEADER_SIZE as usize);
        let data = self.0.data.wrapping_add(2 * PAGE_SIZE as usize);
        let offset = (header as u64).wrapping_sub(data as u64);
        let committed = pack(record.size | discard, page_offset(offset));
        Self::header(header).swap(committed, Ordering::AcqRel);
        // The record is visible before we look whether the consumer has caught up; the consumer
        // writes its position before it looks for the next record.
        fence(Ordering::SeqCst);
        let consumer = self.consumer().load(Ordering::Acquire) & self.mask();
        if flags & BPF_RB_FORCE_WAKEUP != 0 || consumer == offset && flags & BPF_RB_NO_WAKEUP == 0 {
            return self.0.raise_wake();
        }
        false
    }

    /// Frees the lock of a dead owner and discards the records of dead producers.
    pub(crate) fn recover(&self, caller: &Caller) -> Result<(), Errno> {
        let lock = &self.0.header().lock;
        lock.take(caller)?;
        let producer = self.producer().load(Ordering::Relaxed) & !7;
        let mut position = self.advance_pending(producer);
        let mut discarded = false;
        let most = self.size() / HEADER_SIZE;
        let mut steps = 0;
        while producer.wrapping_sub(position) > 0
            && producer.wrapping_sub(position) <= self.size()
            && steps < most
        {
            discarded |= self.discard_if_dead(caller, position);
            let len = Self::header(self.record(position)).load(Ordering::Acquire) as u32;
            position = position.wrapping_add(record_len(len & !(BUSY_BIT | DISCARD_BIT)));
            steps = steps.wrapping_add(1);
        }
        lock.release(caller);
        if discarded {
            // The consumer may wait for just these records.
            self.0.raise_wake();
        }
        Ok(())
    }
}

impl MapRef {
    /// Raises the wake word; `true` if somebody waits for it.
    pub(crate) fn raise_wake(&self) -> bool {
        let header = self.header();
        header.wake.fetch_add(1, Ordering::SeqCst);
        header.waiters.load(Ordering::SeqCst) != 0
    }
}

/// A header's two words as one.
const fn pack(len: u32, second: u32) -> u64 {
    len as u64 | (second as u64) << 32
}

/// The kernel's page offset of a record at an offset in the data.
const fn page_offset(offset: u64) -> u32 {
    META_PAGES.wrapping_add((offset / PAGE_SIZE) as u32)
}

/// Bytes that a record takes with its header. The length may be any number.
const fn record_len(size: u32) -> u64 {
    crate::geometry::round_up((size as u64).wrapping_add(HEADER_SIZE), 8)
}
