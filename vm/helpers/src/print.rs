//! `bpf_trace_printk`, `bpf_trace_vprintk`, `bpf_snprintf`.

use bpftime_abi::{Errno, VmCtx};

use crate::env::{Env, env, ops};
use crate::format::{Args, Format, Text, format};

/// Longest line of `trace_printk`; the rest is cut off.
const MAX_LINE: usize = 1024;
/// Arguments that the kernel's `bpf_trace_vprintk` and `bpf_snprintf` take at most.
const MAX_ARGS: u64 = 12;

/// Formats a line and hands it to the environment.
///
/// # Safety
/// `env` was filled by an engine.
unsafe fn trace(env: &mut Env, template: Format, args: Args) -> Result<u64, Errno> {
    let mut line = [core::mem::MaybeUninit::<u8>::uninit(); MAX_LINE];
    let start = line.as_mut_ptr().cast::<u8>();
    // SAFETY: line has MAX_LINE bytes.
    let mut text = unsafe { Text::new(start, MAX_LINE) };
    // SAFETY: by contract.
    unsafe { format(env, &mut text, template, args) }?;
    let stored = text.len().min(MAX_LINE);
    // SAFETY: `stored` bytes were written.
    unsafe { (ops(env).trace_printk)(env, start, stored as u64) };
    Ok(text.len() as u64)
}

fn to_r0(result: Result<u64, Errno>) -> u64 {
    match result {
        Ok(len) => len,
        Err(errno) => errno.to_r0(),
    }
}

/// `long bpf_trace_printk(fmt, fmt_size, arg1, arg2, arg3)`: the length of the text.
///
/// # Safety
/// The verifier proved that `r1` points to `r2` readable bytes.
pub unsafe extern "sysv64" fn trace_printk(
    vm: *mut VmCtx,
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    r5: u64,
) -> u64 {
    let words = [r3, r4, r5];
    // SAFETY: by contract; there are three words.
    to_r0(unsafe {
        match Format::new(r1 as *const u8, r2 as u32 as usize) {
            Ok(template) => trace(env(vm), template, Args::new(words.as_ptr().cast(), 3)),
            Err(errno) => Err(errno),
        }
    })
}

/// Arguments in memory; `EINVAL` for a length that is not of up to twelve words.
///
/// # Safety
/// `len` bytes at `data` are readable.
unsafe fn args(data: u64, len: u64) -> Result<Args, Errno> {
    let len = len as u32 as u64;
    if !len.is_multiple_of(8) || len > MAX_ARGS * 8 || len != 0 && data == 0 {
        return Err(Errno::EINVAL);
    }
    // SAFETY: by contract.
    Ok(unsafe { Args::new(data as *const u8, (len / 8) as usize) })
}

/// `long bpf_trace_vprintk(fmt, fmt_size, data, data_len)`: the length of the text.
///
/// # Safety
/// The verifier proved that `r1` points to `r2` readable bytes and `r3` to `r4` ones, or null.
pub unsafe extern "sysv64" fn trace_vprintk(
    vm: *mut VmCtx,
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    _: u64,
) -> u64 {
    // SAFETY: by contract.
    to_r0(unsafe {
        match (
            args(r3, r4),
            Format::new(r1 as *const u8, r2 as u32 as usize),
        ) {
            (Ok(args), Ok(template)) => trace(env(vm), template, args),
            (Err(errno), _) | (_, Err(errno)) => Err(errno),
        }
    })
}

/// Bytes in which the format of `bpf_snprintf` must end. The verifier proves that it does.
const MAX_FORMAT: usize = 1 << 16;

/// `long bpf_snprintf(str, str_size, fmt, data, data_len)`: the length of the whole text with
/// its NUL.
///
/// # Safety
/// The verifier proved that `r1` points to `r2` writable bytes (or is null), `r3` to a
/// NUL-terminated string in a read-only map, and `r4` to `r5` readable bytes (or is null).
pub unsafe extern "sysv64" fn snprintf(
    vm: *mut VmCtx,
    r1: u64,
    r2: u64,
    r3: u64,
    r4: u64,
    r5: u64,
) -> u64 {
    // SAFETY: by contract.
    let parts = unsafe { (args(r4, r5), Format::new(r3 as *const u8, MAX_FORMAT)) };
    let (args, template) = match parts {
        (Ok(args), Ok(template)) => (args, template),
        (Err(errno), _) | (_, Err(errno)) => return errno.to_r0(),
    };
    let size = r2 as u32 as usize;
    // SAFETY: r1 has size bytes, of which the last is kept for the NUL.
    let mut text = unsafe { Text::new(r1 as *mut u8, size.saturating_sub(1)) };
    // SAFETY: by contract.
    if let Err(errno) = unsafe { format(env(vm), &mut text, template, args) } {
        return errno.to_r0();
    }
    if size > 0 {
        let end = text.len().min(size.wrapping_sub(1));
        // SAFETY: end < size.
        unsafe { (r1 as *mut u8).wrapping_add(end).write_volatile(0) };
    }
    (text.len() as u64).wrapping_add(1)
}
