//! Kernel functions that programs may call by their number in the kernel's BTF (kfuncs).
//!
//! BTF has their names and types, but not the rules of the verifier, which stand in the kernel's
//! sources (`BTF_ID_FLAGS`); so here is a table, by name, of Linux 6.18's. A function that is not in
//! it may not be called.

mod offer;
mod table;

pub use offer::Offer;
pub use table::KFUNCS;

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
            // Those whose functions are `KF_RCU_PROTECTED` give what RCU keeps.
            Self::Task | Self::ScxDsq => Element::Rcu("task_struct"),
            Self::Css => Element::Rcu("cgroup_subsys_state"),
            Self::CssTask => Element::Struct("task_struct"),
            Self::TaskVma => Element::Struct("vm_area_struct"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::helper::Caller;
    use crate::{AttachType, ProgType};

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
