//! Programs that are wrong are caught, and their siblings that are right are not: the test itself
//! can fail.

use bpftime_isa::kfunc::KFUNCS;
use bpftime_isa::{
    GraphNode, Insn, KernelTypes, LocalStruct, MapDef, MapField, MapFieldKind, MapType, ProgType,
    Program, Walked, asm,
};

use bpftime_verifier::FunctionFacts;

use super::{packet, tape, world};

/// Kernel functions have the numbers of their places in the table, structures one of their own.
#[derive(Debug)]
struct Types;

impl KernelTypes for Types {
    fn read(&self, _: u32, _: u32, _: u32) -> Option<Walked> {
        Some(Walked::Number)
    }

    fn contains(&self, type_id: u32, offset: u32, name: &str) -> bool {
        offset == 0 && self.structure(name) == Some(type_id)
    }

    fn structure(&self, name: &str) -> Option<u32> {
        let names = ["task_struct", "cgroup", "sk_buff"];
        let at = names.iter().position(|it| *it == name)?;
        Some(100_000 + at as u32)
    }

    fn name(&self, type_id: u32) -> Option<String> {
        KFUNCS.get(type_id as usize).map(|it| it.name.to_owned())
    }
}

/// Calls of kernel functions, as their names after `kfunc`, get numbers from here on the way
/// through the assembler.
const MARK: i32 = 1_000_000;

fn assembled(text: &str) -> Vec<Insn> {
    let line = |line: &str| match line.trim().strip_prefix("kfunc ") {
        Some(name) => {
            let at = KFUNCS.iter().position(|it| it.name == name);
            format!("call {}", MARK + at.expect("a kernel function") as i32)
        }
        None => line.trim().to_owned(),
    };
    let lines: Vec<String> = text.split(';').map(line).collect();
    let mut slots = asm::parse(&lines.join("\n")).expect("a program");
    for slot in &mut slots {
        if slot.opcode == 0x85 && slot.imm >= MARK {
            *slot = Insn {
                src: 2,
                imm: slot.imm - MARK,
                ..*slot
            };
        }
    }
    slots
}

fn field(offset: u32, size: u32, kind: MapFieldKind) -> MapField {
    MapField { offset, size, kind }
}

/// Map 0 holds numbers, map 1 a lock, a list and a pointer, map 2 is a ring buffer.
fn small(prog_type: ProgType, text: &str) -> Program {
    let node = GraphNode {
        type_id: 1,
        offset: 0,
    };
    let holds = Some(node);
    let kptr = MapFieldKind::Kptr {
        target: "node".into(),
        referenced: true,
        percpu: false,
    };
    let mut objects = MapDef::new(MapType::Array, 4, 48, 1);
    objects.fields = vec![
        field(0, 4, MapFieldKind::SpinLock),
        field(8, 8, kptr),
        field(16, 16, MapFieldKind::ListHead { holds }),
    ];
    Program {
        name: "test".into(),
        hook: Default::default(),
        license: "GPL".into(),
        maps: vec![
            MapDef::new(MapType::Array, 4, 48, 1),
            objects,
            MapDef::new(MapType::RingBuf, 0, 0, 4096),
        ],
        objects: [LocalStruct {
            type_id: 1,
            name: "node".into(),
            size: 32,
            fields: vec![field(0, 16, MapFieldKind::ListNode)],
            numbers: false,
        }]
        .into(),
        ..Program::new(prog_type, assembled(text))
    }
}

/// What the world says of a program that is not proved: the first violation, of many runs.
fn violation(prog_type: ProgType, text: &str) -> Option<String> {
    violation_with(prog_type, text, &[])
}

