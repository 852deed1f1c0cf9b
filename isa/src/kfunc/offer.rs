//! Which programs may call a kernel function.

use super::KfuncProto;
use crate::helper::Caller;
use crate::{AttachType, ProgType};

/// Which programs may call a function.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Offer {
    /// All.
    All,
    /// Those of tracing, traffic control, XDP, `struct_ops`, system calls and control groups'
    /// packets.
    Generic,
    /// Those of tracing, `struct_ops` and system calls.
    Tracing,
    /// Those of traffic control and others that get a packet as `__sk_buff`.
    Packets,
    /// XDP.
    Xdp,
    /// Those of [`Self::Packets`], and tracing.
    PacketsAndTracing,
    /// Implementations of TCP's congestion control (`tcp_congestion_ops`).
    Congestion,
    /// Iterators.
    Iterators,
    /// Kprobes and uprobes of which one program sees entry and return.
    Sessions,
    /// Traffic control and XDP.
    Traffic,
    /// Traffic control's classifiers.
    Classifier,
    /// Addresses of sockets of control groups.
    SocketAddresses,
    /// System call programs.
    Syscall,
    /// Iterators, security hooks, and whatever may sleep.
    CssTask,
    /// Schedulers (`sched_ext_ops`), tracing and system calls. The sets that follow, Linux 6.18 looks at when
    /// the function is called, and ends the scheduler; later ones before it is loaded
    /// (`scx_kfunc_context_filter`).
    Sched,
    /// Schedulers where they choose a processor, and where no queue is locked.
    SchedSelect,
    /// Schedulers where they put a task into a queue.
    SchedEnqueue,
    /// Schedulers where they dispatch.
    SchedDispatch,
    /// Schedulers where they dispatch, and where no queue is locked.
    SchedMove,
    /// Schedulers where they lose a processor.
    SchedRelease,
    /// Schedulers where no queue is locked.
    SchedUnlocked,
    /// Drivers of input devices (`hid_bpf_ops`).
    Hid,
    /// Drivers of input devices, and system calls.
    HidOrSyscall,
}

impl KfuncProto {
    /// Whether programs of the type may call it (`bpf_prog_type_to_kfunc_hook`).
    pub fn available(&self, caller: &Caller<'_>) -> bool {
        let prog_type = caller.prog_type;
        let tracing = matches!(
            prog_type,
            ProgType::Tracing
                | ProgType::Tracepoint
                | ProgType::PerfEvent
                | ProgType::Lsm
                | ProgType::StructOps
                | ProgType::Syscall
        );
        match self.offer {
            Offer::All => true,
            Offer::Tracing => tracing,
            Offer::Generic => {
                tracing
                    || matches!(
                        prog_type,
                        ProgType::SchedCls
                            | ProgType::SchedAct
                            | ProgType::Xdp
                            | ProgType::CgroupSkb
                    )
            }
            Offer::Packets => gets_packets(prog_type),
            Offer::PacketsAndTracing => tracing || gets_packets(prog_type),
            Offer::Xdp => prog_type == ProgType::Xdp,
            Offer::Congestion => {
                prog_type == ProgType::StructOps && caller.target == Some("tcp_congestion_ops")
            }
            Offer::Iterators => {
                prog_type == ProgType::Tracing && caller.attach_type == Some(AttachType::TRACE_ITER)
            }
            Offer::Sessions => {
                prog_type == ProgType::Kprobe
                    && matches!(
                        caller.attach_type,
                        Some(AttachType::TRACE_KPROBE_SESSION | AttachType::TRACE_UPROBE_SESSION)
                    )
            }
            Offer::Traffic => {
                matches!(
                    prog_type,
                    ProgType::SchedCls | ProgType::SchedAct | ProgType::Xdp
                )
            }
            Offer::Classifier => prog_type == ProgType::SchedCls,
            Offer::SocketAddresses => prog_type == ProgType::CgroupSockAddr,
            Offer::Syscall => prog_type == ProgType::Syscall,
            // `check_css_task_iter_allowlist`.
            Offer::CssTask => match prog_type {
                ProgType::Lsm => true,
                ProgType::Tracing if caller.attach_type == Some(AttachType::TRACE_ITER) => true,
                _ => caller.sleepable,
            },
            Offer::Sched => {
                tracing && (prog_type != ProgType::StructOps || caller.target == Some(SCHEDULER))
            }
            Offer::SchedSelect => caller.schedules(&["select_cpu", "enqueue"], true),
            Offer::SchedEnqueue => caller.schedules(&["select_cpu", "enqueue", "dispatch"], false),
            Offer::SchedDispatch => caller.schedules(&["dispatch"], false),
            Offer::SchedMove => caller.schedules(&["dispatch"], true),
            Offer::SchedRelease => caller.schedules(&["cpu_release"], false),
            Offer::SchedUnlocked => caller.schedules(&[], true),
            Offer::Hid => caller.drives_input(),
            Offer::HidOrSyscall => prog_type == ProgType::Syscall || caller.drives_input(),
        }
    }
}

const SCHEDULER: &str = "sched_ext_ops";

/// Functions of schedulers that are called while no queue is locked (`SCX_KF_ALLOW_UNLOCKED`).
const UNLOCKED: &[&str] = &[
    "init_task",
    "dump",
    "cgroup_init",
    "cgroup_exit",
    "cgroup_prep_move",
    "cgroup_cancel_move",
    "cgroup_set_weight",
    "cgroup_set_bandwidth",
    "cgroup_set_idle",
    "cpu_online",
    "cpu_offline",
    "init",
    "exit",
];

impl Caller<'_> {
    /// Whether the program is one of these functions of a scheduler, or runs where no queue is locked.
    fn schedules(&self, members: &[&str], unlocked: bool) -> bool {
        let among = |members: &[&str]| self.member.is_some_and(|name| members.contains(&name));
        match self.prog_type {
            ProgType::Syscall => unlocked,
            ProgType::StructOps if self.target == Some(SCHEDULER) => {
                among(members) || unlocked && among(UNLOCKED)
            }
            _ => false,
        }
    }

    fn drives_input(&self) -> bool {
        self.prog_type == ProgType::StructOps && self.target == Some("hid_bpf_ops")
    }
}

/// Whether programs of the type are called with a packet as `__sk_buff`.
fn gets_packets(prog_type: ProgType) -> bool {
    matches!(
        prog_type,
        ProgType::SchedCls
            | ProgType::SchedAct
            | ProgType::SkSkb
            | ProgType::SocketFilter
            | ProgType::LwtIn
            | ProgType::LwtOut
            | ProgType::LwtXmit
            | ProgType::LwtSeg6Local
            | ProgType::CgroupSkb
            | ProgType::Netfilter
    )
}
