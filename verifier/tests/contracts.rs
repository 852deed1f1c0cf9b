//! Global functions judged by their contracts, where inlining them costs too much: each case has twins
//! that differ in one thing.

mod common;

use bpftime_isa::{
    Contract, ContractArg, MapDef, MapField, MapFieldKind, MapType, ProgType, Program, Subprogram,
    asm,
};
use bpftime_verifier::{Code, Facts, Options, verify};

const NUMBER: ContractArg = ContractArg::Number;

fn memory(size: u32, nullable: bool) -> ContractArg {
    ContractArg::Memory { size, nullable }
}

/// A program whose functions, at these slots, have these contracts.
fn program(text: &str, functions: &[(&str, &[ContractArg])]) -> Program {
    // Labels are not in what is assembled: each function begins behind an exit.
    let insns = asm::parse(text).expect("assembles");
    let lock = MapField {
        offset: 0,
        size: 4,
        kind: MapFieldKind::SpinLock,
    };
    let maps = vec![
        common::map(MapType::Array, 4, 48, 1),
        common::map(MapType::RingBuf, 0, 0, 4096),
        MapDef {
            fields: vec![lock],
            ..common::map(MapType::Array, 4, 48, 1)
        },
        common::map(MapType::ProgArray, 4, 4, 4),
    ];
    let mut program = common::program(ProgType::SchedCls, insns, maps);
    let exits = program.insns.iter().enumerate();
    let starts = exits
        .filter(|(_, insn)| insn.opcode == 0x95)
        .map(|(at, _)| at as u32 + 1);
    let main = Subprogram {
        insn: 0,
        name: "main".into(),
        global: true,
        contract: None,
    };
    let functions = starts.zip(functions);
    program.subprograms = functions
        .map(|(insn, (name, arguments))| Subprogram {
            insn,
            name: (*name).into(),
            global: true,
            contract: Some(Contract {
                arguments: arguments.to_vec(),
            }),
        })
        .collect();
    program.subprograms.insert(0, main);
    program
}

/// Judged with so little room that functions which are called twice cannot be inlined.
fn judge(text: &str, functions: &[(&str, &[ContractArg])]) -> Result<Facts, Code> {
    judge_with(text, functions, common::options())
}

fn judge_with(
    text: &str,
    functions: &[(&str, &[ContractArg])],
    mut options: Options,
) -> Result<Facts, Code> {
    let program = program(text, functions);
    options.budget.max_inlined = program.insns.len() + functions.len();
    let result = verify(program, &options);
    result
        .map(|verified| verified.facts().clone())
        .map_err(|rejection| rejection.code)
}

#[track_caller]
fn accepted(text: &str, functions: &[(&str, &[ContractArg])]) {
    let facts = judge(text, functions).expect("accepted");
    assert!(facts.functions[1].by_contract);
    assert_eq!(facts.max_insns, None);
}

#[track_caller]
fn rejected(text: &str, functions: &[(&str, &[ContractArg])]) {
    // For its cost: what is refused by contract is not the reason, as inlining might do.
    assert_eq!(judge(text, functions).err(), Some(Code::Complexity));
}

/// Called twice, and longer than the room that is left.
const TWICE: &str = "r6 = r1
    r1 = 5
    call f
    r1 = 7
    call f
    r0 = 0
    exit
    f:
    r2 = r1
    r2 <<= 3
    r2 += r1
    r0 = r2
    exit";

#[test]
fn functions_that_multiply_are_judged_once() {
    let mut text = String::from("r0 = 0\ncall f0\nr0 = 0\nexit\n");
    let mut functions = Vec::new();
    for level in 0..6 {
        text += &format!("f{level}:\n");
        for _ in 0..40 {
            text += &format!("r1 = 1\ncall f{}\n", level + 1);
        }
        text += "exit\n";
        functions.push(("f", &[NUMBER][..]));
    }
    text += "f6:\nr0 = r1\nexit\n";
    functions.push(("f", &[NUMBER][..]));
    let text = text.replacen("call f0", "r1 = 1\ncall f0", 1);
    let with = program(&text, &functions);
    let verified = verify(with.clone(), &common::options()).expect("accepted");
    assert!(verified.facts().functions[1].by_contract);
    let static_ones = Program {
        subprograms: Vec::new(),
        ..with
    };
    let rejection = verify(static_ones, &common::options()).expect_err("too long");
    assert_eq!(rejection.code, Code::Complexity);
}

