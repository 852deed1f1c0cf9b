//! Layouts of the contexts that programs are called with.
//!
//! The tables say what Linux 6.18 lets programs of each type read and write; a test asks the
//! running kernel for every offset and size. Fields that give pointers to kernel objects (`sk`,
//! `flow_keys`) are left out, so that programs may not access them.

mod net;
mod sk_buff;
mod trace;

use crate::{AttachType, ProgType};

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
    /// Programs may write it: as a whole, or an array of more than 8 bytes (`cb`) in aligned
    /// pieces of up to 8 bytes.
    pub writable: bool,
    /// May be read in smaller aligned pieces of 1, 2, 4 or 8 bytes (scalars only). A field of
    /// more than 8 bytes is an array and read only that way.
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

impl CtxField {
    const fn end(&self) -> u32 {
        self.offset + self.size
    }

    /// Whether the access is one of 1, 2, 4 or 8 bytes, aligned in the context, within the field.
    const fn has_piece(&self, offset: u32, size: u32) -> bool {
        size.is_power_of_two()
            && size <= 8
            && offset.is_multiple_of(size)
            && offset >= self.offset
            && match offset.checked_add(size) {
                Some(end) => end <= self.end(),
                None => false,
            }
    }
}

impl CtxLayout {
    /// The field that a read of `size` bytes at `offset` reads, if programs may do it.
    ///
    /// For a layout of [`CtxLayout::plain_memory`] there are no fields and never a result.
    pub fn readable(&self, offset: i64, size: u32) -> Option<&'static CtxField> {
        let (field, offset) = self.covering(offset)?;
        let whole = offset == field.offset && size == field.size;
        (field.has_piece(offset, size) && (whole || field.narrow)).then_some(field)
    }

    /// The field that a write of `size` bytes at `offset` changes, if programs may do it.
    ///
    /// For a layout of [`CtxLayout::plain_memory`] there are no fields and never a result.
    pub fn writable(&self, offset: i64, size: u32) -> Option<&'static CtxField> {
        let (field, offset) = self.covering(offset)?;
        let whole = offset == field.offset && size == field.size;
        (field.writable && field.has_piece(offset, size) && (whole || field.size > 8))
            .then_some(field)
    }

    /// The field that holds the byte at the offset.
    fn covering(&self, offset: i64) -> Option<(&'static CtxField, u32)> {
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
    fields: &[],
    plain_memory: true,
};

/// The context of programs of the type, or `None` for types that this version does not know.
pub fn layout(prog_type: ProgType, attach_type: Option<AttachType>) -> Option<&'static CtxLayout> {
    Some(match prog_type {
        ProgType::Memory => &MEMORY,
        ProgType::Kprobe => &trace::PT_REGS,
        ProgType::Tracepoint => &trace::TRACEPOINT,
        ProgType::RawTracepoint => &trace::RAW_TRACEPOINT,
        ProgType::PerfEvent => &trace::PERF_EVENT,
        ProgType::Xdp if attach_type == Some(AttachType::XDP_DEVMAP) => &net::XDP_DEVMAP,
        ProgType::Xdp => &net::XDP,
        ProgType::SchedCls | ProgType::SchedAct => &sk_buff::SCHED_CLS,
        ProgType::SocketFilter => &sk_buff::SOCKET_FILTER,
        ProgType::CgroupSkb => &sk_buff::CGROUP_SKB,
        ProgType::LwtIn | ProgType::LwtOut | ProgType::LwtXmit | ProgType::LwtSeg6Local => {
            &sk_buff::LWT
        }
        ProgType::SkSkb => &sk_buff::SK_SKB,
        ProgType::CgroupDevice => &net::CGROUP_DEVICE,
        ProgType::CgroupSysctl => &net::SYSCTL,
        ProgType::SkMsg => &net::SK_MSG,
        ProgType::SkLookup => &net::SK_LOOKUP,
        ProgType::SkReuseport => &net::SK_REUSEPORT,
        _ => return None,
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
            for attach in [None, Some(AttachType::XDP_DEVMAP)] {
                let Some(layout) = layout(prog_type, attach) else {
                    continue;
                };
                let mut end = 0;
                for field in layout.fields {
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
