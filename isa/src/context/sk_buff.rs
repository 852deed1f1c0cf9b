//! `struct __sk_buff`, of which each type of program sees its own part.

use super::{CtxField, CtxFieldKind, CtxLayout, Object, Pieces};

const fn field(name: &'static str, offset: u32, size: u32, narrow: bool) -> CtxField {
    let field = CtxField::scalar(name, offset, size);
    if narrow { field.narrow() } else { field }
}

const fn pointer(name: &'static str, offset: u32, kind: CtxFieldKind) -> CtxField {
    CtxField::pointer(name, offset, 4, kind)
}

/// Number of [`FIELDS`].
const COUNT: usize = 39;

/// All fields that some type of program may access (`bpf_skb_is_valid_access` in
/// `net/core/filter.c`).
const FIELDS: [CtxField; COUNT] = [
    field("len", 0, 4, true),
    field("pkt_type", 4, 4, true),
    field("mark", 8, 4, true),
    field("queue_mapping", 12, 4, true),
    field("protocol", 16, 4, true),
    field("vlan_present", 20, 4, true),
    field("vlan_tci", 24, 4, true),
    field("vlan_proto", 28, 4, true),
    field("priority", 32, 4, true),
    field("ingress_ifindex", 36, 4, true),
    field("ifindex", 40, 4, true),
    field("tc_index", 44, 4, true),
    field("cb", 48, 20, true),
    field("hash", 68, 4, true),
    field("tc_classid", 72, 4, true),
    pointer("data", 76, CtxFieldKind::PacketStart),
    pointer("data_end", 80, CtxFieldKind::PacketEnd),
    field("napi_id", 84, 4, true),
    field("family", 88, 4, true),
    field("remote_ip4", 92, 4, false),
    field("local_ip4", 96, 4, false),
    field("remote_ip6[0]", 100, 4, false),
    field("remote_ip6[1]", 104, 4, false),
    field("remote_ip6[2]", 108, 4, false),
    field("remote_ip6[3]", 112, 4, false),
    field("local_ip6[0]", 116, 4, false),
    field("local_ip6[1]", 120, 4, false),
    field("local_ip6[2]", 124, 4, false),
    field("local_ip6[3]", 128, 4, false),
    field("remote_port", 132, 4, true),
    field("local_port", 136, 4, true),
    pointer("data_meta", 140, CtxFieldKind::PacketMeta),
    CtxField::object("flow_keys", 144, Object::FlowKeys, false),
    field("tstamp", 152, 8, false),
    field("wire_len", 160, 4, true),
    field("gso_segs", 164, 4, true),
    CtxField::object("sk", 168, Object::SockCommon, true),
    field("gso_size", 176, 4, true),
    // Bytes 181 to 183 are padding.
    field("tstamp_type", 180, 1, false),
];

/// A time stamp that the hardware took; the last field, apart because arrays of fields above are
/// in ascending order without it for types that do not see it.
const HWTSTAMP: CtxField = field("hwtstamp", 184, 8, false);

/// Fields from `family` to `local_port`: the socket's addresses.
const fn is_address(field: &CtxField) -> bool {
    field.offset >= 88 && field.offset < 140
}

/// What a type of program may not read at all, and what it may write, by offset.
struct View {
    addresses: bool,
    hidden: &'static [u32],
    writable: &'static [u32],
}

const fn contains(offsets: &[u32], offset: u32) -> bool {
    let mut index = 0;
    while index < offsets.len() {
        if offsets[index] == offset {
            return true;
        }
        index += 1;
    }
    false
}

impl View {
    const fn sees(&self, field: &CtxField) -> bool {
        !contains(self.hidden, field.offset) && (self.addresses || !is_address(field))
    }

    const fn count(&self) -> usize {
        let mut count = 0;
        let mut index = 0;
        while index < COUNT {
            count += self.sees(&FIELDS[index]) as usize;
            index += 1;
        }
        count + self.sees(&HWTSTAMP) as usize
    }

