//! Iteration in the order of buckets and chains.

use core::sync::atomic::{Ordering, fence};

use bpftime_abi::Errno;

use super::{Hash, Key, KeyN, MAX_ATTEMPTS, Word, with_key};
use crate::mem;

impl Hash<'_> {
    /// Writes the key that follows `key` to `to`; the first one if `key` is null or unknown.
    /// `ENOENT` at the end.
    ///
    /// # Safety
    /// `key` is null or has `key_size` readable bytes; `to` has as many writable ones.
    pub(crate) unsafe fn next_key(&self, key: *const u8, to: *mut u8) -> Result<(), Errno> {
        if key.is_null() {
            return self.first_key_from(0, to);
        }
        with_key!(self, key, |key| self.key_after(&key, to))
    }

    fn key_after<K: Key>(&self, key: &K, to: *mut u8) -> Result<(), Errno> {
        let hash = key.hash(self.0.geometry.seed);
        let bucket = self.bucket_of(hash);
        let mut attempt = 0;
        loop {
            let sequence = bucket.sequence.load(Ordering::Acquire);
            let element = self.walk(bucket, hash, key);
            let next = if element.is_null() {
                None
            } else {
                self.element(self.header_of(element).next.load(Ordering::Acquire))
            };
            if let Some(next) = next {
                self.copy_key(next, to);
            }
            fence(Ordering::Acquire);
            if bucket.sequence.load(Ordering::Relaxed) == sequence || attempt >= MAX_ATTEMPTS {
                return match (element.is_null(), next) {
                    (true, _) => self.first_key_from(0, to),
                    (false, Some(_)) => Ok(()),
                    (false, None) => {
                        let index = hash & self.0.layout.bucket_mask;
                        self.first_key_from(index.wrapping_add(1), to)
                    }
                };
            }
            attempt = attempt.wrapping_add(1);
        }
    }

    /// The first key in the buckets from `index`.
    fn first_key_from(&self, index: u32, to: *mut u8) -> Result<(), Errno> {
        let mut index = index;
        while index <= self.0.layout.bucket_mask {
            let bucket = self.bucket_of(index);
            let mut attempt = 0;
            loop {
                let sequence = bucket.sequence.load(Ordering::Acquire);
                let element = self.element(bucket.head.load(Ordering::Acquire));
                if let Some(element) = element {
                    self.copy_key(element, to);
                }
                fence(Ordering::Acquire);
                let same = bucket.sequence.load(Ordering::Relaxed) == sequence;
                if same || attempt >= MAX_ATTEMPTS {
                    if element.is_some() {
                        return Ok(());
                    }
                    break;
                }
                attempt = attempt.wrapping_add(1);
            }
            index = index.wrapping_add(1);
        }
        Err(Errno::ENOENT)
    }

    fn copy_key(&self, element: *mut u8, to: *mut u8) {
        // SAFETY: an element has a key; `to` has room for one by the contract of `next_key`.
        unsafe { mem::copy(to, self.key_of(element), self.0.geometry.key_size as usize) }
    }
}