#[test]
fn what_is_inlined_is_not_judged_by_contract() {
    let verified = verify(program(TWICE, &[("f", &[NUMBER])]), &common::options());
    let verified = verified.expect("accepted");
    assert!(!verified.facts().functions[1].by_contract);
    assert!(verified.facts().max_insns.is_some());
}

#[test]
fn numbers_are_taken_and_given() {
    accepted(TWICE, &[("f", &[NUMBER])]);
    // Another argument than a number; one that was never written; no result where one is said to be.
    rejected(&TWICE.replace("r1 = 7", "r1 = r10"), &[("f", &[NUMBER])]);
    rejected(TWICE, &[("f", &[NUMBER, NUMBER])]);
    rejected(&TWICE.replace("r0 = r2", "r3 = r2"), &[("f", &[NUMBER])]);
    // Of the result nothing is known.
    let index = TWICE.replace(
        "r0 = 0\n    exit\n    f:",
        "r1 = r10\n    r1 += r0\n    r0 = *(u8 *)(r1 - 90)\n    exit\n    f:",
    );
    rejected(&index, &[("f", &[NUMBER])]);
    let result = TWICE.replace("r0 = 0\n    exit\n    f:", "exit\n    f:");
    accepted(&result, &[("f", &[NUMBER])]);
}

/// Writes 8 bytes behind its argument, twice.
const STORE: &str = "r1 = r10
    r1 += -8
    *(u64 *)(r10 - 8) = 1
    *(u64 *)(r10 - 16) = r10
    call f
    r1 = r10
    r1 += -8
    call f
    r0 = 0
    exit
    f:
    if r1 == 0 goto out
    r2 = 5
    *(u64 *)(r1 + 0) = r2
    out: r0 = 0
    exit";

#[test]
fn memory_is_what_the_type_says() {
    let eight = [memory(8, true)];
    accepted(STORE, &[("f", &eight)]);
    // Beyond it; not compared with null; more than there is; of a function that takes none.
    rejected(&STORE.replace("(r1 + 0)", "(r1 + 1)"), &[("f", &eight)]);
    rejected(
        &STORE.replace("if r1 == 0 goto out", "r3 = 1"),
        &[("f", &eight)],
    );
    accepted(
        &STORE.replace("if r1 == 0 goto out", "r3 = 1"),
        &[("f", &[memory(8, false)])],
    );
    rejected(STORE, &[("f", &[memory(16, true)])]);
    rejected(&STORE.replace("r1 += -8", "r1 += -4"), &[("f", &eight)]);
    rejected(STORE, &[("f", &[NUMBER])]);
    rejected(STORE, &[("f", &[ContractArg::Context])]);
}

#[test]
fn null_is_memory_where_it_may_be() {
    let null = STORE.replacen("r1 += -8", "r1 = 0", 1);
    accepted(&null, &[("f", &[memory(8, true)])]);
    let compared = null.replace("if r1 == 0 goto out", "r3 = 1");
    rejected(&compared, &[("f", &[memory(8, false)])]);
}

#[test]
fn memory_is_anything_afterwards() {
    // The stack pointer at -16 is still there, the number at -8 is any.
    let kept = STORE.replace(
        "r0 = 0\n    exit\n    f:",
        "r1 = *(u64 *)(r10 - 16)\n    *(u8 *)(r1 - 1) = 0\n    r0 = 0\n    exit\n    f:",
    );
    accepted(&kept, &[("f", &[memory(8, true)])]);
    let changed = kept.replace(
        "r1 = *(u64 *)(r10 - 16)",
        "r1 = *(u64 *)(r10 - 8)\n    r1 += r10",
    );
    rejected(&changed, &[("f", &[memory(8, true)])]);
    // A pointer in what is handed over is gone.
    let spilled = kept
        .replace("*(u64 *)(r10 - 8) = 1", "*(u64 *)(r10 - 8) = r10")
        .replace("r1 = *(u64 *)(r10 - 16)", "r1 = *(u64 *)(r10 - 8)");
    rejected(&spilled, &[("f", &[memory(8, true)])]);
}

/// Looks at the packet, calls twice, and looks again.
const PACKET: &str = "r6 = r1
    r7 = *(u32 *)(r6 + 76)
    r8 = *(u32 *)(r6 + 80)
    r2 = r7
    r2 += 14
    if r2 > r8 goto out
    r1 = r6
    call f
    r1 = r6
    call f
    r0 = *(u8 *)(r7 + 3)
    out: r0 = 0
    exit
    f:
    r2 = 1
    r3 = 0
    CALL
    r0 = 0
    exit";

