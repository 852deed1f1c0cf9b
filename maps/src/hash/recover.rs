//! What is to be done after an owner's death.

use core::sync::atomic::{AtomicU64, Ordering};

use bpftime_abi::Errno;

use super::{Hash, MAX_CHAIN};
use crate::lock::Caller;

impl Hash<'_> {
    /// Frees the locks of dead owners and finds lost elements.
    pub(crate) fn recover(&self, caller: &Caller) -> Result<(), Errno> {
        let mut index = 0u32;
        while index <= self.0.layout.bucket_mask {
            let bucket = self.bucket_of(index);
            if bucket.lock.take_from_dead(caller) {
                self.0.header().lost.store(1, Ordering::Relaxed);
                bucket.lock.release(caller);
            }
            index = index.wrapping_add(1);
        }
        if self.0.header().lost.load(Ordering::Relaxed) != 0 {
            self.find_lost(caller)?;
        }
        Ok(())
    }

    /// Makes free every element that is in no chain. Holds all locks meanwhile; `EBUSY` if it
    /// cannot get them.
    #[cold]
    #[inline(never)]
    pub(super) fn find_lost(&self, caller: &Caller) -> Result<(), Errno> {
        let header = self.0.header();
        header.lock.take(caller)?;
        let mut taken = 0u32;
        let mut result = Ok(());
        while taken <= self.0.layout.bucket_mask {
            if let Err(errno) = self.take(self.bucket_of(taken), caller) {
                result = Err(errno);
                break;
            }
            taken = taken.wrapping_add(1);
        }
        if result.is_ok() {
            self.sweep();
            header.lost.store(0, Ordering::Relaxed);
        }
        while taken > 0 {
            taken = taken.wrapping_sub(1);
            self.bucket_of(taken).lock.release(caller);
        }
        header.lock.release(caller);
        result
    }

    /// Rebuilds the free lists. All locks are held, and elements are only taken from or given
    /// to the lists under a lock.
    fn sweep(&self) {
        let header = self.0.header();
        let spare_count = self.spare_count();
        let used = spare_count
            .wrapping_add(header.free.used())
            .min(self.0.layout.element_count);
        let words = (self.0.layout.element_count as u64).div_ceil(64) as u32;
        let mut word = 0;
        while word < words {
            self.bitmap(word).store(0, Ordering::Relaxed);
            word = word.wrapping_add(1);
        }

        let mut linked = 0u32;
        let mut index = 0u32;
        while index <= self.0.layout.bucket_mask {
            let bucket = self.bucket_of(index);
            // An element may have left this chain without the number being raised.
            bucket.sequence.fetch_add(1, Ordering::Release);
            let mut link = bucket.head.load(Ordering::Relaxed);
            let mut steps = 0u32;
            while let Some(element) = self.element(link)
                && steps < MAX_CHAIN
            {
                let bit = link.wrapping_sub(1);
                self.bitmap(bit / 64)
                    .fetch_or(1 << (bit % 64), Ordering::Relaxed);
                linked = linked.wrapping_add(1);
                link = self.header_of(element).next.load(Ordering::Relaxed);
                steps = steps.wrapping_add(1);
            }
            index = index.wrapping_add(1);
        }

        // As many free elements as entries are missing; the rest serves replacement.
        let max_entries = self.0.geometry.max_entries;
        let never_used = self.0.layout.element_count.wrapping_sub(used);
        let mut missing = max_entries
            .saturating_sub(linked)
            .saturating_sub(never_used);
        header.free.clear(used.saturating_sub(spare_count));
        header.spare.clear(spare_count);
        let mut index = 0;
        while index < used {
            if self.bitmap(index / 64).load(Ordering::Relaxed) & 1 << (index % 64) == 0 {
                let list = if missing > 0 {
                    &header.free
                } else {
                    &header.spare
                };
                missing = missing.saturating_sub(1);
                list.push(self, index.wrapping_add(1));
            }
            index = index.wrapping_add(1);
        }
    }

    /// A word of the bitmap.
    fn bitmap(&self, word: u32) -> &AtomicU64 {
        let words = (self.0.layout.element_count as u64).div_ceil(64);
        // The bound holds at every call; should one be wrong, it hits a word of the bitmap.
        let word = (word as u64).min(words.saturating_sub(1));
        let offset = self.0.layout.bitmap.wrapping_add(word.wrapping_mul(8));
        // SAFETY: inside the bitmap (`Layout::of`), 8-aligned, only used as atomics.
        unsafe {
            &*self
                .0
                .control
                .wrapping_add(offset as usize)
                .cast::<AtomicU64>()
        }
    }
}
