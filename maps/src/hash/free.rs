//! Free elements: a stack, and a mark up to which elements were ever used.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use bpftime_abi::Errno;

use super::Hash;

/// Attempts to change a stack that others change at the same time.
const MAX_ATTEMPTS: u32 = 1 << 14;

/// A stack of elements linked by `next`. Elements that were never used are not on it, so that
/// a zeroed map needs no preparation and touches no memory that it does not use.
#[repr(C)]
pub(crate) struct FreeList {
    /// Link in the lower half, a count of changes in the upper, so that a stack that changed
    /// and came back to the same top is noticed.
    top: AtomicU64,
    /// Number of elements of this list that were ever taken.
    used: AtomicU32,
    pad: u32,
}

const LINK: u64 = u32::MAX as u64;

fn with_link(top: u64, link: u32) -> u64 {
    (top >> 32).wrapping_add(1) << 32 | link as u64
}

impl FreeList {
    /// Takes an element of a list that owns `count` elements from index `first`; gives its link,
    /// or nothing when there is none left. `EBUSY` if others always were faster.
    pub(super) fn pop(
        &self,
        hash: &Hash<'_>,
        first: u32,
        count: u32,
    ) -> Result<Option<u32>, Errno> {
        let mut attempt = 0;
        while attempt < MAX_ATTEMPTS {
            let top = self.top.load(Ordering::Acquire);
            let link = (top & LINK) as u32;
            let Some(element) = hash.element(link) else {
                let used = self.used.load(Ordering::Relaxed);
                if used >= count {
                    return Ok(None);
                }
                let next = used.wrapping_add(1);
                let order = Ordering::Relaxed;
                if self.used.compare_exchange(used, next, order, order).is_ok() {
                    return Ok(Some(first.wrapping_add(next)));
                }
                attempt = attempt.wrapping_add(1);
                continue;
            };
            // If somebody else takes the element now, this link is stale, and so is `top`.
            let next = hash.header_of(element).next.load(Ordering::Relaxed);
            let order = (Ordering::Acquire, Ordering::Relaxed);
            if self
                .top
                .compare_exchange(top, with_link(top, next), order.0, order.1)
                .is_ok()
            {
                // Whoever sees what is written to the element from here on sees the raised
                // sequence number of the bucket that it left.
                fence(Ordering::Release);
                return Ok(Some(link));
            }
            attempt = attempt.wrapping_add(1);
            core::hint::spin_loop();
        }
        Err(Errno::EBUSY)
    }

    /// Gives an element back; `false` if others always were faster, and it is lost.
    pub(super) fn push(&self, hash: &Hash<'_>, link: u32) -> bool {
        let Some(element) = hash.element(link) else {
            return true;
        };
        let mut attempt = 0;
        while attempt < MAX_ATTEMPTS {
            let top = self.top.load(Ordering::Relaxed);
            hash.header_of(element)
                .next
                .store((top & LINK) as u32, Ordering::Relaxed);
            let order = (Ordering::AcqRel, Ordering::Relaxed);
            if self
                .top
                .compare_exchange(top, with_link(top, link), order.0, order.1)
                .is_ok()
            {
                return true;
            }
            attempt = attempt.wrapping_add(1);
            core::hint::spin_loop();
        }
        false
    }

    /// Empties the list and counts all its elements as used.
    pub(super) fn clear(&self, count: u32) {
        let top = self.top.load(Ordering::Relaxed);
        self.top.store(with_link(top, 0), Ordering::Release);
        self.used.store(count, Ordering::Relaxed);
    }

    /// Number of elements ever taken.
    pub(super) fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }
}
