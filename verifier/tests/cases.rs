//! Programs and their verdicts, case by case, in `cases/*.txt`.
//!
//! A case is `== name`, a line `accept` or `reject <code>`, and the program: XDP with maps, 0 an
//! array of 48-byte values (one entry), 1 a hash of 8-byte keys and values, 2 a ring buffer of 4096
//! bytes, 3 an array of arrays of 8-byte values, 4 an array of four values with a number, a spin lock
//! at 4, a timer at 8, pointers to kernel objects at 24 and (owned) 32, 5 an array of one value with
//! a spin lock at 0, 6 a program array, 7 a map of sockets, 8 an array of four values with a lock at 0,
//! lists of structure 20 at 8 and 21 at 40, trees of 20 at 24 and 21 at 56, owned pointers to 20 at 72
//! and 21 at 80, 9 an array of one value with a lock at 0 and a list of 20 at 8, 10 a user ring buffer,
//! 11 with `arena` after the verdict an arena, 12 an array of four values with a resilient lock at 0 and a list
//! of 20 at 8, 13 an array of one value with a resilient lock at 0, 14 an array of four values with a work
//! queue at 0 and a number at 16, 15 an array of four values with an owned pointer to 23 for each CPU at 0 and
//! one to a single 23 at 8, 16 a per-CPU array of four values. With `typed` after the verdict the types of
//! functions are known. A first line `type <name>` gives another program type. Every soundness mistake
//! has its safe sibling, so that a verifier which refuses everything fails as well.

mod common;

use std::sync::Arc;

use bpftime_isa::kernel_types::{KernelSymbol, KernelTypes, Walked};
use bpftime_isa::{
    GraphNode, LocalStruct, MapDef, MapField, MapFieldKind, MapType, ProgType, Subprogram, asm,
};
use bpftime_verifier::{options::Target, verify};

fn with_fields(map: MapDef, fields: Vec<(u32, u32, MapFieldKind)>) -> MapDef {
    let fields = fields.into_iter();
    MapDef {
        fields: fields
            .map(|(offset, size, kind)| MapField { offset, size, kind })
            .collect(),
        ..map
    }
}

fn field(offset: u32, size: u32, kind: MapFieldKind) -> MapField {
    MapField { offset, size, kind }
}

/// Structures of which programs make objects: 20 has a number at 0, a tree's node at 8, a list's node at
/// 40 and a pointer to such an object at 64; 21 the same with a count of owners at 72; 22 a number, a
/// lock at 8 and a list of 20 at 16; 23 is without any.
fn objects() -> Arc<[LocalStruct]> {
    let node = |type_id, size, counted: bool| LocalStruct {
        type_id,
        name: format!("node{type_id}"),
        size,
        fields: [
            field(8, 32, MapFieldKind::RbNode),
            field(40, 24, MapFieldKind::ListNode),
            field(
                64,
                8,
                MapFieldKind::Kptr {
                    target: "node23".into(),
                    referenced: true,
                    percpu: false,
                },
            ),
        ]
        .into_iter()
        .chain(counted.then(|| field(72, 4, MapFieldKind::Refcount)))
        .collect(),
        numbers: false,
    };
    let holder = LocalStruct {
        type_id: 22,
        name: "node22".into(),
        size: 32,
        fields: vec![
            field(8, 4, MapFieldKind::SpinLock),
            field(16, 16, list_of(20)),
        ],
        numbers: false,
    };
    let plain = LocalStruct {
        type_id: 23,
        name: "node23".into(),
        size: 16,
        fields: Vec::new(),
        numbers: true,
    };
    [node(20, 72, false), node(21, 80, true), holder, plain].into()
}

fn list_of(type_id: u32) -> MapFieldKind {
    MapFieldKind::ListHead {
        holds: Some(GraphNode {
            type_id,
            offset: 40,
        }),
    }
}

fn tree_of(type_id: u32) -> MapFieldKind {
    MapFieldKind::RbRoot {
        holds: Some(GraphNode { type_id, offset: 8 }),
    }
}

fn local_kptr(name: &str) -> MapFieldKind {
    MapFieldKind::Kptr {
        target: name.into(),
        referenced: true,
        percpu: false,
    }
}

fn kptr(referenced: bool) -> MapFieldKind {
    MapFieldKind::Kptr {
        target: "task_struct".into(),
        referenced,
        percpu: false,
    }
}

