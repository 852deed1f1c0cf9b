//! Layouts of the contexts that programs are called with.

/// What a context field holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CtxFieldKind {
    /// A number.
    Scalar,
    /// Start of the packet (`data`); loads give a pointer.
    PacketStart,
    /// End of the packet (`data_end`); loads give a pointer.
    PacketEnd,
    /// Start of the metadata before the packet (`data_meta`); loads give a pointer.
    PacketMeta,
    /// A user-space address: a number that programs may not dereference.
    UserPointer,
}

/// A field of a context.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CtxField {
    /// Name as in the kernel's header.
    pub name: &'static str,
    /// Offset in bytes.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// What it holds.
    pub kind: CtxFieldKind,
    /// Programs may write it.
    pub writable: bool,
    /// May be read in smaller aligned pieces (scalars only).
    pub narrow: bool,
}

/// Layout of a context.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CtxLayout {
    /// Name as in the kernel's header (`xdp_md`, `pt_regs`).
    pub name: &'static str,
    /// Bytes.
    pub size: u32,
    /// Fields in ascending order of offset. Bytes that no field covers may not be accessed.
    pub fields: &'static [CtxField],
    /// The context is plain memory of run-time length, writable, with that length in `r2`
    /// (the project's own `mem` context); `size` is 0 and `fields` empty.
    pub plain_memory: bool,
}
