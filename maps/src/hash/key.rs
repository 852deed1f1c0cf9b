//! Keys and the hash function.
//!
//! The hash multiplies each word, after mixing it with the state, to 128 bits and folds the
//! halves together (as wyhash does): one multiplication for keys of up to eight bytes. Its
//! start is the map's random seed, so that nobody without access to the map can choose keys
//! that collide.

use crate::mem;

/// Odd, with as many ones as zeroes and no pattern (digits of the golden ratio and of pi).
const START: u64 = 0x9e37_79b9_7f4a_7c15;
const FACTOR: u64 = 0x2437_54a1_86a8_7b3b | 1 << 62;

#[inline(always)]
const fn fold(state: u64, word: u64) -> u64 {
    let product = ((state ^ word) as u128).wrapping_mul(FACTOR as u128);
    product as u64 ^ (product >> 64) as u64
}

/// A key to search for.
pub(super) trait Key {
    /// The hash under the map's seed.
    fn hash(&self, seed: u64) -> u32;

    /// Whether the element's key is this one.
    ///
    /// # Safety
    /// The key's size is readable at `stored`.
    unsafe fn equals(&self, stored: *const u8) -> bool;

    /// Writes the key into an element.
    ///
    /// # Safety
    /// The key's size is writable at `stored`.
    unsafe fn write(&self, stored: *mut u8);
}

/// A key of four or eight bytes, read once.
pub(super) struct Word<T>(pub T);

impl Key for Word<u32> {
    #[inline(always)]
    fn hash(&self, seed: u64) -> u32 {
        fold(seed ^ START, self.0 as u64) as u32
    }

    #[inline(always)]
    unsafe fn equals(&self, stored: *const u8) -> bool {
        // SAFETY: four bytes by contract.
        unsafe { mem::load::<u32>(stored) == self.0 }
    }

    #[inline(always)]
    unsafe fn write(&self, stored: *mut u8) {
        // SAFETY: four bytes by contract.
        unsafe { mem::store(stored, self.0) }
    }
}

impl Key for Word<u64> {
    #[inline(always)]
    fn hash(&self, seed: u64) -> u32 {
        fold(seed ^ START, self.0) as u32
    }

    #[inline(always)]
    unsafe fn equals(&self, stored: *const u8) -> bool {
        // SAFETY: eight bytes by contract.
        unsafe { mem::load::<u64>(stored) == self.0 }
    }

    #[inline(always)]
    unsafe fn write(&self, stored: *mut u8) {
        // SAFETY: eight bytes by contract.
        unsafe { mem::store(stored, self.0) }
    }
}

/// A key of any size. Where it lies in memory that others change meanwhile, hash and bytes may
/// not agree: an element is then stored where it cannot be found, and no worse.
pub(super) struct KeyN {
    /// `size` readable bytes.
    pub address: *const u8,
    /// Bytes of the map's keys.
    pub size: usize,
}

impl Key for KeyN {
    #[inline]
    fn hash(&self, seed: u64) -> u32 {
        let mut state = seed ^ START;
        let mut at = 0;
        while at < self.size & !7 {
            // SAFETY: at + 8 <= size.
            state = fold(state, unsafe { mem::load(self.address.wrapping_add(at)) });
            at = at.wrapping_add(8);
        }
        if at < self.size {
            // SAFETY: size & 7 bytes remain.
            state = fold(state, unsafe {
                mem::load_tail(self.address.wrapping_add(at), self.size)
            });
        }
        state as u32
    }

    #[inline(always)]
    unsafe fn equals(&self, stored: *const u8) -> bool {
        // SAFETY: both have `size` bytes.
        unsafe { mem::equal(self.address, stored, self.size) }
    }

    #[inline(always)]
    unsafe fn write(&self, stored: *mut u8) {
        // SAFETY: both have `size` bytes.
        unsafe { mem::copy(stored, self.address, self.size) }
    }
}
