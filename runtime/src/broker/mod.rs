//! The broker: one process per user that owns maps, programs, links and targets.
//!
//! - [`objects`]: what descriptors of tools refer to
//! - [`map`], [`program`], [`event`]: the objects themselves
//! - [`registry`]: object ids, and which descriptor of a tool is which object
//! - [`reaper`]: notices that a tool has closed its last descriptor of an object
//! - [`session`]: one tool, its listener and its thread
//! - [`voice`]: sentences for the user of a tool
//! - [`targets`], [`target`]: processes that programs run in, each with its guardian
//! - [`trace`]: what programs print, for tools to read
//! - [`wakeup`]: wakes tools that wait for ring buffers
//! - [`protocol`], [`server`], [`report`]: what the command line asks
//!
//! Objects are reference-counted ([`std::sync::Arc`]): a descriptor, a program that uses a map, a
//! link that uses a program keep what they use. Nothing is freed by hand, so that a tool that
//! dies at any moment leaves nothing behind.

pub mod event;
pub mod map;
pub mod objects;
pub mod program;
pub mod protocol;
pub mod reaper;
pub mod registry;
pub mod report;
pub mod server;
pub mod session;
pub mod state;
pub mod target;
pub mod targets;
pub mod trace;
pub mod voice;
pub mod wakeup;

pub use state::Broker;
