//! Reads and writes of this process's memory by address.
//!
//! Aligned accesses are atomic, because other threads and processes may use a map's values at
//! the same time; loads acquire and stores release, which is what the machine gives anyway.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

use bpftime_isa::{AtomicOp, Size, Width};

use super::alu;

macro_rules! load {
    ($address:expr, $plain:ty, $atomic:ty) => {{
        let pointer = $address as *mut $plain;
        if pointer.is_aligned() {
            // SAFETY: the caller vouches for the bytes, and the alignment was just checked.
            unsafe { <$atomic>::from_ptr(pointer) }.load(Ordering::Acquire)
        } else {
            // SAFETY: the caller vouches for the bytes.
            unsafe { pointer.read_unaligned() }
        }
    }};
}

macro_rules! store {
    ($address:expr, $value:expr, $plain:ty, $atomic:ty) => {{
        let pointer = $address as *mut $plain;
        if pointer.is_aligned() {
            // SAFETY: the caller vouches for the bytes, and the alignment was just checked.
            unsafe { <$atomic>::from_ptr(pointer) }.store($value as $plain, Ordering::Release);
        } else {
            // SAFETY: the caller vouches for the bytes.
            unsafe { pointer.write_unaligned($value as $plain) };
        }
    }};
}

/// Reads `size` bytes, zero-extended.
///
/// # Safety
///
/// The bytes are mapped, readable and initialised.
pub(crate) unsafe fn load(address: u64, size: Size) -> u64 {
    match size {
        Size::B => load!(address, u8, AtomicU8).into(),
        Size::H => load!(address, u16, AtomicU16).into(),
        Size::W => load!(address, u32, AtomicU32).into(),
        Size::DW => load!(address, u64, AtomicU64),
    }
}

/// Writes the low `size` bytes of `value`.
///
/// # Safety
///
/// The bytes are mapped and writable, and no Rust reference to them is in use.
pub(crate) unsafe fn store(address: u64, size: Size, value: u64) {
    match size {
        Size::B => store!(address, value, u8, AtomicU8),
        Size::H => store!(address, value, u16, AtomicU16),
        Size::W => store!(address, value, u32, AtomicU32),
        Size::DW => store!(address, value, u64, AtomicU64),
    }
}

macro_rules! update {
    ($address:expr, $plain:ty, $atomic:ty, $new:expr) => {{
        // SAFETY: the caller vouches for the bytes and their alignment.
        let cell = unsafe { <$atomic>::from_ptr($address as *mut $plain) };
        let mut old = cell.load(Ordering::SeqCst);
        loop {
            let new = $new(u64::from(old)) as $plain;
            match cell.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(old) => break u64::from(old),
                Err(now) => old = now,
            }
        }
    }};
}

/// Carries out `op` and gives what memory held before, zero-extended.
///
/// # Safety
///
/// As [`store`], and the address is a multiple of the width.
pub(crate) unsafe fn atomic(
    address: u64,
    width: Width,
    op: AtomicOp,
    operand: u64,
    expected: u64,
) -> u64 {
    let new = |old: u64| alu::atomic(op, width, old, operand, expected);
    match width {
        Width::W32 => update!(address, u32, AtomicU32, new),
        Width::W64 => update!(address, u64, AtomicU64, new),
    }
}
