//! Contexts of control group programs other than `__sk_buff` and `bpf_sock_ops`. Some depend on what
//! the program is attached to.

use super::socket::{self, SOCK_SIZE};
use super::{CtxField, CtxFieldKind, CtxLayout, Object, Pieces};
use crate::AttachType;

const fn number(name: &'static str, offset: u32) -> CtxField {
    CtxField::scalar(name, offset, 4)
}

/// `struct bpf_cgroup_dev_ctx` (`cgroup_dev_is_valid_access` in `kernel/bpf/cgroup.c`).
pub(super) static DEVICE: CtxLayout = CtxLayout::new(
    "bpf_cgroup_dev_ctx",
    12,
    &[
        number("access_type", 0).narrow(),
        number("major", 4),
        number("minor", 8),
    ],
);

/// `struct bpf_sysctl` (`sysctl_is_valid_access`).
pub(super) static SYSCTL: CtxLayout = CtxLayout::new(
    "bpf_sysctl",
    8,
    &[
        number("write", 0).narrow(),
        number("file_pos", 4).narrow().writable(Pieces::None),
    ],
);

/// `struct bpf_sock` (`sock_filter_is_valid_access` in `net/core/filter.c`). The kernel takes no
/// attach type for creation.
pub(super) fn sock(attach_type: Option<AttachType>) -> Option<&'static CtxLayout> {
    static CREATE: CtxLayout = CtxLayout::new(
        "bpf_sock",
        SOCK_SIZE,
        &socket::view::<14>(
            &[0, 4, 8, 12, 16, 20, 48, 52, 56, 60, 64, 68, 72],
            &[0, 16, 20],
        ),
    );
    static POST_BIND4: CtxLayout = CtxLayout::new(
        "bpf_sock",
        SOCK_SIZE,
        &socket::view::<13>(&[4, 8, 12, 24, 44, 48, 52, 56, 60, 64, 68, 72], &[]),
    );
    static POST_BIND6: CtxLayout = CtxLayout::new(
        "bpf_sock",
        SOCK_SIZE,
        &socket::view::<16>(
            &[4, 8, 12, 28, 32, 36, 40, 44, 48, 52, 56, 60, 64, 68, 72],
            &[],
        ),
    );
    Some(match attach_type {
        None
        | Some(
            AttachType(0)
            | AttachType::CGROUP_INET_SOCK_CREATE
            | AttachType::CGROUP_INET_SOCK_RELEASE,
        ) => &CREATE,
        Some(AttachType::CGROUP_INET4_POST_BIND) => &POST_BIND4,
        Some(AttachType::CGROUP_INET6_POST_BIND) => &POST_BIND6,
        _ => return None,
    })
}

/// Names that differ by family.
mod address {
    use super::{CtxField, Object, Pieces, number};

    pub(super) const FAMILY: CtxField = number("user_family", 0);
    pub(super) const IP4: CtxField = number("user_ip4", 4).narrow().writable(Pieces::None);
    pub(super) const IP6: CtxField = array("user_ip6", 8);
    pub(super) const PORT: CtxField = number("user_port", 24).narrow().writable(Pieces::None);
    pub(super) const SOCK_FAMILY: CtxField = number("family", 28);
    pub(super) const SOCK_TYPE: CtxField = number("type", 32);
    pub(super) const PROTOCOL: CtxField = number("protocol", 36);
    pub(super) const SOURCE4: CtxField = number("msg_src_ip4", 40).narrow().writable(Pieces::None);
    pub(super) const SOURCE6: CtxField = array("msg_src_ip6", 44);
    pub(super) const SK: CtxField = CtxField::object("sk", 64, Object::Socket, false);

    /// An IPv6 address, written in words.
    const fn array(name: &'static str, offset: u32) -> CtxField {
        let field = CtxField::scalar(name, offset, 16).narrow();
        field.writable(Pieces::AtLeast(4))
    }
}