    const fn fields<const N: usize>(&self) -> [CtxField; N] {
        let mut fields = [HWTSTAMP; N];
        let mut count = 0;
        let mut index = 0;
        while index < COUNT {
            if self.sees(&FIELDS[index]) {
                fields[count] = FIELDS[index];
                if contains(self.writable, FIELDS[index].offset) {
                    let array = FIELDS[index].size > 8;
                    let parts = if array {
                        Pieces::AtLeast(1)
                    } else {
                        Pieces::None
                    };
                    fields[count] = fields[count].writable(parts);
                }
                count += 1;
            }
            index += 1;
        }
        fields
    }
}

const MARK: u32 = 8;
const QUEUE_MAPPING: u32 = 12;
const PRIORITY: u32 = 32;
const TC_INDEX: u32 = 44;
const CB: u32 = 48;
const TC_CLASSID: u32 = 72;
const DATA: u32 = 76;
const DATA_END: u32 = 80;
const DATA_META: u32 = 140;
const FLOW_KEYS: u32 = 144;
const TSTAMP: u32 = 152;
const WIRE_LEN: u32 = 160;
const SK: u32 = 168;
const TSTAMP_TYPE: u32 = 180;
const HW: u32 = 184;

macro_rules! layouts {
    ($($(#[$doc:meta])* $name:ident = $view:expr;)*) => {
        $($(#[$doc])* pub(super) static $name: CtxLayout = {
            const VIEW: View = $view;
            CtxLayout::new("__sk_buff", 192, &VIEW.fields::<{ VIEW.count() }>())
        };)*
    };
}

layouts! {
    /// Traffic control (`tc_cls_act_is_valid_access`).
    SCHED_CLS = View {
        addresses: false,
        hidden: &[FLOW_KEYS],
        writable: &[MARK, QUEUE_MAPPING, PRIORITY, TC_INDEX, CB, TC_CLASSID, TSTAMP],
    };
    /// Socket filters, which see no packet pointers (`sk_filter_is_valid_access`).
    SOCKET_FILTER = View {
        addresses: false,
        hidden: &[FLOW_KEYS, TC_CLASSID, DATA, DATA_END, DATA_META, TSTAMP, WIRE_LEN, TSTAMP_TYPE, HW],
        writable: &[CB],
    };
    /// Control groups (`cg_skb_is_valid_access`), as seen with `CAP_BPF`.
    CGROUP_SKB = View {
        addresses: true,
        hidden: &[FLOW_KEYS, TC_CLASSID, DATA_META, WIRE_LEN, TSTAMP_TYPE],
        writable: &[MARK, PRIORITY, CB, TSTAMP],
    };
    /// Lightweight tunnels (`lwt_is_valid_access`).
    LWT = View {
        addresses: false,
        hidden: &[FLOW_KEYS, TC_CLASSID, DATA_META, TSTAMP, WIRE_LEN, TSTAMP_TYPE, HW],
        writable: &[MARK, PRIORITY, CB],
    };
    /// Stream parsers and verdicts (`sk_skb_is_valid_access`).
    SK_SKB = View {
        addresses: true,
        hidden: &[FLOW_KEYS, MARK, TC_CLASSID, DATA_META, TSTAMP, WIRE_LEN, TSTAMP_TYPE, HW],
        writable: &[PRIORITY, TC_INDEX],
    };
    /// Flow dissectors, which see the packet and what they make of it
    /// (`flow_dissector_is_valid_access`).
    FLOW_DISSECTOR = View {
        addresses: false,
        hidden: &[
            0, 4, MARK, QUEUE_MAPPING, 16, 20, 24, 28, PRIORITY, 36, 40, TC_INDEX, CB, 68, TC_CLASSID,
            84, 88, DATA_META, TSTAMP, WIRE_LEN, 164, SK, 176, TSTAMP_TYPE, HW,
        ],
        writable: &[],
    };
}
