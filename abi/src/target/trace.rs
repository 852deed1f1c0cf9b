//! The ring that takes `bpf_trace_printk`'s text.

use core::mem::{offset_of, size_of};

/// Records in [`TraceRing`].
pub const TRACE_RECORDS: usize = 256;

/// Bytes of text in one [`TraceRecord`].
pub const TRACE_TEXT: usize = 232;

/// Text of `bpf_trace_printk`, newest over oldest.
///
/// A writer takes a ticket by adding 1 to `tickets`, uses record `ticket % TRACE_RECORDS`, and
/// stores `ticket + 1` to [`TraceRecord::sequence`] when the text is complete. A reader that expects
/// ticket `t` takes the record if `sequence` is `t + 1` before and after copying it; a higher one
/// means that records were lost.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct TraceRing {
    /// Tickets given out.
    pub tickets: u64,
    /// Futex word, raised after each record.
    pub futex: u32,
    /// Not used.
    pub reserved: [u32; 13],
    /// The records.
    pub records: [TraceRecord; TRACE_RECORDS],
}

/// One line of `bpf_trace_printk`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TraceRecord {
    /// Ticket of the record plus 1; 0 while it is written.
    pub sequence: u64,
    /// Thread id as the target sees it.
    pub tid: u32,
    /// Process id as the target sees it.
    pub tgid: u32,
    /// Bytes of text, at most [`TRACE_TEXT`].
    pub len: u32,
    /// Not used.
    pub reserved: u32,
    /// Text, not terminated.
    pub text: [u8; TRACE_TEXT],
}

const _: () = {
    assert!(size_of::<TraceRecord>() == 256);
    assert!(offset_of!(TraceRing, records) == 64);
};
