//! The table: every helper of Linux 6.18 (`___BPF_FUNC_MAPPER` in `uapi/linux/bpf.h`), with the
//! `bpf_func_proto` that tracing, XDP and traffic control programs get. What other types get instead is
//! in [`super::variants`], who gets what in [`super::offers`].
//!
//! A helper that takes or gives kernel objects (sockets, tasks, dynptrs, timers) has
//! `Unsupported` where its prototype leaves the enums.

use super::{ArgType, HelperProto, RetType};

/// `number name(arguments) -> result, attributes;` where the attributes are `gpl` (only for
/// programs under a GPL-compatible licence), `packet` (moves or resizes the packet) and `sleeps` (only
/// for programs that may sleep).
macro_rules! helpers {
    ($($id:literal $name:ident ($($arg:ident $(($detail:expr))?),*) -> $ret:ident $(($what:expr))?
        $(, $attribute:ident)*;)*) => {
        /// All helpers, in ascending order of number, from 1 without gaps.
        pub const PROTOS: &[HelperProto] = &[$(HelperProto {
            id: $id,
            name: stringify!($name),
            args: args(&[$(ArgType::$arg $(($detail))?),*]),
            ret: RetType::$ret $(($what))?,
            gpl_only: has(&[$(stringify!($attribute)),*], "gpl"),
            changes_packet: has(&[$(stringify!($attribute)),*], "packet"),
            sleeps: has(&[$(stringify!($attribute)),*], "sleeps"),
        }),*];
    };
}

/// Fills up with [`ArgType::None`].
pub(super) const fn args(given: &[ArgType]) -> [ArgType; 5] {
    let mut all = [ArgType::None; 5];
    let mut index = 0;
    while index < given.len() {
        all[index] = given[index];
        index += 1;
    }
    all
}

/// Whether the attribute, known by its first letter, is among those given.
const fn has(given: &[&str], attribute: &str) -> bool {
    let mut index = 0;
    while index < given.len() {
        if given[index].as_bytes()[0] == attribute.as_bytes()[0] {
            return true;
        }
        index += 1;
    }
    false
}

use crate::context::Object::{Kernel, SockCommon, Socket, TcpSock};
use crate::kfunc::DynptrKind::{Local, RingBuf};

