//! Implementations of structures of functions (`struct_ops`), with their kernel functions: pairs of programs
//! that differ in what one rule asks for.

mod common;

use std::sync::Arc;

use bpftime_isa::kfunc::KFUNCS;
use bpftime_isa::returns::HookResult;
use bpftime_isa::{
    Hook, HookArg, KernelTypes, MapType, ProgType, Program, Signature, Trust, Walked, asm,
};
use bpftime_verifier::{Code, Options, verify};

const TASK: u32 = 7;

/// Structures by number, with their names and sizes.
const STRUCTURES: &[(u32, &str, u32)] = &[
    (TASK, "task_struct", 64),
    (8, "hid_bpf_ctx", 16),
    (9, "cpumask", 8),
    (10, "bpf_cpumask", 16),
    (11, "cgroup", 8),
    (12, "rq", 8),
    (13, "scx_bpf_select_cpu_and_args", 24),
    (14, "hid_device", 64),
    (15, "bpf_dummy_ops_state", 4),
];

/// What kernel functions' numbers begin with.
const FUNCTIONS: u32 = 1000;

/// Tasks point to a task at offset 56; everything else is numbers.
#[derive(Debug)]
struct Types;

impl KernelTypes for Types {
    fn read(&self, type_id: u32, offset: u32, size: u32) -> Option<Walked> {
        let (_, _, bytes) = STRUCTURES.iter().find(|(id, ..)| *id == type_id)?;
        match (type_id, offset, size) {
            (TASK, 56, 8) => Some(Walked::Object(TASK)),
            _ => (offset + size <= *bytes).then_some(Walked::Number),
        }
    }

    fn contains(&self, type_id: u32, offset: u32, name: &str) -> bool {
        offset == 0 && (self.structure(name) == Some(type_id) || (type_id, name) == (10, "cpumask"))
    }

    fn structure(&self, name: &str) -> Option<u32> {
        let found = STRUCTURES.iter().find(|(_, found, _)| *found == name);
        found.map(|(id, ..)| *id)
    }

    fn member(&self, structure: &str, path: &[&str]) -> Option<(u32, u32)> {
        let (_, _, size) = STRUCTURES.iter().find(|(_, name, _)| *name == structure)?;
        match (structure, path) {
            (_, []) => Some((0, *size)),
            ("task_struct", ["scx", "slice"]) => Some((16, 8)),
            ("task_struct", ["scx", "dsq_vtime"]) => Some((24, 8)),
            ("task_struct", ["scx", "disallow"]) => Some((32, 1)),
            ("hid_bpf_ctx", ["retval"]) => Some((8, 4)),
            ("hid_device", ["name"]) => Some((0, 32)),
            _ => None,
        }
    }

    fn is_numbers(&self, name: &str) -> bool {
        name == "bpf_cpumask" || name == "cpumask"
    }

    fn name(&self, type_id: u32) -> Option<String> {
        let at = usize::try_from(type_id.checked_sub(FUNCTIONS)?).ok()?;
        KFUNCS.get(at).map(|kfunc| kfunc.name.to_owned())
    }
}

/// A program that implements `structure.member`; what it is called with, and whether it may sleep.
#[derive(Clone, Copy)]
struct Place<'a> {
    structure: &'a str,
    member: &'a str,
    args: &'a [HookArg],
    sleepable: bool,
}

const fn pointer(type_id: u32, nullable: bool) -> HookArg {
    HookArg::Object {
        type_id,
        trust: Trust::Trusted,
        nullable,
    }
}

/// A function of a scheduler that is called with a task, and one that may be null.
fn scheduler(member: &str) -> Place<'_> {
    Place {
        structure: "sched_ext_ops",
        member,
        args: TASKS,
        sleepable: false,
    }
}

const TASKS: &[HookArg] = &[pointer(TASK, false), pointer(TASK, true)];

