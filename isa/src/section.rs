//! Names of ELF sections and what programs in them are.
//!
//! Objects for the kernel name a program's type and target by its section, by the convention of
//! libbpf: `SEC("uprobe/libc.so.6:malloc")`.

mod guess;

pub use guess::guess;

use crate::{AttachType, ProgType};

/// A row of the table: the first part of a section's name and what it stands for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[doc(alias = "bpf_sec_def")]
pub struct SectionDef {
    /// Name of the section up to the target (`uprobe`, `xdp.frags`).
    pub name: &'static str,
    /// Type of the programs.
    pub prog_type: ProgType,
    /// Attach type that the program is loaded for, where the type has several.
    pub attach_type: Option<AttachType>,
    /// A target may follow after `/`; else the name must match as a whole.
    pub takes_target: bool,
    /// Programs may sleep (`BPF_F_SLEEPABLE`).
    pub sleepable: bool,
    /// XDP programs that know packets in several buffers (`BPF_F_XDP_HAS_FRAGS`).
    pub frags: bool,
}

/// What the name of a section says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SectionKind<'a> {
    /// Row of the table; its name tells `uprobe` from `uretprobe`.
    pub def: &'static SectionDef,
    /// Type of the programs.
    pub prog_type: ProgType,
    /// Attach type that the program is loaded for, where the type has several.
    pub attach_type: Option<AttachType>,
    /// Text after the `/`, not parsed; `None` if there is none.
    pub target: Option<&'a str>,
    /// Loaded unless the user says otherwise; `false` if the name begins with `?`.
    pub autoload: bool,
}

/// What programs in the section are, or `None` if the name says nothing.
pub fn classify(section: &str) -> Option<SectionKind<'_>> {
    let (name, autoload) = match section.strip_prefix('?') {
        Some(rest) => (rest, false),
        None => (section, true),
    };
    SECTIONS.iter().find_map(|def| {
        let rest = name.strip_prefix(def.name)?;
        let target = match rest.strip_prefix('/') {
            Some(target) if def.takes_target => Some(target).filter(|t| !t.is_empty()),
            None if rest.is_empty() => None,
            _ => return None,
        };
        Some(SectionKind {
            def,
            prog_type: def.prog_type,
            attach_type: def.attach_type,
            target,
            autoload,
        })
    })
}

macro_rules! sections {
    ($($name:literal $prog_type:ident $(/ $attach_type:ident)? $(, $attribute:ident)*;)*) => {
        /// All names that libbpf knows. The names of no two rows match the same section.
        pub const SECTIONS: &[SectionDef] = &[$(SectionDef {
            name: $name,
            prog_type: ProgType::$prog_type,
            attach_type: attach([$(AttachType::$attach_type)?]),
            takes_target: has(&[$(Attribute::$attribute),*], Attribute::target),
            sleepable: has(&[$(Attribute::$attribute),*], Attribute::sleepable),
            frags: has(&[$(Attribute::$attribute),*], Attribute::frags),
        }),*];
    };
}

/// Words of the table.
#[derive(Clone, Copy)]
#[expect(non_camel_case_types, reason = "written in lower case in the table")]
enum Attribute {
    target,
    sleepable,
    frags,
}

const fn has(given: &[Attribute], attribute: Attribute) -> bool {
    let mut index = 0;
    while index < given.len() {
        if given[index] as u8 == attribute as u8 {
            return true;
        }
        index += 1;
    }
    false
}

const fn attach<const N: usize>(given: [AttachType; N]) -> Option<AttachType> {
    if N == 0 { None } else { Some(given[0]) }
}

