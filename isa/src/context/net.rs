//! Contexts of networking programs other than `__sk_buff`.

use super::{CtxField, CtxFieldKind, CtxLayout, Object, Pieces};

const fn number(name: &'static str, offset: u32, narrow: bool) -> CtxField {
    let field = CtxField::scalar(name, offset, 4);
    if narrow { field.narrow() } else { field }
}

const XDP_FIELDS: [CtxField; 6] = [
    CtxField::pointer("data", 0, 4, CtxFieldKind::PacketStart),
    CtxField::pointer("data_end", 4, 4, CtxFieldKind::PacketEnd),
    CtxField::pointer("data_meta", 8, 4, CtxFieldKind::PacketMeta),
    number("ingress_ifindex", 12, false),
    number("rx_queue_index", 16, false),
    number("egress_ifindex", 20, false),
];

/// `struct xdp_md` (`xdp_is_valid_access` in `net/core/filter.c`).
pub(super) static XDP: CtxLayout = CtxLayout::new("xdp_md", 24, XDP_FIELDS.split_at(5).0);

/// `struct xdp_md` of programs in a device map, which see `egress_ifindex`.
pub(super) static XDP_DEVMAP: CtxLayout = CtxLayout::new("xdp_md", 24, &XDP_FIELDS);

/// `struct sk_msg_md` (`sk_msg_is_valid_access`).
pub(super) static SK_MSG: CtxLayout = CtxLayout::new(
    "sk_msg_md",
    80,
    &[
        CtxField::pointer("data", 0, 8, CtxFieldKind::PacketStart),
        CtxField::pointer("data_end", 8, 8, CtxFieldKind::PacketEnd),
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
        CtxField::object("sk", 72, Object::Socket, false),
    ],
);

/// `struct bpf_sk_lookup` (`sk_lookup_is_valid_access`).
pub(super) static SK_LOOKUP: CtxLayout = CtxLayout::new(
    "bpf_sk_lookup",
    72,
    &[
        CtxField::object("sk", 0, Object::Socket, true),
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
);

/// `struct sk_reuseport_md` (`sk_reuseport_is_valid_access`).
pub(super) static SK_REUSEPORT: CtxLayout = CtxLayout::new(
    "sk_reuseport_md",
    56,
    &[
        CtxField::pointer("data", 0, 8, CtxFieldKind::PacketStart),
        CtxField::pointer("data_end", 8, 8, CtxFieldKind::PacketEnd),
        number("len", 16, true),
        number("eth_protocol", 20, false).parts(Pieces::AtLeast(2)),
        number("ip_protocol", 24, true),
        number("bind_inany", 28, true),
        number("hash", 32, false),
        CtxField::object("sk", 40, Object::Socket, false),
        CtxField::object("migrating_sk", 48, Object::SockCommon, true),
    ],
);

/// `struct bpf_nf_ctx`, whose fields are pointers to structures of the kernel's
/// (`nf_is_valid_access` in `net/netfilter/nf_bpf_link.c`).
pub(super) static NETFILTER: CtxLayout = CtxLayout::new(
    "bpf_nf_ctx",
    16,
    &[
        CtxField::object("state", 0, Object::Kernel("nf_hook_state"), false),
        CtxField::object("skb", 8, Object::Kernel("sk_buff"), false),
    ],
);