fn sleeping(place: Place<'_>) -> Place<'_> {
    Place {
        sleepable: true,
        ..place
    }
}

/// The text with the numbers of kernel functions in place of `{name}`.
fn resolved(text: &str) -> String {
    let mut parts = text.split('{');
    let mut all = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').expect("a closing brace");
        let at = KFUNCS.iter().position(|kfunc| kfunc.name == name);
        let at = at.unwrap_or_else(|| panic!("no kernel function {name}")) as u32;
        all += &format!("kfunc({:#x}){rest}", FUNCTIONS + at);
    }
    all
}

fn program(place: Place<'_>, text: &str) -> Program {
    let insns = asm::parse(&format!("{}\nr0 = 0\nexit", resolved(text))).expect("a program");
    Program {
        hook: Hook {
            sleepable: place.sleepable,
            target: Some(place.structure.into()),
            member: Some(place.member.into()),
            signature: Some(Signature {
                name: place.member.into(),
                args: place.args.to_vec(),
                result: HookResult::Number,
                sees_result: false,
            }),
        },
        ..common::program(
            ProgType::StructOps,
            insns,
            vec![common::map(MapType::Array, 4, 64, 1)],
        )
    }
}

fn options() -> Options {
    Options {
        kernel_types: Some(Arc::new(Types)),
        ..common::options()
    }
}

fn judge(program: Program) -> Result<(), Code> {
    verify(program, &options())
        .map(drop)
        .map_err(|rejection| rejection.code)
}

/// The first program is accepted, the second rejected for the reason.
fn twins(good: (Place<'_>, &str), bad: (Place<'_>, &str), code: Code) {
    assert_eq!(judge(program(good.0, good.1)), Ok(()), "{}", good.1);
    assert_eq!(judge(program(bad.0, bad.1)), Err(code), "{}", bad.1);
}

#[test]
fn members_are_those_that_the_kernel_lets_programs_implement() {
    let known = scheduler("enqueue");
    let other = |structure, member| Place {
        structure,
        member,
        ..known
    };
    let nothing = "r1 = 0";
    for bad in [
        other("sched_ext_ops", "name"),
        other("bpf_testmod_ops", "enqueue"),
        other("tcp_congestion_ops", "get_info"),
    ] {
        twins((known, nothing), (bad, nothing), Code::ProgramType);
    }
    let nowhere = Program {
        hook: Hook::default(),
        ..program(known, nothing)
    };
    assert_eq!(judge(nowhere), Err(Code::ProgramType));
    let mut untyped = program(known, nothing);
    untyped.hook.signature = None;
    let rejection = verify(untyped, &options()).unwrap_err();
    assert_eq!(rejection.code, Code::ProgramType);
    assert!(rejection.needed.contains("--btf"), "{}", rejection.needed);
}

#[test]
fn few_members_sleep() {
    let nothing = "r1 = 0";
    let bad = sleeping(scheduler("enqueue"));
    let good = sleeping(scheduler("init_task"));
    twins((good, nothing), (bad, nothing), Code::ProgramType);
    let dummy = |member| Place {
        structure: "bpf_dummy_ops",
        member,
        args: &[],
        sleepable: true,
    };
    twins(
        (dummy("test_sleepable"), nothing),
        (dummy("test_1"), nothing),
        Code::ProgramType,
    );
}

#[test]
fn arguments_that_may_be_null_are_compared_first() {
    let place = scheduler("dispatch");
    twins(
        (
            place,
            "r1 = *(u64 *)(r1 + 8)\nif r1 == 0 goto +1\nr2 = *(u64 *)(r1 + 0)",
        ),
        (place, "r1 = *(u64 *)(r1 + 8)\nr2 = *(u64 *)(r1 + 0)"),
        Code::PossibleNull,
    );
    twins(
        (
            place,
            "r1 = *(u64 *)(r1 + 8)\nif r1 == 0 goto +1\ncall {scx_bpf_task_cpu}",
        ),
        (place, "r1 = *(u64 *)(r1 + 8)\ncall {scx_bpf_task_cpu}"),
        Code::HelperArgument,
    );
}

