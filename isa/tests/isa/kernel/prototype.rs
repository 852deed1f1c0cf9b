//! Arguments, results and packet effects of helpers: calls that fit the prototype are accepted,
//! and calls that miss it in one place are refused.

use bpftime_isa::{
    AluOp, ArgType, Cond, HelperProto, Instruction, Operand, ProgType, Reg, RetType, Size, Width,
    helper,
};

use super::call::{Instead, Maps, ask, ask_call, call, copy, program};
use super::load::{Verdict, available, mov0, without_perfmon};

/// Types of programs to look for a helper in.
const TYPES: &[(ProgType, u32)] = &[
    (ProgType::SchedCls, 0),
    (ProgType::Kprobe, 0),
    (ProgType::Xdp, 0),
    (ProgType::PerfEvent, 0),
    (ProgType::CgroupSkb, 0),
    (ProgType::CgroupSockAddr, 10),
    (ProgType::CgroupSysctl, 18),
    (ProgType::CgroupSockopt, 22),
    (ProgType::SockOps, 3),
    (ProgType::SkSkb, 38),
    (ProgType::SkMsg, 7),
    (ProgType::SkReuseport, 39),
    (ProgType::LwtIn, 0),
    (ProgType::LwtXmit, 0),
    (ProgType::LwtSeg6Local, 0),
];

/// Helpers whose rules go beyond a prototype, or whose variant in the type found differs.
const APART: &[&str] = &[
    // May sleep.
    "copy_from_user",
    // Cgroup storage is tied to a program.
    "get_local_storage",
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
            ArgType::Unsupported(_) | ArgType::Func | ArgType::StackOrNull
        )
    };
    !proto.args.iter().any(unknown)
        && !matches!(proto.ret, RetType::Unsupported(_))
        && !APART.contains(&proto.name)
}

/// The first type of program that may call the helper.
fn caller(proto: &HelperProto) -> Option<(ProgType, u32)> {
    TYPES.iter().copied().find(|&(prog_type, attach)| {
        let log = ask(prog_type, attach, &[call(proto.id)]).log;
        !log.is_empty() && !log.contains("program of this type cannot use helper")
    })
}

#[test]
fn prototypes_are_the_kernels() {
    if !available() {
        return;
    }
    let maps = Maps::new();
    let mut called = 0;
    let mut wrong = Vec::new();
    for proto in helper::PROTOS.iter().filter(|proto| can_be_called(proto)) {
        let Some(caller) = caller(proto) else {
            continue;
        };
        called += 1;
        let verdict = ask_call(proto, caller, program(proto, &maps, None));
        if verdict.errno != 0 {
            wrong.push(format!("{} as it should be: {}", proto.name, end(&verdict)));
            continue;
        }
        result(proto, &maps, caller, &mut wrong);
        for (index, &arg) in proto.args.iter().enumerate() {
            for instead in [
                Instead::Nothing,
                Instead::Number,
                Instead::Null,
                Instead::ReadOnly,
            ] {
                let code = program(proto, &maps, Some((index, instead)));
                let verdict = ask_call(proto, caller, code);
                if allows(arg, instead) != (verdict.errno == 0) {
                    let name = proto.name;
                    let end = end(&verdict);
                    wrong.push(format!("{name} r{} {arg:?} {instead:?}: {end}", index + 1));
                }
            }
        }
    }
    assert!(called > 100, "only {called} helpers could be called");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The last thing that the kernel says.
fn end(verdict: &Verdict) -> String {
    let line = verdict.log.lines().rev().nth(1).unwrap_or_default();
    format!("{} {line}", verdict.errno)
}

fn result(proto: &HelperProto, maps: &Maps, caller: (ProgType, u32), wrong: &mut Vec<String>) {
    let mut code = program(proto, maps, None);
    code.push(copy(Reg::R7, Reg::R0));
    let verdict = ask_call(proto, caller, code);
    // Older kernels mark registers that were just written.
    let log = verdict.log.replace("_w=", "=");
    let has = |text: &str| log.contains(&format!(" R7={text}"));
    let right = match proto.ret {
        RetType::Void => verdict.log.contains("R0 !read_ok"),
        RetType::Integer => has("scalar("),
        RetType::MapValueOrNull => has("map_value_or_null("),
        RetType::RingBufMemOrNull => has("ringbuf_mem_or_null("),
        RetType::Unsupported(_) => true,
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
            for caller in [(ProgType::SchedCls, 0), (ProgType::Xdp, 0)] {
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
    let maps = Maps::new();
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
            let plain = program(proto, &maps, None);
            if ask(prog_type, attach, &plain).errno != 0 {
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
            let verdict = ask(prog_type, attach, &code);
            let what = format!("{} in {prog_type:?}: {}", proto.name, end(&verdict));
            assert_eq!(proto.changes_packet, verdict.errno != 0, "{what}");
            tried += usize::from(proto.changes_packet);
        }
    }
    assert!(tried > 25, "only {tried} calls that move the packet");
}
