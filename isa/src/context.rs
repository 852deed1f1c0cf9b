//! Layouts of the contexts that programs are called with.
//!
//! The tables say what Linux 6.18 lets programs of each type read and write; a test asks the
//! running kernel for every offset and size. Fields that give addresses of kernel objects (`sk`,
//! `flow_keys`) say of what; [`Object::layout`] has the layouts of those that have one. What programs
//! of types whose context is typed by BTF are called with is in [`crate::signature`].

mod cgroup;
mod net;
mod sk_buff;
mod socket;
mod trace;

use std::borrow::Cow;

use crate::{AttachType, ProgType, Program};

/// What a context field holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CtxFieldKind {
    /// A number.
    Scalar,
    /// Start of the packet (`data`), or of the option's value (`optval`); loads give a pointer.
    PacketStart,
    /// End of the packet (`data_end`), or of the option's value; loads give a pointer.
    PacketEnd,
    /// Start of the metadata before the packet (`data_meta`); loads give a pointer.
    PacketMeta,
    /// A user-space address: a number that programs may not dereference.
    UserPointer,
    /// Address of an object of the kernel's; loads give a pointer.
    Object(ObjectPointer),
}

/// A pointer to an object of the kernel's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ObjectPointer {
    /// What it points to.
    pub object: Object,
    /// It may be null.
    pub nullable: bool,
}

/// An object of the kernel's that programs may have a pointer to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Object {
    /// A full socket, seen as `struct bpf_sock` (kernel `PTR_TO_SOCKET`).
    #[doc(alias = "PTR_TO_SOCKET")]
    Socket,
    /// A socket of any state, of which `struct bpf_sock` is seen in part.
    #[doc(alias = "PTR_TO_SOCK_COMMON")]
    SockCommon,
    /// A TCP socket, seen as `struct bpf_tcp_sock`.
    #[doc(alias = "PTR_TO_TCP_SOCK")]
    TcpSock,
    /// An AF_XDP socket, seen as `struct bpf_xdp_sock`.
    #[doc(alias = "PTR_TO_XDP_SOCK")]
    XdpSock,
    /// `struct bpf_flow_keys`.
    #[doc(alias = "PTR_TO_FLOW_KEYS")]
    FlowKeys,
    /// The buffer of a writable raw tracepoint; accesses go to a constant, non-negative offset, and
    /// the greatest is compared with the tracepoint's size when the program is attached.
    #[doc(alias = "PTR_TO_TP_BUFFER")]
    TraceBuffer,
    /// Keys and values that an iterator gives; as with [`Self::TraceBuffer`], the map that the iterator is
    /// attached to has to have the size.
    #[doc(alias = "PTR_TO_BUF")]
    IteratorBuffer {
        /// Programs may write it.
        writable: bool,
    },
    /// A structure of the kernel's by name, typed by BTF, that is valid as long as the program runs
    /// (`PTR_TRUSTED`).
    #[doc(alias = "PTR_TO_BTF_ID")]
    Kernel(&'static str),
    /// A structure of the kernel's by its number in the kernel's BTF.
    Typed {
        /// Number of the structure.
        type_id: u32,
        /// How far the pointer can be relied upon.
        trust: Trust,
    },
}

/// How far a pointer to a structure of the kernel's can be relied upon.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Trust {
    /// It is valid as long as the program runs (kernel `PTR_TRUSTED`).
    Trusted,
    /// It is valid in an RCU read-side section only, in which programs that do not sleep always are
    /// (kernel `MEM_RCU`).
    Rcu,
    /// An argument of a function: it may be null unless it was compared, and reads through it may fault
    /// and then give 0; helpers take it.
    Argument,
    /// Read from memory: it may be anything, and reads through it may fault and then give 0.
    Walked,
}

impl Object {
    /// What programs may access through a pointer to it; `None` if BTF or the place of attachment
    /// says that.
    pub fn layout(self) -> Option<&'static CtxLayout> {
        match self {
            Self::Socket => Some(&socket::SOCK),
            Self::SockCommon => Some(&socket::SOCK_COMMON),
            Self::TcpSock => Some(&socket::TCP_SOCK),
            Self::XdpSock => Some(&socket::XDP_SOCK),
            Self::FlowKeys => Some(&socket::FLOW_KEYS),
            Self::TraceBuffer | Self::IteratorBuffer { writable: true } => Some(&trace::BUFFER),
            Self::IteratorBuffer { writable: false } => Some(&trace::READ_ONLY_BUFFER),
            Self::Kernel(_) | Self::Typed { .. } => None,
        }
    }
}

/// Which parts of a field may be accessed by themselves. A part has 1, 2, 4 or 8 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Pieces {
    /// None: only the whole field.
    None,
    /// Parts that are aligned in the context and have at least so many bytes.
    AtLeast(u32),
    /// Parts that begin where the field begins.
    AtStart,
    /// Aligned parts of the first so many bytes.
    Within(u32),
    /// Any part, aligned or not.
    Unaligned,
}