#[test]
fn schedulers_write_what_is_theirs() {
    let place = scheduler("enqueue");
    let task = |write: &str| format!("r1 = *(u64 *)(r1 + 0)\n{write}");
    for good in ["*(u64 *)(r1 + 16) = 1", "*(u8 *)(r1 + 32) = 1"] {
        let good = task(good);
        for bad in [
            "*(u64 *)(r1 + 8) = 1",
            "*(u64 *)(r1 + 20) = 1",
            "*(u16 *)(r1 + 32) = 1",
            // What a task points to may be gone.
            "r1 = *(u64 *)(r1 + 56)\n*(u64 *)(r1 + 16) = 1",
            "r2 = 1\nlock *(u64 *)(r1 + 16) += r2",
        ] {
            let code = if bad.starts_with("r2") {
                Code::AtomicAccess
            } else {
                Code::ObjectAccess
            };
            twins((place, &good), (place, &task(bad)), code);
        }
    }
    // What RCU keeps is still there.
    let current = "r1 = 0\ncall {scx_bpf_cpu_curr}\nif r0 == 0 goto +1\n*(u64 *)(r0 + 16) = 1";
    assert_eq!(judge(program(place, current)), Ok(()));
    // Others write nothing of a task.
    let driver = Place {
        structure: "hid_bpf_ops",
        member: "hid_device_event",
        ..place
    };
    let write = task("*(u64 *)(r1 + 16) = 1");
    twins((place, &write), (driver, &write), Code::ObjectAccess);
}

#[test]
fn functions_are_called_where_schedulers_may() {
    let insert = "r1 = *(u64 *)(r1 + 0)\nr2 = 0\nr3 = 0\nr4 = 0\ncall {scx_bpf_dsq_insert}";
    let to_local = "r1 = 0\ncall {scx_bpf_dsq_move_to_local}";
    let select = "*(u8 *)(r10 - 1) = 0\nr1 = *(u64 *)(r1 + 0)\nr2 = 0\nr3 = 0\nr4 = r10\nr4 += -1\n\
                  call {scx_bpf_select_cpu_dfl}";
    let release = "call {scx_bpf_reenqueue_local}";
    for (text, places, not) in [
        (insert, &["select_cpu", "enqueue", "dispatch"][..], "tick"),
        (insert, &["enqueue"], "init_task"),
        (to_local, &["dispatch"], "enqueue"),
        (select, &["select_cpu", "enqueue", "init_task"], "dispatch"),
        (release, &["cpu_release"], "cpu_acquire"),
    ] {
        for place in places {
            let good = (scheduler(place), text);
            twins(good, (scheduler(not), text), Code::UnsupportedCall);
        }
    }
    let kick = "r1 = 0\nr2 = 0\ncall {scx_bpf_kick_cpu}";
    let congestion = Place {
        structure: "tcp_congestion_ops",
        member: "init",
        ..scheduler("tick")
    };
    twins(
        (scheduler("tick"), kick),
        (congestion, kick),
        Code::UnsupportedCall,
    );
    let create = "r1 = 0\nr2 = 0\ncall {scx_bpf_create_dsq}";
    let init = scheduler("init");
    twins((sleeping(init), create), (init, create), Code::Section);
}

#[test]
fn masks_are_given_back_to_whom_they_are_from() {
    let place = scheduler("enqueue");
    let get = "call {scx_bpf_get_idle_cpumask}\nr1 = r0";
    let put = format!("{get}\ncall {{scx_bpf_put_idle_cpumask}}");
    twins((place, &put), (place, get), Code::UnreleasedReference);
    // One of the program's own begins with such a mask, and is another's to free.
    let create = "call {bpf_cpumask_create}\nif r0 == 0 goto +2\nr1 = r0\n";
    twins(
        (place, &format!("{create}call {{bpf_cpumask_release}}")),
        (place, &format!("{create}call {{scx_bpf_put_cpumask}}")),
        Code::HelperArgument,
    );
    let twice = "call {scx_bpf_get_online_cpumask}\nr6 = r0\nr1 = r0\ncall {scx_bpf_put_cpumask}";
    twins(
        (place, twice),
        (
            place,
            &format!("{twice}\nr1 = r6\ncall {{scx_bpf_put_cpumask}}"),
        ),
        Code::HelperArgument,
    );
}

