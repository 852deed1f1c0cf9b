//! Access to memory that others may write at the same time.
//!
//! Everything here reads or writes each byte once (volatile), so that the compiler can neither
//! repeat a read of shared memory nor turn a loop into a call of `memcpy`.

/// A `u64` at any address.
#[repr(C, packed)]
#[derive(Clone, Copy)]
struct Unaligned<T: Copy>(T);

/// Reads a value at any address.
///
/// # Safety
/// `size_of::<T>()` bytes at `address` are readable, and every bit pattern is a valid `T`.
#[inline(always)]
pub(crate) unsafe fn load<T: Copy>(address: *const u8) -> T {
    // SAFETY: readable by contract; the packed wrapper needs no alignment.
    unsafe { address.cast::<Unaligned<T>>().read_volatile().0 }
}

/// Writes a value at any address.
///
/// # Safety
/// `size_of::<T>()` bytes at `address` are writable.
#[inline(always)]
pub(crate) unsafe fn store<T: Copy>(address: *mut u8, value: T) {
    // SAFETY: writable by contract; the packed wrapper needs no alignment.
    unsafe {
        address
            .cast::<Unaligned<T>>()
            .write_volatile(Unaligned(value))
    }
}

/// Copies `len` bytes, eight at a time; aligned words are copied whole, so that a reader sees no
/// mix of two values within one.
///
/// # Safety
/// `len` bytes are readable at `from` and writable at `to`, and the two do not overlap unless
/// they are the same.
#[inline]
pub(crate) unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
    let words = len & !7;
    let mut at = 0;
    while at < words {
        // SAFETY: at + 8 <= len.
        unsafe { store::<u64>(to.wrapping_add(at), load(from.wrapping_add(at))) };
        at = at.wrapping_add(8);
    }
    if len & 4 != 0 {
        // SAFETY: at + 4 <= len.
        unsafe { store::<u32>(to.wrapping_add(at), load(from.wrapping_add(at))) };
        at = at.wrapping_add(4);
    }
    if len & 2 != 0 {
        // SAFETY: at + 2 <= len.
        unsafe { store::<u16>(to.wrapping_add(at), load(from.wrapping_add(at))) };
        at = at.wrapping_add(2);
    }
    if len & 1 != 0 {
        // SAFETY: at + 1 <= len.
        unsafe { store::<u8>(to.wrapping_add(at), load(from.wrapping_add(at))) };
    }
}

/// Fills `len` bytes with zeroes.
///
/// # Safety
/// `len` bytes at `to` are writable.
#[inline]
pub(crate) unsafe fn zero(to: *mut u8, len: usize) {
    let mut at = 0;
    while at < len & !7 {
        // SAFETY: at + 8 <= len.
        unsafe { store::<u64>(to.wrapping_add(at), 0) };
        at = at.wrapping_add(8);
    }
    while at < len {
        // SAFETY: at < len.
        unsafe { store::<u8>(to.wrapping_add(at), 0) };
        at = at.wrapping_add(1);
    }
}

/// The last `len` bytes (fewer than eight) of a key as one word.
///
/// # Safety
/// `len & 7` bytes at `from` are readable.
#[inline(always)]
pub(crate) unsafe fn load_tail(from: *const u8, len: usize) -> u64 {
    let mut word = 0u64;
    let mut at = 0usize;
    if len & 4 != 0 {
        // SAFETY: at + 4 <= len & 7.
        word = unsafe { load::<u32>(from) } as u64;
        at = 4;
    }
    if len & 2 != 0 {
        // SAFETY: at + 2 <= len & 7.
        word = word << 16 | unsafe { load::<u16>(from.wrapping_add(at)) } as u64;
        at = at.wrapping_add(2);
    }
    if len & 1 != 0 {
        // SAFETY: at + 1 <= len & 7.
        word = word << 8 | unsafe { load::<u8>(from.wrapping_add(at)) } as u64;
    }
    word
}

/// Whether `len` bytes are equal.
///
/// # Safety
/// `len` bytes at `a` and at `b` are readable.
#[inline(always)]
pub(crate) unsafe fn equal(a: *const u8, b: *const u8, len: usize) -> bool {
    let words = len & !7;
    let mut at = 0;
    while at < words {
        // SAFETY: at + 8 <= len.
        if unsafe { load::<u64>(a.wrapping_add(at)) != load::<u64>(b.wrapping_add(at)) } {
            return false;
        }
        at = at.wrapping_add(8);
    }
    // SAFETY: len & 7 bytes remain.
    unsafe { load_tail(a.wrapping_add(at), len) == load_tail(b.wrapping_add(at), len) }
}
