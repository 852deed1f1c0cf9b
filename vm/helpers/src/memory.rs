//! The `bpf_probe_read_*` family and `bpf_strncmp`.
//!
//! A process has one address space: what a program calls kernel memory (its stack, map values,
//! its context) lies in it too, so that all variants read the same memory. What cannot be read
//! is `-EFAULT`, and the destination is then zeroed, as in the kernel.

use core::mem::MaybeUninit;

use bpftime_abi::{Errno, VmCtx};

use crate::env::{Env, env, ops};

/// Bytes of a string that are fetched at once.
const CHUNK: usize = 256;
/// No fetch of a string crosses a boundary of this many bytes, so that a string that ends
/// before an unreadable page is read.
const PAGE: u64 = 4096;

/// Reads memory at any address.
///
/// # Safety
/// `env` was filled by an engine; `to` has `len` writable bytes.
unsafe fn read(env: &mut Env, to: *mut u8, len: u64, from: u64) -> u64 {
    if len == 0 {
        return 0;
    }
    // SAFETY: by contract.
    if unsafe { (ops(env).read_memory)(env, to, from, len) } == 0 {
        return 0;
    }
    // SAFETY: by contract.
    unsafe { zero(to, len) };
    Errno::EFAULT.to_r0()
}

/// # Safety
/// `to` has `len` writable bytes.
unsafe fn zero(to: *mut u8, len: u64) {
    let mut at = 0;
    while at < len {
        // SAFETY: at < len. Volatile: not to become a call of `memset` over registers that must
        // not be touched.
        unsafe { to.wrapping_add(at as usize).write_volatile(0) };
        at = at.wrapping_add(1);
    }
}

/// Reads a string of at most `len` bytes with its NUL at any address; gives its length with the
/// NUL, which is always written. Bytes after the NUL are left alone.
///
/// # Safety
/// As [`read`].
pub(crate) unsafe fn read_str(
    env: &mut Env,
    to: *mut u8,
    len: u64,
    from: u64,
) -> Result<u64, Errno> {
    let mut chunk = [MaybeUninit::<u8>::uninit(); CHUNK];
    let mut done = 0u64;
    while done < len {
        let address = from.wrapping_add(done);
        let to_boundary = PAGE.wrapping_sub(address % PAGE);
        let want = to_boundary.min(len.wrapping_sub(done)).min(CHUNK as u64);
        let start = chunk.as_mut_ptr().cast::<u8>();
        // SAFETY: want <= CHUNK.
        let result = unsafe { (ops(env).read_memory)(env, start, address, want) };
        if result != 0 {
            // SAFETY: by contract.
            unsafe { zero(to, len) };
            return Err(Errno::EFAULT);
        }
        let mut at = 0;
        while at < want {
            // SAFETY: at < want, and that many bytes were fetched.
            let byte = unsafe { start.wrapping_add(at as usize).read() };
            // SAFETY: done < len, since at most len - done bytes were fetched.
            unsafe { to.wrapping_add(done as usize).write_volatile(byte) };
            done = done.wrapping_add(1);
            at = at.wrapping_add(1);
            if byte == 0 {
                return Ok(done);
            }
        }
    }
    if len > 0 {
        // SAFETY: the last byte.
        unsafe {
            to.wrapping_add(len.wrapping_sub(1) as usize)
                .write_volatile(0)
        };
    }
    Ok(len)
}

/// `long bpf_probe_read(dst, size, ptr)`, also the `_user` and `_kernel` variants.
///
/// # Safety
/// The verifier proved that `r1` points to `r2` writable bytes.
pub unsafe extern "sysv64" fn probe_read(
    vm: *mut VmCtx,
    r1: u64,
    r2: u64,
    r3: u64,
    _: u64,
    _: u64,
) -> u64 {
    // The kernel's size is a u32.
    // SAFETY: by contract.
    unsafe { read(env(vm), r1 as *mut u8, r2 as u32 as u64, r3) }
}

/// `long bpf_probe_read_str(dst, size, ptr)`, also the `_user` and `_kernel` variants: the
/// string's length with its NUL, cut to `size`.
///
/// # Safety
/// The verifier proved that `r1` points to `r2` writable bytes.
pub unsafe extern "sysv64" fn probe_read_str(
    vm: *mut VmCtx,
    r1: u64,
    r2: u64,
    r3: u64,
    _: u64,
    _: u64,
) -> u64 {
    // SAFETY: by contract.
    match unsafe { read_str(env(vm), r1 as *mut u8, r2 as u32 as u64, r3) } {
        Ok(len) => len,
        Err(errno) => errno.to_r0(),
    }
}

/// `long bpf_strncmp(s1, s1_sz, s2)`: -1, 0 or 1.
///
/// # Safety
/// The verifier proved that `r1` points to `r2` readable bytes and `r3` to a NUL-terminated
/// string in a read-only map.
pub unsafe extern "sysv64" fn strncmp(
    _: *mut VmCtx,
    r1: u64,
    r2: u64,
    r3: u64,
    _: u64,
    _: u64,
) -> u64 {
    let mut at = 0;
    while at < r2 as u32 as usize {
        // SAFETY: at < r2; the second string has not ended before.
        let (a, b) = unsafe {
            let a = (r1 as *const u8).wrapping_add(at).read_volatile();
            (a, (r3 as *const u8).wrapping_add(at).read_volatile())
        };
        if a != b {
            return if a < b { u64::MAX } else { 1 };
        }
        if a == 0 {
            return 0;
        }
        at = at.wrapping_add(1);
    }
    0
}