/// The same where functions have so much stack, by first slot.
fn violation_with(prog_type: ProgType, text: &str, stacks: &[(u32, u32)]) -> Option<String> {
    let functions: Vec<FunctionFacts> = stacks
        .iter()
        .map(|(entry, stack)| FunctionFacts {
            entry: *entry,
            stack: *stack,
            by_contract: false,
        })
        .collect();
    let program = small(prog_type, text);
    let words: Vec<u64> = Vec::new();
    let mut random = tape::Random::new(1);
    (0..500).find_map(|seed| {
        let mut executed = vec![false; program.insns.len()];
        let packet = packet::packet(&mut random, &words, true);
        let tape = tape::Tape::new(Vec::new(), seed);
        let mut ways = vec![0; program.insns.len()];
        let mut world = world::World::new(
            &program,
            Some(&Types),
            &words,
            &packet,
            tape,
            &mut executed,
            &mut ways,
        )?;
        world.limit_stacks(&functions);
        let (r1, r2) = world.registers();
        let result = bpftime_vm::interp::run_on(&program.insns, &mut world, r1, r2, 10_000);
        assert_eq!(world.missing, None, "{text}");
        let left = world.left_behind();
        world
            .violation
            .or_else(|| result.err().map(|trap| trap.reason.to_string()))
            .or(left)
    })
}

const LOOKUP: &str = "*(u32 *)(r10 - 4) = 0; r2 = r10; r2 += -4; r1 = map_idx(0x0) ll; call 1";

#[test]
fn wrong_programs_are_caught() {
    let cases: [(&str, ProgType, String, bool); 11] = [
        (
            "a packet read after a comparison",
            ProgType::Xdp,
            "r2 = *(u32 *)(r1 + 0); r3 = *(u32 *)(r1 + 4); r4 = r2; r4 += 14; r0 = 0; if r4 > r3 goto +1; r0 = *(u8 *)(r2 + 13); exit"
                .into(),
            false,
        ),
        (
            "one byte more than was compared",
            ProgType::Xdp,
            "r2 = *(u32 *)(r1 + 0); r3 = *(u32 *)(r1 + 4); r4 = r2; r4 += 14; r0 = 0; if r4 > r3 goto +1; r0 = *(u8 *)(r2 + 14); exit"
                .into(),
            true,
        ),
        (
            "a packet pointer kept over a helper that moves the packet",
            ProgType::Xdp,
            "r6 = r1; r7 = *(u32 *)(r1 + 0); r3 = *(u32 *)(r1 + 4); r4 = r7; r4 += 14; r0 = 0; if r4 > r3 goto +4; r1 = r6; r2 = 0; call 44; r0 = *(u8 *)(r7 + 0); exit"
                .into(),
            true,
        ),
        (
            "a value that may be null",
            ProgType::Xdp,
            // The key is beyond the array.
            "*(u32 *)(r10 - 4) = 1; r2 = r10; r2 += -4; r1 = map_idx(0x0) ll; call 1; r0 = *(u64 *)(r0 + 0); exit"
                .into(),
            true,
        ),
        (
            "the last bytes of a value",
            ProgType::Xdp,
            format!("{LOOKUP}; if r0 == 0 goto +1; r1 = *(u64 *)(r0 + 40); r0 = 0; exit"),
            false,
        ),
        (
            "bytes behind a value",
            ProgType::Xdp,
            format!("{LOOKUP}; if r0 == 0 goto +1; r1 = *(u64 *)(r0 + 41); r0 = 0; exit"),
            true,
        ),
        (
            "a register that a call took",
            ProgType::Xdp,
            format!("{LOOKUP}; r0 = r1; exit"),
            true,
        ),
        (
            "a write below the stack",
            ProgType::Xdp,
            "*(u64 *)(r10 - 520) = 0; r0 = 0; exit".into(),
            true,
        ),
        (
            "memory for a helper that ends behind the stack",
            ProgType::Kprobe,
            "r1 = r10; r1 += -8; r2 = 16; r3 = 0; call 113; r0 = 0; exit".into(),
            true,
        ),
        (
            "a socket that is not given back",
            ProgType::SchedCls,
            "r2 = r10; r2 += -16; *(u64 *)(r10 - 16) = 0; *(u64 *)(r10 - 8) = 0; r3 = 12; r4 = 0; r5 = 0; call 84; r0 = 0; exit"
                .into(),
            true,
        ),
        (
            "a socket that is given back",
            ProgType::SchedCls,
            "r2 = r10; r2 += -16; *(u64 *)(r10 - 16) = 0; *(u64 *)(r10 - 8) = 0; r3 = 12; r4 = 0; r5 = 0; call 84; if r0 == 0 goto +2; r1 = r0; call 86; r0 = 0; exit"
                .into(),
            false,
        ),
    ];
    for (title, prog_type, text, wrong) in cases {
        let found = violation(prog_type, &text);
        assert_eq!(found.is_some(), wrong, "{title}: {found:?}");
    }
}

