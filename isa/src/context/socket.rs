//! `struct bpf_sock`, which is a context and what socket pointers point to, and what else programs
//! see of sockets.

use super::{CtxField, CtxFieldKind, CtxLayout, Object, Pieces};

const fn number(name: &'static str, offset: u32) -> CtxField {
    CtxField::scalar(name, offset, 4)
}

/// Held by the kernel in fewer bytes: parts begin where the field begins.
const fn small(name: &'static str, offset: u32) -> CtxField {
    number(name, offset).parts(Pieces::AtStart)
}

/// `struct bpf_sock` (`bpf_sock_is_valid_access` in `net/core/filter.c`).
const SOCK_FIELDS: [CtxField; 19] = [
    number("bound_dev_if", 0),
    small("family", 4),
    small("type", 8),
    small("protocol", 12),
    number("mark", 16),
    number("priority", 20),
    number("src_ip4", 24).narrow(),
    number("src_ip6[0]", 28).narrow(),
    number("src_ip6[1]", 32).narrow(),
    number("src_ip6[2]", 36).narrow(),
    number("src_ip6[3]", 40).narrow(),
    small("src_port", 44),
    // 2 bytes and zero padding, which the kernel lets programs read as 4.
    number("dst_port", 48).parts(Pieces::Within(2)),
    number("dst_ip4", 52).narrow(),
    number("dst_ip6[0]", 56).narrow(),
    number("dst_ip6[1]", 60).narrow(),
    number("dst_ip6[2]", 64).narrow(),
    number("dst_ip6[3]", 68).narrow(),
    small("state", 72),
];

/// Last field of `struct bpf_sock`, that all views have.
const RX_QUEUE: CtxField = small("rx_queue_mapping", 76);

/// The fields of `struct bpf_sock` at the offsets, and `rx_queue_mapping`.
pub(super) const fn view<const N: usize>(offsets: &[u32], writable: &[u32]) -> [CtxField; N] {
    assert!(N == offsets.len() + 1);
    let mut fields = [RX_QUEUE; N];
    let mut index = 0;
    while index < offsets.len() {
        let mut at = 0;
        while SOCK_FIELDS[at].offset != offsets[index] {
            at += 1;
        }
        fields[index] = SOCK_FIELDS[at];
        let mut other = 0;
        while other < writable.len() {
            if writable[other] == offsets[index] {
                fields[index] = SOCK_FIELDS[at].writable(Pieces::None);
            }
            other += 1;
        }
        index += 1;
    }
    fields
}

pub(super) const SOCK_SIZE: u32 = 80;

/// A full socket.
pub(super) static SOCK: CtxLayout = CtxLayout::new(
    "bpf_sock",
    SOCK_SIZE,
    &view::<20>(
        &[
            0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64, 68, 72,
        ],
        &[],
    ),
);

/// A socket of any state (`bpf_sock_common_is_valid_access`).
pub(super) static SOCK_COMMON: CtxLayout = CtxLayout::new(
    "bpf_sock",
    SOCK_SIZE,
    &view::<16>(
        &[0, 4, 24, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64, 68, 72],
        &[],
    ),
);

/// `struct bpf_tcp_sock` (`bpf_tcp_sock_is_valid_access`).
pub(super) static TCP_SOCK: CtxLayout = CtxLayout::new(
    "bpf_tcp_sock",
    112,
    &[
        number("snd_cwnd", 0),
        number("srtt_us", 4),
        number("rtt_min", 8),
        number("snd_ssthresh", 12),
        number("rcv_nxt", 16),
        number("snd_nxt", 20),
        number("snd_una", 24),
        number("mss_cache", 28),
        number("ecn_flags", 32),
        number("rate_delivered", 36),
        number("rate_interval_us", 40),
        number("packets_out", 44),
        number("retrans_out", 48),
        number("total_retrans", 52),
        number("segs_in", 56),
        number("data_segs_in", 60),
        number("segs_out", 64),
        number("data_segs_out", 68),
        number("lost_out", 72),
        number("sacked_out", 76),
        CtxField::scalar("bytes_received", 80, 8),
        CtxField::scalar("bytes_acked", 88, 8),
        number("dsack_dups", 96),
        number("delivered", 100),
        number("delivered_ce", 104),
        number("icsk_retransmits", 108),
    ],
);

/// `struct bpf_xdp_sock` (`bpf_xdp_sock_is_valid_access`).
pub(super) static XDP_SOCK: CtxLayout = CtxLayout::new("bpf_xdp_sock", 4, &[number("queue_id", 0)]);

/// `struct bpf_flow_keys`, all of which may be read and written (`check_flow_keys_access`).
pub(super) static FLOW_KEYS: CtxLayout = CtxLayout::new(
    "bpf_flow_keys",
    56,
    &[CtxField::scalar("bpf_flow_keys", 0, 56)
        .parts(Pieces::Unaligned)
        .writable(Pieces::Unaligned)],
);

/// `struct bpf_sock_ops` (`sock_ops_is_valid_access`).
pub(super) static SOCK_OPS: CtxLayout = CtxLayout::new(
    "bpf_sock_ops",
    224,
    &[
        number("op", 0),
        number("reply", 4).writable(Pieces::None),
        number("args[1]", 8),
        number("args[2]", 12),
        number("args[3]", 16),
        number("family", 20),
        number("remote_ip4", 24),
        number("local_ip4", 28),
        number("remote_ip6[0]", 32),
        number("remote_ip6[1]", 36),
        number("remote_ip6[2]", 40),
        number("remote_ip6[3]", 44),
        number("local_ip6[0]", 48),
        number("local_ip6[1]", 52),
        number("local_ip6[2]", 56),
        number("local_ip6[3]", 60),
        number("remote_port", 64),
        number("local_port", 68),
        number("is_fullsock", 72),
        number("snd_cwnd", 76),
        number("srtt_us", 80),
        number("bpf_sock_ops_cb_flags", 84),
        number("state", 88),
        number("rtt_min", 92),
        number("snd_ssthresh", 96),
        number("rcv_nxt", 100),
        number("snd_nxt", 104),
        number("snd_una", 108),
        number("mss_cache", 112),
        number("ecn_flags", 116),
        number("rate_delivered", 120),
        number("rate_interval_us", 124),
        number("packets_out", 128),
        number("retrans_out", 132),
        number("total_retrans", 136),
        number("segs_in", 140),
        number("data_segs_in", 144),
        number("segs_out", 148),
        number("data_segs_out", 152),
        number("lost_out", 156),
        number("sacked_out", 160),
        number("sk_txhash", 164).writable(Pieces::None),
        CtxField::scalar("bytes_received", 168, 8),
        CtxField::scalar("bytes_acked", 176, 8),
        CtxField::object("sk", 184, Object::Socket, true),
        CtxField::pointer("skb_data", 192, 8, CtxFieldKind::PacketStart),
        CtxField::pointer("skb_data_end", 200, 8, CtxFieldKind::PacketEnd),
        number("skb_len", 208),
        small("skb_tcp_flags", 212),
        CtxField::scalar("skb_hwtstamp", 216, 8),
    ],
);