/// `struct bpf_sock_addr` (`sock_addr_is_valid_access`).
pub(super) fn sock_addr(attach_type: Option<AttachType>) -> Option<&'static CtxLayout> {
    use address::{FAMILY, IP4, IP6, PORT, PROTOCOL, SK, SOCK_FAMILY, SOCK_TYPE, SOURCE4, SOURCE6};
    const fn of(fields: &'static [CtxField]) -> CtxLayout {
        CtxLayout::new("bpf_sock_addr", 72, fields)
    }
    static INET4: CtxLayout = of(&[FAMILY, IP4, PORT, SOCK_FAMILY, SOCK_TYPE, PROTOCOL, SK]);
    static INET6: CtxLayout = of(&[FAMILY, IP6, PORT, SOCK_FAMILY, SOCK_TYPE, PROTOCOL, SK]);
    static SEND4: CtxLayout = of(&[
        FAMILY,
        IP4,
        PORT,
        SOCK_FAMILY,
        SOCK_TYPE,
        PROTOCOL,
        SOURCE4,
        SK,
    ]);
    static SEND6: CtxLayout = of(&[
        FAMILY,
        IP6,
        PORT,
        SOCK_FAMILY,
        SOCK_TYPE,
        PROTOCOL,
        SOURCE6,
        SK,
    ]);
    static UNIX: CtxLayout = of(&[FAMILY, PORT, SOCK_FAMILY, SOCK_TYPE, PROTOCOL, SK]);
    Some(match attach_type? {
        AttachType::CGROUP_INET4_BIND
        | AttachType::CGROUP_INET4_CONNECT
        | AttachType::CGROUP_UDP4_RECVMSG
        | AttachType::CGROUP_INET4_GETPEERNAME
        | AttachType::CGROUP_INET4_GETSOCKNAME => &INET4,
        AttachType::CGROUP_INET6_BIND
        | AttachType::CGROUP_INET6_CONNECT
        | AttachType::CGROUP_UDP6_RECVMSG
        | AttachType::CGROUP_INET6_GETPEERNAME
        | AttachType::CGROUP_INET6_GETSOCKNAME => &INET6,
        AttachType::CGROUP_UDP4_SENDMSG => &SEND4,
        AttachType::CGROUP_UDP6_SENDMSG => &SEND6,
        AttachType::CGROUP_UNIX_CONNECT
        | AttachType::CGROUP_UNIX_SENDMSG
        | AttachType::CGROUP_UNIX_RECVMSG
        | AttachType::CGROUP_UNIX_GETPEERNAME
        | AttachType::CGROUP_UNIX_GETSOCKNAME => &UNIX,
        _ => return None,
    })
}

/// `struct bpf_sockopt` (`cg_sockopt_is_valid_access` in `kernel/bpf/cgroup.c`).
pub(super) fn sockopt(attach_type: Option<AttachType>) -> Option<&'static CtxLayout> {
    const SK: CtxField = CtxField::object("sk", 0, Object::Socket, false);
    const VALUE: CtxField = CtxField::pointer("optval", 8, 8, CtxFieldKind::PacketStart);
    const VALUE_END: CtxField = CtxField::pointer("optval_end", 16, 8, CtxFieldKind::PacketEnd);
    const LEVEL: CtxField = number("level", 24);
    const NAME: CtxField = number("optname", 28);
    const LEN: CtxField = number("optlen", 32).writable(Pieces::None);
    const RETVAL: CtxField = number("retval", 36).writable(Pieces::None);
    static GET: CtxLayout = CtxLayout::new(
        "bpf_sockopt",
        40,
        &[SK, VALUE, VALUE_END, LEVEL, NAME, LEN, RETVAL],
    );
    static SET: CtxLayout = CtxLayout::new(
        "bpf_sockopt",
        40,
        &[
            SK,
            VALUE,
            VALUE_END,
            LEVEL.writable(Pieces::None),
            NAME.writable(Pieces::None),
            LEN,
        ],
    );
    match attach_type? {
        AttachType::CGROUP_GETSOCKOPT => Some(&GET),
        AttachType::CGROUP_SETSOCKOPT => Some(&SET),
        _ => None,
    }
}