/// A program of parts, that ends well.
fn of(parts: &[&str]) -> String {
    let mut all = parts.join("; ");
    all.push_str("; r0 = 0; exit");
    all
}

#[test]
fn wrong_uses_of_what_is_on_the_stack_are_caught() {
    let new = "r1 = r10; r1 += -8; r2 = 0; r3 = 3; kfunc bpf_iter_num_new";
    let next = "r1 = r10; r1 += -8; kfunc bpf_iter_num_next; r6 = r0";
    let destroy = "r1 = r10; r1 += -8; kfunc bpf_iter_num_destroy";
    let read = "if r6 == 0 goto +1; r0 = *(u32 *)(r6 + 0)";
    let clear = "*(u64 *)(r10 - 8) = 0";
    let save = "r1 = r10; r1 += -16; kfunc bpf_local_irq_save";
    let save_again = "r1 = r10; r1 += -24; kfunc bpf_local_irq_save";
    let restore = "r1 = r10; r1 += -16; kfunc bpf_local_irq_restore";
    let restore_again = "r1 = r10; r1 += -24; kfunc bpf_local_irq_restore";
    let cases: &[(&[&str], bool)] = &[
        (&[new, destroy], false),
        (&[new], true),
        (&[new, next, read, destroy], false),
        (&[new, next, destroy, read], true),
        (&[new, clear, destroy], true),
        (&[next], true),
        (&[new, destroy, destroy], true),
        (&[save, save_again, restore_again, restore], false),
        (&[save, save_again, restore, restore_again], true),
        (&[save], true),
        (&[restore], true),
        (&["kfunc bpf_preempt_disable"], true),
        (
            &["kfunc bpf_preempt_disable; kfunc bpf_preempt_enable"],
            false,
        ),
        (&["kfunc bpf_rcu_read_lock"], true),
        (&["kfunc bpf_rcu_read_unlock"], true),
    ];
    for (parts, wrong) in cases {
        let found = violation(ProgType::SchedCls, &of(parts));
        assert_eq!(found.is_some(), *wrong, "{parts:?}: {found:?}");
    }
}

#[test]
fn wrong_uses_of_dynptrs_are_caught() {
    let reserve = "r1 = map_idx(0x2) ll; r2 = 16; r3 = 0; r4 = r10; r4 += -16; call 198";
    let data = "r1 = r10; r1 += -16; r2 = 8; r3 = 8; call 203; r7 = r0";
    let beyond = "r1 = r10; r1 += -16; r2 = 9; r3 = 8; call 203; r7 = r0; if r7 == 0 goto +1; exit";
    let read = "if r7 == 0 goto +1; r0 = *(u64 *)(r7 + 0)";
    let read_more = "if r7 == 0 goto +1; r0 = *(u64 *)(r7 + 1)";
    let submit = "r1 = r10; r1 += -16; r2 = 0; call 199";
    let skb = "r6 = r1; r2 = 0; r3 = r10; r3 += -16; kfunc bpf_dynptr_from_skb";
    let slice = "r1 = r10; r1 += -16; r2 = 0; r3 = 0; r4 = 8; kfunc bpf_dynptr_slice; r7 = r0";
    let write = "if r7 == 0 goto +1; *(u64 *)(r7 + 0) = 1";
    let moves = "r1 = r6; r2 = 0; call 39";
    let clear = "*(u64 *)(r10 - 8) = 0";
    let cases: &[(&[&str], bool)] = &[
        (&[reserve, data, read, submit], false),
        (&[reserve, beyond, submit], false),
        (&[reserve, data, submit, read], true),
        (&[reserve, data, read_more, submit], true),
        (&[reserve], true),
        (&[reserve, clear, submit], true),
        (&[reserve, submit, submit], true),
        (&[skb, slice, read], false),
        (&[skb, slice, write], true),
        (&[skb, slice, moves, read], true),
        (&[skb, moves, slice, read], false),
        (&[skb, submit], true),
        (&[data], true),
    ];
    for (parts, wrong) in cases {
        let found = violation(ProgType::SchedCls, &of(parts));
        assert_eq!(found.is_some(), *wrong, "{parts:?}: {found:?}");
    }
}

