//! Changes: update and delete.

use core::sync::atomic::{AtomicU32, Ordering};

use bpftime_abi::Errno;
use bpftime_abi::map_type::update_flags::{BPF_EXIST, BPF_F_LOCK, BPF_NOEXIST};

use super::{Bucket, Hash, Key, KeyN, MAX_CHAIN, Word, with_key};
use crate::geometry::SPARE_ELEMENTS;
use crate::lock::{Caller, Taken};
use crate::mapref::check_update_flags;
use crate::mem;

/// New values, with their addresses.
#[derive(Clone, Copy)]
pub(crate) enum Values {
    /// The value of a plain hash map.
    Whole(*const u8),
    /// One CPU's value of a per-CPU map; the others' are zero in a new element.
    OneCpu(*const u8, u32),
    /// All CPUs' values of a per-CPU map, each rounded up to 8 bytes.
    AllCpus(*const u8),
}

/// Where a walk under the lock ended.
struct Place<'m> {
    /// The link that leads to the element.
    link: &'m AtomicU32,
    /// The element, or null at the end of the chain.
    element: *mut u8,
}

impl<'m> Hash<'m> {
    /// Creates or overwrites an element.
    ///
    /// # Safety
    /// `key_size` bytes at `key` and the bytes that `values` describes are readable; the CPU in
    /// `values` is below the map's number, and `values` is of the kind that the map has.
    #[inline]
    pub(crate) unsafe fn update(
        &self,
        caller: &Caller,
        key: *const u8,
        flags: u64,
        values: Values,
    ) -> Result<(), Errno> {
        check_update_flags(flags)?;
        if flags & BPF_F_LOCK != 0 {
            // No value of ours has a spin lock.
            return Err(Errno::EINVAL);
        }
        with_key!(self, key, |key| {
            let mut searched = false;
            loop {
                // SAFETY: passed on.
                let result = unsafe { self.update_once(caller, &key, flags, values) };
                if result != Err(Errno::E2BIG)
                    || searched
                    || self.0.header().lost.load(Ordering::Relaxed) == 0
                {
                    return result;
                }
                // The map looks full, but a dead owner's elements may be missing.
                self.find_lost(caller)?;
                searched = true;
            }
        })
    }

    /// # Safety
    /// As [`Self::update`].
    #[inline(always)]
    unsafe fn update_once<K: Key>(
        &self,
        caller: &Caller,
        key: &K,
        flags: u64,
        values: Values,
    ) -> Result<(), Errno> {
        let hash = key.hash(self.0.geometry.seed);
        let bucket = self.bucket_of(hash);
        self.take(bucket, caller)?;
        // SAFETY: passed on; the lock is held.
        let result = unsafe { self.update_locked(bucket, hash, key, flags, values) };
        bucket.lock.release(caller);
        result
    }

    /// # Safety
    /// As [`Self::update`]; the bucket's lock is held.
    #[inline(always)]
    unsafe fn update_locked<K: Key>(
        &self,
        bucket: &'m Bucket,
        hash: u32,
        key: &K,
        flags: u64,
        values: Values,
    ) -> Result<(), Errno> {
        let place = self.place(bucket, hash, key)?;
        let old = place.element;
        if old.is_null() {
            if flags == BPF_EXIST {
                return Err(Errno::ENOENT);
            }
            let header = self.0.header();
            let (first, count) = (self.spare_count(), self.0.geometry.max_entries);
            let link = header.free.pop(self, first, count)?.ok_or(Errno::E2BIG)?;
            let element = self.element(link).ok_or(Errno::E2BIG)?;
            let next = bucket.head.load(Ordering::Relaxed);
            // SAFETY: the element is ours alone until it is linked.
            unsafe { self.fill(element, hash, key, next, values, true) };
            bucket.head.store(link, Ordering::Release);
            return Ok(());
        }
        if flags == BPF_NOEXIST {
            return Err(Errno::EEXIST);
        }
        let Values::Whole(value) = values else {
            // SAFETY: the element is in the chain; per-CPU values change in place.
            unsafe { self.write_values(old, values, false) };
            return Ok(());
        };
        let spare = &self.0.header().spare;
        match spare.pop(self, 0, self.spare_count())? {
            Some(link) if let Some(element) = self.element(link) => {
                let next = self.header_of(old).next.load(Ordering::Relaxed);
                // SAFETY: the element is ours alone until it is linked.
                unsafe { self.fill(element, hash, key, next, values, true) };
                let old_link = place.link.load(Ordering::Relaxed);
                place.link.store(link, Ordering::Release);
                self.leave(bucket);
                self.give_back(spare.push(self, old_link));
            }
            _ => {
                // More writers at once than spare elements (or some are lost): in place. The
                // sequence number makes readers of the whole value try again.
                self.leave(bucket);
                let size = self.0.geometry.value_size as usize;
                // SAFETY: an element has room for a value; `value` is readable by contract.
                unsafe { mem::copy(self.value_of(old), value, size) };
                self.leave(bucket);
            }
        }
        Ok(())
    }

