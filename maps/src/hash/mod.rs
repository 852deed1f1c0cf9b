//! Hash maps and per-CPU hash maps.
//!
//! Control memory holds a header (see `mapref`), the buckets, the elements and a bitmap. A link
//! is the index of an element plus one, zero is the end, so that zeroed memory is an empty map.
//! Links read from memory are checked against the number of elements, chains are followed for
//! at most [`MAX_CHAIN`] steps.
//!
//! *Readers* take no lock. They read the bucket's sequence number, walk the chain, and read the
//! sequence number again; a change means that an element they may have seen was given free in
//! between, and they try again. *Writers* hold the bucket's lock. Every change to a chain is
//! one store of one link, so the death of a writer leaves each chain whole; at worst an element
//! is lost, which `recover` finds.
//!
//! A key that exists gets its new value in another element, which takes the old one's place in
//! the chain: nobody sees half a value, and programs that hold the old value's address go on
//! with the old value, as in the kernel. Per-CPU values are changed in place, as in the kernel.

mod change;
mod free;
mod iterate;
mod key;
mod recover;

use core::sync::atomic::{AtomicU32, Ordering, fence};

use bpftime_abi::Errno;

pub(crate) use change::Values;
pub(crate) use free::FreeList;
use key::{Key, KeyN, Word};

use crate::geometry::{BUCKET_BYTES, ELEMENT_HEADER_BYTES, HEADER_BYTES};
use crate::lock::Lock;
use crate::mapref::MapRef;
use crate::mem;

/// Steps after which a chain counts as broken. With twice as many buckets as entries and a keyed hash,
/// no chain comes near.
const MAX_CHAIN: u32 = 4096;

/// Attempts of a reader that is overtaken by writers, before it trusts what it saw last.
const MAX_ATTEMPTS: u32 = 64;

/// A bucket.
#[repr(C)]
struct Bucket {
    lock: Lock,
    head: AtomicU32,
    /// Raised whenever an element leaves the chain, before it can be used again.
    sequence: AtomicU32,
}

/// The part of an element before its key.
#[repr(C)]
struct Element {
    next: AtomicU32,
    hash: AtomicU32,
}

const _: () = assert!(size_of::<Bucket>() as u64 == BUCKET_BYTES);
const _: () = assert!(size_of::<Element>() as u64 == ELEMENT_HEADER_BYTES);

/// A hash map or per-CPU hash map.
#[derive(Clone, Copy)]
pub(crate) struct Hash<'m>(&'m MapRef);

/// Calls a generic function with the key in the shape that fits its size.
macro_rules! with_key {
    ($hash:expr, $key:expr, |$name:ident| $body:expr) => {
        match $hash.0.geometry.key_size {
            4 => {
                // SAFETY: the caller of the method promises key_size readable bytes.
                let $name = Word::<u32>(unsafe { mem::load($key) });
                $body
            }
            8 => {
                // SAFETY: as above.
                let $name = Word::<u64>(unsafe { mem::load($key) });
                $body
            }
            size => {
                let $name = KeyN {
                    address: $key,
                    size: size as usize,
                };
                $body
            }
        }
    };
}
use with_key;

impl<'m> Hash<'m> {
    #[inline(always)]
    pub(crate) fn new(map: &'m MapRef) -> Self {
        Self(map)
    }

    /// Address of the (first CPU's) value for `key`, or null.
    ///
    /// # Safety
    /// `key_size` bytes at `key` are readable.
    #[inline(always)]
    pub(crate) unsafe fn lookup(&self, key: *const u8) -> *mut u8 {
        with_key!(self, key, |key| {
            let element = self.find(&key, |_| ());
            if element.is_null() {
                element
            } else {
                self.value_of(element)
            }
        })
    }