#[test]
fn wrong_uses_of_objects_are_caught() {
    let value = "*(u32 *)(r10 - 4) = 0; r2 = r10; r2 += -4; r1 = map_idx(0x1) ll; call 1; r9 = r0; \
                 if r9 != 0 goto +1; exit";
    // Of no use where there is none.
    let new = "r1 = 1; r2 = 0; kfunc bpf_obj_new_impl; r8 = r0; if r8 != 0 goto +1; exit";
    let drop = "r1 = r8; r2 = 0; kfunc bpf_obj_drop_impl";
    let read = "r0 = *(u64 *)(r8 + 24)";
    let read_more = "r0 = *(u64 *)(r8 + 25)";
    let read_node = "r0 = *(u64 *)(r8 + 8)";
    let lock = "r1 = r9; call 93";
    let unlock = "r1 = r9; call 94";
    let push = "r1 = r9; r1 += 16; r2 = r8; r3 = 0; r4 = 0; kfunc bpf_list_push_front_impl";
    let pop = "r1 = r9; r1 += 16; kfunc bpf_list_pop_front; r7 = r0";
    let drop_popped = "if r7 == 0 goto +3; r1 = r7; r2 = 0; kfunc bpf_obj_drop_impl";
    let exchange = "r1 = r9; r1 += 8; r2 = r8; call 194; r7 = r0";
    let task = "r1 = 1; kfunc bpf_task_from_pid; r8 = r0; if r8 != 0 goto +1; exit";
    let any_task = "r1 = 1; kfunc bpf_task_from_pid; r8 = r0";
    let release = "r1 = r8; kfunc bpf_task_release";
    let cases: &[(&[&str], bool)] = &[
        (&[value, new, read, drop], false),
        (&[value, new], true),
        (&[value, new, read_more, drop], true),
        (&[value, new, read_node, drop], true),
        (&[value, new, drop, read], true),
        (&[value, new, drop, drop], true),
        (&[value, new, lock, push, read, unlock], false),
        (&[value, new, lock, push, unlock, read], true),
        (&[value, new, push], true),
        (&[value, new, lock, push, drop, unlock], true),
        (&[value, new, lock, push], true),
        (&[value, lock, pop, unlock, drop_popped], false),
        (&[value, lock, pop, unlock], true),
        (&[value, unlock], true),
        (&[value, new, exchange, drop_popped], false),
        (&[value, new, exchange, drop_popped, drop], true),
        (&[value, new, exchange], true),
        (&[value, "r0 = *(u32 *)(r9 + 0)"], true),
        (&[value, "r0 = *(u64 *)(r9 + 8)"], false),
        (&[value, "*(u64 *)(r9 + 8) = 0"], true),
        (&[value, "r0 = *(u64 *)(r9 + 40)"], false),
        (&[task, release], false),
        (&[task], true),
        (&[any_task, release], true),
        (&[task, release, release], true),
        (&[task, "r1 = r8; kfunc bpf_cgroup_release"], true),
    ];
    for (parts, wrong) in cases {
        let found = violation(ProgType::SchedCls, &of(parts));
        assert_eq!(found.is_some(), *wrong, "{parts:?}: {found:?}");
    }
}

#[test]
fn stack_beyond_what_is_proved_is_caught() {
    // `main` uses 8 bytes, and hands them to a function that uses 16 of its own.
    let text = "r1 = r10; r1 += -8; *(u64 *)(r10 - 8) = 1; call f; exit; \
                f: *(u64 *)(r10 - 16) = 2; r0 = *(u64 *)(r1 + 0); exit";
    let run = |stacks: &[(u32, u32)]| violation_with(ProgType::Xdp, text, stacks);
    assert_eq!(run(&[(0, 8), (5, 16)]), None);
    assert!(run(&[(0, 0), (5, 16)]).is_some());
    assert!(run(&[(0, 8), (5, 8)]).is_some());
}