helpers! {
    1 map_lookup_elem(ConstMapPtr, MapKey) -> MapValueOrNull;
    2 map_update_elem(ConstMapPtr, MapKey, MapValue, Anything) -> Integer;
    3 map_delete_elem(ConstMapPtr, MapKey) -> Integer;
    4 probe_read(UninitMem, ConstSizeOrZero, Anything) -> Integer, gpl;
    5 ktime_get_ns() -> Integer;
    6 trace_printk(MemRead, ConstSize) -> Integer, gpl;
    7 get_prandom_u32() -> Integer;
    8 get_smp_processor_id() -> Integer;
    9 skb_store_bytes(Ctx, Anything, MemRead, ConstSize, Anything) -> Integer, packet;
    10 l3_csum_replace(Ctx, Anything, Anything, Anything, Anything) -> Integer, packet;
    11 l4_csum_replace(Ctx, Anything, Anything, Anything, Anything) -> Integer, packet;
    // Where it returns it did nothing. A subprogram that calls it may come back to its caller from
    // the program called, though: with any result, and with the packet moved.
    12 tail_call(Ctx, ConstMapPtr, Anything) -> Void;
    13 clone_redirect(Ctx, Anything, Anything) -> Integer, packet;
    14 get_current_pid_tgid() -> Integer;
    15 get_current_uid_gid() -> Integer;
    16 get_current_comm(UninitMem, ConstSize) -> Integer;
    17 get_cgroup_classid(Ctx) -> Integer;
    18 skb_vlan_push(Ctx, Anything, Anything) -> Integer, packet;
    19 skb_vlan_pop(Ctx) -> Integer, packet;
    20 skb_get_tunnel_key(Ctx, UninitMem, ConstSize, Anything) -> Integer;
    21 skb_set_tunnel_key(Ctx, MemRead, ConstSize, Anything) -> Integer;
    22 perf_event_read(ConstMapPtr, Anything) -> Integer, gpl;
    23 redirect(Anything, Anything) -> Integer;
    24 get_route_realm(Ctx) -> Integer;
    25 perf_event_output(Ctx, ConstMapPtr, Anything, MemRead, ConstSizeOrZero) -> Integer, gpl;
    26 skb_load_bytes(Ctx, Anything, UninitMem, ConstSize) -> Integer;
    27 get_stackid(Ctx, ConstMapPtr, Anything) -> Integer, gpl;
    28 csum_diff(MemReadOrNull, ConstSizeOrZero, MemReadOrNull, ConstSizeOrZero, Anything) -> Integer;
    29 skb_get_tunnel_opt(Ctx, UninitMem, ConstSize) -> Integer;
    30 skb_set_tunnel_opt(Ctx, MemRead, ConstSize) -> Integer;
    31 skb_change_proto(Ctx, Anything, Anything) -> Integer, packet;
    32 skb_change_type(Ctx, Anything) -> Integer;
    33 skb_under_cgroup(Ctx, ConstMapPtr, Anything) -> Integer;
    34 get_hash_recalc(Ctx) -> Integer;
    35 get_current_task() -> Integer, gpl;
    36 probe_write_user(Anything, MemRead, ConstSize) -> Integer, gpl;
    37 current_task_under_cgroup(ConstMapPtr, Anything) -> Integer;
    38 skb_change_tail(Ctx, Anything, Anything) -> Integer, packet;
    39 skb_pull_data(Ctx, Anything) -> Integer, packet;
    40 csum_update(Ctx, Anything) -> Integer;
    41 set_hash_invalid(Ctx) -> Integer;
    42 get_numa_node_id() -> Integer;
    43 skb_change_head(Ctx, Anything, Anything) -> Integer, packet;
    44 xdp_adjust_head(Ctx, Anything) -> Integer, packet;
    45 probe_read_str(UninitMem, ConstSizeOrZero, Anything) -> Integer, gpl;
    46 get_socket_cookie(Ctx) -> Integer;
    47 get_socket_uid(Ctx) -> Integer;
    48 set_hash(Ctx, Anything) -> Integer;
    49 setsockopt(Ctx, Anything, Anything, MemRead, ConstSize) -> Integer;
    50 skb_adjust_room(Ctx, Anything, Anything, Anything) -> Integer, packet;
    51 redirect_map(ConstMapPtr, Anything, Anything) -> Integer;
    52 sk_redirect_map(Ctx, ConstMapPtr, Anything, Anything) -> Integer;
    53 sock_map_update(Ctx, ConstMapPtr, MapKey, Anything) -> Integer;
    54 xdp_adjust_meta(Ctx, Anything) -> Integer, packet;
    55 perf_event_read_value(ConstMapPtr, Anything, UninitMem, ConstSize) -> Integer, gpl;
    56 perf_prog_read_value(Ctx, UninitMem, ConstSize) -> Integer, gpl;
    57 getsockopt(Ctx, Anything, Anything, UninitMem, ConstSize) -> Integer;
    58 override_return(Ctx, Anything) -> Integer, gpl;
    59 sock_ops_cb_flags_set(Ctx, Anything) -> Integer;
    60 msg_redirect_map(Ctx, ConstMapPtr, Anything, Anything) -> Integer;
    61 msg_apply_bytes(Ctx, Anything) -> Integer;
    62 msg_cork_bytes(Ctx, Anything) -> Integer;
    63 msg_pull_data(Ctx, Anything, Anything, Anything) -> Integer, packet;
    64 bind(Ctx, MemRead, ConstSize) -> Integer;
    65 xdp_adjust_tail(Ctx, Anything) -> Integer, packet;
    66 skb_get_xfrm_state(Ctx, Anything, UninitMem, ConstSize, Anything) -> Integer;
    67 get_stack(Ctx, UninitMem, ConstSizeOrZero, Anything) -> Integer, gpl;
    68 skb_load_bytes_relative(Ctx, Anything, UninitMem, ConstSize, Anything) -> Integer;
    69 fib_lookup(Ctx, MemWrite, ConstSize, Anything) -> Integer, gpl;
    70 sock_hash_update(Ctx, ConstMapPtr, MapKey, Anything) -> Integer;
    71 msg_redirect_hash(Ctx, ConstMapPtr, MapKey, Anything) -> Integer;
    72 sk_redirect_hash(Ctx, ConstMapPtr, MapKey, Anything) -> Integer;
    73 lwt_push_encap(Ctx, Anything, MemRead, ConstSize) -> Integer, packet;
    74 lwt_seg6_store_bytes(Ctx, Anything, MemRead, ConstSize) -> Integer, packet;
    75 lwt_seg6_adjust_srh(Ctx, Anything, Anything) -> Integer, packet;
    76 lwt_seg6_action(Ctx, Anything, MemRead, ConstSize) -> Integer, packet;
    77 rc_repeat(Ctx) -> Integer, gpl;
    78 rc_keydown(Ctx, Anything, Anything, Anything) -> Integer, gpl;
    79 skb_cgroup_id(Ctx) -> Integer;
    80 get_current_cgroup_id() -> Integer;
    81 get_local_storage(ConstMapPtr, Anything) -> MapValue;
    82 sk_select_reuseport(Ctx, ConstMapPtr, MapKey, Anything) -> Integer;
    83 skb_ancestor_cgroup_id(Ctx, Anything) -> Integer;
    84 sk_lookup_tcp(Ctx, MemRead, ConstSize, Anything, Anything) -> AcquiredOrNull(Socket);
    85 sk_lookup_udp(Ctx, MemRead, ConstSize, Anything, Anything) -> AcquiredOrNull(Socket);
    86 sk_release(ReleasedSock) -> Integer;
    87 map_push_elem(ConstMapPtr, MapValue, Anything) -> Integer;
    88 map_pop_elem(ConstMapPtr, UninitMapValue) -> Integer;
    89 map_peek_elem(ConstMapPtr, UninitMapValue) -> Integer;
    90 msg_push_data(Ctx, Anything, Anything, Anything) -> Integer, packet;
    91 msg_pop_data(Ctx, Anything, Anything, Anything) -> Integer, packet;
    92 rc_pointer_rel(Ctx, Anything, Anything) -> Integer, gpl;
    93 spin_lock(SpinLock) -> Void;
    94 spin_unlock(SpinLock) -> Void;
    95 sk_fullsock(SockCommon) -> CastOrNull(Socket);
    96 tcp_sock(SockCommon) -> CastOrNull(TcpSock);
    97 skb_ecn_set_ce(Ctx) -> Integer;
    98 get_listener_sock(SockCommon) -> ObjectOrNull(Socket);
    99 skc_lookup_tcp(Ctx, MemRead, ConstSize, Anything, Anything) -> AcquiredOrNull(SockCommon);
    100 tcp_check_syncookie(AnySock, MemRead, ConstSize, MemRead, ConstSize) -> Integer, gpl;
    101 sysctl_get_name(Ctx, MemWrite, ConstSize, Anything) -> Integer;
    102 sysctl_get_current_value(Ctx, UninitMem, ConstSize) -> Integer;
    103 sysctl_get_new_value(Ctx, UninitMem, ConstSize) -> Integer;
    104 sysctl_set_new_value(Ctx, MemRead, ConstSize) -> Integer;
    105 strtol(MemRead, ConstSize, Anything, FixedMemWrite(8)) -> Integer;
    106 strtoul(MemRead, ConstSize, Anything, FixedMemWrite(8)) -> Integer;
    107 sk_storage_get(ConstMapPtr, AnySock, MapValueOrNull, Anything) -> MapValueOrNull;
    108 sk_storage_delete(ConstMapPtr, AnySock) -> Integer;
    109 send_signal(Anything) -> Integer;
    110 tcp_gen_syncookie(AnySock, MemRead, ConstSize, MemRead, ConstSize) -> Integer, gpl;
    111 skb_output(Struct("sk_buff"), ConstMapPtr, Anything, MemRead, ConstSizeOrZero) -> Integer, gpl;
    112 probe_read_user(UninitMem, ConstSizeOrZero, Anything) -> Integer, gpl;
    113 probe_read_kernel(UninitMem, ConstSizeOrZero, Anything) -> Integer, gpl;
    114 probe_read_user_str(UninitMem, ConstSizeOrZero, Anything) -> Integer, gpl;
    115 probe_read_kernel_str(UninitMem, ConstSizeOrZero, Anything) -> Integer, gpl;
    116 tcp_send_ack(Struct("tcp_sock"), Anything) -> Integer;
    117 send_signal_thread(Anything) -> Integer;
    118 jiffies64() -> Integer;
    119 read_branch_records(Ctx, MemWriteOrNull, ConstSizeOrZero, Anything) -> Integer, gpl;
    120 get_ns_current_pid_tgid(Anything, Anything, UninitMem, ConstSize) -> Integer;
    121 xdp_output(Struct("xdp_buff"), ConstMapPtr, Anything, MemRead, ConstSizeOrZero) -> Integer, gpl;
    122 get_netns_cookie(CtxOrNull) -> Integer;
    123 get_current_ancestor_cgroup_id(Anything) -> Integer;
    124 sk_assign(Ctx, AnySock, Anything) -> Integer;
    125 ktime_get_boot_ns() -> Integer;
    126 seq_printf(Struct("seq_file"), MemRead, ConstSize, MemReadOrNull, ConstSizeOrZero) -> Integer, gpl;
    127 seq_write(Struct("seq_file"), MemRead, ConstSizeOrZero) -> Integer, gpl;
    128 sk_cgroup_id(AnySock) -> Integer;
    129 sk_ancestor_cgroup_id(AnySock, Anything) -> Integer;
    130 ringbuf_output(ConstMapPtr, MemRead, ConstSizeOrZero, Anything) -> Integer;
    131 ringbuf_reserve(ConstMapPtr, ConstAllocSize, Anything) -> RingBufMemOrNull;
    132 ringbuf_submit(RingBufMem, Anything) -> Void;
    133 ringbuf_discard(RingBufMem, Anything) -> Void;
    134 ringbuf_query(ConstMapPtr, Anything) -> Integer;
    135 csum_level(Ctx, Anything) -> Integer;
    136 skc_to_tcp6_sock(AnySock) -> CastOrNull(Kernel("tcp6_sock"));
    137 skc_to_tcp_sock(AnySock) -> CastOrNull(Kernel("tcp_sock"));
    138 skc_to_tcp_timewait_sock(AnySock) -> CastOrNull(Kernel("tcp_timewait_sock"));
    139 skc_to_tcp_request_sock(AnySock) -> CastOrNull(Kernel("tcp_request_sock"));
    140 skc_to_udp6_sock(AnySock) -> CastOrNull(Kernel("udp6_sock"));
    141 get_task_stack(Struct("task_struct"), UninitMem, ConstSizeOrZero, Anything) -> Integer;
    142 load_hdr_opt(Ctx, MemWrite, ConstSize, Anything) -> Integer;
    143 store_hdr_opt(Ctx, MemRead, ConstSize, Anything) -> Integer, packet;
    144 reserve_hdr_opt(Ctx, Anything, Anything) -> Integer;
    145 inode_storage_get(ConstMapPtr, StructOrNull("inode"), MapValueOrNull, Anything) -> MapValueOrNull;
    146 inode_storage_delete(ConstMapPtr, StructOrNull("inode")) -> Integer;
    147 d_path(Struct("path"), MemWrite, ConstSizeOrZero) -> Integer;
    148 copy_from_user(UninitMem, ConstSizeOrZero, Anything) -> Integer, sleeps;
    149 snprintf_btf(MemWrite, ConstSize, MemRead, ConstSize, Anything) -> Integer;
    150 seq_printf_btf(Struct("seq_file"), MemRead, ConstSizeOrZero, Anything) -> Integer, gpl;
    151 skb_cgroup_classid(Ctx) -> Integer;
    152 redirect_neigh(Anything, MemReadOrNull, ConstSizeOrZero, Anything) -> Integer;
    153 per_cpu_ptr(PerCpu, Anything) -> OfCpu(true);
    154 this_cpu_ptr(PerCpu) -> OfCpu(false);
    155 redirect_peer(Anything, Anything) -> Integer;
    156 task_storage_get(ConstMapPtr, StructOrNull("task_struct"), MapValueOrNull, Anything) -> MapValueOrNull;
    157 task_storage_delete(ConstMapPtr, StructOrNull("task_struct")) -> Integer;
    158 get_current_task_btf() -> Struct("task_struct"), gpl;
    159 bprm_opts_set(Struct("linux_binprm"), Anything) -> Integer;
    160 ktime_get_coarse_ns() -> Integer;
    161 ima_inode_hash(Struct("inode"), UninitMem, ConstSize) -> Integer, sleeps;
    162 sock_from_file(Struct("file")) -> StructOrNull("socket");
    163 check_mtu(Ctx, Anything, FixedMemReadWrite(4), Anything, Anything) -> Integer, gpl;
    164 for_each_map_elem(ConstMapPtr, Func, StackOrNull, Anything) -> Integer;
    165 snprintf(MemWriteOrNull, ConstSizeOrZero, ConstStr, MemReadOrNull, ConstSizeOrZero) -> Integer, gpl;
    166 sys_bpf(Anything, MemRead, ConstSize) -> Integer;
    167 btf_find_by_name_kind(MemRead, ConstSize, Anything, Anything) -> Integer;
    168 sys_close(Anything) -> Integer;
    169 timer_init(Timer, ConstMapPtr, Anything) -> Integer, gpl;
    170 timer_set_callback(Timer, Func) -> Integer, gpl;
    171 timer_start(Timer, Anything, Anything) -> Integer, gpl;
    172 timer_cancel(Timer) -> Integer, gpl;
    173 get_func_ip(Ctx) -> Integer, gpl;
    174 get_attach_cookie(Ctx) -> Integer;
    175 task_pt_regs(Struct("task_struct")) -> Struct("pt_regs"), gpl;
    176 get_branch_snapshot(UninitMem, ConstSizeOrZero) -> Integer, gpl;
    177 trace_vprintk(MemRead, ConstSize, MemReadOrNull, ConstSizeOrZero) -> Integer, gpl;
    178 skc_to_unix_sock(AnySock) -> CastOrNull(Kernel("unix_sock"));
    179 kallsyms_lookup_name(MemRead, ConstSizeOrZero, Anything, FixedMemWrite(8)) -> Integer;
    180 find_vma(Struct("task_struct"), Anything, Func, StackOrNull, Anything) -> Integer;
    181 loop(Anything, Func, StackOrNull, Anything) -> Integer;
    182 strncmp(MemRead, ConstSize, ConstStr) -> Integer;
    183 get_func_arg(Ctx, Anything, FixedMemWrite(8)) -> Integer;
    184 get_func_ret(Ctx, FixedMemWrite(8)) -> Integer;
    185 get_func_arg_cnt(Ctx) -> Integer;
    186 get_retval() -> Integer;
    187 set_retval(Anything) -> Integer;
    188 xdp_get_buff_len(Ctx) -> Integer;
    189 xdp_load_bytes(Ctx, Anything, UninitMem, ConstSize) -> Integer;
    190 xdp_store_bytes(Ctx, Anything, MemRead, ConstSize) -> Integer;
    191 copy_from_user_task(UninitMem, ConstSizeOrZero, Anything, Struct("task_struct"), Anything) -> Integer, gpl, sleeps;
    192 skb_set_tstamp(Ctx, Anything, Anything) -> Integer;
    193 ima_file_hash(Struct("file"), UninitMem, ConstSize) -> Integer, sleeps;
    194 kptr_xchg(KptrField, ReleasedKptr) -> KptrOrNull;
    195 map_lookup_percpu_elem(ConstMapPtr, MapKey, Anything) -> MapValueOrNull;
    196 skc_to_mptcp_sock(AnySock) -> CastOrNull(Kernel("mptcp_sock"));
    197 dynptr_from_mem(UninitMem, ConstSizeOrZero, Anything, NewDynptr(Local)) -> Integer;
    198 ringbuf_reserve_dynptr(ConstMapPtr, Anything, Anything, NewDynptr(RingBuf)) -> Integer;
    199 ringbuf_submit_dynptr(ReleasedDynptr, Anything) -> Void;
    200 ringbuf_discard_dynptr(ReleasedDynptr, Anything) -> Void;
    201 dynptr_read(UninitMem, ConstSizeOrZero, Dynptr, Anything, Anything) -> Integer;
    202 dynptr_write(Dynptr, Anything, MemRead, ConstSizeOrZero, Anything) -> Integer;
    203 dynptr_data(Dynptr, Anything, ConstAllocSize) -> SliceOrNull;
    204 tcp_raw_gen_syncookie_ipv4(FixedMemRead(20), MemRead, ConstSizeOrZero) -> Integer, gpl;
    205 tcp_raw_gen_syncookie_ipv6(FixedMemRead(40), MemRead, ConstSizeOrZero) -> Integer, gpl;
    206 tcp_raw_check_syncookie_ipv4(FixedMemRead(20), FixedMemRead(20)) -> Integer, gpl;
    207 tcp_raw_check_syncookie_ipv6(FixedMemRead(40), FixedMemRead(20)) -> Integer, gpl;
    208 ktime_get_tai_ns() -> Integer;
    209 user_ringbuf_drain(ConstMapPtr, Func, StackOrNull, Anything) -> Integer;
    210 cgrp_storage_get(ConstMapPtr, StructOrNull("cgroup"), MapValueOrNull, Anything) -> MapValueOrNull;
    211 cgrp_storage_delete(ConstMapPtr, StructOrNull("cgroup")) -> Integer;
}

// `proto` finds a helper by its position.
const _: () = {
    let mut index = 0;
    while index < PROTOS.len() {
        assert!(PROTOS[index].id as usize == index + 1);
        index += 1;
    }
};
