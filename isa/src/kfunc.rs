//! Kernel functions that programs may call by their number in the kernel's BTF (kfuncs).
//!
//! BTF has their names and types, but not the rules of the verifier, which stand in the kernel's
//! sources (`BTF_ID_FLAGS`); so here is a table, by name, of Linux 6.18's. A function that is not in
//! it may not be called.

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
}

impl IterKind {
    /// Bytes on the stack.
    pub const fn size(self) -> u32 {
        match self {
            Self::Num | Self::TaskVma | Self::CssTask => 8,
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
        }
    }

    /// What it gives.
    pub const fn element(self) -> Element {
        match self {
            Self::Num => Element::Bytes(4),
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
    /// A structure that has to be given back, or null.
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
    /// Programs of any type may call it; else those of tracing, traffic control, XDP, `struct_ops`,
    /// system calls and control groups' packets.
    pub everywhere: bool,
    /// Only within an RCU read-side section; programs that cannot sleep are always in one.
    pub under_rcu: bool,
}

use IterKind as I;
use KfuncArg::{Iterator as Iter, Number, Released, Struct, StructOrNull};

const fn kfunc(
    name: &'static str,
    args: &'static [KfuncArg],
    ret: KfuncRet,
    effect: KfuncEffect,
    everywhere: bool,
) -> KfuncProto {
    KfuncProto {
        name,
        args,
        ret,
        effect,
        everywhere,
        under_rcu: false,
    }
}

const fn under_rcu(proto: KfuncProto) -> KfuncProto {
    KfuncProto {
        under_rcu: true,
        ..proto
    }
}

use KfuncEffect as E;
use KfuncRet as R;

/// The functions, by name.
pub static KFUNCS: &[KfuncProto] = &[
    kfunc(
        "bpf_cgroup_acquire",
        &[Struct("cgroup")],
        R::AcquiredOrNull("cgroup"),
        E::None,
        false,
    ),
    kfunc(
        "bpf_cgroup_ancestor",
        &[Struct("cgroup"), Number],
        R::AcquiredOrNull("cgroup"),
        E::None,
        false,
    ),
    kfunc(
        "bpf_cgroup_from_id",
        &[Number],
        R::AcquiredOrNull("cgroup"),
        E::None,
        false,
    ),
    kfunc(
        "bpf_cgroup_release",
        &[Released("cgroup")],
        R::Void,
        E::None,
        false,
    ),
    under_rcu(kfunc(
        "bpf_iter_css_destroy",
        &[Iter(I::Css)],
        R::Void,
        E::IteratorDestroy,
        true,
    )),
    under_rcu(kfunc(
        "bpf_iter_css_new",
        &[Iter(I::Css), Struct("cgroup_subsys_state"), Number],
        R::Number,
        E::IteratorNew,
        true,
    )),
    under_rcu(kfunc(
        "bpf_iter_css_next",
        &[Iter(I::Css)],
        R::Element,
        E::IteratorNext,
        true,
    )),
    kfunc(
        "bpf_iter_css_task_destroy",
        &[Iter(I::CssTask)],
        R::Void,
        E::IteratorDestroy,
        true,
    ),
    kfunc(
        "bpf_iter_css_task_new",
        &[Iter(I::CssTask), Struct("cgroup_subsys_state"), Number],
        R::Number,
        E::IteratorNew,
        true,
    ),
    kfunc(
        "bpf_iter_css_task_next",
        &[Iter(I::CssTask)],
        R::Element,
        E::IteratorNext,
        true,
    ),
    kfunc(
        "bpf_iter_num_destroy",
        &[Iter(I::Num)],
        R::Void,
        E::IteratorDestroy,
        true,
    ),
    kfunc(
        "bpf_iter_num_new",
        &[Iter(I::Num), Number, Number],
        R::Number,
        E::IteratorNew,
        true,
    ),
    kfunc(
        "bpf_iter_num_next",
        &[Iter(I::Num)],
        R::Element,
        E::IteratorNext,
        true,
    ),
    under_rcu(kfunc(
        "bpf_iter_task_destroy",
        &[Iter(I::Task)],
        R::Void,
        E::IteratorDestroy,
        true,
    )),
    under_rcu(kfunc(
        "bpf_iter_task_new",
        &[Iter(I::Task), StructOrNull("task_struct"), Number],
        R::Number,
        E::IteratorNew,
        true,
    )),
    under_rcu(kfunc(
        "bpf_iter_task_next",
        &[Iter(I::Task)],
        R::Element,
        E::IteratorNext,
        true,
    )),
    under_rcu(kfunc(
        "bpf_iter_task_vma_destroy",
        &[Iter(I::TaskVma)],
        R::Void,
        E::IteratorDestroy,
        true,
    )),
    under_rcu(kfunc(
        "bpf_iter_task_vma_new",
        &[Iter(I::TaskVma), Struct("task_struct"), Number],
        R::Number,
        E::IteratorNew,
        true,
    )),
    under_rcu(kfunc(
        "bpf_iter_task_vma_next",
        &[Iter(I::TaskVma)],
        R::Element,
        E::IteratorNext,
        true,
    )),
    kfunc("bpf_preempt_disable", &[], R::Void, E::PreemptDisable, true),
    kfunc("bpf_preempt_enable", &[], R::Void, E::PreemptEnable, true),
    kfunc("bpf_rcu_read_lock", &[], R::Void, E::RcuReadLock, true),
    kfunc("bpf_rcu_read_unlock", &[], R::Void, E::RcuReadUnlock, true),
    kfunc(
        "bpf_task_acquire",
        &[Struct("task_struct")],
        R::AcquiredOrNull("task_struct"),
        E::None,
        false,
    ),
    kfunc(
        "bpf_task_from_pid",
        &[Number],
        R::AcquiredOrNull("task_struct"),
        E::None,
        false,
    ),
    kfunc(
        "bpf_task_from_vpid",
        &[Number],
        R::AcquiredOrNull("task_struct"),
        E::None,
        false,
    ),
    kfunc(
        "bpf_task_release",
        &[Released("task_struct")],
        R::Void,
        E::None,
        false,
    ),
    kfunc(
        "bpf_task_under_cgroup",
        &[Struct("task_struct"), Struct("cgroup")],
        R::Number,
        E::None,
        false,
    ),
];

/// The function with the name.
pub fn by_name(name: &str) -> Option<&'static KfuncProto> {
    let at = KFUNCS
        .binary_search_by_key(&name, |kfunc| kfunc.name)
        .ok()?;
    KFUNCS.get(at)
}

impl KfuncProto {
    /// Whether programs of the type may call it.
    pub fn available(&self, prog_type: ProgType) -> bool {
        self.everywhere
            || matches!(
                prog_type,
                ProgType::Tracing
                    | ProgType::SchedCls
                    | ProgType::Xdp
                    | ProgType::StructOps
                    | ProgType::Syscall
                    | ProgType::CgroupSkb
            )
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
