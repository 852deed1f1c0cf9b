//! The table agrees with what it says that it offers.

use bpftime_abi::Errno;
use bpftime_helpers::{CAPABILITIES, HELPERS};

/// `bpf_loop`: it is offered, but no function here carries it out.
const BY_ENGINES: [usize; 1] = [181];

#[test]
fn what_is_not_offered_returns_einval() {
    let missing = HELPERS[0] as usize;
    for (number, helper) in HELPERS.iter().enumerate() {
        let there = *helper as usize != missing || BY_ENGINES.contains(&number);
        assert_eq!(
            there,
            CAPABILITIES.has_helper(number as u32),
            "helper {number}"
        );
    }
    let mut host = crate::environment::Host::new();
    assert_eq!(host.call(255, [0; 5]), Errno::EINVAL.to_r0());
}
