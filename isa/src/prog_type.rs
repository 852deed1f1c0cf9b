//! Program and attach types with the kernel's numbers.

macro_rules! prog_types {
    ($($variant:ident = $value:expr, $kernel:expr, $name:expr;)*) => {
        /// Type of a program.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u32)]
        #[non_exhaustive]
        pub enum ProgType {
            $(#[doc = concat!("Kernel `", $kernel, "`.")] #[doc(alias = $kernel)] $variant = $value,)*
            /// The project's own: plain memory as context, its address in `r1`, its length in
            /// `r2`. Not a kernel type.
            Memory = 0x4250_0001,
        }

        impl ProgType {
            /// The type with the kernel's number, if there is one.
            pub const fn from_u32(number: u32) -> Option<Self> {
                match number {
                    $($value => Some(Self::$variant),)*
                    _ => None,
                }
            }

            /// The name that `bpftool prog` prints.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Memory => "memory",
                }
            }
        }
    };
}

prog_types! {
    Unspec = 0, "BPF_PROG_TYPE_UNSPEC", "unspec";
    SocketFilter = 1, "BPF_PROG_TYPE_SOCKET_FILTER", "socket_filter";
    Kprobe = 2, "BPF_PROG_TYPE_KPROBE", "kprobe";
    SchedCls = 3, "BPF_PROG_TYPE_SCHED_CLS", "sched_cls";
    SchedAct = 4, "BPF_PROG_TYPE_SCHED_ACT", "sched_act";
    Tracepoint = 5, "BPF_PROG_TYPE_TRACEPOINT", "tracepoint";
    Xdp = 6, "BPF_PROG_TYPE_XDP", "xdp";
    PerfEvent = 7, "BPF_PROG_TYPE_PERF_EVENT", "perf_event";
    CgroupSkb = 8, "BPF_PROG_TYPE_CGROUP_SKB", "cgroup_skb";
    CgroupSock = 9, "BPF_PROG_TYPE_CGROUP_SOCK", "cgroup_sock";
    LwtIn = 10, "BPF_PROG_TYPE_LWT_IN", "lwt_in";
    LwtOut = 11, "BPF_PROG_TYPE_LWT_OUT", "lwt_out";
    LwtXmit = 12, "BPF_PROG_TYPE_LWT_XMIT", "lwt_xmit";
    SockOps = 13, "BPF_PROG_TYPE_SOCK_OPS", "sock_ops";
    SkSkb = 14, "BPF_PROG_TYPE_SK_SKB", "sk_skb";
    CgroupDevice = 15, "BPF_PROG_TYPE_CGROUP_DEVICE", "cgroup_device";
    SkMsg = 16, "BPF_PROG_TYPE_SK_MSG", "sk_msg";
    RawTracepoint = 17, "BPF_PROG_TYPE_RAW_TRACEPOINT", "raw_tracepoint";
    CgroupSockAddr = 18, "BPF_PROG_TYPE_CGROUP_SOCK_ADDR", "cgroup_sock_addr";
    LwtSeg6Local = 19, "BPF_PROG_TYPE_LWT_SEG6LOCAL", "lwt_seg6local";
    LircMode2 = 20, "BPF_PROG_TYPE_LIRC_MODE2", "lirc_mode2";
    SkReuseport = 21, "BPF_PROG_TYPE_SK_REUSEPORT", "sk_reuseport";
    FlowDissector = 22, "BPF_PROG_TYPE_FLOW_DISSECTOR", "flow_dissector";
    CgroupSysctl = 23, "BPF_PROG_TYPE_CGROUP_SYSCTL", "cgroup_sysctl";
    RawTracepointWritable = 24, "BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE", "raw_tracepoint_writable";
    CgroupSockopt = 25, "BPF_PROG_TYPE_CGROUP_SOCKOPT", "cgroup_sockopt";
    Tracing = 26, "BPF_PROG_TYPE_TRACING", "tracing";
    StructOps = 27, "BPF_PROG_TYPE_STRUCT_OPS", "struct_ops";
    Ext = 28, "BPF_PROG_TYPE_EXT", "ext";
    Lsm = 29, "BPF_PROG_TYPE_LSM", "lsm";
    SkLookup = 30, "BPF_PROG_TYPE_SK_LOOKUP", "sk_lookup";
    Syscall = 31, "BPF_PROG_TYPE_SYSCALL", "syscall";
    Netfilter = 32, "BPF_PROG_TYPE_NETFILTER", "netfilter";
}

impl ProgType {
    /// Whether the context is an array of words that BTF gives types.
    pub const fn is_typed(self) -> bool {
        matches!(self, Self::Tracing | Self::Lsm | Self::StructOps)
    }
}

/// Attach type, by the kernel's number (`enum bpf_attach_type`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[doc(alias = "bpf_attach_type")]
pub struct AttachType(pub u32);

macro_rules! attach_types {
    ($($name:ident = $value:literal, $kernel:literal;)*) => {
        impl AttachType {
            $(#[doc = concat!("Kernel `", $kernel, "`.")] #[doc(alias = $kernel)]
            pub const $name: Self = Self($value);)*

            /// The kernel's name, or `None` for a number that this version does not know.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($kernel),)*
                    _ => None,
                }
            }
        }
    };
}

