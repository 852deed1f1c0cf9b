//! The table of kernel functions, in ascending order of names.

use super::IterKind::{Bits, Css, CssTask, Num, ScxDsq, Task, TaskVma};
use super::KfuncArg::{
    Anything, Arena, ConstSize, Ctx, Dynptr, DynptrOrNull, FixedMemRead, FixedMemWrite, Ignored,
    IrqFlag, Iterator, KernelType, Less, List, ListNode, LocalType, Map, MemOrNull, MemRead,
    MemReadOrNull, MemWrite, MemWriteOrNull, NewDynptr, Number, Object, Packet, PerCpuObject,
    Plain, Rcu, Refcounted, Released, ResLock, ResultSize, Size, Struct, StructMemRead,
    StructOrNull, Tree, TreeMember, TreeNode, Work, Workqueue, WorkqueueMap,
};
use super::{DynptrKind, KfuncEffect, KfuncProto, KfuncRet, Offer};

/// `name(arguments) -> result, effect, who may call it;` with `under_rcu` at the end where it needs an
/// RCU read-side section, or `sleeps` where it may sleep.
macro_rules! kfuncs {
    ($($name:ident ($($arg:expr),*) -> $ret:ident $(($what:literal))?, $effect:ident $(($about:ident))?,
        $offer:ident
        $(, $attribute:ident)?;)*) => {
        /// The functions, by name.
        pub static KFUNCS: &[KfuncProto] = &[$(KfuncProto {
            name: stringify!($name),
            args: &[$($arg),*],
            ret: KfuncRet::$ret $(($what))?,
            effect: KfuncEffect::$effect $((DynptrKind::$about))?,
            offer: Offer::$offer,
            under_rcu: matches!(stringify!($($attribute)?).as_bytes(), b"under_rcu"),
            sleeps: matches!(stringify!($($attribute)?).as_bytes(), b"sleeps"),
        }),*];
    };
}

