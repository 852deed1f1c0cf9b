//! The ring that takes `bpf_trace_printk`'s text, see [`bpftime_abi::target::TraceRing`].

use core::mem::offset_of;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bpftime_abi::target::{Config, Control, TRACE_RECORDS, TRACE_TEXT, TraceRecord, TraceRing};

use crate::{environment, sys, task};

/// Adds a line, cut to [`TRACE_TEXT`] bytes, over the oldest one.
///
/// # Safety
///
/// `text` has `len` readable bytes.
pub unsafe fn write(text: *const u8, len: u64) {
    let control = sys::config_quad(offset_of!(Config, control));
    if control == 0 {
        return;
    }
    let ring = control as usize + offset_of!(Control, trace);
    // SAFETY: inside the control memory, whose size is fixed and sealed; accessed atomically.
    let tickets =
        unsafe { AtomicU64::from_ptr((ring + offset_of!(TraceRing, tickets)) as *mut u64) };
    // SAFETY: as above.
    let futex = unsafe { AtomicU32::from_ptr((ring + offset_of!(TraceRing, futex)) as *mut u32) };

    let ticket = tickets.fetch_add(1, Ordering::Relaxed);
    let record = ring
        + offset_of!(TraceRing, records)
        + ticket as usize % TRACE_RECORDS * size_of::<TraceRecord>();
    let record = record as *mut TraceRecord;
    let len = len.min(TRACE_TEXT as u64);
    // SAFETY: the index is below TRACE_RECORDS; a record that two writers share because one was
    // overtaken has a torn text, which its sequence number tells the reader.
    unsafe {
        let sequence = AtomicU64::from_ptr(&raw mut (*record).sequence);
        sequence.store(0, Ordering::Release);
        (&raw mut (*record).tid).write_volatile(task::tid());
        (&raw mut (*record).tgid).write_volatile(task::tgid());
        (&raw mut (*record).len).write_volatile(len as u32);
        environment::copy((&raw mut (*record).text).cast(), text, len);
        sequence.store(ticket + 1, Ordering::Release);
    }
    futex.fetch_add(1, Ordering::Release);
    environment::wake(futex);
}
