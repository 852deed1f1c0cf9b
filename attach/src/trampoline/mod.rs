//! From a probed function to machine code: what can be patched, with what, and the trampoline
//! that the patch jumps to. Pure: bytes in, bytes out.
//!
//! - [`mod@plan`]: whether and how a function's entry can be replaced by a jump
//! - [`relocate`]: the displaced instructions, rewritten for another address
//! - [`build`]: the trampoline around them and the bytes of the patch
//! - [`leaf`]: whether a function can be left otherwise than by its return
//! - [`refusal`]: why a function cannot be probed

pub mod build;
pub mod leaf;
pub mod plan;
pub mod refusal;
pub mod relocate;

pub use build::{
    BuildError, Dispatchers, Patch, Trampoline, build_entry, build_return, build_unwind,
};
pub use leaf::is_leaf;
pub use plan::{Jump, Padding, Site, SitePlan, plan};
pub use refusal::{Obstacle, Refusal, returns_twice};
pub use relocate::Relocated;
