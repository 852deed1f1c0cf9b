//! Arguments, results and packet effects of helpers: calls that fit the prototype are accepted,
//! and calls that miss it in one place are refused.

use std::collections::HashSet;

use bpftime_isa::{
    AluOp, ArgType, Cond, HelperProto, Instruction, Operand, ProgType, Reg, RetType, Size, Width,
    helper,
};

use super::call::{Instead, Maps, ask, ask_call, copy, program};
use super::callers::{Subject, subjects};
use super::load::{Kind, Verdict, available, mov0, without_perfmon};

/// Helpers whose rules go beyond a prototype, or whose variant in the type found differs.
const APART: &[&str] = &[
    // May sleep.
    "copy_from_user",
    // Cgroup storage is tied to a program.
    "get_local_storage",
    // Needs a map with BTF.
    "sk_storage_get",
    // Takes a timer or spin lock in a map described by BTF.
    "timer_init",
];

/// Whether the prototype allows it.
fn allows(arg: ArgType, instead: Instead) -> bool {
    use ArgType as A;
    let nullable = matches!(
        arg,
        A::MapValueOrNull
            | A::MemReadOrNull
            | A::MemWriteOrNull
            | A::UninitMemOrNull
            | A::CtxOrNull
    );
    let read = matches!(
        arg,
        A::MapKey | A::MapValue | A::MemRead | A::MemReadOrNull | A::FixedMemRead(_) | A::ConstStr
    );
    match instead {
        Instead::Nothing => arg == A::None,
        Instead::Number => matches!(arg, A::None | A::Anything | A::Scalar),
        Instead::Null => {
            let zero = matches!(
                arg,
                A::None | A::Anything | A::Scalar | A::ConstSizeOrZero | A::ConstAllocSize
            );
            zero || nullable
        }
        Instead::ReadOnly => read || matches!(arg, A::None | A::Anything),
        Instead::Stale => matches!(
            arg,
            A::UninitMapValue | A::UninitMem | A::UninitMemOrNull | A::FixedMemWrite(_)
        ),
    }
}

/// Whether every argument is of a kind that a call can be built for here.
fn can_be_called(proto: &HelperProto) -> bool {
    let unknown = |arg: &ArgType| {
        matches!(
            arg,
            ArgType::Unsupported(_)
                | ArgType::Func
                | ArgType::StackOrNull
                | ArgType::SockCommon
                | ArgType::AnySock
                | ArgType::AnySockOrNull
                | ArgType::ReleasedSock
                | ArgType::SpinLock
                | ArgType::Timer
                | ArgType::SocketOrNull
                | ArgType::KptrField
                | ArgType::ReleasedKptr
                | ArgType::Struct(_)
                | ArgType::StructOrNull(_)
                | ArgType::PerCpu
                | ArgType::NewDynptr(_)
                | ArgType::Dynptr
                | ArgType::ReleasedDynptr
        )
    };
    !proto.args.iter().any(unknown)
        && !matches!(
            proto.ret,
            RetType::Unsupported(_) | RetType::AcquiredOrNull(_) | RetType::MapValue
        )
        && !APART.contains(&proto.name)
}

/// Kinds of programs that may call different helpers, or the same with different prototypes.
fn distinct() -> Vec<Subject> {
    let mut seen = HashSet::new();
    let mut subjects = subjects();
    subjects.retain(|subject| {
        let protos = |id| helper::available(&subject.caller, id).ok();
        let all: Vec<_> = subject.caller.offered().iter().map(protos).collect();
        seen.insert((subject.caller.prog_type, all))
    });
    subjects
}