impl Pieces {
    /// Whether the piece, which lies in the field, is one of these.
    const fn have(self, field: &CtxField, offset: u32, size: u32) -> bool {
        let aligned = offset.is_multiple_of(size);
        match self {
            Self::None => false,
            Self::AtLeast(least) => aligned && size >= least,
            Self::AtStart => offset == field.offset,
            Self::Within(bytes) => aligned && offset + size <= field.offset + bytes,
            Self::Unaligned => true,
        }
    }
}

/// A field of a context.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct CtxField {
    /// Name as in the kernel's header.
    pub name: &'static str,
    /// Offset in bytes.
    pub offset: u32,
    /// Bytes. A field of more than 8 bytes is an array, and accessed in parts only.
    pub size: u32,
    /// What it holds.
    pub kind: CtxFieldKind,
    /// Programs may read it as a whole, and these parts of it.
    pub read: Pieces,
    /// If given: programs may write it as a whole, and these parts of it.
    pub write: Option<Pieces>,
}

/// Layout of a context.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CtxLayout {
    /// Name as in the kernel's header (`xdp_md`, `pt_regs`).
    pub name: &'static str,
    /// Bytes.
    pub size: u32,
    /// Fields in ascending order of offset. Bytes that no field covers may not be accessed.
    pub fields: Cow<'static, [CtxField]>,
    /// The context is plain memory of run-time length, writable, with that length in `r2`
    /// (the project's own `mem` context); `size` is 0 and `fields` empty.
    pub plain_memory: bool,
}

impl CtxField {
    /// A number that may be read as a whole.
    pub(crate) const fn scalar(name: &'static str, offset: u32, size: u32) -> Self {
        Self {
            name,
            offset,
            size,
            kind: CtxFieldKind::Scalar,
            read: Pieces::None,
            write: None,
        }
    }

    /// An address.
    const fn pointer(name: &'static str, offset: u32, size: u32, kind: CtxFieldKind) -> Self {
        Self {
            kind,
            ..Self::scalar(name, offset, size)
        }
    }

    /// The address of an object, in 8 bytes.
    const fn object(name: &'static str, offset: u32, object: Object, nullable: bool) -> Self {
        let pointer = ObjectPointer { object, nullable };
        Self::pointer(name, offset, 8, CtxFieldKind::Object(pointer))
    }

    /// As it is, but these parts may be read too.
    pub(crate) const fn parts(self, read: Pieces) -> Self {
        Self { read, ..self }
    }

    /// As it is, but all aligned parts may be read too.
    const fn narrow(self) -> Self {
        self.parts(Pieces::AtLeast(1))
    }

    /// As it is, but it may also be written.
    const fn writable(self, parts: Pieces) -> Self {
        Self {
            write: Some(parts),
            ..self
        }
    }

    const fn end(&self) -> u32 {
        self.offset + self.size
    }

    const fn allows(&self, pieces: Pieces, offset: u32, size: u32) -> bool {
        let power = size == 1 || size == 2 || size == 4 || size == 8;
        let inside = match offset.checked_add(size) {
            Some(end) => offset >= self.offset && end <= self.end(),
            None => false,
        };
        let whole = offset == self.offset && size == self.size;
        power && inside && (whole || pieces.have(self, offset, size))
    }
}

impl CtxLayout {
    const fn new(name: &'static str, size: u32, fields: &'static [CtxField]) -> Self {
        Self {
            name,
            size,
            fields: Cow::Borrowed(fields),
            plain_memory: false,
        }
    }

    /// The field that a read of `size` bytes at `offset` reads, if programs may do it.
    ///
    /// For a layout of [`CtxLayout::plain_memory`] there are no fields and never a result.
    pub fn readable(&self, offset: i64, size: u32) -> Option<&CtxField> {
        let (field, offset) = self.covering(offset)?;
        field.allows(field.read, offset, size).then_some(field)
    }

    /// The field that a write of `size` bytes at `offset` changes, if programs may do it.
    ///
    /// For a layout of [`CtxLayout::plain_memory`] there are no fields and never a result.
    pub fn writable(&self, offset: i64, size: u32) -> Option<&CtxField> {
        let (field, offset) = self.covering(offset)?;
        field.allows(field.write?, offset, size).then_some(field)
    }

    /// The field that holds the byte at the offset.
    fn covering(&self, offset: i64) -> Option<(&CtxField, u32)> {
        let offset = u32::try_from(offset).ok()?;
        let after = self.fields.partition_point(|field| field.offset <= offset);
        let field = self.fields.get(after.checked_sub(1)?)?;
        (offset < field.end()).then_some((field, offset))
    }
}

