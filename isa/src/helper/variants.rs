//! Helpers whose prototype is another one for some types of programs.

use super::set::number;
use super::table::{PROTOS, args};
use super::{ArgType, Caller, HelperProto};
use crate::{AttachType, ProgType};

/// The prototype of a helper for some types of programs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Variant {
    /// The prototype.
    pub proto: HelperProto,
    /// Types of programs that get it.
    pub types: &'static [ProgType],
    /// Of these, the attach types that get it; all if empty.
    pub attach_types: &'static [AttachType],
}

impl Variant {
    /// Whether the program gets it.
    pub(super) fn is_for(&self, caller: &Caller<'_>) -> bool {
        let attach = caller.attach_type;
        self.types.contains(&caller.prog_type)
            && (self.attach_types.is_empty()
                || attach.is_some_and(|attach| self.attach_types.contains(&attach)))
    }
}

/// The usual prototype.
const fn usual(name: &str) -> HelperProto {
    PROTOS[number(name) as usize - 1]
}

/// As usual, with these arguments.
const fn taking(name: &str, given: &[ArgType]) -> HelperProto {
    HelperProto {
        args: args(given),
        ..usual(name)
    }
}

/// As usual, but the first argument is another.
const fn with_first(name: &str, first: ArgType) -> HelperProto {
    let mut proto = usual(name);
    proto.args[0] = first;
    proto
}

/// As usual, for all licences.
const fn for_all(name: &str) -> HelperProto {
    HelperProto {
        gpl_only: false,
        ..usual(name)
    }
}

/// Types whose programs are called with a BTF-typed context, and get kernel objects from it.
const BTF_TYPED: &[ProgType] = &[
    ProgType::Tracing,
    ProgType::Lsm,
    ProgType::StructOps,
    ProgType::Syscall,
];

/// Types whose programs get sockets that may be null from what they are called with.
const TRACING: &[ProgType] = &[ProgType::Tracing, ProgType::Lsm, ProgType::Syscall];

/// Types whose context is not a packet that has a class.
const NOT_CLASSIFYING: &[ProgType] = &[
    ProgType::SocketFilter,
    ProgType::Xdp,
    ProgType::Kprobe,
    ProgType::Tracepoint,
    ProgType::RawTracepoint,
    ProgType::RawTracepointWritable,
    ProgType::PerfEvent,
    ProgType::CgroupSkb,
    ProgType::CgroupSock,
    ProgType::CgroupSockAddr,
    ProgType::CgroupSockopt,
    ProgType::CgroupSysctl,
    ProgType::CgroupDevice,
    ProgType::SockOps,
    ProgType::SkSkb,
    ProgType::SkMsg,
    ProgType::SkLookup,
    ProgType::SkReuseport,
    ProgType::FlowDissector,
    ProgType::Netfilter,
    ProgType::Tracing,
    ProgType::Lsm,
    ProgType::StructOps,
    ProgType::Syscall,
];

/// The prototypes that differ from those of [`PROTOS`].
pub const VARIANTS: &[Variant] = &[
    // Asks the current task, not the packet.
    Variant {
        proto: taking("get_cgroup_classid", &[]),
        types: NOT_CLASSIFYING,
        attach_types: &[],
    },
    Variant {
        proto: with_first("get_socket_cookie", ArgType::AnySock),
        types: BTF_TYPED,
        attach_types: &[],
    },
    Variant {
        proto: with_first("get_socket_cookie", ArgType::AnySock),
        types: &[ProgType::SkReuseport],
        attach_types: &[],
    },
    Variant {
        proto: with_first("xdp_get_buff_len", ArgType::Struct("xdp_buff")),
        types: BTF_TYPED,
        attach_types: &[],
    },
    Variant {
        proto: with_first("setsockopt", ArgType::AnySock),
        types: BTF_TYPED,
        attach_types: &[],
    },
    Variant {
        proto: with_first("getsockopt", ArgType::AnySock),
        types: BTF_TYPED,
        attach_types: &[],
    },
    Variant {
        proto: with_first("setsockopt", ArgType::AnySock),
        types: &[ProgType::CgroupSockopt],
        attach_types: &[],
    },
    Variant {
        proto: with_first("getsockopt", ArgType::AnySock),
        types: &[ProgType::CgroupSockopt],
        attach_types: &[],
    },
    Variant {
        proto: taking(
            "sk_assign",
            &[ArgType::Ctx, ArgType::SocketOrNull, ArgType::Anything],
        ),
        types: &[ProgType::SkLookup],
        attach_types: &[],
    },
    // The context is the socket.
    Variant {
        proto: taking(
            "sk_storage_get",
            &[
                ArgType::ConstMapPtr,
                ArgType::Ctx,
                ArgType::MapValueOrNull,
                ArgType::Anything,
            ],
        ),
        types: &[ProgType::CgroupSock],
        attach_types: &[],
    },
    Variant {
        proto: taking(
            "sk_storage_get",
            &[
                ArgType::ConstMapPtr,
                ArgType::AnySockOrNull,
                ArgType::MapValueOrNull,
                ArgType::Anything,
            ],
        ),
        types: TRACING,
        attach_types: &[],
    },
    Variant {
        proto: taking(
            "sk_storage_delete",
            &[ArgType::ConstMapPtr, ArgType::AnySockOrNull],
        ),
        types: TRACING,
        attach_types: &[],
    },
    Variant {
        proto: for_all("get_stackid"),
        types: &[ProgType::PerfEvent],
        attach_types: &[],
    },
    Variant {
        proto: for_all("get_func_ip"),
        types: &[ProgType::Kprobe],
        attach_types: &[
            AttachType::TRACE_KPROBE_MULTI,
            AttachType::TRACE_KPROBE_SESSION,
            AttachType::TRACE_UPROBE_MULTI,
            AttachType::TRACE_UPROBE_SESSION,
        ],
    },
];
