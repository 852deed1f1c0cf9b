//! The abstract domains.
//!
//! - [`bits`]: what the scalar domains are generic over
//! - [`tnum`]: tristate numbers
//! - [`interval`]: wrapped intervals

pub mod bits;
pub mod interval;
pub mod tnum;
