//! Structures of functions that programs may implement (`struct_ops`), as Linux 6.18 has them.
//!
//! What a function is called with and what it returns, the kernel's types say; here is what stands in the
//! kernel's sources alone: which members programs may implement, which of them may sleep, what may be
//! null, and what programs may write. A structure that is not in the table is not known, and no program
//! for it is accepted.

/// A structure of functions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[doc(alias = "bpf_struct_ops")]
pub struct StructOps {
    /// Name of the structure.
    pub name: &'static str,
    /// Functions that programs may implement.
    pub members: &'static [OpsMember],
    /// What programs may write in what they are called with.
    pub writes: &'static [OpsWrite],
}

/// A function that programs may implement.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpsMember {
    /// Name of the member.
    pub name: &'static str,
    /// The program may sleep.
    pub may_sleep: bool,
    /// Number of the argument that may be null (`__nullable` in the kernel's stub).
    pub nullable: Option<usize>,
}

/// Bytes of a kernel structure that programs may write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[doc(alias = "btf_struct_access")]
pub struct OpsWrite {
    /// The structure that the pointer points to.
    pub structure: &'static str,
    /// The structure, or one that it begins with, that has the member.
    pub holder: &'static str,
    /// Names of the member and of those that it is in; empty for all of the structure.
    pub path: &'static [&'static str],
    /// Writes may begin anywhere in it, not only at its start.
    pub inside: bool,
    /// Bytes at the member's end that may not be written.
    pub but_last: u32,
}

/// The structure with the name, if it is known.
pub fn by_name(name: &str) -> Option<&'static StructOps> {
    STRUCT_OPS.iter().find(|ops| ops.name == name)
}

impl StructOps {
    /// The function with the name, if programs may implement it.
    pub fn member(&self, name: &str) -> Option<&'static OpsMember> {
        self.members.iter().find(|member| member.name == name)
    }
}

const fn member(name: &'static str) -> OpsMember {
    OpsMember {
        name,
        may_sleep: false,
        nullable: None,
    }
}

const fn sleepable(name: &'static str) -> OpsMember {
    OpsMember {
        may_sleep: true,
        ..member(name)
    }
}

const fn nullable(name: &'static str, argument: usize) -> OpsMember {
    OpsMember {
        nullable: Some(argument),
        ..member(name)
    }
}

const fn write(
    structure: &'static str,
    holder: &'static str,
    path: &'static [&'static str],
    inside: bool,
) -> OpsWrite {
    OpsWrite {
        structure,
        holder,
        path,
        inside,
        but_last: 0,
    }
}

/// A string, whose last byte stays 0.
const fn text(structure: &'static str, path: &'static [&'static str]) -> OpsWrite {
    OpsWrite {
        but_last: 1,
        ..write(structure, structure, path, true)
    }
}

/// The structures that are known.
pub static STRUCT_OPS: &[StructOps] = &[
    // `net/bpf/bpf_dummy_struct_ops.c`
    StructOps {
        name: "bpf_dummy_ops",
        members: &[
            nullable("test_1", 0),
            member("test_2"),
            sleepable("test_sleepable"),
        ],
        writes: &[write(
            "bpf_dummy_ops_state",
            "bpf_dummy_ops_state",
            &[],
            true,
        )],
    },
    // `drivers/hid/bpf/hid_bpf_struct_ops.c`
    StructOps {
        name: "hid_bpf_ops",
        members: &[
            member("hid_device_event"),
            sleepable("hid_rdesc_fixup"),
            sleepable("hid_hw_request"),
            sleepable("hid_hw_output_report"),
        ],
        writes: &[
            write("hid_bpf_ctx", "hid_bpf_ctx", &["retval"], true),
            text("hid_device", &["name"]),
            text("hid_device", &["uniq"]),
            text("hid_device", &["phys"]),
        ],
    },
    // `kernel/sched/ext.c`
    StructOps {
        name: "sched_ext_ops",
        members: &[
            member("select_cpu"),
            member("enqueue"),
            member("dequeue"),
            nullable("dispatch", 1),
            member("tick"),
            member("runnable"),
            member("running"),
            member("stopping"),
            member("quiescent"),
            nullable("yield", 1),
            member("core_sched_before"),
            member("set_weight"),
            member("set_cpumask"),
            member("update_idle"),
            member("cpu_acquire"),
            member("cpu_release"),
            sleepable("init_task"),
            member("exit_task"),
            member("enable"),
            member("disable"),
            member("dump"),
            member("dump_cpu"),
            member("dump_task"),
            sleepable("cgroup_init"),
            sleepable("cgroup_exit"),
            sleepable("cgroup_prep_move"),
            member("cgroup_move"),
            member("cgroup_cancel_move"),
            member("cgroup_set_weight"),
            member("cgroup_set_bandwidth"),
            // After Linux 6.18.
            member("cgroup_set_idle"),
            sleepable("cpu_online"),
            sleepable("cpu_offline"),
            sleepable("init"),
            sleepable("exit"),
        ],
        writes: &[
            write("task_struct", "task_struct", &["scx", "slice"], true),
            write("task_struct", "task_struct", &["scx", "dsq_vtime"], true),
            write("task_struct", "task_struct", &["scx", "disallow"], true),
        ],
    },
    // `net/ipv4/bpf_tcp_ca.c`, which lets all of them sleep that the kernel calls.
    StructOps {
        name: "tcp_congestion_ops",
        members: &[
            sleepable("ssthresh"),
            sleepable("cong_avoid"),
            sleepable("set_state"),
            sleepable("cwnd_event"),
            sleepable("in_ack_event"),
            sleepable("pkts_acked"),
            sleepable("min_tso_segs"),
            sleepable("cong_control"),
            sleepable("undo_cwnd"),
            sleepable("sndbuf_expand"),
            sleepable("init"),
            sleepable("release"),
        ],
        writes: &[
            write("tcp_sock", "sock", &["sk_pacing_rate"], false),
            write("tcp_sock", "sock", &["sk_pacing_status"], false),
            write("tcp_sock", "inet_connection_sock", &["icsk_ca_priv"], true),
            write(
                "tcp_sock",
                "inet_connection_sock",
                &["icsk_ack", "pending"],
                false,
            ),
            write("tcp_sock", "tcp_sock", &["snd_cwnd"], false),
            write("tcp_sock", "tcp_sock", &["snd_cwnd_cnt"], false),
            write("tcp_sock", "tcp_sock", &["snd_cwnd_stamp"], false),
            write("tcp_sock", "tcp_sock", &["snd_ssthresh"], false),
            write("tcp_sock", "tcp_sock", &["ecn_flags"], false),
            write("tcp_sock", "tcp_sock", &["app_limited"], false),
        ],
    },
];
