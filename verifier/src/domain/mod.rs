//! The abstract domains.
//!
//! - [`bits`]: what the scalar domains are generic over
//! - [`tnum`]: tristate numbers
//! - [`interval`]: wrapped intervals
//! - [`deduce`]: what they say of each other
//! - [`scalar`]: their reduced product
//! - [`scalar_half`]: its operations of half width
//! - [`alu`]: arithmetic instructions on them
//! - [`refine`]: what a comparison says about its operands
//! - [`value`]: what a register or a stack cell holds
//! - [`stack`]: the stack of one frame, byte by byte
//! - [`section`]: spin locks held and the like
//! - [`state`]: frames and acquired resources
//! - `pairs`: a map to identities
//! - [`order`]: whether one state covers another
//! - [`join`]: a state that covers two others
//! - [`difference`]: how much such a state would forget

pub mod alu;
pub mod bits;
pub mod deduce;
pub mod difference;
#[expect(
    clippy::should_implement_trait,
    reason = "named as in the bit-vector trait; operators would hide which domain is meant"
)]
pub mod interval;
#[cfg(test)]
mod interval_tests;
pub mod join;
pub mod lineage;
pub mod order;
#[cfg(test)]
mod order_tests;
mod pairs;
pub mod refine;
#[expect(
    clippy::should_implement_trait,
    reason = "named as in the bit-vector trait; operators would hide which domain is meant"
)]
pub mod scalar;
pub mod scalar_half;
#[cfg(test)]
mod scalar_tests;
pub mod section;
pub mod stack;
pub mod state;
#[expect(
    clippy::should_implement_trait,
    reason = "named as in the bit-vector trait; operators would hide which domain is meant"
)]
pub mod tnum;
pub mod value;
