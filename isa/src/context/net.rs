//! Contexts of networking programs other than `__sk_buff`, and of control group programs.

use super::{CtxField, CtxFieldKind, CtxLayout};

const fn number(name: &'static str, offset: u32, narrow: bool) -> CtxField {
    CtxField {
        name,
        offset,
        size: 4,
        kind: CtxFieldKind::Scalar,
        writable: false,
        narrow,
    }
}

const fn pointer(name: &'static str, offset: u32, size: u32, kind: CtxFieldKind) -> CtxField {
    CtxField {
        name,
        offset,
        size,
        kind,
        writable: false,
        narrow: false,
    }
}

const XDP_FIELDS: [CtxField; 6] = [
    pointer("data", 0, 4, CtxFieldKind::PacketStart),
    pointer("data_end", 4, 4, CtxFieldKind::PacketEnd),
    pointer("data_meta", 8, 4, CtxFieldKind::PacketMeta),
    number("ingress_ifindex", 12, false),
    number("rx_queue_index", 16, false),
    number("egress_ifindex", 20, false),
];

/// `struct xdp_md` (`xdp_is_valid_access` in `net/core/filter.c`).
pub(super) static XDP: CtxLayout = CtxLayout {
    name: "xdp_md",
    size: 24,
    fields: XDP_FIELDS.split_at(5).0,
    plain_memory: false,
};

/// `struct xdp_md` of programs in a device map, which see `egress_ifindex`.
pub(super) static XDP_DEVMAP: CtxLayout = CtxLayout {
    name: "xdp_md",
    size: 24,
    fields: &XDP_FIELDS,
    plain_memory: false,
};

/// `struct bpf_cgroup_dev_ctx` (`cgroup_dev_is_valid_access` in `kernel/bpf/cgroup.c`).
pub(super) static CGROUP_DEVICE: CtxLayout = CtxLayout {
    name: "bpf_cgroup_dev_ctx",
    size: 12,
    fields: &[
        number("access_type", 0, true),
        number("major", 4, false),
        number("minor", 8, false),
    ],
    plain_memory: false,
};

/// `struct bpf_sysctl` (`sysctl_is_valid_access`).
pub(super) static SYSCTL: CtxLayout = CtxLayout {
    name: "bpf_sysctl",
    size: 8,
    fields: &[
        number("write", 0, true),
        CtxField {
            writable: true,
            ..number("file_pos", 4, true)
        },
    ],
    plain_memory: false,
};

/// `struct sk_msg_md` without `sk` (`sk_msg_is_valid_access`).
pub(super) static SK_MSG: CtxLayout = CtxLayout {
    name: "sk_msg_md",
    size: 80,
    fields: &[
        pointer("data", 0, 8, CtxFieldKind::PacketStart),
        pointer("data_end", 8, 8, CtxFieldKind::PacketEnd),
        number("family", 16, false),
        number("remote_ip4", 20, false),
        number("local_ip4", 24, false),
        number("remote_ip6[0]", 28, false),
        number("remote_ip6[1]", 32, false),
        number("remote_ip6[2]", 36, false),
        number("remote_ip6[3]", 40, false),
        number("local_ip6[0]", 44, false),
        number("local_ip6[1]", 48, false),
        number("local_ip6[2]", 52, false),
        number("local_ip6[3]", 56, false),
        number("remote_port", 60, false),
        number("local_port", 64, false),
        number("size", 68, false),
    ],
    plain_memory: false,
};

/// `struct bpf_sk_lookup` without `sk` (`sk_lookup_is_valid_access`).
pub(super) static SK_LOOKUP: CtxLayout = CtxLayout {
    name: "bpf_sk_lookup",
    size: 72,
    fields: &[
        number("family", 8, true),
        number("protocol", 12, true),
        number("remote_ip4", 16, true),
        number("remote_ip6[0]", 20, true),
        number("remote_ip6[1]", 24, true),
        number("remote_ip6[2]", 28, true),
        number("remote_ip6[3]", 32, true),
        // 2 bytes and zero padding, which the kernel lets programs read as 4.
        number("remote_port", 36, true),
        number("local_ip4", 40, true),
        number("local_ip6[0]", 44, true),
        number("local_ip6[1]", 48, true),
        number("local_ip6[2]", 52, true),
        number("local_ip6[3]", 56, true),
        number("local_port", 60, true),
        number("ingress_ifindex", 64, true),
    ],
    plain_memory: false,
};

/// `struct sk_reuseport_md` without `sk` and `migrating_sk` (`sk_reuseport_is_valid_access`).
/// The kernel also lets programs read halves of `eth_protocol`; here only the whole.
pub(super) static SK_REUSEPORT: CtxLayout = CtxLayout {
    name: "sk_reuseport_md",
    size: 56,
    fields: &[
        pointer("data", 0, 8, CtxFieldKind::PacketStart),
        pointer("data_end", 8, 8, CtxFieldKind::PacketEnd),
        number("len", 16, true),
        number("eth_protocol", 20, false),
        number("ip_protocol", 24, true),
        number("bind_inany", 28, true),
        number("hash", 32, false),
    ],
    plain_memory: false,
};
