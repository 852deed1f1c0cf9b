//! eBPF maps in memory shared between processes that do not trust each other.
//!
//! A map is two pieces of shared memory, both all zeroes when the map is created:
//!
//! - *data*: what the kernel's `mmap` of the map would show (array values, the pages of a ring
//!   buffer); may be empty
//! - *control*: bookkeeping (locks, hash buckets and elements, counters, futex words)
//!
//! Everybody who uses the map maps both and makes a [`MapRef`] from a [`Geometry`] that came on
//! a trusted way. Shared memory holds no pointers; every offset read from it is checked where it
//! is used, sizes and masks come from the private `MapRef` only, and every loop is bounded
//! whatever the other side writes. A hostile process can thus spoil the contents, or make
//! updates fail, but neither crash nor hang the others.
//!
//! Lookups take no lock. Changes take a lock per hash bucket (or per ring buffer) that names its
//! owner: it survives the owner's death and refuses with `EBUSY` rather than wait for long.
//!
//! - [`geometry`]: type, sizes and flags of a map, and the kernel's checks at creation
//! - [`mapref`]: the handle, and the operations as a program sees them
//! - [`user`]: the operations as the `bpf()` system call shows them
//! - [`lock`]: who operates on a map, and the lock that survives its owner
//! - [`ringbuf`]: BPF ring buffer
//! - [`perf`]: perf ring buffers, of which a perf event array holds one per CPU
#![no_std]

mod array;
pub mod geometry;
mod hash;
pub mod lock;
pub mod mapref;
mod mem;
pub mod perf;
pub mod ringbuf;
pub mod user;

pub use geometry::Geometry;
pub use lock::{Caller, OwnerAlive};
pub use mapref::MapRef;
pub use perf::PerfRing;
pub use ringbuf::Record;
