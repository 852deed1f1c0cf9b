//! The abstract domains.
//!
//! - [`bits`]: what the scalar domains are generic over
//! - [`tnum`]: tristate numbers
//! - [`interval`]: wrapped intervals
//! - [`scalar`]: their reduced product
//! - [`refine`]: what a comparison says about its operands
//! - [`value`]: what a register or a stack cell holds
//! - [`stack`]: the stack of one frame, byte by byte
//! - [`state`]: frames and acquired resources
//! - [`order`]: whether one state covers another
//! - [`join`]: a state that covers two others

pub mod bits;
pub mod interval;
pub mod join;
pub mod order;
pub mod refine;
pub mod scalar;
#[cfg(test)]
mod scalar_tests;
pub mod stack;
pub mod state;
pub mod tnum;
pub mod value;