    /// Removes an element; `seen` gets the address of its value before it is gone.
    ///
    /// # Safety
    /// `key_size` bytes at `key` are readable.
    #[inline]
    pub(crate) unsafe fn delete(
        &self,
        caller: &Caller,
        key: *const u8,
        seen: impl Fn(*mut u8),
    ) -> Result<(), Errno> {
        with_key!(self, key, |key| self.delete_key(caller, &key, &seen))
    }

    #[inline(always)]
    fn delete_key<K: Key>(
        &self,
        caller: &Caller,
        key: &K,
        seen: &impl Fn(*mut u8),
    ) -> Result<(), Errno> {
        let hash = key.hash(self.0.geometry.seed);
        let bucket = self.bucket_of(hash);
        self.take(bucket, caller)?;
        let result = match self.place(bucket, hash, key) {
            Ok(place) if place.element.is_null() => Err(Errno::ENOENT),
            Ok(place) => {
                seen(self.value_of(place.element));
                let link = place.link.load(Ordering::Relaxed);
                let next = self.header_of(place.element).next.load(Ordering::Relaxed);
                place.link.store(next, Ordering::Release);
                self.leave(bucket);
                self.give_back(self.0.header().free.push(self, link));
                Ok(())
            }
            Err(errno) => Err(errno),
        };
        bucket.lock.release(caller);
        result
    }

    /// Takes a bucket's lock. A dead owner's chain is whole, but it may have lost an element.
    #[inline(always)]
    pub(super) fn take(&self, bucket: &Bucket, caller: &Caller) -> Result<(), Errno> {
        if bucket.lock.take(caller)? == Taken::FromDead {
            // Perhaps the owner died before it raised the number for an element that it
            // unlinked; that element is lost, not free, so nobody uses it before
            // `find_lost`, and that raises all numbers.
            self.0.header().lost.store(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The element with the key, and the link to it. `EBUSY` if the chain is broken, which only
    /// a hostile process can bring about.
    #[inline(always)]
    fn place<K: Key>(&self, bucket: &'m Bucket, hash: u32, key: &K) -> Result<Place<'m>, Errno> {
        let mut link = &bucket.head;
        let mut steps = 0u32;
        while steps < MAX_CHAIN {
            let Some(element) = self.element(link.load(Ordering::Relaxed)) else {
                return Ok(Place {
                    link,
                    element: core::ptr::null_mut(),
                });
            };
            let header = self.header_of(element);
            // SAFETY: an element has room for a key of this map's size.
            let is_equal = || unsafe { key.equals(self.key_of(element)) };
            if header.hash.load(Ordering::Relaxed) == hash && is_equal() {
                return Ok(Place { link, element });
            }
            link = &header.next;
            steps = steps.wrapping_add(1);
        }
        Err(Errno::EBUSY)
    }

    /// Says to readers that an element has left the chain.
    #[inline(always)]
    fn leave(&self, bucket: &Bucket) {
        // Only the holder of the lock writes: no atomic addition needed.
        let sequence = bucket.sequence.load(Ordering::Relaxed);
        bucket
            .sequence
            .store(sequence.wrapping_add(1), Ordering::Release);
        // What is written after this (a value in place) is not seen before it.
        core::sync::atomic::fence(Ordering::Release);
    }

    #[inline(always)]
    fn give_back(&self, pushed: bool) {
        if !pushed {
            self.0.header().lost.store(1, Ordering::Relaxed);
        }
    }

    /// Number of elements reserved for replacement; they come first.
    pub(super) fn spare_count(&self) -> u32 {
        if self.0.geometry.is_per_cpu() {
            0
        } else {
            SPARE_ELEMENTS
        }
    }

    /// Fills an element that is in no chain.
    ///
    /// # Safety
    /// As [`Self::update`]; `element` comes from [`Self::element`].
    #[inline(always)]
    unsafe fn fill<K: Key>(
        &self,
        element: *mut u8,
        hash: u32,
        key: &K,
        next: u32,
        values: Values,
        new: bool,
    ) {
        let header = self.header_of(element);
        header.hash.store(hash, Ordering::Relaxed);
        header.next.store(next, Ordering::Relaxed);
        // SAFETY: an element has room for a key and its values.
        unsafe {
            key.write(self.key_of(element));
            self.write_values(element, values, new);
        }
    }

    /// # Safety
    /// As [`Self::update`]; `element` comes from [`Self::element`].
    #[inline(always)]
    unsafe fn write_values(&self, element: *mut u8, values: Values, new: bool) {
        let to = self.value_of(element);
        let size = self.0.geometry.value_size as usize;
        match values {
            // SAFETY: an element has room for a value.
            Values::Whole(from) => unsafe { mem::copy(to, from, size) },
            Values::AllCpus(from) => {
                // SAFETY: an element has room for all CPUs' values, which `from` has.
                unsafe { mem::copy(to, from, self.0.geometry.user_value_size()) }
            }
            Values::OneCpu(from, cpu) => {
                if new {
                    // SAFETY: an element has room for all CPUs' values.
                    unsafe { mem::zero(to, self.0.geometry.user_value_size()) };
                }
                let offset = self.0.layout.cpu_stride.wrapping_mul(cpu as u64);
                // SAFETY: cpu is below the map's number by contract.
                unsafe { mem::copy(to.wrapping_add(offset as usize), from, size) }
            }
        }
    }
}