attach_types! {
    CGROUP_INET_INGRESS = 0, "BPF_CGROUP_INET_INGRESS";
    CGROUP_INET_EGRESS = 1, "BPF_CGROUP_INET_EGRESS";
    CGROUP_INET_SOCK_CREATE = 2, "BPF_CGROUP_INET_SOCK_CREATE";
    CGROUP_SOCK_OPS = 3, "BPF_CGROUP_SOCK_OPS";
    SK_SKB_STREAM_PARSER = 4, "BPF_SK_SKB_STREAM_PARSER";
    SK_SKB_STREAM_VERDICT = 5, "BPF_SK_SKB_STREAM_VERDICT";
    CGROUP_DEVICE = 6, "BPF_CGROUP_DEVICE";
    SK_MSG_VERDICT = 7, "BPF_SK_MSG_VERDICT";
    CGROUP_INET4_BIND = 8, "BPF_CGROUP_INET4_BIND";
    CGROUP_INET6_BIND = 9, "BPF_CGROUP_INET6_BIND";
    CGROUP_INET4_CONNECT = 10, "BPF_CGROUP_INET4_CONNECT";
    CGROUP_INET6_CONNECT = 11, "BPF_CGROUP_INET6_CONNECT";
    CGROUP_INET4_POST_BIND = 12, "BPF_CGROUP_INET4_POST_BIND";
    CGROUP_INET6_POST_BIND = 13, "BPF_CGROUP_INET6_POST_BIND";
    CGROUP_UDP4_SENDMSG = 14, "BPF_CGROUP_UDP4_SENDMSG";
    CGROUP_UDP6_SENDMSG = 15, "BPF_CGROUP_UDP6_SENDMSG";
    LIRC_MODE2 = 16, "BPF_LIRC_MODE2";
    FLOW_DISSECTOR = 17, "BPF_FLOW_DISSECTOR";
    CGROUP_SYSCTL = 18, "BPF_CGROUP_SYSCTL";
    CGROUP_UDP4_RECVMSG = 19, "BPF_CGROUP_UDP4_RECVMSG";
    CGROUP_UDP6_RECVMSG = 20, "BPF_CGROUP_UDP6_RECVMSG";
    CGROUP_GETSOCKOPT = 21, "BPF_CGROUP_GETSOCKOPT";
    CGROUP_SETSOCKOPT = 22, "BPF_CGROUP_SETSOCKOPT";
    TRACE_RAW_TP = 23, "BPF_TRACE_RAW_TP";
    TRACE_FENTRY = 24, "BPF_TRACE_FENTRY";
    TRACE_FEXIT = 25, "BPF_TRACE_FEXIT";
    MODIFY_RETURN = 26, "BPF_MODIFY_RETURN";
    LSM_MAC = 27, "BPF_LSM_MAC";
    TRACE_ITER = 28, "BPF_TRACE_ITER";
    CGROUP_INET4_GETPEERNAME = 29, "BPF_CGROUP_INET4_GETPEERNAME";
    CGROUP_INET6_GETPEERNAME = 30, "BPF_CGROUP_INET6_GETPEERNAME";
    CGROUP_INET4_GETSOCKNAME = 31, "BPF_CGROUP_INET4_GETSOCKNAME";
    CGROUP_INET6_GETSOCKNAME = 32, "BPF_CGROUP_INET6_GETSOCKNAME";
    XDP_DEVMAP = 33, "BPF_XDP_DEVMAP";
    CGROUP_INET_SOCK_RELEASE = 34, "BPF_CGROUP_INET_SOCK_RELEASE";
    XDP_CPUMAP = 35, "BPF_XDP_CPUMAP";
    SK_LOOKUP = 36, "BPF_SK_LOOKUP";
    XDP = 37, "BPF_XDP";
    SK_SKB_VERDICT = 38, "BPF_SK_SKB_VERDICT";
    SK_REUSEPORT_SELECT = 39, "BPF_SK_REUSEPORT_SELECT";
    SK_REUSEPORT_SELECT_OR_MIGRATE = 40, "BPF_SK_REUSEPORT_SELECT_OR_MIGRATE";
    PERF_EVENT = 41, "BPF_PERF_EVENT";
    TRACE_KPROBE_MULTI = 42, "BPF_TRACE_KPROBE_MULTI";
    LSM_CGROUP = 43, "BPF_LSM_CGROUP";
    STRUCT_OPS = 44, "BPF_STRUCT_OPS";
    NETFILTER = 45, "BPF_NETFILTER";
    TCX_INGRESS = 46, "BPF_TCX_INGRESS";
    TCX_EGRESS = 47, "BPF_TCX_EGRESS";
    TRACE_UPROBE_MULTI = 48, "BPF_TRACE_UPROBE_MULTI";
    CGROUP_UNIX_CONNECT = 49, "BPF_CGROUP_UNIX_CONNECT";
    CGROUP_UNIX_SENDMSG = 50, "BPF_CGROUP_UNIX_SENDMSG";
    CGROUP_UNIX_RECVMSG = 51, "BPF_CGROUP_UNIX_RECVMSG";
    CGROUP_UNIX_GETPEERNAME = 52, "BPF_CGROUP_UNIX_GETPEERNAME";
    CGROUP_UNIX_GETSOCKNAME = 53, "BPF_CGROUP_UNIX_GETSOCKNAME";
    NETKIT_PRIMARY = 54, "BPF_NETKIT_PRIMARY";
    NETKIT_PEER = 55, "BPF_NETKIT_PEER";
    TRACE_KPROBE_SESSION = 56, "BPF_TRACE_KPROBE_SESSION";
    TRACE_UPROBE_SESSION = 57, "BPF_TRACE_UPROBE_SESSION";
    TRACE_FSESSION = 58, "BPF_TRACE_FSESSION";
    TRACE_FENTRY_MULTI = 59, "BPF_TRACE_FENTRY_MULTI";
    TRACE_FEXIT_MULTI = 60, "BPF_TRACE_FEXIT_MULTI";
    TRACE_FSESSION_MULTI = 61, "BPF_TRACE_FSESSION_MULTI";
}
