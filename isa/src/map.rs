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
    /// Parts of a value that belong to the kernel, as the value's BTF declares them, by ascending
    /// offset; programs reach them only through the helpers made for them.
    pub fields: Vec<MapField>,
}

impl MapDef {
    /// A map without a name, flags, contents that are known, or parts that belong to the kernel.
    pub fn new(map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> Self {
        Self {
            name: String::new(),
            map_type,
            key_size,
            value_size,
            max_entries,
            flags: 0,
            inner: None,
            initial: None,
            frozen: false,
            fields: Vec::new(),
        }
    }
}

/// A part of a map's value that belongs to the kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
#[doc(alias = "btf_field")]
pub struct MapField {
    /// First byte in the value.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// What it is.
    pub kind: MapFieldKind,
}

/// What a part of a map's value is.
#[derive(Clone, PartialEq, Eq, Debug)]
#[doc(alias = "btf_field_type")]
pub enum MapFieldKind {
    /// `struct bpf_spin_lock`.
    SpinLock,
    /// `struct bpf_res_spin_lock`.
    ResSpinLock,
    /// `struct bpf_timer`.
    Timer,
    /// `struct bpf_wq`.
    Workqueue,
    /// `struct bpf_task_work`.
    TaskWork,
    /// A pointer to a kernel object of the struct with that name.
    Kptr {
        /// The struct's name.
        target: String,
        /// Whether the value owns a reference (`__kptr`, `__percpu_kptr`) or not
        /// (`__kptr_untrusted`).
        referenced: bool,
        /// Each CPU has an object of its own (`__percpu_kptr`).
        percpu: bool,
    },
    /// `__uptr`: user memory that is pinned.
    Uptr {
        /// The struct's name.
        target: String,
    },
    /// `struct bpf_list_head`.
    ListHead {
        /// What the list holds (`__contains`); without it, nothing may be put in.
        holds: Option<GraphNode>,
    },
    /// `struct bpf_list_node`.
    ListNode,
    /// `struct bpf_rb_root`.
    RbRoot {
        /// What the tree holds, as with [`Self::ListHead`].
        holds: Option<GraphNode>,
    },
    /// `struct bpf_rb_node`.
    RbNode,
    /// `struct bpf_refcount`.
    Refcount,
}

impl MapFieldKind {
    /// Whether it is a spin lock of one kind or the other.
    pub fn is_lock(&self) -> bool {
        matches!(self, Self::SpinLock | Self::ResSpinLock)
    }
}

/// What a list or a tree holds: structures of the program's own, by a node in each.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[doc(alias = "btf_field_graph_root")]
pub struct GraphNode {
    /// Number of the structure in the program's BTF.
    pub type_id: u32,
    /// Offset of the node in it, in bytes.
    pub offset: u32,
}

/// A structure that the program declares, as far as objects are made of it (`bpf_obj_new`).
#[derive(Clone, PartialEq, Eq, Debug)]
#[doc(alias = "btf_struct_meta")]
pub struct LocalStruct {
    /// Number in the program's BTF.
    pub type_id: u32,
    /// Name.
    pub name: String,
    /// Bytes.
    pub size: u32,
    /// Parts that belong to the kernel, as in [`MapDef::fields`].
    pub fields: Vec<MapField>,
    /// It is made of numbers only, so that each CPU may have one of its own (`bpf_percpu_obj_new`).
    pub numbers: bool,
}