/// Plain memory, writable, its length in `r2`.
static MEMORY: CtxLayout = CtxLayout {
    name: "memory",
    size: 0,
    fields: Cow::Borrowed(&[]),
    plain_memory: true,
};

/// The context of the program: that of its type, or what its hook's signature says.
pub fn of(program: &Program) -> Option<Cow<'static, CtxLayout>> {
    let of_type = || layout(program.prog_type, program.attach_type);
    match &program.hook.signature {
        Some(signature) if program.prog_type.is_typed() => Some(Cow::Owned(signature.layout())),
        _ => of_type().map(Cow::Borrowed),
    }
}

/// The context of programs of the type, or `None` for types whose context is typed by BTF, and for
/// attach types that the type does not have.
pub fn layout(prog_type: ProgType, attach_type: Option<AttachType>) -> Option<&'static CtxLayout> {
    Some(match prog_type {
        ProgType::Memory => &MEMORY,
        ProgType::Kprobe => &trace::PT_REGS,
        ProgType::Tracepoint => &trace::TRACEPOINT,
        ProgType::RawTracepoint => &trace::RAW_TRACEPOINT,
        ProgType::RawTracepointWritable => &trace::RAW_TRACEPOINT_WRITABLE,
        ProgType::PerfEvent => &trace::PERF_EVENT,
        ProgType::Syscall => &trace::SYSCALL,
        ProgType::Xdp if attach_type == Some(AttachType::XDP_DEVMAP) => &net::XDP_DEVMAP,
        ProgType::Xdp => &net::XDP,
        ProgType::SchedCls | ProgType::SchedAct => &sk_buff::SCHED_CLS,
        ProgType::SocketFilter => &sk_buff::SOCKET_FILTER,
        ProgType::CgroupSkb => &sk_buff::CGROUP_SKB,
        ProgType::LwtIn | ProgType::LwtOut | ProgType::LwtXmit | ProgType::LwtSeg6Local => {
            &sk_buff::LWT
        }
        ProgType::SkSkb => &sk_buff::SK_SKB,
        ProgType::FlowDissector => &sk_buff::FLOW_DISSECTOR,
        ProgType::CgroupDevice => &cgroup::DEVICE,
        ProgType::CgroupSysctl => &cgroup::SYSCTL,
        ProgType::CgroupSock => cgroup::sock(attach_type)?,
        ProgType::CgroupSockAddr => cgroup::sock_addr(attach_type)?,
        ProgType::CgroupSockopt => cgroup::sockopt(attach_type)?,
        ProgType::SockOps => &socket::SOCK_OPS,
        ProgType::SkMsg => &net::SK_MSG,
        ProgType::SkLookup => &net::SK_LOOKUP,
        ProgType::SkReuseport => &net::SK_REUSEPORT,
        ProgType::Netfilter => &net::NETFILTER,
        ProgType::LircMode2 => &trace::LIRC,
        ProgType::Unspec
        | ProgType::Tracing
        | ProgType::StructOps
        | ProgType::Ext
        | ProgType::Lsm => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(prog_type: ProgType) -> &'static CtxLayout {
        layout(prog_type, None).unwrap()
    }

    #[test]
    fn fields_are_in_order_and_inside() {
        for number in 0..64 {
            let Some(prog_type) = ProgType::from_u32(number) else {
                continue;
            };
            for attach in 0..64 {
                let Some(layout) = layout(prog_type, Some(AttachType(attach))) else {
                    continue;
                };
                let mut end = 0;
                for field in layout.fields.iter() {
                    assert!(field.offset >= end && field.size > 0, "{field:?}");
                    end = field.end();
                }
                assert!(end <= layout.size, "{}", layout.name);
            }
        }
    }

    #[test]
    fn accesses_that_miss_the_fields() {
        let skb = of(ProgType::SchedCls);
        assert_eq!(skb.readable(0, 4).map(|f| f.name), Some("len"));
        assert_eq!(skb.readable(48, 8).map(|f| f.name), Some("cb"));
        assert_eq!(skb.writable(50, 2).map(|f| f.name), Some("cb"));
        // Straddles `data` and `data_end`.
        assert_eq!(skb.readable(76, 8), None);
        // A piece of a pointer; a field that is not writable; the wrong size; unaligned.
        assert_eq!(skb.readable(76, 2), None);
        assert_eq!(skb.writable(76, 4), None);
        assert_eq!(skb.writable(8, 2), None);
        assert_eq!(skb.readable(1, 4), None);
        for offset in [-1, -8, 192, i64::from(u32::MAX), i64::MIN, i64::MAX] {
            for size in [0, 1, 3, 8, 16, u32::MAX] {
                assert_eq!(skb.readable(offset, size), None);
            }
        }
        assert_eq!(skb.readable(0, 0), None);
        assert_eq!(of(ProgType::Memory).readable(0, 1), None);
    }
}
