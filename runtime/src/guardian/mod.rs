//! The guardian: one process per target, which does everything that is done to it.
//!
//! - [`protocol`]: what broker and guardian say to each other
//! - [`serve`]: the guardian's process
//! - [`inside`]: brings the target in line with what is wanted
//! - [`objects`]: maps, output rings and programs, and where they are in the target
//! - [`tables`]: map handles as the target's programs need them
//! - [`trace_ring`], [`trace`]: text of `bpf_trace_printk` on its way to the broker
//! - [`voice`]: what the guardian's threads say to the broker
//! - [`report`]: what the target's memory says of its hooks
//! - [`undo`]: a process given back as it was, without a guardian

pub mod inside;
pub mod objects;
pub mod protocol;
pub mod report;
pub mod serve;
pub mod tables;
pub mod trace;
pub mod trace_ring;
pub mod undo;
pub mod voice;

pub use serve::run;
