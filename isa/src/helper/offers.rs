//! Which types of programs may call which helpers, as Linux 6.18 has it for users with `CAP_BPF` and
//! `CAP_PERFMON`, with everything configured. A test asks the running kernel.

use super::set::HelperSet;
use super::{HelperProto, PROTOS, VARIANTS, proto};
use crate::{AttachType, ProgType};

/// `NAME = OTHER + names;`
macro_rules! sets {
    ($($(#[$doc:meta])* $name:ident = $base:ident + [$($helper:ident)*];)*) => {
        $($(#[$doc])* const $name: HelperSet = $base.and(&[$(stringify!($helper)),*]);)*
    };
}

const NONE: HelperSet = HelperSet::EMPTY;

/// The project's own type: whatever takes no context.
const MEMORY: HelperSet = {
    let mut set = NONE;
    let mut index = 0;
    while index < PROTOS.len() {
        let proto = &PROTOS[index];
        if !proto.takes_context() {
            set = set.and(&[proto.name]);
        }
        index += 1;
    }
    set
};

sets! {
    /// What every type gets (`bpf_base_func_proto` in `kernel/bpf/helpers.c`), given
    /// `CAP_PERFMON`.
    BASE = NONE + [
        map_lookup_elem map_update_elem map_delete_elem ktime_get_ns trace_printk
        get_prandom_u32 get_smp_processor_id tail_call get_current_pid_tgid get_current_uid_gid
        get_current_comm get_cgroup_classid perf_event_read get_current_task
        current_task_under_cgroup get_numa_node_id perf_event_read_value get_current_cgroup_id
        map_push_elem map_pop_elem map_peek_elem spin_lock spin_unlock strtol strtoul
        send_signal probe_read_user probe_read_kernel probe_read_user_str probe_read_kernel_str
        send_signal_thread jiffies64 get_ns_current_pid_tgid get_current_ancestor_cgroup_id
        ktime_get_boot_ns ringbuf_output ringbuf_reserve ringbuf_submit ringbuf_discard
        ringbuf_query get_task_stack copy_from_user snprintf_btf per_cpu_ptr this_cpu_ptr
        task_storage_get task_storage_delete get_current_task_btf for_each_map_elem snprintf
        timer_init timer_set_callback timer_start timer_cancel task_pt_regs get_branch_snapshot
        trace_vprintk find_vma loop strncmp copy_from_user_task kptr_xchg map_lookup_percpu_elem
        dynptr_from_mem ringbuf_reserve_dynptr ringbuf_submit_dynptr ringbuf_discard_dynptr
        dynptr_read dynptr_write dynptr_data ktime_get_tai_ns user_ringbuf_drain
        cgrp_storage_get cgrp_storage_delete
    ];
    /// What networking programs get beside that (`bpf_sk_base_func_proto` in
    /// `net/core/filter.c`).
    SOCKET_BASE = BASE + [
        skc_to_tcp6_sock skc_to_tcp_sock skc_to_tcp_timewait_sock skc_to_tcp_request_sock
        skc_to_udp6_sock ktime_get_coarse_ns skc_to_unix_sock skc_to_mptcp_sock
    ];
    /// Socket filters.
    SOCKET_FILTER = SOCKET_BASE + [
        perf_event_output skb_load_bytes get_socket_cookie get_socket_uid
        skb_load_bytes_relative get_netns_cookie
    ];
    /// Traffic control.
    TRAFFIC = SOCKET_BASE + [
        skb_store_bytes l3_csum_replace l4_csum_replace clone_redirect skb_vlan_push
        skb_vlan_pop skb_get_tunnel_key skb_set_tunnel_key redirect get_route_realm
        perf_event_output skb_load_bytes csum_diff skb_get_tunnel_opt skb_set_tunnel_opt
        skb_change_proto skb_change_type skb_under_cgroup get_hash_recalc skb_change_tail
        skb_pull_data csum_update set_hash_invalid skb_change_head get_socket_cookie
        get_socket_uid set_hash skb_adjust_room skb_get_xfrm_state skb_load_bytes_relative
        fib_lookup skb_cgroup_id skb_ancestor_cgroup_id sk_lookup_tcp sk_lookup_udp sk_release
        sk_fullsock tcp_sock skb_ecn_set_ce get_listener_sock skc_lookup_tcp tcp_check_syncookie
        sk_storage_get sk_storage_delete tcp_gen_syncookie get_netns_cookie sk_assign csum_level
        skb_cgroup_classid redirect_neigh redirect_peer check_mtu skb_set_tstamp
        tcp_raw_gen_syncookie_ipv4 tcp_raw_gen_syncookie_ipv6 tcp_raw_check_syncookie_ipv4
        tcp_raw_check_syncookie_ipv6
    ];
    /// XDP.
    XDP = SOCKET_BASE + [
        redirect perf_event_output csum_diff xdp_adjust_head redirect_map xdp_adjust_meta
        xdp_adjust_tail fib_lookup sk_lookup_tcp sk_lookup_udp sk_release skc_lookup_tcp
        tcp_check_syncookie tcp_gen_syncookie check_mtu xdp_get_buff_len xdp_load_bytes
        xdp_store_bytes tcp_raw_gen_syncookie_ipv4 tcp_raw_gen_syncookie_ipv6
        tcp_raw_check_syncookie_ipv4 tcp_raw_check_syncookie_ipv6
    ];
    /// Packets of control groups.
    CGROUP_SKB = SOCKET_BASE + [
        perf_event_output skb_load_bytes get_socket_cookie get_socket_uid
        skb_load_bytes_relative skb_cgroup_id get_local_storage skb_ancestor_cgroup_id
        sk_lookup_tcp sk_lookup_udp sk_release sk_fullsock tcp_sock skb_ecn_set_ce
        get_listener_sock skc_lookup_tcp sk_storage_get sk_storage_delete get_netns_cookie
        sk_cgroup_id sk_ancestor_cgroup_id
    ];
    /// Sockets of control groups.
    CGROUP_SOCK = BASE + [
        perf_event_output get_socket_cookie get_local_storage sk_storage_get get_netns_cookie
        ktime_get_coarse_ns get_retval set_retval
    ];
    /// Devices of control groups.
    CGROUP_DEVICE = BASE + [perf_event_output get_local_storage get_retval set_retval];
    /// Kernel parameters in control groups.
    CGROUP_SYSCTL = BASE + [
        perf_event_output get_local_storage sysctl_get_name sysctl_get_current_value
        sysctl_get_new_value sysctl_set_new_value ktime_get_coarse_ns get_retval set_retval
    ];
    /// Reading socket options.
    GETSOCKOPT = BASE + [
        perf_event_output get_local_storage tcp_sock sk_storage_get sk_storage_delete
        get_netns_cookie get_retval set_retval
    ];
    /// Setting socket options.
    SETSOCKOPT = GETSOCKOPT + [setsockopt getsockopt];
    /// Addresses of sockets, where the program cannot refuse.
    SOCK_ADDR = SOCKET_BASE + [
        perf_event_output get_socket_cookie setsockopt getsockopt get_local_storage
        sk_lookup_tcp sk_lookup_udp sk_release skc_lookup_tcp sk_storage_get sk_storage_delete
        get_netns_cookie
    ];
    /// Addresses of sockets, where the program decides and may say with what error.
    SOCK_ADDR_VERDICT = SOCK_ADDR + [get_retval set_retval];
    /// Connecting over IP.
    SOCK_ADDR_CONNECT = SOCK_ADDR_VERDICT + [bind];
    /// Events of TCP sockets.
    SOCK_OPS = SOCKET_BASE + [
        perf_event_output get_socket_cookie setsockopt sock_map_update getsockopt
        sock_ops_cb_flags_set sock_hash_update get_local_storage tcp_sock sk_storage_get
        sk_storage_delete get_netns_cookie load_hdr_opt store_hdr_opt reserve_hdr_opt
    ];
    /// Packets of socket maps.
    SK_SKB = SOCKET_BASE + [
        skb_store_bytes perf_event_output skb_load_bytes skb_change_tail skb_pull_data
        skb_change_head get_socket_cookie get_socket_uid skb_adjust_room sk_redirect_map
        sk_redirect_hash sk_lookup_tcp sk_lookup_udp sk_release skc_lookup_tcp
    ];
    /// Messages of socket maps.
    SK_MSG = SOCKET_BASE + [
        perf_event_output msg_redirect_map msg_apply_bytes msg_cork_bytes msg_pull_data
        msg_redirect_hash msg_push_data msg_pop_data sk_storage_get sk_storage_delete
        get_netns_cookie
    ];
    /// Looking for the socket of a packet.
    SK_LOOKUP = SOCKET_BASE + [perf_event_output sk_release sk_assign];
    /// Choosing among sockets of one port.
    SK_REUSEPORT = BASE + [
        skb_load_bytes get_socket_cookie skb_load_bytes_relative sk_select_reuseport
        ktime_get_coarse_ns
    ];
    /// Flow dissectors.
    FLOW_DISSECTOR = SOCKET_BASE + [skb_load_bytes];
    /// Lightweight tunnels.
    LWT = SOCKET_BASE + [
        get_route_realm perf_event_output skb_load_bytes csum_diff skb_under_cgroup
        get_hash_recalc skb_pull_data
    ];
    /// Packets that come in.
    LWT_IN = LWT + [lwt_push_encap];
    /// Packets that go out.
    LWT_XMIT = LWT_IN + [
        skb_store_bytes l3_csum_replace l4_csum_replace clone_redirect skb_get_tunnel_key
        skb_set_tunnel_key redirect skb_get_tunnel_opt skb_set_tunnel_opt skb_change_tail
        csum_update set_hash_invalid skb_change_head csum_level
    ];
    /// Segment routing.
    LWT_SEG6LOCAL = LWT + [lwt_seg6_store_bytes lwt_seg6_adjust_srh lwt_seg6_action];
    /// What is common to tracing programs of all types (`bpf_tracing_func_proto` in
    /// `kernel/trace/bpf_trace.c`).
    TRACING_BASE = BASE + [
        probe_read perf_event_output get_stackid probe_write_user probe_read_str get_stack
    ];
    /// Tracepoints, raw or not.
    TRACEPOINT = TRACING_BASE + [get_attach_cookie];
    /// Kprobes and uprobes.
    KPROBE = TRACEPOINT + [get_func_ip override_return];
    /// Perf events.
    PERF_EVENT = TRACEPOINT + [perf_prog_read_value read_branch_records];
    /// What is common to programs whose context is typed by BTF.
    BTF_BASE = TRACING_BASE + [
        get_socket_cookie sk_storage_get sk_storage_delete skb_output xdp_output
        skc_to_tcp6_sock skc_to_tcp_sock skc_to_tcp_timewait_sock skc_to_tcp_request_sock
        skc_to_udp6_sock d_path sock_from_file skc_to_unix_sock xdp_get_buff_len
        skc_to_mptcp_sock
    ];
    /// BTF-typed raw tracepoints.
    BTF_TRACEPOINT = BTF_BASE + [get_attach_cookie];
    /// Entries and exits of functions.
    TRAMPOLINE = BTF_TRACEPOINT + [get_func_ip get_func_arg get_func_ret get_func_arg_cnt];
    /// Iterators.
    ITER = BTF_BASE + [seq_printf seq_write seq_printf_btf];
    /// Iterators over TCP and Unix sockets.
    ITER_SOCKET = ITER + [setsockopt getsockopt];
    /// System call programs.
    SYSCALL = BTF_BASE + [sys_bpf btf_find_by_name_kind sys_close kallsyms_lookup_name];
    /// Security hooks.
    LSM = BTF_TRACEPOINT + [get_func_arg get_func_ret get_func_arg_cnt inode_storage_get inode_storage_delete bprm_opts_set ima_inode_hash ima_file_hash];
    /// Security hooks of control groups. The kernel has `setsockopt` and `getsockopt` for some
    /// hooks only.
    LSM_CGROUP = BTF_BASE + [
        get_local_storage inode_storage_get inode_storage_delete bprm_opts_set ima_inode_hash
        get_retval set_retval ima_file_hash
    ];
    /// The end of a congestion control (`tcp_congestion_ops`).
    TCP_RELEASE = BASE + [sk_storage_get sk_storage_delete tcp_send_ack ktime_get_coarse_ns];
    /// `tcp_congestion_ops`.
    TCP_CONGESTION = TCP_RELEASE + [setsockopt getsockopt];
    /// Infrared decoders.
    LIRC = NONE + [
        map_lookup_elem map_update_elem map_delete_elem ktime_get_ns trace_printk
        get_prandom_u32 tail_call rc_repeat rc_keydown map_push_elem map_pop_elem map_peek_elem
        rc_pointer_rel ktime_get_boot_ns
    ];
}

/// What may be called is a matter of this.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Caller<'a> {
    /// Type of the program.
    pub prog_type: ProgType,
    /// Its attach type, where the type has several.
    pub attach_type: Option<AttachType>,
    /// It may sleep (`BPF_F_SLEEPABLE`). Programs of type [`ProgType::Syscall`] always may.
    pub sleepable: bool,
    /// What it is attached to, as far as it is known: the function of an iterator without
    /// `bpf_iter_` (`tcp`), the structure of `struct_ops` (`tcp_congestion_ops`).
    pub target: Option<&'a str>,
    /// The member of that structure which it implements.
    pub member: Option<&'a str>,
}

/// Why a helper may not be called.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unavailable {
    /// There is none with the number.
    Unknown,
    /// Programs of the type may not call it.
    ProgramType,
    /// It may sleep, and the program may not.
    Sleeps,
}

/// The prototype of the helper for a program.
///
/// # Errors
///
/// Why the program may not call it. Whether the licence allows it
/// ([`HelperProto::gpl_only`]) is for the caller to see.
pub fn available(caller: &Caller<'_>, id: u32) -> Result<&'static HelperProto, Unavailable> {
    let usual = proto(id).ok_or(Unavailable::Unknown)?;
    if !caller.offered().contains(id) {
        return Err(Unavailable::ProgramType);
    }
    let proto = VARIANTS
        .iter()
        .find(|variant| variant.proto.id == id && variant.is_for(caller))
        .map_or(usual, |variant| &variant.proto);
    let may_sleep = caller.sleepable || caller.prog_type == ProgType::Syscall;
    if proto.sleeps && !may_sleep {
        return Err(Unavailable::Sleeps);
    }
    Ok(proto)
}

impl Caller<'_> {
    /// The helpers that programs like this may call, those that sleep included.
    pub fn offered(&self) -> HelperSet {
        match self.prog_type {
            ProgType::Memory => MEMORY,
            ProgType::SocketFilter => SOCKET_FILTER,
            ProgType::SchedCls | ProgType::SchedAct => TRAFFIC,
            ProgType::Xdp => XDP,
            ProgType::Kprobe => KPROBE,
            ProgType::Tracepoint | ProgType::RawTracepoint | ProgType::RawTracepointWritable => {
                TRACEPOINT
            }
            ProgType::PerfEvent => PERF_EVENT,
            ProgType::CgroupSkb => CGROUP_SKB,
            ProgType::CgroupSock => CGROUP_SOCK,
            ProgType::CgroupDevice => CGROUP_DEVICE,
            ProgType::CgroupSysctl => CGROUP_SYSCTL,
            ProgType::CgroupSockopt => match self.attach_type {
                Some(AttachType::CGROUP_SETSOCKOPT) => SETSOCKOPT,
                _ => GETSOCKOPT,
            },
            ProgType::CgroupSockAddr => self.sock_addr(),
            ProgType::SockOps => SOCK_OPS,
            ProgType::SkSkb => SK_SKB,
            ProgType::SkMsg => SK_MSG,
            ProgType::SkLookup => SK_LOOKUP,
            ProgType::SkReuseport => SK_REUSEPORT,
            ProgType::FlowDissector => FLOW_DISSECTOR,
            ProgType::LwtOut => LWT,
            ProgType::LwtIn => LWT_IN,
            ProgType::LwtXmit => LWT_XMIT,
            ProgType::LwtSeg6Local => LWT_SEG6LOCAL,
            ProgType::Tracing => self.tracing(),
            ProgType::Lsm => match self.attach_type {
                Some(AttachType::LSM_CGROUP) => LSM_CGROUP,
                _ => LSM,
            },
            ProgType::StructOps => match self.target {
                // A congestion control that is given up does not change the socket's options
                // (`bpf_tcp_ca_get_func_proto`).
                Some("tcp_congestion_ops") if self.member == Some("release") => TCP_RELEASE,
                Some("tcp_congestion_ops") => TCP_CONGESTION,
                // It has no helpers of its own, not even these (`bpf_dummy_verifier_ops`).
                Some("bpf_dummy_ops") => NONE,
                _ => BASE,
            },
            ProgType::Syscall => SYSCALL,
            ProgType::Netfilter => BASE,
            ProgType::LircMode2 => LIRC,
            // That of the program that is replaced, which is not known.
            ProgType::Ext | ProgType::Unspec => NONE,
        }
    }

    fn sock_addr(&self) -> HelperSet {
        match self.attach_type {
            Some(AttachType::CGROUP_INET4_CONNECT | AttachType::CGROUP_INET6_CONNECT) => {
                SOCK_ADDR_CONNECT
            }
            Some(
                AttachType::CGROUP_INET4_BIND
                | AttachType::CGROUP_INET6_BIND
                | AttachType::CGROUP_UDP4_SENDMSG
                | AttachType::CGROUP_UDP6_SENDMSG
                | AttachType::CGROUP_UNIX_CONNECT
                | AttachType::CGROUP_UNIX_SENDMSG,
            ) => SOCK_ADDR_VERDICT,
            _ => SOCK_ADDR,
        }
    }

    fn tracing(&self) -> HelperSet {
        match self.attach_type {
            Some(AttachType::TRACE_RAW_TP) => BTF_TRACEPOINT,
            Some(AttachType::TRACE_ITER) => match self.target {
                Some("tcp" | "unix") => ITER_SOCKET,
                _ => ITER,
            },
            Some(
                AttachType::TRACE_FENTRY | AttachType::TRACE_FEXIT | AttachType::MODIFY_RETURN,
            ) => TRAMPOLINE,
            _ => BTF_BASE,
        }
    }
}