kfuncs! {
    __scx_bpf_dsq_insert_vtime(Rcu("task_struct"), StructMemRead("scx_bpf_dsq_insert_vtime_args")) -> Number, None, SchedEnqueue;
    __scx_bpf_select_cpu_and(Rcu("task_struct"), Rcu("cpumask"), StructMemRead("scx_bpf_select_cpu_and_args")) -> Number, None, SchedSelect;
    bpf_arena_alloc_pages(Arena, Ignored, Number, Number, Number) -> Number, None, All, sleeps;
    bpf_arena_free_pages(Arena, Ignored, Number) -> Void, None, All, sleeps;
    bpf_arena_reserve_pages(Arena, Ignored, Number) -> Number, None, All;
    bpf_cast_to_kern_ctx(Ctx) -> KernelContext, None, All;
    bpf_cgroup_acquire(Rcu("cgroup")) -> AcquiredOrNull("cgroup"), None, Generic;
    bpf_cgroup_ancestor(Rcu("cgroup"), Number) -> AcquiredOrNull("cgroup"), None, Generic;
    bpf_cgroup_from_id(Number) -> AcquiredOrNull("cgroup"), None, Generic;
    bpf_cgroup_release(Released("cgroup")) -> Void, None, Generic;
    bpf_copy_from_user_str(MemWrite, Size, Anything, Number) -> Number, None, All, sleeps;
    bpf_cpumask_acquire(Struct("bpf_cpumask")) -> Acquired("bpf_cpumask"), None, Tracing;
    bpf_cpumask_and(Rcu("bpf_cpumask"), Rcu("cpumask"), Rcu("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_any_and_distribute(Rcu("cpumask"), Rcu("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_any_distribute(Rcu("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_clear(Rcu("bpf_cpumask")) -> Void, None, Tracing;
    bpf_cpumask_clear_cpu(Number, Rcu("bpf_cpumask")) -> Void, None, Tracing;
    bpf_cpumask_copy(Rcu("bpf_cpumask"), Rcu("cpumask")) -> Void, None, Tracing;
    bpf_cpumask_create() -> AcquiredOrNull("bpf_cpumask"), None, Tracing;
    bpf_cpumask_empty(Rcu("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_equal(Rcu("cpumask"), Rcu("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_first(Rcu("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_first_and(Rcu("cpumask"), Rcu("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_first_zero(Rcu("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_full(Rcu("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_intersects(Rcu("cpumask"), Rcu("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_or(Rcu("bpf_cpumask"), Rcu("cpumask"), Rcu("cpumask")) -> Void, None, Tracing;
    bpf_cpumask_populate(Rcu("cpumask"), MemRead, Size) -> Number, None, Tracing;
    bpf_cpumask_release(Released("bpf_cpumask")) -> Void, None, Tracing;
    bpf_cpumask_set_cpu(Number, Rcu("bpf_cpumask")) -> Void, None, Tracing;
    bpf_cpumask_setall(Rcu("bpf_cpumask")) -> Void, None, Tracing;
    bpf_cpumask_subset(Rcu("cpumask"), Rcu("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_test_and_clear_cpu(Number, Rcu("bpf_cpumask")) -> Number, None, Tracing;
    bpf_cpumask_test_and_set_cpu(Number, Rcu("bpf_cpumask")) -> Number, None, Tracing;
    bpf_cpumask_test_cpu(Number, Rcu("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_weight(Rcu("cpumask")) -> Number, None, Tracing;
    bpf_cpumask_xor(Rcu("bpf_cpumask"), Rcu("cpumask"), Rcu("cpumask")) -> Void, None, Tracing;
    bpf_crypto_ctx_acquire(Rcu("bpf_crypto_ctx")) -> AcquiredOrNull("bpf_crypto_ctx"), None, Syscall;
    bpf_crypto_ctx_create(MemRead, Size, FixedMemWrite(4)) -> AcquiredOrNull("bpf_crypto_ctx"), None, Syscall, sleeps;
    bpf_crypto_ctx_release(Released("bpf_crypto_ctx")) -> Void, None, Syscall;
    bpf_crypto_decrypt(Rcu("bpf_crypto_ctx"), Dynptr, Dynptr, DynptrOrNull) -> Number, None, Traffic;
    bpf_crypto_encrypt(Rcu("bpf_crypto_ctx"), Dynptr, Dynptr, DynptrOrNull) -> Number, None, Traffic;
    bpf_ct_change_status(Struct("nf_conn"), Number) -> Number, None, Traffic;
    bpf_ct_change_timeout(Struct("nf_conn"), Number) -> Number, None, Traffic;
    bpf_ct_insert_entry(Released("nf_conn___init")) -> AcquiredOrNull("nf_conn"), None, Traffic;
    bpf_ct_release(Released("nf_conn")) -> Void, None, Traffic;
    bpf_ct_set_nat_info(Struct("nf_conn___init"), FixedMemRead(16), Number, Number) -> Number, None, Traffic;
    bpf_ct_set_status(Struct("nf_conn___init"), Number) -> Number, None, Traffic;
    bpf_ct_set_timeout(Struct("nf_conn___init"), Number) -> Void, None, Traffic;
    bpf_dynptr_adjust(Dynptr, Number, Number) -> Number, None, All;
    bpf_dynptr_clone(Dynptr, NewDynptr) -> Number, CloneDynptr, All;
    bpf_dynptr_from_skb(Packet, Number, NewDynptr) -> Number, Dynptr(Skb), PacketsAndTracing;
    bpf_dynptr_from_xdp(Ctx, Number, NewDynptr) -> Number, Dynptr(Xdp), Xdp;
    bpf_dynptr_is_null(Dynptr) -> Number, None, All;
    bpf_dynptr_is_rdonly(Dynptr) -> Number, None, All;
    bpf_dynptr_size(Dynptr) -> Number, None, All;
    bpf_dynptr_slice(Dynptr, Number, MemOrNull, ConstSize) -> Slice(false), None, All;
    bpf_dynptr_slice_rdwr(Dynptr, Number, MemOrNull, ConstSize) -> Slice(true), None, All;
    bpf_iter_bits_destroy(Iterator(Bits)) -> Void, IteratorDestroy, All;
    bpf_iter_bits_new(Iterator(Bits), Anything, Number) -> Number, IteratorNew, All;
    bpf_iter_bits_next(Iterator(Bits)) -> Element, IteratorNext, All;
    bpf_iter_css_destroy(Iterator(Css)) -> Void, IteratorDestroy, All, under_rcu;
    bpf_iter_css_new(Iterator(Css), Struct("cgroup_subsys_state"), Number) -> Number, IteratorNew, All, under_rcu;
    bpf_iter_css_next(Iterator(Css)) -> Element, IteratorNext, All, under_rcu;
    bpf_iter_css_task_destroy(Iterator(CssTask)) -> Void, IteratorDestroy, CssTask;
    bpf_iter_css_task_new(Iterator(CssTask), Struct("cgroup_subsys_state"), Number) -> Number, IteratorNew, CssTask;
    bpf_iter_css_task_next(Iterator(CssTask)) -> Element, IteratorNext, CssTask;
    bpf_iter_num_destroy(Iterator(Num)) -> Void, IteratorDestroy, All;
    bpf_iter_num_new(Iterator(Num), Number, Number) -> Number, IteratorNew, All;
    bpf_iter_num_next(Iterator(Num)) -> Element, IteratorNext, All;
    bpf_iter_scx_dsq_destroy(Iterator(ScxDsq)) -> Void, IteratorDestroy, Sched;
    bpf_iter_scx_dsq_new(Iterator(ScxDsq), Number, Number) -> Number, IteratorNew, Sched, under_rcu;
    bpf_iter_scx_dsq_next(Iterator(ScxDsq)) -> Element, IteratorNext, Sched;
    bpf_iter_task_destroy(Iterator(Task)) -> Void, IteratorDestroy, All, under_rcu;
    bpf_iter_task_new(Iterator(Task), StructOrNull("task_struct"), Number) -> Number, IteratorNew, All, under_rcu;
    bpf_iter_task_next(Iterator(Task)) -> Element, IteratorNext, All, under_rcu;
    bpf_iter_task_vma_destroy(Iterator(TaskVma)) -> Void, IteratorDestroy, All, under_rcu;
    bpf_iter_task_vma_new(Iterator(TaskVma), Rcu("task_struct"), Number) -> Number, IteratorNew, All, under_rcu;
    bpf_iter_task_vma_next(Iterator(TaskVma)) -> Element, IteratorNext, All, under_rcu;
    bpf_list_back(List) -> Member, None, Generic;
    bpf_list_front(List) -> Member, None, Generic;
    bpf_list_pop_back(List) -> Node, None, Generic;
    bpf_list_pop_front(List) -> Node, None, Generic;
    bpf_list_push_back_impl(List, ListNode, Ignored, Ignored) -> Number, None, Generic;
    bpf_list_push_front_impl(List, ListNode, Ignored, Ignored) -> Number, None, Generic;
    bpf_local_irq_restore(IrqFlag) -> Void, IrqRestore, All;
    bpf_local_irq_save(IrqFlag) -> Void, IrqSave, All;
    bpf_map_sum_elem_count(Map) -> Number, None, All;
    bpf_obj_drop_impl(Object, Ignored) -> Void, None, Generic;
    bpf_obj_new_impl(LocalType, Ignored) -> Object, None, Generic;
    bpf_percpu_obj_drop_impl(PerCpuObject, Ignored) -> Void, None, Generic;
    bpf_percpu_obj_new_impl(LocalType, Ignored) -> PerCpuObject, None, Generic;
    bpf_preempt_disable() -> Void, PreemptDisable, All;
    bpf_preempt_enable() -> Void, PreemptEnable, All;
    bpf_rbtree_add_impl(Tree, TreeNode, Less, Ignored, Ignored) -> Number, None, Generic;
    bpf_rbtree_first(Tree) -> Member, None, Generic;
    bpf_rbtree_left(Tree, TreeMember) -> Member, None, Generic;
    bpf_rbtree_remove(Tree, TreeMember) -> Node, None, Generic;
    bpf_rbtree_right(Tree, TreeMember) -> Member, None, Generic;
    bpf_rbtree_root(Tree) -> Member, None, Generic;
    bpf_rcu_read_lock() -> Void, RcuReadLock, All;
    bpf_rcu_read_unlock() -> Void, RcuReadUnlock, All;
    bpf_rdonly_cast(Anything, KernelType) -> Cast, None, All;
    bpf_refcount_acquire_impl(Refcounted, Ignored) -> Again, None, Generic;
    bpf_res_spin_lock(ResLock) -> Number, Lock, All;
    bpf_res_spin_lock_irqsave(ResLock, IrqFlag) -> Number, Lock, All;
    bpf_res_spin_unlock(ResLock) -> Void, Unlock, All;
    bpf_res_spin_unlock_irqrestore(ResLock, IrqFlag) -> Void, Unlock, All;
    bpf_session_cookie() -> Memory(8), None, Sessions;
    bpf_session_is_return() -> Number, None, Sessions;
    bpf_sk_assign_tcp_reqsk(Ctx, Struct("sock"), MemRead, Size) -> Number, None, Classifier;
    bpf_skb_ct_alloc(Ctx, MemReadOrNull, Size, MemWriteOrNull, Size) -> AcquiredOrNull("nf_conn___init"), None, Classifier;
    bpf_skb_ct_lookup(Ctx, MemReadOrNull, Size, MemWriteOrNull, Size) -> AcquiredOrNull("nf_conn"), None, Classifier;
    bpf_sock_addr_set_sun_path(Struct("bpf_sock_addr_kern"), MemRead, Size) -> Number, None, SocketAddresses;
    bpf_sock_destroy(Struct("sock_common")) -> Number, None, Iterators;
    bpf_task_acquire(Rcu("task_struct")) -> AcquiredOrNull("task_struct"), None, Generic;
    bpf_task_from_pid(Number) -> AcquiredOrNull("task_struct"), None, Generic;
    bpf_task_from_vpid(Number) -> AcquiredOrNull("task_struct"), None, Generic;
    bpf_task_get_cgroup1(Rcu("task_struct"), Number) -> AcquiredOrNull("cgroup"), None, Generic;
    bpf_task_release(Released("task_struct")) -> Void, None, Generic;
    bpf_task_under_cgroup(Rcu("task_struct"), Rcu("cgroup")) -> Number, None, Generic;
    bpf_throw(Number) -> Void, Throw, Generic;
    bpf_wq_init(Workqueue, WorkqueueMap, Number) -> Number, None, All;
    bpf_wq_set_callback_impl(Workqueue, Work, Number, Ignored) -> Number, None, All;
    bpf_wq_start(Workqueue, Number) -> Number, None, All;
    bpf_xdp_ct_alloc(Ctx, MemReadOrNull, Size, MemWriteOrNull, Size) -> AcquiredOrNull("nf_conn___init"), None, Xdp;
    bpf_xdp_ct_lookup(Ctx, MemReadOrNull, Size, MemWriteOrNull, Size) -> AcquiredOrNull("nf_conn"), None, Xdp;
    cubictcp_acked(Plain("sock"), Plain("ack_sample")) -> Void, None, Congestion;
    cubictcp_cong_avoid(Plain("sock"), Number, Number) -> Void, None, Congestion;
    cubictcp_cwnd_event(Plain("sock"), Number) -> Void, None, Congestion;
    cubictcp_init(Plain("sock")) -> Void, None, Congestion;
    cubictcp_recalc_ssthresh(Plain("sock")) -> Number, None, Congestion;
    cubictcp_state(Plain("sock"), Number) -> Void, None, Congestion;
    hid_bpf_allocate_context(Number) -> AcquiredOrNull("hid_bpf_ctx"), None, HidOrSyscall, sleeps;
    hid_bpf_get_data(Struct("hid_bpf_ctx"), Number, ResultSize) -> SizedMemoryOrNull, None, Hid;
    hid_bpf_hw_output_report(Struct("hid_bpf_ctx"), MemWrite, Size) -> Number, None, HidOrSyscall, sleeps;
    hid_bpf_hw_request(Struct("hid_bpf_ctx"), MemWrite, Size, Number, Number) -> Number, None, HidOrSyscall, sleeps;
    hid_bpf_input_report(Struct("hid_bpf_ctx"), Number, MemRead, Size) -> Number, None, HidOrSyscall, sleeps;
    hid_bpf_release_context(Released("hid_bpf_ctx")) -> Void, None, HidOrSyscall, sleeps;
    hid_bpf_try_input_report(Struct("hid_bpf_ctx"), Number, MemRead, Size) -> Number, None, Hid;
    scx_bpf_cpu_curr(Number) -> RcuOrNull("task_struct"), None, Sched, under_rcu;
    scx_bpf_cpu_node(Number) -> Number, None, Sched;
    scx_bpf_cpu_rq(Number) -> Plain("rq"), None, Sched;
    scx_bpf_cpuperf_cap(Number) -> Number, None, Sched;
    scx_bpf_cpuperf_cur(Number) -> Number, None, Sched;
    scx_bpf_cpuperf_set(Number, Number) -> Void, None, Sched;
    scx_bpf_create_dsq(Number, Number) -> Number, None, SchedUnlocked, sleeps;
    scx_bpf_destroy_dsq(Number) -> Void, None, Sched;
    scx_bpf_dispatch_cancel() -> Void, None, SchedDispatch;
    scx_bpf_dispatch_nr_slots() -> Number, None, SchedDispatch;
    scx_bpf_dsq_insert(Rcu("task_struct"), Number, Number, Number) -> Void, None, SchedEnqueue;
    scx_bpf_dsq_insert___v2(Rcu("task_struct"), Number, Number, Number) -> Number, None, SchedEnqueue;
    scx_bpf_dsq_insert_vtime(Rcu("task_struct"), Number, Number, Number, Number) -> Void, None, SchedEnqueue;
    scx_bpf_dsq_move(Iterator(ScxDsq), Rcu("task_struct"), Number, Number) -> Number, None, SchedMove;
    scx_bpf_dsq_move_set_slice(Iterator(ScxDsq), Number) -> Void, None, SchedMove;
    scx_bpf_dsq_move_set_vtime(Iterator(ScxDsq), Number) -> Void, None, SchedMove;
    scx_bpf_dsq_move_to_local(Number) -> Number, None, SchedDispatch;
    scx_bpf_dsq_move_vtime(Iterator(ScxDsq), Rcu("task_struct"), Number, Number) -> Number, None, SchedMove;
    scx_bpf_dsq_nr_queued(Number) -> Number, None, Sched;
    scx_bpf_dsq_peek(Number) -> RcuOrNull("task_struct"), None, Sched, under_rcu;
    scx_bpf_dsq_reenq(Number, Number) -> Void, None, Sched;
    scx_bpf_dump_bstr(FixedMemRead(1), MemRead, Size) -> Void, None, Sched;
    scx_bpf_error_bstr(FixedMemRead(1), MemRead, Size) -> Void, None, Sched;
    scx_bpf_events(MemWrite, Size) -> Void, None, Sched;
    scx_bpf_exit_bstr(Number, FixedMemRead(1), MemRead, Size) -> Void, None, Sched;
    scx_bpf_get_idle_cpumask() -> Acquired("cpumask"), None, Sched;
    scx_bpf_get_idle_cpumask_node(Number) -> Acquired("cpumask"), None, Sched;
    scx_bpf_get_idle_smtmask() -> Acquired("cpumask"), None, Sched;
    scx_bpf_get_idle_smtmask_node(Number) -> Acquired("cpumask"), None, Sched;
    scx_bpf_get_online_cpumask() -> Acquired("cpumask"), None, Sched;
    scx_bpf_get_possible_cpumask() -> Acquired("cpumask"), None, Sched;
    scx_bpf_kick_cpu(Number, Number) -> Void, None, Sched;
    scx_bpf_locked_rq() -> PlainOrNull("rq"), None, Sched;
    scx_bpf_now() -> Number, None, Sched;
    scx_bpf_nr_cpu_ids() -> Number, None, Sched;
    scx_bpf_nr_node_ids() -> Number, None, Sched;
    scx_bpf_pick_any_cpu(Rcu("cpumask"), Number) -> Number, None, Sched;
    scx_bpf_pick_any_cpu_node(Rcu("cpumask"), Number, Number) -> Number, None, Sched;
    scx_bpf_pick_idle_cpu(Rcu("cpumask"), Number) -> Number, None, Sched;
    scx_bpf_pick_idle_cpu_node(Rcu("cpumask"), Number, Number) -> Number, None, Sched;
    scx_bpf_put_cpumask(Released("cpumask")) -> Void, None, Sched;
    scx_bpf_put_idle_cpumask(Released("cpumask")) -> Void, None, Sched;
    scx_bpf_reenqueue_local() -> Number, None, SchedRelease;
    scx_bpf_reenqueue_local___v2() -> Void, None, Sched;
    scx_bpf_select_cpu_and(Rcu("task_struct"), Number, Number, Rcu("cpumask"), Number) -> Number, None, SchedSelect;
    scx_bpf_select_cpu_dfl(Rcu("task_struct"), Number, Number, FixedMemWrite(1)) -> Number, None, SchedSelect;
    scx_bpf_task_cgroup(Rcu("task_struct")) -> Acquired("cgroup"), None, Sched;
    scx_bpf_task_cpu(Rcu("task_struct")) -> Number, None, Sched;
    scx_bpf_task_running(Rcu("task_struct")) -> Number, None, Sched;
    scx_bpf_task_set_dsq_vtime(Rcu("task_struct"), Number) -> Number, None, Sched;
    scx_bpf_task_set_slice(Rcu("task_struct"), Number) -> Number, None, Sched;
    scx_bpf_test_and_clear_cpu_idle(Number) -> Number, None, Sched;
    tcp_cong_avoid_ai(Plain("tcp_sock"), Number, Number) -> Void, None, Congestion;
    tcp_reno_cong_avoid(Plain("sock"), Number, Number) -> Void, None, Congestion;
    tcp_reno_ssthresh(Plain("sock")) -> Number, None, Congestion;
    tcp_reno_undo_cwnd(Plain("sock")) -> Number, None, Congestion;
    tcp_slow_start(Plain("tcp_sock"), Number) -> Number, None, Congestion;
}
