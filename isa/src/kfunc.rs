//! Kernel functions that programs may call by their number in the kernel's BTF (kfuncs).
//!
//! BTF has their names and types, but not the rules of the verifier, which stand in the kernel's
//! sources (`BTF_ID_FLAGS`); so here is a table, by name, of Linux 6.18's. A function that is not in
//! it may not be called.

mod table;

pub use table::KFUNCS;

use crate::helper::Caller;
use crate::{AttachType, ProgType};

/// An open-coded iterator that lives on the program's stack (`struct bpf_iter_*`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum IterKind {
    /// Numbers from one to below another.
    Num,
    /// Tasks.
    Task,
    /// Memory areas of a task.
    TaskVma,
    /// Control groups below one.
    Css,
    /// Tasks in a control group.
    CssTask,
    /// Bits that are set in memory, by number.
    Bits,
    /// Tasks in a dispatch queue of sched_ext.
    ScxDsq,
}

impl IterKind {
    /// Bytes on the stack.
    pub const fn size(self) -> u32 {
        match self {
            Self::Num | Self::TaskVma | Self::CssTask => 8,
            Self::Bits => 16,
            Self::Task | Self::Css => 24,
            Self::ScxDsq => 48,
        }
    }

    /// The kernel's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Num => "iter_num",
            Self::Task => "iter_task",
            Self::TaskVma => "iter_task_vma",
            Self::Css => "iter_css",
            Self::CssTask => "iter_css_task",
            Self::Bits => "iter_bits",
            Self::ScxDsq => "iter_scx_dsq",
        }
    }

    /// What it gives.
    pub const fn element(self) -> Element {
        match self {
            Self::Num | Self::Bits => Element::Bytes(4),
            Self::Task | Self::CssTask => Element::Struct("task_struct"),
            Self::ScxDsq => Element::Rcu("task_struct"),
            Self::TaskVma => Element::Struct("vm_area_struct"),
            Self::Css => Element::Struct("cgroup_subsys_state"),
        }
    }
}