/// Makes an iterator over a queue, goes on to the first task in `r6` and destroys the iterator.
const FIRST: &str = "r1 = r10\nr1 += -48\nr2 = 0\nr3 = 0\ncall {bpf_iter_scx_dsq_new}\n\
    r1 = r10\nr1 += -48\ncall {bpf_iter_scx_dsq_next}\nr6 = r0\n\
    r1 = r10\nr1 += -48\ncall {bpf_iter_scx_dsq_destroy}\n";

#[test]
fn tasks_of_a_queue_stay_while_rcu_keeps_them() {
    let place = scheduler("dispatch");
    let use_it = "if r6 == 0 goto +2\nr1 = r6\ncall {scx_bpf_task_cpu}";
    let unchecked = "r1 = r6\ncall {scx_bpf_task_cpu}";
    twins(
        (place, &format!("{FIRST}{use_it}")),
        (place, &format!("{FIRST}{unchecked}")),
        Code::HelperArgument,
    );
    // Where the program may sleep, RCU keeps it to the section's end.
    let place = sleeping(scheduler("init"));
    let inside =
        format!("call {{bpf_rcu_read_lock}}\n{FIRST}{use_it}\ncall {{bpf_rcu_read_unlock}}");
    let after =
        format!("call {{bpf_rcu_read_lock}}\n{FIRST}call {{bpf_rcu_read_unlock}}\n{use_it}");
    twins((place, &inside), (place, &after), Code::HelperArgument);
    twins((place, &inside), (place, FIRST), Code::Section);
    let left = "call {bpf_rcu_read_lock}\nr1 = r10\nr1 += -48\nr2 = 0\nr3 = 0\n\
        call {bpf_iter_scx_dsq_new}\ncall {bpf_rcu_read_unlock}";
    assert_eq!(judge(program(place, left)), Err(Code::Section));
}

#[test]
fn queues_are_moved_from_with_an_iterator() {
    let place = scheduler("dispatch");
    let new =
        "r6 = *(u64 *)(r1 + 0)\nr1 = r10\nr1 += -48\nr2 = 0\nr3 = 0\ncall {bpf_iter_scx_dsq_new}\n";
    let moved = "r1 = r10\nr1 += -48\nr2 = r6\nr3 = 0\nr4 = 0\ncall {scx_bpf_dsq_move}\n";
    let destroy = "r1 = r10\nr1 += -48\ncall {bpf_iter_scx_dsq_destroy}";
    twins(
        (place, &format!("{new}{moved}{destroy}")),
        (place, &format!("{new}{destroy}\n{moved}")),
        Code::HelperArgument,
    );
}

#[test]
fn what_runs_may_be_nothing() {
    let place = scheduler("tick");
    let current = "r1 = 0\ncall {scx_bpf_cpu_curr}\n";
    twins(
        (
            place,
            &format!("{current}if r0 == 0 goto +1\nr1 = *(u64 *)(r0 + 0)"),
        ),
        (place, &format!("{current}r1 = *(u64 *)(r0 + 0)")),
        Code::PossibleNull,
    );
    twins(
        (place, current),
        (sleeping(scheduler("init")), current),
        Code::Section,
    );
}

