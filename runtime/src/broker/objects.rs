//! What descriptors of tools refer to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::event::Event;
use super::map::Map;
use super::program::Program;

/// Type information that a tool loaded.
#[derive(Debug)]
pub struct Btf {
    /// Id as the tool sees it.
    pub id: u32,
    /// The blob, checked by [`crate::bpf::btf::check`].
    pub blob: Vec<u8>,
}

/// A program on an event, made by `BPF_LINK_CREATE`.
#[derive(Debug)]
pub struct Link {
    /// Id as the tool sees it.
    pub id: u32,
    /// What runs.
    pub program: Arc<Program>,
    /// Where.
    pub event: Arc<Event>,
    /// What `bpf_get_attach_cookie` gives.
    pub cookie: u64,
}

/// An object behind a descriptor.
#[derive(Clone, Debug)]
pub enum Object {
    /// A map.
    Map(Arc<Map>),
    /// A program.
    Program(Arc<Program>),
    /// Type information.
    Btf(Arc<Btf>),
    /// A program on an event.
    Link(Arc<Link>),
    /// A perf event.
    Event(Arc<Event>),
}

/// Gives numbers from 1 upwards, never the same twice.
#[derive(Debug, Default)]
pub struct Counter(AtomicU32);

impl Counter {
    /// The next number.
    pub fn next(&self) -> u32 {
        self.0.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }
}
