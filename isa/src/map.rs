//! Map definitions.

use std::sync::Arc;

use bpftime_abi::MapType;

/// What a map is, as far as verification and creation need to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MapDef {
    /// Name, at most 15 bytes when it comes from a `bpf()` call.
    pub name: String,
    /// Kind.
    pub map_type: MapType,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value.
    pub value_size: u32,
    /// Entries; bytes of data for ring buffers.
    pub max_entries: u32,
    /// [`bpftime_abi::map_type::create_flags`].
    pub flags: u32,
    /// Definition of the maps held, for maps of maps.
    pub inner: Option<Box<MapDef>>,
    /// Bytes of the single value at start (`.data`, `.rodata`, `.bss`), if known.
    pub initial: Option<Arc<[u8]>>,
    /// Frozen by user space and read-only for programs: `initial` can no longer change, and the
    /// verifier may use the bytes.
    pub frozen: bool,
}
