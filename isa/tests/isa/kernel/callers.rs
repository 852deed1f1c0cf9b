//! Kinds of programs, with all that may call different helpers.

use bpftime_isa::ProgType as T;
use bpftime_isa::helper::Caller;
use bpftime_isa::{AttachType, ProgType};

use super::btf::{Btf, FUNC, STRUCT, TYPEDEF};
use super::load::Kind;

/// What a program is, for the tables and for the kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject {
    pub(super) caller: Caller<'static>,
    pub(super) kind: Kind,
}

/// Program types and their attach types.
const PLAIN: &[(ProgType, &[u32])] = &[
    (T::SocketFilter, &[0]),
    (T::Kprobe, &[0, 42, 48, 56, 57]),
    (T::Tracepoint, &[0]),
    (T::RawTracepoint, &[0]),
    (T::RawTracepointWritable, &[0]),
    (T::PerfEvent, &[0, 41]),
    (T::SchedCls, &[0, 46, 47, 54, 55]),
    (T::SchedAct, &[0]),
    (T::Xdp, &[0, 33, 35, 37]),
    (T::CgroupSkb, &[0, 1]),
    (T::CgroupSock, &[2, 12, 13, 34]),
    (T::CgroupDevice, &[6]),
    (T::CgroupSysctl, &[18]),
    (
        T::CgroupSockAddr,
        &[
            8, 9, 10, 11, 14, 15, 19, 20, 29, 30, 31, 32, 49, 50, 51, 52, 53,
        ],
    ),
    (T::CgroupSockopt, &[21, 22]),
    (T::SockOps, &[3]),
    (T::SkSkb, &[0, 4, 5, 38]),
    (T::SkMsg, &[7]),
    (T::SkLookup, &[36]),
    (T::SkReuseport, &[39, 40]),
    (T::FlowDissector, &[17]),
    (T::LwtIn, &[0]),
    (T::LwtOut, &[0]),
    (T::LwtXmit, &[0]),
    (T::LwtSeg6Local, &[0]),
    (T::Netfilter, &[45]),
    (T::Syscall, &[0]),
];

/// Attach type, name for the tables, kind and name in BTF.
type Typed = (ProgType, u32, &'static str, u32, &'static str);

/// Types whose context is typed by BTF.
const TYPED: &[Typed] = &[
    (
        T::Tracing,
        23,
        "sched_switch",
        TYPEDEF,
        "btf_trace_sched_switch",
    ),
    (T::Tracing, 24, "bpf_fentry_test1", FUNC, "bpf_fentry_test1"),
    (T::Tracing, 25, "bpf_fentry_test1", FUNC, "bpf_fentry_test1"),
    (
        T::Tracing,
        26,
        "bpf_modify_return_test",
        FUNC,
        "bpf_modify_return_test",
    ),
    (T::Tracing, 28, "task", FUNC, "bpf_iter_task"),
    (T::Tracing, 28, "tcp", FUNC, "bpf_iter_tcp"),
    (T::Tracing, 28, "udp", FUNC, "bpf_iter_udp"),
    (T::Tracing, 28, "unix", FUNC, "bpf_iter_unix"),
    (T::Lsm, 27, "file_open", FUNC, "bpf_lsm_file_open"),
    (T::Lsm, 43, "inet_csk_clone", FUNC, "bpf_lsm_inet_csk_clone"),
    (
        T::StructOps,
        0,
        "tcp_congestion_ops",
        STRUCT,
        "tcp_congestion_ops",
    ),
    (T::StructOps, 0, "bpf_dummy_ops", STRUCT, "bpf_dummy_ops"),
];

/// All kinds of programs, sleepable or not. Says which the kernel does not load at all.
pub(super) fn subjects() -> Vec<Subject> {
    let mut subjects = Vec::new();
    let mut push = |kind: Kind, target| {
        let attach_type = (kind.attach_type != 0).then_some(AttachType(kind.attach_type));
        let caller = Caller {
            prog_type: kind.prog_type,
            attach_type,
            sleepable: kind.sleepable,
            target,
            member: None,
        };
        if loads(kind) {
            subjects.push(Subject { caller, kind });
        } else {
            println!("{caller:?} programs cannot be loaded here");
        }
    };
    for &(prog_type, attach_types) in PLAIN {
        for &attach_type in attach_types {
            push(Kind::new(prog_type, attach_type), None);
        }
    }
    for attach_type in [0, 48, 57] {
        let kind = Kind::new(T::Kprobe, attach_type);
        push(
            Kind {
                sleepable: true,
                ..kind
            },
            None,
        );
    }
    let Some(btf) = Btf::kernel() else {
        println!("types of the kernel cannot be read here");
        return subjects;
    };
    for &(prog_type, attach_type, target, kind, name) in TYPED {
        let Some(btf_id) = btf.id(kind, name) else {
            println!("the kernel has no {name}");
            continue;
        };
        let kind = Kind {
            btf_id,
            ..Kind::new(prog_type, attach_type)
        };
        push(kind, Some(target));
        if target == "task" {
            push(
                Kind {
                    sleepable: true,
                    ..kind
                },
                Some(target),
            );
        }
    }
    subjects
}

/// Whether the kernel looks at such programs' instructions.
fn loads(kind: Kind) -> bool {
    !super::call::ask(kind, &[]).log.is_empty()
}
