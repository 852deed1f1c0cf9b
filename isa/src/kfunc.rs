//! Kernel functions that programs may call by their number in the kernel's BTF (kfuncs).
//!
//! BTF has their names and types, but not the rules of the verifier, which stand in the kernel's
//! sources (`BTF_ID_FLAGS`); so here is a table, by name, of Linux 6.18's. A function that is not in
//! it may not be called.

mod table;

pub use table::KFUNCS;

use crate::ProgType;

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
}

impl IterKind {
    /// Bytes on the stack.
    pub const fn size(self) -> u32 {
        match self {
            Self::Num | Self::TaskVma | Self::CssTask => 8,
            Self::Bits => 16,
            Self::Task | Self::Css => 24,
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
        }
    }

    /// What it gives.
    pub const fn element(self) -> Element {
        match self {
            Self::Num | Self::Bits => Element::Bytes(4),
            Self::Task | Self::CssTask => Element::Struct("task_struct"),
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
    /// The address of a structure of the kernel's.
    Struct(&'static str),
}

/// An argument.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum KfuncArg {
    /// A number.
    Number,
    /// Anything; an address is read where it can be.
    Anything,
    /// A structure of the kernel's.
    Struct(&'static str),
    /// As [`Self::Struct`], or null.
    StructOrNull(&'static str),
    /// A structure that was acquired, and is given back.
    Released(&'static str),
    /// An iterator on the stack.
    Iterator(IterKind),
    /// The context.
    Ctx,
    /// A map.
    Map,
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
    /// A structure that has to be given back.
    Acquired(&'static str),
    /// As [`Self::Acquired`], or null.
    AcquiredOrNull(&'static str),
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
    pub fn available(&self, prog_type: ProgType) -> bool {
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
            Offer::Packets => matches!(
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
            ),
            Offer::Xdp => prog_type == ProgType::Xdp,
        }
    }
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
    fn iterators_come_first() {
        for proto in KFUNCS {
            let has = matches!(proto.args.first(), Some(KfuncArg::Iterator(_)));
            let works = matches!(
                proto.effect,
                KfuncEffect::IteratorNew | KfuncEffect::IteratorNext | KfuncEffect::IteratorDestroy
            );
            assert_eq!(has, works, "{}", proto.name);
        }
    }
}