#[test]
fn structures_of_numbers_are_there_in_whole() {
    let place = scheduler("enqueue");
    let select = |at: i32| {
        format!(
            "r1 = *(u64 *)(r1 + 0)\nr2 = r1\nr3 = r10\nr3 += {at}\n\
             *(u64 *)(r10 - 8) = 0\n*(u64 *)(r10 - 16) = 0\n*(u64 *)(r10 - 24) = 0\n\
             r6 = r1\ncall {{scx_bpf_get_online_cpumask}}\nr7 = r0\nr1 = r6\nr2 = r7\nr3 = r10\nr3 += {at}\n\
             call {{__scx_bpf_select_cpu_and}}\nr1 = r7\ncall {{scx_bpf_put_cpumask}}"
        )
    };
    twins(
        (place, &select(-24)),
        (place, &select(-16)),
        Code::StackBounds,
    );
    let error = |at: i32| {
        format!(
            "*(u64 *)(r10 - 8) = 0\nr1 = r10\nr1 += {at}\nr2 = r10\nr2 += -8\nr3 = 8\ncall {{scx_bpf_error_bstr}}"
        )
    };
    twins((place, &error(-1)), (place, &error(0)), Code::StackBounds);
}

/// Bytes of a map may be read as a mask; to own one more of it there has to be one that counts its owners.
#[test]
fn numbers_are_no_object_that_could_be_given_back() {
    let place = scheduler("enqueue");
    let value = "map_idx(0x0) + 0x0 ll";
    let set = format!("r1 = 1\nr2 = {value}\ncall {{bpf_cpumask_set_cpu}}");
    let own = format!(
        "r1 = {value}\ncall {{bpf_cpumask_acquire}}\nr7 = r0\nr1 = {value}\n*(u32 *)(r1 + 32) = 1\n\
         r1 = r7\ncall {{bpf_cpumask_release}}"
    );
    twins((place, &set), (place, &own), Code::HelperArgument);
    let made = "call {bpf_cpumask_create}\nif r0 == 0 goto +7\nr6 = r0\nr1 = r0\ncall {bpf_cpumask_acquire}\n\
                r1 = r0\ncall {bpf_cpumask_release}\nr1 = r6\ncall {bpf_cpumask_release}";
    assert_eq!(judge(program(place, made)), Ok(()));
}

/// What RCU keeps is no argument for a function that wants what the program can rely on.
#[test]
fn tasks_that_an_iterator_gives_are_kept_by_rcu() {
    let place = scheduler("enqueue");
    let with = |then: &str| {
        format!(
            "r6 = *(u64 *)(r1 + 0)\nr1 = r10\nr1 += -24\nr2 = 0\nr3 = 0\ncall {{bpf_iter_task_new}}\n\
             r1 = r10\nr1 += -24\ncall {{bpf_iter_task_next}}\nif r0 == 0 goto +7\n{then}\n\
             r1 = r10\nr1 += -24\ncall {{bpf_iter_task_destroy}}"
        )
    };
    let nested = |task: &str| {
        with(&format!(
            "r1 = r10\nr1 += -48\nr2 = {task}\nr3 = 0\ncall {{bpf_iter_task_new}}\n\
             r1 = r10\nr1 += -48\ncall {{bpf_iter_task_destroy}}"
        ))
        .replace("goto +7", "goto +8")
    };
    twins(
        (place, &nested("r6")),
        (place, &nested("r0")),
        Code::HelperArgument,
    );
    let kept = with(
        "r1 = r0\ncall {bpf_task_acquire}\nif r0 == 0 goto +2\nr1 = r0\ncall {bpf_task_release}\nr1 = 0\nr1 = 0",
    );
    assert_eq!(judge(program(place, &kept)), Ok(()));
}

/// The data is the context's, and gone with it.
#[test]
fn data_of_a_context_that_was_given_back_is_gone() {
    let place = sleeping(Place {
        structure: "hid_bpf_ops",
        member: "hid_rdesc_fixup",
        ..scheduler("enqueue")
    });
    let get = "r1 = 0\ncall {hid_bpf_allocate_context}\nif r0 == 0 goto +11\nr6 = r0\nr1 = r0\nr2 = 0\nr3 = 8\n\
               call {hid_bpf_get_data}\nr7 = r0\n";
    let put = "r1 = r6\ncall {hid_bpf_release_context}";
    let write = "if r7 == 0 goto +1\n*(u64 *)(r7 + 0) = 1";
    let wrong = format!("{get}{put}\n{write}\nr1 = 0");
    let code = judge(program(place, &wrong)).expect_err("gone with the context");
    twins(
        (place, &format!("{get}{write}\n{put}\nr1 = 0")),
        (place, &wrong),
        code,
    );
    // Without data the context is still to be given back.
    let lost = format!("{get}if r7 == 0 goto +2\n{put}\nr1 = 0").replace("+11", "+9");
    let kept = format!("{get}if r7 == 0 goto +0\n{put}\nr1 = 0").replace("+11", "+9");
    twins((place, &kept), (place, &lost), Code::UnreleasedReference);
}

