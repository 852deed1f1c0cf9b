//! Take over a place in a process and give it back.

pub mod trampoline;