/// Kernel functions by number, from 1.
const KFUNCS: [&str; 47] = [
    "bpf_iter_num_new",
    "bpf_iter_num_next",
    "bpf_iter_num_destroy",
    "bpf_rcu_read_lock",
    "bpf_rcu_read_unlock",
    "bpf_preempt_disable",
    "bpf_preempt_enable",
    "bpf_task_from_pid",
    "bpf_task_release",
    "bpf_throw",
    "bpf_cpumask_create",
    "bpf_map_sum_elem_count",
    "bpf_obj_new_impl",
    "bpf_obj_drop_impl",
    "bpf_refcount_acquire_impl",
    "bpf_list_push_front_impl",
    "bpf_list_pop_front",
    "bpf_list_front",
    "bpf_rbtree_add_impl",
    "bpf_rbtree_remove",
    "bpf_rbtree_first",
    "bpf_dynptr_from_skb",
    "bpf_dynptr_from_xdp",
    "bpf_dynptr_slice",
    "bpf_dynptr_slice_rdwr",
    "bpf_dynptr_clone",
    "bpf_dynptr_adjust",
    "bpf_dynptr_size",
    "bpf_iter_css_task_new",
    "bpf_iter_css_task_destroy",
    "bpf_task_acquire",
    "bpf_rbtree_left",
    "bpf_list_push_back_impl",
    "bpf_local_irq_save",
    "bpf_local_irq_restore",
    "bpf_arena_alloc_pages",
    "bpf_copy_from_user_str",
    "bpf_rdonly_cast",
    "bpf_res_spin_lock",
    "bpf_res_spin_unlock",
    "bpf_res_spin_lock_irqsave",
    "bpf_res_spin_unlock_irqrestore",
    "bpf_wq_init",
    "bpf_wq_set_callback_impl",
    "bpf_wq_start",
    "bpf_percpu_obj_new_impl",
    "bpf_percpu_obj_drop_impl",
];

/// A kernel that has these functions, `task_struct` (100), of which nothing may be read, `rq` (101), of which
/// the first four bytes may, and variables: 201 a number and 202 an `rq` of each CPU's own, 203 a number.
#[derive(Debug)]
struct Types;

impl KernelTypes for Types {
    fn read(&self, type_id: u32, offset: u32, size: u32) -> Option<Walked> {
        (type_id == 101 && offset == 0 && size == 4).then_some(Walked::Number)
    }

    fn symbol(&self, id: u32) -> Option<KernelSymbol> {
        match id {
            201 => Some(KernelSymbol::PerCpuMemory(4)),
            202 => Some(KernelSymbol::PerCpuStructure(101)),
            203 => Some(KernelSymbol::Memory(4)),
            _ => None,
        }
    }

    fn contains(&self, type_id: u32, offset: u32, name: &str) -> bool {
        offset == 0 && self.structure(name) == Some(type_id)
    }

    fn structure(&self, name: &str) -> Option<u32> {
        match name {
            "task_struct" => Some(100),
            "rq" => Some(101),
            _ => None,
        }
    }

    fn name(&self, type_id: u32) -> Option<String> {
        let at = usize::try_from(type_id).ok()?.checked_sub(1)?;
        KFUNCS.get(at).map(|name| (*name).to_owned())
    }
}

/// Maps 12 and on.
fn late_maps() -> [MapDef; 5] {
    let per_cpu = MapFieldKind::Kptr {
        target: "node23".into(),
        referenced: true,
        percpu: true,
    };
    [
        with_fields(
            common::map(MapType::Array, 4, 24, 4),
            vec![(0, 4, MapFieldKind::ResSpinLock), (8, 16, list_of(20))],
        ),
        with_fields(
            common::map(MapType::Array, 4, 8, 1),
            vec![(0, 4, MapFieldKind::ResSpinLock)],
        ),
        with_fields(
            common::map(MapType::Array, 4, 24, 4),
            vec![(0, 16, MapFieldKind::Workqueue)],
        ),
        with_fields(
            common::map(MapType::Array, 4, 16, 4),
            vec![(0, 8, per_cpu), (8, 8, local_kptr("node23"))],
        ),
        common::map(MapType::PerCpuArray, 4, 8, 4),
    ]
}