#[test]
fn data_of_input_devices_is_as_long_as_was_asked() {
    let place = Place {
        structure: "hid_bpf_ops",
        member: "hid_device_event",
        args: const { &[pointer(8, false), pointer(14, false)] },
        sleepable: false,
    };
    let get = "r6 = r1\nr1 = *(u64 *)(r1 + 0)\nr2 = 0\nr3 = 8\ncall {hid_bpf_get_data}\n";
    let checked = |access: &str| format!("{get}if r0 == 0 goto +1\n{access}");
    twins(
        (place, &checked("*(u8 *)(r0 + 7) = 1")),
        (place, &checked("*(u8 *)(r0 + 8) = 1")),
        Code::MemoryBounds,
    );
    twins(
        (place, &checked("r1 = *(u8 *)(r0 + 0)")),
        (place, &format!("{get}r1 = *(u8 *)(r0 + 0)")),
        Code::PossibleNull,
    );
    let unknown = get.replace("r3 = 8", "r3 = *(u64 *)(r1 + 0)");
    twins((place, get), (place, &unknown), Code::HelperArgument);
    // A name ends with 0.
    twins(
        (place, "r1 = *(u64 *)(r1 + 8)\n*(u8 *)(r1 + 30) = 1"),
        (place, "r1 = *(u64 *)(r1 + 8)\n*(u8 *)(r1 + 31) = 1"),
        Code::ObjectAccess,
    );
    let allocate = "r1 = 0\ncall {hid_bpf_allocate_context}\nif r0 == 0 goto +2\nr1 = r0\n";
    let sleeping = sleeping(Place {
        member: "hid_rdesc_fixup",
        ..place
    });
    let freed = format!("{allocate}call {{hid_bpf_release_context}}");
    twins(
        (sleeping, &freed),
        (sleeping, &format!("{allocate}r1 = 0")),
        Code::UnreleasedReference,
    );
    twins((sleeping, &freed), (place, &freed), Code::Section);
}

#[test]
fn processors_are_as_many_as_the_machine_may_have() {
    let text = "call 8\nr0 <<= 2\nr1 = map_idx(0x0) + 0x0 ll\nr1 += r0\nr0 = *(u32 *)(r1 + 0)\nr0 = 0\nexit";
    let insns = asm::parse(text).expect("a program");
    let map = common::map(MapType::Array, 4, 32, 1);
    let with = |cpus| {
        let options = Options { cpus, ..options() };
        let program = common::program(ProgType::Xdp, insns.clone(), vec![map.clone()]);
        verify(program, &options)
            .map(drop)
            .map_err(|rejection| rejection.code)
    };
    assert_eq!(with(Some(8)), Ok(()));
    assert_eq!(with(Some(9)), Err(Code::MapValueBounds));
    assert!(with(None).is_err());
}

/// A loop that ends after three passes, in which one of unknown length runs that `may_goto` alone bounds: it
/// cannot be counted, nor may the outer one be widened at once, as of its two counters one is compared.
#[test]
fn short_loops_are_followed_to_their_end() {
    let text = |last: u32| {
        format!(
            "r6 = 0\nr7 = 0\nloop: r2 = r10\nr2 += -24\nr2 += r7\n*(u64 *)(r2 + 0) = 1\n\
             if r6 == {last} goto out\nr6 += 1\nr7 += 8\ninner: call 7\nif r0 == 0 goto next\nmay_goto next\n\
             goto inner\nnext: may_goto out\ngoto loop\nout: r0 = 0\nexit"
        )
    };
    let judge = |last| {
        let insns = asm::parse(&text(last)).expect("a program");
        judge(common::program(ProgType::Xdp, insns, Vec::new()))
    };
    assert_eq!(judge(2), Ok(()));
    assert_eq!(judge(3), Err(Code::StackBounds));
}