#[test]
fn prototypes_are_the_kernels() {
    if !available() {
        return;
    }
    let mut maps = Maps::new();
    let mut called = 0;
    let mut known = HashSet::new();
    let mut wrong = Vec::new();
    for Subject { caller, kind } in distinct() {
        maps.renew();
        for id in caller.offered().iter() {
            let Ok(proto) = helper::available(&caller, id) else {
                continue;
            };
            if !can_be_called(proto) {
                continue;
            }
            called += 1;
            let title = format!(
                "{} in {:?} {}",
                proto.name, kind.prog_type, kind.attach_type
            );
            let verdict = ask_call(proto, kind, program(proto, &maps, None));
            // Left out by configuration; not for programs that may sleep.
            let skipped = [
                "program of this type cannot use helper",
                "Sleepable programs can only use array, hash, ringbuf and local storage maps",
            ];
            if skipped.iter().any(|text| verdict.log.contains(text)) {
                continue;
            }
            if verdict.errno != 0 {
                wrong.push(format!("{title} as it should be: {}", end(&verdict)));
                continue;
            }
            // Another type of program with the same prototype: all fits, and no argument is spare.
            let first = known.insert(proto);
            if first {
                result(proto, &maps, kind, &mut wrong);
            }
            for (index, &arg) in proto.args.iter().enumerate() {
                for instead in [
                    Instead::Nothing,
                    Instead::Number,
                    Instead::Null,
                    Instead::ReadOnly,
                ] {
                    if !first && instead != Instead::Nothing {
                        continue;
                    }
                    let code = program(proto, &maps, Some((index, instead)));
                    let verdict = ask_call(proto, kind, code);
                    if allows(arg, instead) != (verdict.errno == 0) {
                        let end = end(&verdict);
                        wrong.push(format!("{title} r{} {arg:?} {instead:?}: {end}", index + 1));
                    }
                }
            }
        }
    }
    assert!(called > 1000, "only {called} calls");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The last thing that the kernel says.
fn end(verdict: &Verdict) -> String {
    let line = verdict.log.lines().rev().nth(1).unwrap_or_default();
    format!("{} {line}", verdict.errno)
}

fn result(proto: &HelperProto, maps: &Maps, kind: Kind, wrong: &mut Vec<String>) {
    let mut code = program(proto, maps, None);
    code.push(copy(Reg::R7, Reg::R0));
    let verdict = ask_call(proto, kind, code);
    // Older kernels mark registers that were just written.
    let log = verdict.log.replace("_w=", "=");
    let has = |text: &str| log.contains(&format!(" R7={text}"));
    let right = match proto.ret {
        RetType::Void => verdict.log.contains("R0 !read_ok"),
        RetType::Integer => has("scalar("),
        RetType::MapValueOrNull => has("map_value_or_null("),
        RetType::RingBufMemOrNull => has("ringbuf_mem_or_null("),
        _ => true,
    };
    if !right {
        wrong.push(format!(
            "{} gives {:?}: {}",
            proto.name, proto.ret, verdict.log
        ));
    }
}

/// Whether an argument may point to stack that was never written. The kernel is strict about that
/// only with programs of users without `CAP_PERFMON`.
#[test]
fn memory_that_must_be_initialised_is_the_kernels() {
    if !available() {
        return;
    }
    // Capabilities are a thread's own.
    std::thread::spawn(|| {
        let maps = Maps::new();
        without_perfmon();
        let mut tried = 0;
        for proto in helper::PROTOS.iter().filter(|proto| can_be_called(proto)) {
            for caller in [ProgType::SchedCls.into(), ProgType::Xdp.into()] {
                let fits = program(proto, &maps, None);
                if ask_call(proto, caller, fits).errno != 0 {
                    continue;
                }
                for (index, &arg) in proto.args.iter().enumerate() {
                    if !is_memory(arg) {
                        continue;
                    }
                    let code = program(proto, &maps, Some((index, Instead::Stale)));
                    let verdict = ask_call(proto, caller, code);
                    let what = format!("{} r{} {arg:?}: {}", proto.name, index + 1, end(&verdict));
                    assert_eq!(allows(arg, Instead::Stale), verdict.errno == 0, "{what}");
                    tried += 1;
                }
            }
        }
        assert!(tried > 30, "only {tried} arguments tried");
    })
    .join()
    .unwrap();
}

fn is_memory(arg: ArgType) -> bool {
    use ArgType as A;
    matches!(
        arg,
        A::MapKey
            | A::MapValue
            | A::MapValueOrNull
            | A::UninitMapValue
            | A::MemRead
            | A::MemReadOrNull
            | A::MemWrite
            | A::MemWriteOrNull
            | A::UninitMem
            | A::UninitMemOrNull
            | A::FixedMemRead(_)
            | A::FixedMemReadWrite(_)
            | A::FixedMemWrite(_)
    )
}

#[test]
fn helpers_that_move_the_packet_are_the_kernels() {
    if !available() {
        return;
    }
    let mut maps = Maps::new();
    // Type, attach type, and where and how the context has `data` and `data_end`.
    let types = [
        (ProgType::SchedCls, 0, (76, 80), Size::W),
        (ProgType::Xdp, 0, (0, 4), Size::W),
        (ProgType::LwtIn, 0, (76, 80), Size::W),
        (ProgType::LwtXmit, 0, (76, 80), Size::W),
        (ProgType::LwtSeg6Local, 0, (76, 80), Size::W),
        (ProgType::SkSkb, 38, (76, 80), Size::W),
        (ProgType::SkMsg, 7, (0, 8), Size::DW),
    ];
    let mut tried = 0;
    for proto in helper::PROTOS.iter().filter(|proto| can_be_called(proto)) {
        for (prog_type, attach, (data, data_end), size) in types {
            maps.renew();
            let plain = program(proto, &maps, None);
            let kind = Kind::new(prog_type, attach);
            if ask(kind, &plain).errno != 0 {
                continue;
            }
            let load = |dst, base, off, size| Instruction::Load {
                size,
                signed: false,
                dst,
                base,
                off,
            };
            let mut code = vec![
                load(Reg::R9, Reg::R1, data, size),
                load(Reg::R8, Reg::R1, data_end, size),
                copy(Reg::R7, Reg::R9),
                Instruction::Alu {
                    op: AluOp::Add,
                    width: Width::W64,
                    dst: Reg::R7,
                    src: Operand::Imm(1),
                },
                Instruction::Branch {
                    cond: Cond::Le,
                    width: Width::W64,
                    dst: Reg::R7,
                    src: Operand::Reg(Reg::R8),
                    delta: 2,
                },
                mov0(),
                Instruction::Exit,
            ];
            code.extend(plain);
            code.push(load(Reg::R0, Reg::R9, 0, Size::B));
            let verdict = ask(kind, &code);
            let what = format!("{} in {prog_type:?}: {}", proto.name, end(&verdict));
            assert_eq!(proto.changes_packet, verdict.errno != 0, "{what}");
            tried += usize::from(proto.changes_packet);
        }
    }
    assert!(tried > 25, "only {tried} calls that move the packet");
}