#[test]
fn packets_that_may_change_are_gone() {
    let context = [ContractArg::Context];
    accepted(&PACKET.replace("CALL", "call 5"), &[("f", &context)]);
    // bpf_skb_change_tail, and the same a level deeper.
    rejected(&PACKET.replace("CALL", "call 38"), &[("f", &context)]);
    let deeper = PACKET.replace("CALL", "call g\nr9 = 1") + "\ng:\ncall 38\nexit";
    rejected(&deeper, &[("f", &context), ("g", &context)]);
    let deeper = deeper.replace("call 38", "call 5");
    accepted(&deeper, &[("f", &context), ("g", &context)]);
    // A tail call, and another context than the program's.
    rejected(
        &PACKET.replace("CALL", "r2 = 0 ll\ncall 12"),
        &[("f", &context)],
    );
    rejected(
        &PACKET
            .replace("CALL", "call 5")
            .replacen("call f", "r1 += 4\ncall f", 1),
        &[("f", &context)],
    );
}

#[test]
fn what_is_acquired_is_given_back() {
    let text = "r6 = r1
        call f
        call f
        r0 = 0
        exit
        f:
        r1 = map_idx(1) ll
        r2 = 8
        r3 = 0
        call 131
        if r0 == 0 goto out
        r1 = r0
        r2 = 0
        call 132
        out: r0 = 0
        exit";
    accepted(text, &[("f", &[])]);
    rejected(&text.replace("call 132", "r2 = 1"), &[("f", &[])]);
}

#[test]
fn frames_and_stacks_of_chains_add_up() {
    let chain = |bytes: usize| {
        let mut text = String::from("call f0\ncall f0\nr0 = 0\nexit\n");
        for level in 0..7 {
            text += &format!("f{level}:\n*(u64 *)(r10 - {bytes}) = 0\n");
            text += &match level {
                6 => "r0 = 0\nexit\n".to_owned(),
                _ => format!("call f{0}\ncall f{0}\nexit\n", level + 1),
            };
        }
        text
    };
    let functions = [("f", &[][..]); 7];
    // Eight frames, of which the main program's has nothing on its stack.
    accepted(&chain(64), &functions);
    rejected(&chain(80), &functions);
}

#[test]
fn callbacks_do_not_come_back_to_a_function_that_runs() {
    let text = "call f
        call f
        r0 = 0
        exit
        f:
        r1 = 2
        r2 = func(g) ll
        r3 = 0
        r4 = 0
        call 181
        r0 = 0
        exit
        g:
        r0 = 0
        INNER
        r0 = 0
        exit";
    let judge = |inner: &str| {
        let program = program(&text.replace("INNER", inner), &[("f", &[])]);
        let mut options = common::options();
        // The callback has blocks of its own.
        options.budget.max_inlined = program.insns.len() + 5;
        verify(program, &options).map(|verified| verified.facts().functions[1].by_contract)
    };
    assert_eq!(judge("r1 = 0").ok(), Some(true));
    assert!(judge("call f").is_err());
}

/// A map's value with a lock in `r6`, which is held where the lines say so.
const LOCKED: &str = "*(u32 *)(r10 - 4) = 0
    r1 = map_idx(2) ll
    r2 = r10
    r2 += -4
    call 1
    if r0 == 0 goto out
    r6 = r0
    r1 = r6
    BEFORE
    r1 = 1
    call f
    r1 = 1
    call f
    r1 = r6
    AFTER
    out: r0 = 0
    exit
    f:
    r2 = r1
    r2 += 1
    r0 = r2
    exit";

#[test]
fn no_lock_is_held_around_a_call_or_left() {
    let calls = |before, after| LOCKED.replace("BEFORE", before).replace("AFTER", after);
    accepted(&calls("r2 = 1", "r2 = 1"), &[("f", &[NUMBER])]);
    accepted(
        &calls("call 93\nr1 = r6\ncall 94", "r2 = 1"),
        &[("f", &[NUMBER])],
    );
    rejected(&calls("call 93", "call 94"), &[("f", &[NUMBER])]);
    // In the function, which has to give it back.
    let inside = |last: &str| {
        format!(
            "call f\ncall f\nr0 = 0\nexit\nf:\n*(u32 *)(r10 - 4) = 0\nr1 = map_idx(2) ll\n\
             r2 = r10\nr2 += -4\ncall 1\nif r0 == 0 goto out\nr6 = r0\nr1 = r6\ncall 93\n\
             r1 = r6\n{last}\nout: r0 = 0\nexit"
        )
    };
    accepted(&inside("call 94"), &[("f", &[])]);
    rejected(&inside("r2 = 1"), &[("f", &[])]);
}