/// A signed range that is spilled as 4 bytes, and compared with 0 only when it is read again.
#[test]
fn signed_numbers_are_kept_in_four_bytes() {
    let judge = |most: u32| {
        let text = format!(
            "call 7\nr6 = r0\nw7 = 0\nw1 = 0\nif w6 s> {most} goto +1\nw1 = w6\nif w6 s< 0 goto +1\nw7 = w1\n\
             *(u32 *)(r10 - 8) = r7\ncall 5\nr1 = *(u32 *)(r10 - 8)\nif w1 s< 0 goto +4\n\
             r2 = map_idx(0x0) + 0x0 ll\nr2 += r1\nr3 = *(u8 *)(r2 + 0)\nr0 = 0\nexit"
        );
        let insns = asm::parse(&text).expect("a program");
        let map = common::map(MapType::Array, 4, 512, 1);
        judge(common::program(ProgType::Xdp, insns, vec![map]))
    };
    assert_eq!(judge(511), Ok(()));
    assert_eq!(judge(512), Err(Code::MapValueBounds));
}

/// What is in a map's value, or at its end, is not null, wherever it is.
#[test]
fn addresses_in_memory_are_not_null() {
    let judge = |mask: u32| {
        let text = format!(
            "call 7\nr0 &= {mask}\nr2 = map_idx(0x0) + 0x0 ll\nr2 += r0\nif r2 != 0 goto +1\n\
             r1 = *(u64 *)(r2 + 8192)\nr0 = 0\nexit"
        );
        let insns = asm::parse(&text).expect("a program");
        let map = common::map(MapType::Array, 4, 8192, 1);
        judge(common::program(ProgType::Xdp, insns, vec![map]))
    };
    assert_eq!(judge(8191), Ok(()));
    assert_eq!(judge(16383), Err(Code::MapValueBounds));
}

/// Masks are numbers, and may lie in a map's value; tasks are not.
#[test]
fn structures_of_numbers_may_be_in_maps() {
    let judge = |offset: u32, call: &str, nullable: bool| {
        // Of a hash, nothing need be there.
        let map_type = if nullable {
            MapType::Hash
        } else {
            MapType::Array
        };
        let found = if nullable {
            "*(u32 *)(r10 - 4) = 0\nr2 = r10\nr2 += -4\nr1 = map_idx(0x0) ll\ncall 1\nr2 = r0"
                .to_owned()
        } else {
            format!("r2 = map_idx(0x0) + {offset:#x} ll")
        };
        let text = format!("{found}\nr1 = r2\n{call}");
        let mut program = program(scheduler("tick"), &text);
        program.maps = vec![common::map(map_type, 4, 24, 1)];
        judge(program)
    };
    let first = "call {bpf_cpumask_first}";
    let set = "r1 = 0\ncall {bpf_cpumask_set_cpu}";
    assert_eq!(judge(16, first, false), Ok(()));
    assert_eq!(judge(17, first, false), Err(Code::MapValueBounds));
    assert_eq!(judge(8, set, false), Ok(()));
    assert_eq!(judge(9, set, false), Err(Code::MapValueBounds));
    assert_eq!(judge(0, first, true), Err(Code::HelperArgument));
    let cpu = "call {scx_bpf_task_cpu}";
    assert_eq!(judge(0, cpu, false), Err(Code::HelperArgument));
    let put = "call {scx_bpf_put_cpumask}";
    assert_eq!(judge(0, put, false), Err(Code::HelperArgument));
}