    /// Copies the value (all CPUs' values) for `key` to `to`, without a mix of two updates.
    ///
    /// # Safety
    /// `key_size` bytes at `key` are readable, `user_value_size` bytes at `to` writable.
    pub(crate) unsafe fn read(&self, key: *const u8, to: *mut u8) -> Result<(), Errno> {
        let size = self.0.geometry.user_value_size();
        with_key!(self, key, |key| {
            let element = self.find(&key, |element| {
                // SAFETY: elements have room for user_value_size bytes of values.
                unsafe { mem::copy(to, self.value_of(element), size) }
            });
            if element.is_null() {
                Err(Errno::ENOENT)
            } else {
                Ok(())
            }
        })
    }

    /// The element with the key, or null. `seen` is called with the element while it is still
    /// to be confirmed that it was not used again meanwhile, perhaps several times.
    #[inline(always)]
    fn find<K: Key>(&self, key: &K, seen: impl Fn(*mut u8)) -> *mut u8 {
        let hash = key.hash(self.0.geometry.seed);
        let bucket = self.bucket_of(hash);
        let mut attempt = 0;
        loop {
            let sequence = bucket.sequence.load(Ordering::Acquire);
            let found = self.walk(bucket, hash, key);
            if !found.is_null() {
                seen(found);
            }
            // All reads of elements come before the second read of the sequence number.
            fence(Ordering::Acquire);
            if bucket.sequence.load(Ordering::Relaxed) == sequence || attempt >= MAX_ATTEMPTS {
                return found;
            }
            attempt = attempt.wrapping_add(1);
            core::hint::spin_loop();
        }
    }

    #[inline(always)]
    fn walk<K: Key>(&self, bucket: &Bucket, hash: u32, key: &K) -> *mut u8 {
        let mut link = bucket.head.load(Ordering::Acquire);
        let mut steps = 0u32;
        while steps < MAX_CHAIN {
            let Some(element) = self.element(link) else {
                break;
            };
            let header = self.header_of(element);
            // SAFETY: an element has room for a key of this map's size.
            let is_equal = || unsafe { key.equals(self.key_of(element)) };
            if header.hash.load(Ordering::Relaxed) == hash && is_equal() {
                return element;
            }
            link = header.next.load(Ordering::Acquire);
            steps = steps.wrapping_add(1);
        }
        core::ptr::null_mut()
    }

    #[inline(always)]
    fn bucket_of(&self, hash: u32) -> &'m Bucket {
        let index = (hash & self.0.layout.bucket_mask) as u64;
        let offset = HEADER_BYTES.wrapping_add(index.wrapping_mul(BUCKET_BYTES));
        // SAFETY: the index is masked, so the bucket is inside the control memory
        // (`Layout::of`), 8-aligned, and all its words are atomic.
        unsafe {
            &*self
                .0
                .control
                .wrapping_add(offset as usize)
                .cast::<Bucket>()
        }
    }

    /// Address of the element that a link names; nothing for the end and for nonsense.
    #[inline(always)]
    fn element(&self, link: u32) -> Option<*mut u8> {
        let index = link.wrapping_sub(1);
        if index >= self.0.layout.element_count {
            return None;
        }
        let offset = self.0.layout.element_stride.wrapping_mul(index as u64);
        let offset = self.0.layout.elements.wrapping_add(offset);
        Some(self.0.control.wrapping_add(offset as usize))
    }

    /// `element` comes from [`Self::element`].
    #[inline(always)]
    fn header_of(&self, element: *mut u8) -> &'m Element {
        // SAFETY: elements lie inside the control memory, are 8-aligned (all strides are
        // multiples of 8), and these words are only used as atomics.
        unsafe { &*element.cast::<Element>() }
    }

    #[inline(always)]
    fn key_of(&self, element: *mut u8) -> *mut u8 {
        element.wrapping_add(ELEMENT_HEADER_BYTES as usize)
    }

    #[inline(always)]
    fn value_of(&self, element: *mut u8) -> *mut u8 {
        let offset = ELEMENT_HEADER_BYTES.wrapping_add(self.0.layout.key_stride);
        element.wrapping_add(offset as usize)
    }
}