/// What an iterator gives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Element {
    /// The address of so many bytes that may be read.
    Bytes(u32),
    /// The address of a structure of the kernel's, which may be gone when the iterator goes on.
    Struct(&'static str),
    /// The address of a structure of the kernel's that RCU keeps.
    Rcu(&'static str),
}

/// What a dynptr, a checked window on memory that lives on the program's stack, is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[doc(alias = "bpf_dynptr_type")]
pub enum DynptrKind {
    /// Memory of the program's own: a map's value.
    Local,
    /// A ring buffer record, which has to be submitted or discarded.
    RingBuf,
    /// A packet as `__sk_buff`.
    Skb,
    /// A packet as `xdp_md`.
    Xdp,
}

impl DynptrKind {
    /// Whether it stands for something that has to be given back.
    pub const fn is_acquired(self) -> bool {
        matches!(self, Self::RingBuf)
    }

    /// Whether it is about a packet, so that what may move the packet ends slices of it.
    pub const fn is_packet(self) -> bool {
        matches!(self, Self::Skb | Self::Xdp)
    }
}

/// Bytes of a dynptr on the stack (`struct bpf_dynptr`).
pub const DYNPTR_SIZE: u32 = 16;

/// An argument.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KfuncArg {
    /// A number.
    Number,
    /// Anything; an address is read where it can be.
    Anything,
    /// Put in by the kernel (`__ign`): whatever the register holds is ignored.
    Ignored,
    /// A structure of the kernel's that is valid as long as the program runs (`KF_TRUSTED_ARGS`).
    Struct(&'static str),
    /// A structure of the kernel's that is valid at least in the RCU section (`KF_RCU`).
    Rcu(&'static str),
    /// A structure of the kernel's, of whatever validity but what was read from anywhere.
    Plain(&'static str),
    /// As [`Self::Struct`], or null.
    StructOrNull(&'static str),
    /// A structure that was acquired, and is given back.
    Released(&'static str),
    /// An iterator on the stack.
    Iterator(IterKind),
    /// The context.
    Ctx,
    /// A packet: the context, or a `sk_buff`.
    Packet,
    /// A map of type arena.
    Arena,
    /// The stack slot of 8 bytes in which it is kept whether interrupts were enabled.
    IrqFlag,
    /// A lock that gives up where it would wait for ever, in a map's value or an object.
    #[doc(alias = "bpf_res_spin_lock")]
    ResLock,
    /// A work queue in a map's value.
    #[doc(alias = "bpf_wq")]
    Workqueue,
    /// The map that the work queue is in.
    WorkqueueMap,
    /// A function of the program's that the work queue calls later.
    Work,
    /// A map, or a `bpf_map` that is valid as long as the program runs.
    Map,
    /// Memory that is read, whose size is the next argument.
    MemRead,
    /// Memory that is written, whose size is the next argument.
    MemWrite,
    /// Memory of so many bytes that is written.
    FixedMemWrite(u32),
    /// As [`Self::MemRead`], or null where the size is 0.
    MemReadOrNull,
    /// As [`Self::MemWrite`], or null where the size is 0.
    MemWriteOrNull,
    /// Memory of so many bytes that is read.
    FixedMemRead(u32),
    /// Memory that is read, of the size of that structure of the kernel's, which holds numbers only.
    StructMemRead(&'static str),
    /// Size of the memory before.
    Size,
    /// Number, known at verification: bytes of the result (`rdwr_buf_size`).
    #[doc(alias = "rdwr_buf_size")]
    ResultSize,
    /// A dynptr that was made, or null.
    DynptrOrNull,
    /// Number, known at verification, of one of the kernel's structures, or 0 for memory without type.
    KernelType,
    /// Memory or null, whose size is the next argument.
    MemOrNull,
    /// Size of the memory before, known at verification: also that of the result.
    ConstSize,
    /// Room for a dynptr on the stack, which the function makes.
    NewDynptr,
    /// A dynptr that was made.
    Dynptr,
    /// Number, known at verification, of one of the program's structures.
    LocalType,
    /// An object of a structure of the program's, owned, which is given away.
    Object,
    /// Of objects of which each CPU has its own, owned, which are given away.
    PerCpuObject,
    /// An object of a structure of the program's that counts its owners.
    Refcounted,
    /// The head of a list, whose lock is held.
    List,
    /// The node of an owned object, which the list takes over.
    ListNode,
    /// The root of a tree, whose lock is held.
    Tree,
    /// The node of an owned object, which the tree takes over.
    TreeNode,
    /// The node of an object, owned or in a collection whose lock is held.
    TreeMember,
    /// A function of the program's that compares two nodes of the tree.
    Less,
}

/// What a function returns.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KfuncRet {
    /// Nothing.
    Void,
    /// A number.
    Number,
    /// A structure that is valid while the program runs, or null.
    StructOrNull(&'static str),
    /// A structure that is valid in the RCU section, or null (`KF_RCU_PROTECTED`).
    RcuOrNull(&'static str),
    /// A structure of which nothing is said (neither `KF_ACQUIRE` nor `KF_RCU_PROTECTED`), as arguments of
    /// traced functions.
    Plain(&'static str),
    /// As [`Self::Plain`], or null.
    PlainOrNull(&'static str),
    /// The address of so many bytes, which may be written, as the third argument says, or null.
    SizedMemoryOrNull,
    /// A structure that has to be given back.
    Acquired(&'static str),
    /// As [`Self::Acquired`], or null.
    AcquiredOrNull(&'static str),
    /// An object of the structure in the first argument, to be given back, or null.
    Object,
    /// As [`Self::Object`], one for each CPU.
    PerCpuObject,
    /// The object of the first argument, owned once more; null perhaps, if it was not owned.
    Again,
    /// A node out of the list or tree in the first argument, whose object is to be given back, or
    /// null.
    Node,
    /// A node in the list or tree in the first argument, usable while its lock is held, or null.
    Member,
    /// The address in the first argument as one of the structure in the second, which may be anything.
    Cast,
    /// The address of so many bytes that may be written, for as long as the program runs.
    Memory(u32),
    /// The kernel's own of the context in the first argument.
    KernelContext,
    /// The memory of the dynptr in the first argument, or the buffer that was given, or null; whether
    /// programs may write it.
    Slice(bool),
    /// The next element of the iterator in the first argument, or null when there is none left.
    Element,
}

/// What a function does beside that.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KfuncEffect {
    /// Nothing that matters here.
    None,
    /// Makes the iterator in the first argument.
    IteratorNew,
    /// Goes on to the next element.
    IteratorNext,
    /// Ends the iterator.
    IteratorDestroy,
    /// Enters an RCU read-side section.
    RcuReadLock,
    /// Leaves an RCU read-side section.
    RcuReadUnlock,
    /// Disables preemption.
    PreemptDisable,
    /// Enables preemption again.
    PreemptEnable,
    /// Disables interrupts.
    IrqSave,
    /// Enables interrupts again, if they were.
    IrqRestore,
    /// Takes the lock in the first argument, and returns 0, or returns an error; interrupts are disabled
    /// while it is held if there is a flag.
    Lock,
    /// Releases the lock in the first argument, which was taken last.
    Unlock,
    /// Makes the dynptr in the last argument.
    Dynptr(DynptrKind),
    /// Makes the dynptr in the last argument, which is about what that in the first is about.
    CloneDynptr,
    /// Ends the program, from whatever function, with the number in the first argument.
    Throw,
}

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

/// A function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KfuncProto {
    /// Name.
    pub name: &'static str,
    /// Arguments `r1` and on.
    pub args: &'static [KfuncArg],
    /// Result.
    pub ret: KfuncRet,
    /// What else it does.
    pub effect: KfuncEffect,
    /// Which programs may call it.
    pub offer: Offer,
    /// Only within an RCU read-side section; programs that cannot sleep are always in one.
    pub under_rcu: bool,
    /// May sleep.
    pub sleeps: bool,
}

/// The function with the name.
pub fn by_name(name: &str) -> Option<&'static KfuncProto> {
    let at = KFUNCS
        .binary_search_by_key(&name, |kfunc| kfunc.name)
        .ok()?;
    KFUNCS.get(at)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_in_order() {
        assert!(KFUNCS.windows(2).all(|pair| pair[0].name < pair[1].name));
        assert!(by_name("bpf_iter_num_next").is_some());
        assert!(by_name("bpf_iter_num").is_none());
    }

    #[test]
    fn tasks_of_control_groups_are_for_those_who_may_wait() {
        let tasks = by_name("bpf_iter_css_task_new").unwrap();
        let caller = |prog_type, attach_type, sleepable| Caller {
            prog_type,
            attach_type,
            sleepable,
            target: None,
            member: None,
        };
        let tracing = ProgType::Tracing;
        for (caller, offered) in [
            (caller(ProgType::Lsm, None, false), true),
            (caller(tracing, Some(AttachType::TRACE_ITER), false), true),
            (caller(tracing, Some(AttachType::TRACE_FENTRY), true), true),
            (
                caller(tracing, Some(AttachType::TRACE_FENTRY), false),
                false,
            ),
            (caller(ProgType::Xdp, None, false), false),
            (caller(ProgType::SchedCls, None, false), false),
            (caller(ProgType::Syscall, None, true), true),
        ] {
            assert_eq!(tasks.available(&caller), offered, "{caller:?}");
        }
        let congestion = by_name("tcp_slow_start").unwrap();
        let mut of = caller(ProgType::StructOps, None, false);
        assert!(!congestion.available(&of));
        of.target = Some("tcp_congestion_ops");
        assert!(congestion.available(&of));
    }

    #[test]
    fn iterators_come_first() {
        for proto in KFUNCS {
            let has = matches!(proto.args.first(), Some(KfuncArg::Iterator(_)));
            let works = matches!(
                proto.effect,
                KfuncEffect::IteratorNew | KfuncEffect::IteratorNext | KfuncEffect::IteratorDestroy
            );
            // Others work on what an iterator is at.
            let moves = has && proto.name.starts_with("scx_bpf_dsq_move");
            assert_eq!(has, works || moves, "{}", proto.name);
        }
    }
}