fn run(text: &str) -> (usize, Vec<String>) {
    let mut failures = Vec::new();
    let mut count = 0;
    for case in text.split("\n== ").skip(1) {
        let (name, rest) = case.split_once('\n').expect("a body");
        let (verdict, mut body) = rest.split_once('\n').expect("a program");
        let mut prog_type = ProgType::Xdp;
        if let Some(typed) = body.strip_prefix("type ") {
            let (name, rest) = typed.split_once('\n').expect("a program");
            prog_type = *[
                ProgType::SocketFilter,
                ProgType::SchedCls,
                ProgType::Kprobe,
                ProgType::CgroupSkb,
                ProgType::Syscall,
            ]
            .iter()
            .find(|candidate| candidate.name() == name)
            .expect("a known type");
            body = rest;
        }
        let insns = match asm::parse(body) {
            Ok(insns) => insns,
            Err(error) => panic!("{name}: {error}"),
        };
        let maps = vec![
            common::map(MapType::Array, 4, 48, 1),
            common::map(MapType::Hash, 8, 8, 16),
            common::map(MapType::RingBuf, 0, 0, 4096),
            MapDef {
                inner: Some(Box::new(common::map(MapType::Array, 4, 8, 4))),
                ..common::map(MapType::ArrayOfMaps, 4, 4, 1)
            },
            with_fields(
                common::map(MapType::Array, 4, 40, 4),
                vec![
                    (4, 4, MapFieldKind::SpinLock),
                    (8, 16, MapFieldKind::Timer),
                    (24, 8, kptr(false)),
                    (32, 8, kptr(true)),
                ],
            ),
            with_fields(
                common::map(MapType::Array, 4, 8, 1),
                vec![(0, 4, MapFieldKind::SpinLock)],
            ),
            common::map(MapType::ProgArray, 4, 4, 4),
            common::map(MapType::SockMap, 4, 4, 4),
            with_fields(
                common::map(MapType::Array, 4, 96, 4),
                vec![
                    (0, 4, MapFieldKind::SpinLock),
                    (8, 16, list_of(20)),
                    (24, 16, tree_of(20)),
                    (40, 16, list_of(21)),
                    (56, 16, tree_of(21)),
                    (72, 8, local_kptr("node20")),
                    (80, 8, local_kptr("node21")),
                ],
            ),
            with_fields(
                common::map(MapType::Array, 4, 24, 1),
                vec![(0, 4, MapFieldKind::SpinLock), (8, 16, list_of(20))],
            ),
            common::map(MapType::UserRingBuf, 0, 0, 4096),
        ];
        let mut maps = maps;
        maps.push(match verdict.contains(" arena") {
            true => common::map(MapType::Arena, 0, 0, 4),
            false => common::map(MapType::Array, 4, 8, 4),
        });
        maps.extend(late_maps());
        count += 1;
        let mut options = common::options();
        options.budget.max_steps = 50_000;
        options.kernel_types = Some(Arc::new(Types));
        if !verdict.ends_with(" linux") {
            options.target = Target::Bpftime;
        }
        if verdict.ends_with(" strict") {
            options.allow_ptr_leaks = false;
            options.allow_uninit_stack = false;
        }
        let wanted = verdict
            .trim_end_matches(" strict")
            .trim_end_matches(" typed")
            .trim_end_matches(" linux")
            .trim_end_matches(" arena");
        let mut program = common::program(prog_type, insns, maps);
        if verdict.ends_with(" typed") {
            program.subprograms = vec![Subprogram {
                insn: 0,
                name: "main".into(),
                global: true,
                contract: None,
            }];
        }
        program.objects = objects();
        let result = verify(program, &options);
        let got = match &result {
            Ok(_) => "accept".to_owned(),
            Err(rejection) => format!("reject {}", rejection.code),
        };
        if got != wanted {
            let detail = result.err().map_or_else(String::new, |r| r.to_string());
            failures.push(format!("{name}: wanted {wanted}, got {got}\n{detail}"));
        }
    }
    (count, failures)
}

fn check(text: &str, least: usize) {
    let (count, failures) = run(text);
    assert!(count >= least, "only {count} cases");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn soundness_mistakes_of_others_are_not_made() {
    check(include_str!("cases/soundness.txt"), 60);
}

#[test]
fn basic_rules_hold() {
    check(include_str!("cases/basics.txt"), 40);
}

#[test]
fn loops_are_judged_by_whether_they_end() {
    check(include_str!("cases/loops.txt"), 12);
}

#[test]
fn maps_of_maps_give_maps_that_may_be_null() {
    check(include_str!("cases/map_in_map.txt"), 6);
}

#[test]
fn objects_of_the_kernel_are_read_and_given_back() {
    check(include_str!("cases/objects.txt"), 16);
}

#[test]
fn callbacks_are_verified_for_any_number_of_calls() {
    check(include_str!("cases/callbacks.txt"), 23);
}

#[test]
fn parts_of_values_that_are_the_kernels_are_left_alone() {
    check(include_str!("cases/map_fields.txt"), 25);
}

#[test]
fn kernel_functions_are_called_by_their_rules() {
    check(include_str!("cases/kfuncs.txt"), 25);
}

#[test]
fn functions_may_return_where_no_exit_is() {
    check(include_str!("cases/early_returns.txt"), 12);
}

#[test]
fn dynptrs_and_slices_are_used_while_they_are_valid() {
    check(include_str!("cases/dynptrs.txt"), 50);
}

#[test]
fn objects_are_owned_by_one_and_collections_are_locked() {
    check(include_str!("cases/collections.txt"), 40);
}

#[test]
fn interrupts_are_restored_in_order() {
    check(include_str!("cases/interrupts.txt"), 12);
}

#[test]
fn arenas_are_accessed_anywhere_but_hold_no_pointers() {
    check(include_str!("cases/arenas.txt"), 10);
}

#[test]
fn resilient_locks_are_held_where_they_were_got() {
    check(include_str!("cases/resilient_locks.txt"), 20);
}

#[test]
fn work_is_done_later_where_it_may_sleep() {
    check(include_str!("cases/workqueues.txt"), 12);
}

#[test]
fn what_each_cpu_has_its_own_of_is_reached_by_helpers() {
    check(include_str!("cases/percpu.txt"), 20);
}
