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

/// Attach type, by the kernel's number (`enum bpf_attach_type`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[doc(alias = "bpf_attach_type")]
pub struct AttachType(pub u32);
