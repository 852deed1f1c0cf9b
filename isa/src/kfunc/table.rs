//! The table of kernel functions, in ascending order of names.

use super::IterKind::{Bits, Css, CssTask, Num, Task, TaskVma};
use super::KfuncArg::{Anything, Iterator, Map, Number, Released, Struct, StructOrNull};
use super::{KfuncEffect, KfuncProto, KfuncRet, Offer};

/// `name(arguments) -> result, effect, who may call it;` with `under_rcu` at the end where it needs an
/// RCU read-side section.
macro_rules! kfuncs {
    ($($name:ident ($($arg:expr),*) -> $ret:ident $(($what:literal))?, $effect:ident, $offer:ident
        $(, $under_rcu:ident)?;)*) => {
        /// The functions, by name.
        pub static KFUNCS: &[KfuncProto] = &[$(KfuncProto {
            name: stringify!($name),
            args: &[$($arg),*],
            ret: KfuncRet::$ret $(($what))?,
            effect: KfuncEffect::$effect,
            offer: Offer::$offer,
            under_rcu: [false $(, stringify!($under_rcu).len() > 0)?].len() > 1,
        }),*];
    };
}

kfuncs! {
    bpf_cgroup_acquire(Struct("cgroup")) -> AcquiredOrNull("cgroup"), None, Generic;
    bpf_cgroup_ancestor(Struct("cgroup"), Number) -> AcquiredOrNull("cgroup"), None, Generic;
    bpf_cgroup_from_id(Number) -> AcquiredOrNull("cgroup"), None, Generic;
    bpf_cgroup_release(Released("cgroup")) -> Void, None, Generic;
    bpf_cpumask_acquire(Struct("bpf_cpumask")) -> Acquired("bpf_cpumask"), None, Tracing;
    bpf_cpumask_and(Struct("bpf_cpumask"), Struct("cpumask"), Struct("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_any_and_distribute(Struct("cpumask"), Struct("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_any_distribute(Struct("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_clear(Struct("bpf_cpumask")) -> Void, None, Tracing;
    bpf_cpumask_clear_cpu(Number, Struct("bpf_cpumask")) -> Void, None, Tracing;
    bpf_cpumask_copy(Struct("bpf_cpumask"), Struct("cpumask")) -> Void, None, Tracing;
    bpf_cpumask_create() -> AcquiredOrNull("bpf_cpumask"), None, Tracing;
    bpf_cpumask_empty(Struct("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_equal(Struct("cpumask"), Struct("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_first(Struct("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_first_and(Struct("cpumask"), Struct("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_first_zero(Struct("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_full(Struct("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_intersects(Struct("cpumask"), Struct("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_or(Struct("bpf_cpumask"), Struct("cpumask"), Struct("cpumask")) -> Void, None, Tracing;
    bpf_cpumask_release(Released("bpf_cpumask")) -> Void, None, Tracing;
    bpf_cpumask_set_cpu(Number, Struct("bpf_cpumask")) -> Void, None, Tracing;
    bpf_cpumask_setall(Struct("bpf_cpumask")) -> Void, None, Tracing;
    bpf_cpumask_subset(Struct("cpumask"), Struct("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_test_and_clear_cpu(Number, Struct("bpf_cpumask")) -> Number, None, Tracing;
    bpf_cpumask_test_and_set_cpu(Number, Struct("bpf_cpumask")) -> Number, None, Tracing;
    bpf_cpumask_test_cpu(Number, Struct("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_weight(Struct("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_xor(Struct("bpf_cpumask"), Struct("cpumask"), Struct("cpumask")) -> Void, None, Tracing;
    bpf_iter_bits_destroy(Iterator(Bits)) -> Void, IteratorDestroy, All;
    bpf_iter_bits_new(Iterator(Bits), Anything, Number) -> Number, IteratorNew, All;
    bpf_iter_bits_next(Iterator(Bits)) -> Element, IteratorNext, All;
    bpf_iter_css_destroy(Iterator(Css)) -> Void, IteratorDestroy, All, under_rcu;
    bpf_iter_css_new(Iterator(Css), Struct("cgroup_subsys_state"), Number) -> Number, IteratorNew, All, under_rcu;
    bpf_iter_css_next(Iterator(Css)) -> Element, IteratorNext, All, under_rcu;
    bpf_iter_css_task_destroy(Iterator(CssTask)) -> Void, IteratorDestroy, All;
    bpf_iter_css_task_new(Iterator(CssTask), Struct("cgroup_subsys_state"), Number) -> Number, IteratorNew, All;
    bpf_iter_css_task_next(Iterator(CssTask)) -> Element, IteratorNext, All;
    bpf_iter_num_destroy(Iterator(Num)) -> Void, IteratorDestroy, All;
    bpf_iter_num_new(Iterator(Num), Number, Number) -> Number, IteratorNew, All;
    bpf_iter_num_next(Iterator(Num)) -> Element, IteratorNext, All;
    bpf_iter_task_destroy(Iterator(Task)) -> Void, IteratorDestroy, All, under_rcu;
    bpf_iter_task_new(Iterator(Task), StructOrNull("task_struct"), Number) -> Number, IteratorNew, All, under_rcu;
    bpf_iter_task_next(Iterator(Task)) -> Element, IteratorNext, All, under_rcu;
    bpf_iter_task_vma_destroy(Iterator(TaskVma)) -> Void, IteratorDestroy, All, under_rcu;
    bpf_iter_task_vma_new(Iterator(TaskVma), Struct("task_struct"), Number) -> Number, IteratorNew, All, under_rcu;
    bpf_iter_task_vma_next(Iterator(TaskVma)) -> Element, IteratorNext, All, under_rcu;
    bpf_map_sum_elem_count(Map) -> Number, None, All;
    bpf_preempt_disable() -> Void, PreemptDisable, All;
    bpf_preempt_enable() -> Void, PreemptEnable, All;
    bpf_rcu_read_lock() -> Void, RcuReadLock, All;
    bpf_rcu_read_unlock() -> Void, RcuReadUnlock, All;
    bpf_task_acquire(Struct("task_struct")) -> AcquiredOrNull("task_struct"), None, Generic;
    bpf_task_from_pid(Number) -> AcquiredOrNull("task_struct"), None, Generic;
    bpf_task_from_vpid(Number) -> AcquiredOrNull("task_struct"), None, Generic;
    bpf_task_release(Released("task_struct")) -> Void, None, Generic;
    bpf_task_under_cgroup(Struct("task_struct"), Struct("cgroup")) -> Number, None, Generic;
    bpf_throw(Number) -> Void, Throw, Generic;
}