sections! {
    "socket" SocketFilter;
    "sk_reuseport/migrate" SkReuseport / SK_REUSEPORT_SELECT_OR_MIGRATE;
    "sk_reuseport" SkReuseport / SK_REUSEPORT_SELECT;
    "kprobe" Kprobe, target;
    "uprobe" Kprobe, target;
    "uprobe.s" Kprobe, target, sleepable;
    "kretprobe" Kprobe, target;
    "uretprobe" Kprobe, target;
    "uretprobe.s" Kprobe, target, sleepable;
    "kprobe.multi" Kprobe / TRACE_KPROBE_MULTI, target;
    "kretprobe.multi" Kprobe / TRACE_KPROBE_MULTI, target;
    "kprobe.session" Kprobe / TRACE_KPROBE_SESSION, target;
    "uprobe.multi" Kprobe / TRACE_UPROBE_MULTI, target;
    "uretprobe.multi" Kprobe / TRACE_UPROBE_MULTI, target;
    "uprobe.session" Kprobe / TRACE_UPROBE_SESSION, target;
    "uprobe.multi.s" Kprobe / TRACE_UPROBE_MULTI, target, sleepable;
    "uretprobe.multi.s" Kprobe / TRACE_UPROBE_MULTI, target, sleepable;
    "uprobe.session.s" Kprobe / TRACE_UPROBE_SESSION, target, sleepable;
    "ksyscall" Kprobe, target;
    "kretsyscall" Kprobe, target;
    "usdt" Kprobe, target;
    "usdt.s" Kprobe, target, sleepable;
    "tc/ingress" SchedCls / TCX_INGRESS;
    "tc/egress" SchedCls / TCX_EGRESS;
    "tcx/ingress" SchedCls / TCX_INGRESS;
    "tcx/egress" SchedCls / TCX_EGRESS;
    "tc" SchedCls;
    "classifier" SchedCls;
    "action" SchedAct;
    "netkit/primary" SchedCls / NETKIT_PRIMARY;
    "netkit/peer" SchedCls / NETKIT_PEER;
    "tracepoint" Tracepoint, target;
    "tp" Tracepoint, target;
    "tracepoint.s" Tracepoint, target, sleepable;
    "tp.s" Tracepoint, target, sleepable;
    "raw_tracepoint" RawTracepoint, target;
    "raw_tp" RawTracepoint, target;
    "raw_tracepoint.s" RawTracepoint, target, sleepable;
    "raw_tp.s" RawTracepoint, target, sleepable;
    "raw_tracepoint.w" RawTracepointWritable, target;
    "raw_tp.w" RawTracepointWritable, target;
    "tp_btf" Tracing / TRACE_RAW_TP, target;
    "tp_btf.s" Tracing / TRACE_RAW_TP, target, sleepable;
    "fentry" Tracing / TRACE_FENTRY, target;
    "fmod_ret" Tracing / MODIFY_RETURN, target;
    "fexit" Tracing / TRACE_FEXIT, target;
    "fentry.s" Tracing / TRACE_FENTRY, target, sleepable;
    "fmod_ret.s" Tracing / MODIFY_RETURN, target, sleepable;
    "fexit.s" Tracing / TRACE_FEXIT, target, sleepable;
    "fsession" Tracing / TRACE_FSESSION, target;
    "fsession.s" Tracing / TRACE_FSESSION, target, sleepable;
    "fsession.multi" Tracing / TRACE_FSESSION_MULTI, target;
    "fsession.multi.s" Tracing / TRACE_FSESSION_MULTI, target, sleepable;
    "fentry.multi" Tracing / TRACE_FENTRY_MULTI, target;
    "fexit.multi" Tracing / TRACE_FEXIT_MULTI, target;
    "fentry.multi.s" Tracing / TRACE_FENTRY_MULTI, target, sleepable;
    "fexit.multi.s" Tracing / TRACE_FEXIT_MULTI, target, sleepable;
    "freplace" Ext, target;
    "lsm" Lsm / LSM_MAC, target;
    "lsm.s" Lsm / LSM_MAC, target, sleepable;
    "lsm_cgroup" Lsm / LSM_CGROUP, target;
    "iter" Tracing / TRACE_ITER, target;
    "iter.s" Tracing / TRACE_ITER, target, sleepable;
    "syscall" Syscall, sleepable;
    "xdp.frags/devmap" Xdp / XDP_DEVMAP, frags;
    "xdp/devmap" Xdp / XDP_DEVMAP;
    "xdp.frags/cpumap" Xdp / XDP_CPUMAP, frags;
    "xdp/cpumap" Xdp / XDP_CPUMAP;
    "xdp.frags" Xdp / XDP, frags;
    "xdp" Xdp / XDP;
    "perf_event" PerfEvent;
    "lwt_in" LwtIn;
    "lwt_out" LwtOut;
    "lwt_xmit" LwtXmit;
    "lwt_seg6local" LwtSeg6Local;
    "sockops" SockOps / CGROUP_SOCK_OPS;
    "sk_skb/stream_parser" SkSkb / SK_SKB_STREAM_PARSER;
    "sk_skb/stream_verdict" SkSkb / SK_SKB_STREAM_VERDICT;
    "sk_skb/verdict" SkSkb / SK_SKB_VERDICT;
    "sk_skb" SkSkb;
    "sk_msg" SkMsg / SK_MSG_VERDICT;
    "lirc_mode2" LircMode2 / LIRC_MODE2;
    "flow_dissector" FlowDissector / FLOW_DISSECTOR;
    "cgroup_skb/ingress" CgroupSkb / CGROUP_INET_INGRESS;
    "cgroup_skb/egress" CgroupSkb / CGROUP_INET_EGRESS;
    "cgroup/skb" CgroupSkb;
    "cgroup/sock_create" CgroupSock / CGROUP_INET_SOCK_CREATE;
    "cgroup/sock_release" CgroupSock / CGROUP_INET_SOCK_RELEASE;
    "cgroup/sock" CgroupSock / CGROUP_INET_SOCK_CREATE;
    "cgroup/post_bind4" CgroupSock / CGROUP_INET4_POST_BIND;
    "cgroup/post_bind6" CgroupSock / CGROUP_INET6_POST_BIND;
    "cgroup/bind4" CgroupSockAddr / CGROUP_INET4_BIND;
    "cgroup/bind6" CgroupSockAddr / CGROUP_INET6_BIND;
    "cgroup/connect4" CgroupSockAddr / CGROUP_INET4_CONNECT;
    "cgroup/connect6" CgroupSockAddr / CGROUP_INET6_CONNECT;
    "cgroup/connect_unix" CgroupSockAddr / CGROUP_UNIX_CONNECT;
    "cgroup/sendmsg4" CgroupSockAddr / CGROUP_UDP4_SENDMSG;
    "cgroup/sendmsg6" CgroupSockAddr / CGROUP_UDP6_SENDMSG;
    "cgroup/sendmsg_unix" CgroupSockAddr / CGROUP_UNIX_SENDMSG;
    "cgroup/recvmsg4" CgroupSockAddr / CGROUP_UDP4_RECVMSG;
    "cgroup/recvmsg6" CgroupSockAddr / CGROUP_UDP6_RECVMSG;
    "cgroup/recvmsg_unix" CgroupSockAddr / CGROUP_UNIX_RECVMSG;
    "cgroup/getpeername4" CgroupSockAddr / CGROUP_INET4_GETPEERNAME;
    "cgroup/getpeername6" CgroupSockAddr / CGROUP_INET6_GETPEERNAME;
    "cgroup/getpeername_unix" CgroupSockAddr / CGROUP_UNIX_GETPEERNAME;
    "cgroup/getsockname4" CgroupSockAddr / CGROUP_INET4_GETSOCKNAME;
    "cgroup/getsockname6" CgroupSockAddr / CGROUP_INET6_GETSOCKNAME;
    "cgroup/getsockname_unix" CgroupSockAddr / CGROUP_UNIX_GETSOCKNAME;
    "cgroup/sysctl" CgroupSysctl / CGROUP_SYSCTL;
    "cgroup/getsockopt" CgroupSockopt / CGROUP_GETSOCKOPT;
    "cgroup/setsockopt" CgroupSockopt / CGROUP_SETSOCKOPT;
    "cgroup/dev" CgroupDevice / CGROUP_DEVICE;
    "struct_ops" StructOps, target;
    "struct_ops.s" StructOps, target, sleepable;
    "sk_lookup" SkLookup / SK_LOOKUP;
    "netfilter" Netfilter / NETFILTER;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_and_without_target() {
        let kind = classify("uprobe/libc.so.6:malloc").unwrap();
        assert_eq!(kind.def.name, "uprobe");
        assert_eq!(kind.prog_type, ProgType::Kprobe);
        assert_eq!(kind.target, Some("libc.so.6:malloc"));
        assert!(kind.autoload);
        let kind = classify("?uretprobe.s//usr/bin/bash:readline").unwrap();
        assert_eq!(kind.def.name, "uretprobe.s");
        assert_eq!(kind.target, Some("/usr/bin/bash:readline"));
        assert!(kind.def.sleepable && !kind.autoload);
        let kind = classify("xdp.frags/devmap").unwrap();
        assert_eq!(kind.attach_type, Some(AttachType::XDP_DEVMAP));
        assert!(kind.def.frags && kind.target.is_none());
        assert_eq!(classify("tp").unwrap().target, None);
        assert_eq!(classify("tp/").unwrap().target, None);
    }

    #[test]
    fn names_that_say_nothing() {
        for name in [
            "",
            "?",
            "uprobes",
            "uprobe.x/f",
            "xdp/",
            "xdp/other",
            "xdp_drop",
            ".text",
        ] {
            assert_eq!(classify(name), None, "{name}");
        }
    }

    #[test]
    fn every_row_is_found_by_its_name() {
        for def in SECTIONS {
            assert_eq!(classify(def.name).map(|kind| kind.def), Some(def));
            let with_target = format!("{}/x", def.name);
            let found = classify(&with_target).map(|kind| kind.def);
            assert_eq!(found == Some(def), def.takes_target, "{with_target}");
        }
    }
}
