//! Identity, clocks, random numbers.

use std::collections::BTreeSet;

use crate::environment::{CLOCKS, Host};

#[test]
fn identity_and_clocks_come_from_the_environment() {
    let mut host = Host::new();
    let mut call = |helper| host.call(helper, [0; 5]);
    assert_eq!(call(5), CLOCKS + libc::CLOCK_MONOTONIC as u64);
    assert_eq!(call(125), CLOCKS + libc::CLOCK_BOOTTIME as u64);
    assert_eq!(call(160), CLOCKS + libc::CLOCK_MONOTONIC_COARSE as u64);
    assert_eq!(call(208), CLOCKS + libc::CLOCK_TAI as u64);
    assert_eq!(call(8), 3);
    assert_eq!(call(14), 11 << 32 | 12);
    assert_eq!(call(15), 13 << 32 | 14);
    assert_eq!(call(42), 0);
    assert_eq!(call(173), 0xf1f1);
    assert_eq!(call(174), 0xc00c1e);
    // 1000 s are 250000 ticks after -300 s in 32 bits.
    assert_eq!(call(118), 250_000 + (1 << 32) - 75_000);
    let numbers: BTreeSet<_> = (0..10).map(|_| call(7)).collect();
    assert!(numbers.len() == 10 && numbers.iter().all(|number| number >> 32 == 0));
}

#[test]
fn comm_is_cut_terminated_and_padded() {
    let mut host = Host::new();
    for size in 1..24usize {
        let mut buffer = [0xff; 32];
        assert_eq!(
            host.call(16, [buffer.as_mut_ptr() as u64, size as u64, 0, 0, 0]),
            0
        );
        let mut expected = [0xff; 32];
        expected[..size].fill(0);
        let cut = (size - 1).min(15);
        expected[..cut].copy_from_slice(&b"fifteen-letters"[..cut]);
        assert_eq!(buffer, expected, "size {size}");
    }
    assert_eq!(host.call(16, [0; 5]) as i64, -22);
}