#[test]
fn what_is_handed_over_is_plain_memory() {
    let eight = [memory(8, true)];
    // Part of a value that is the kernel's, and parts that are not.
    let value = |offset| {
        LOCKED
            .replace("BEFORE", "r2 = 1")
            .replace("AFTER", "r2 = 1")
            .replace("r1 = 1\n", &format!("r1 = r6\nr1 += {offset}\n"))
            .replace("r2 = r1\n    r2 += 1", "r2 = 1")
    };
    accepted(&value(8), &[("f", &eight)]);
    rejected(&value(0), &[("f", &eight)]);
    // Not aligned as what is in it may have to be.
    accepted(&STORE.replace("r1 += -8", "r1 += -16"), &[("f", &eight)]);
    rejected(&STORE.replace("r1 += -8", "r1 += -9"), &[("f", &eight)]);
    // Bytes of a packet, whose place may change.
    let packet = PACKET.replace("r1 = r6\n    call f", "r1 = r7\n    call f");
    rejected(&packet.replace("CALL", "r2 = 2"), &[("f", &eight)]);
}

#[test]
fn what_must_not_be_seen_is_not_handed_over() {
    let eight = [memory(8, true)];
    let mut options = common::options();
    options.allow_uninit_stack = false;
    let fresh = STORE.replace("r1 += -8", "r1 += -24");
    assert!(judge_with(STORE, &[("f", &eight)], options.clone()).is_ok());
    assert!(judge(&fresh, &[("f", &eight)]).is_ok());
    assert!(judge_with(&fresh, &[("f", &eight)], options).is_err());
    let mut options = common::options();
    options.allow_ptr_leaks = false;
    let pointer = STORE.replace("r1 += -8", "r1 += -16");
    assert!(judge_with(STORE, &[("f", &eight)], options.clone()).is_ok());
    assert!(judge(&pointer, &[("f", &eight)]).is_ok());
    assert!(judge_with(&pointer, &[("f", &eight)], options).is_err());
}

#[test]
fn functions_with_tail_calls_are_inlined_still() {
    // g is called often enough; f, which may go on with another program, once: by itself, or by t.
    let text = "r6 = r1
        call f
        r1 = 1
        call g
        r1 = 2
        call g
        r0 = 0
        exit
        f:
        r2 = map_idx(3) ll
        r3 = 0
        call 12
        r0 = 0
        exit
        g:
        r2 = r1
        r2 += 1
        r2 += 2
        r0 = r2
        exit";
    let context = [ContractArg::Context];
    let facts = judge(text, &[("f", &context), ("g", &[NUMBER])]).expect("accepted");
    let by_contract =
        |facts: &Facts| -> Vec<bool> { facts.functions.iter().map(|f| f.by_contract).collect() };
    assert_eq!(by_contract(&facts), [false, false, true]);
    let deeper = text.replace("f:\n", "f:\n        call t\n        exit\n        t:\n");
    let functions = [("f", &context[..]), ("t", &context), ("g", &[NUMBER])];
    let facts = judge(&deeper, &functions).expect("accepted");
    assert_eq!(by_contract(&facts), [false, false, false, true]);
}

#[test]
fn frames_of_callbacks_count() {
    // Seven frames down to a function that is called back; from there one more, or two.
    let chain = |more: &str| {
        let mut text = String::from("call f0\ncall f0\nr0 = 0\nexit\n");
        for level in 0..5 {
            text += &format!("f{level}:\ncall f{0}\ncall f{0}\nexit\n", level + 1);
        }
        text += "f5:\nr1 = 2\nr2 = func(g) ll\nr3 = 0\nr4 = 0\ncall 181\nr0 = 0\nexit\n";
        format!("{text}g:\n{more}\nr0 = 0\nexit\nh:\nr0 = 0\nexit\n")
    };
    let judge = |more: &str| {
        let program = program(&chain(more), &[("f", &[][..]); 6]);
        let mut options = common::options();
        options.target = bpftime_verifier::Target::Bpftime;
        options.budget.max_inlined = program.insns.len() + 12;
        verify(program, &options).map(|verified| verified.facts().functions[1].by_contract)
    };
    assert_eq!(judge("r1 = 0").ok(), Some(true));
    assert!(judge("call h").is_err());
}
