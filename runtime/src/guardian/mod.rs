//! The guardian: one process per target, which does everything that is done to it.
//!
//! - [`protocol`]: what broker and guardian say to each other

pub mod protocol;
