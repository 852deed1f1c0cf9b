//! Virtual CPUs.

use core::mem::size_of;

/// Leases in a [`LeaseTable`].
pub const MAX_LEASES: usize = 64;

/// Virtual CPUs, shared by all targets of a broker. The index of a lease is the CPU number.
#[repr(C, align(4096))]
#[derive(Debug)]
pub struct LeaseTable {
    /// By CPU number.
    pub leases: [Lease; MAX_LEASES],
}

/// Right to the per-CPU values of one virtual CPU.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Lease {
    /// 0: free; else `target_id << 32 | tgid` of the holder, which swaps it in and stores 0 when
    /// done. The broker frees leases of targets that are gone.
    pub owner: u64,
}

const _: () = {
    assert!(size_of::<Lease>() == 64);
};
