//! Arguments, results and packet effects of helpers: calls that fit the prototype are accepted,
//! and calls that miss it in one place are refused.

use bpftime_isa::{
    AluOp, ArgType, CallTarget, Cond, HelperProto, Imm64, Instruction, Operand, ProgType, Reg,
    RetType, Size, Width, encode, helper,
};

use super::load::{Map, Question, Verdict, available, mov, mov0};

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

/// What is passed for one argument in place of something that fits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Instead {
    /// The register is left as it is at the start of the program: not initialised.
    Nothing,
    /// A number that the verifier does not know.
    Number,
    /// Zero, and no bytes where the next argument is a size.
    Null,
    /// Memory that programs may not write.
    ReadOnly,
}

/// The maps that calls need.
struct Maps {
    array: Map,
    read_only: Map,
    others: Vec<(&'static [&'static str], Map)>,
}

impl Maps {
    fn new() -> Self {
        let others: [(&'static [&'static str], [u32; 5]); 11] = [
            (&["tail_call"], [3, 4, 4, 1, 0]),
            (
                &[
                    "perf_event_read",
                    "perf_event_output",
                    "perf_event_read_value",
                ],
                [4, 4, 4, 1, 0],
            ),
            (&["get_stackid"], [7, 4, 80, 1, 0]),
            (
                &["skb_under_cgroup", "current_task_under_cgroup"],
                [8, 4, 4, 1, 0],
            ),
            (&["redirect_map"], [14, 4, 4, 1, 0]),
            (
                &["sk_redirect_map", "sock_map_update", "msg_redirect_map"],
                [15, 4, 4, 1, 0],
            ),
            (
                &["sock_hash_update", "msg_redirect_hash", "sk_redirect_hash"],
                [18, 4, 4, 1, 0],
            ),
            (&["sk_select_reuseport"], [20, 4, 4, 1, 0]),
            (
                &["map_push_elem", "map_pop_elem", "map_peek_elem"],
                [22, 0, 8, 1, 0],
            ),
            (
                &["ringbuf_output", "ringbuf_reserve", "ringbuf_query"],
                [27, 0, 0, 4096, 0],
            ),
            (&["map_lookup_percpu_elem"], [6, 4, 8, 1, 0]),
        ];
        Self {
            array: Map::new([2, 4, 8, 1, 0]),
            read_only: Map::read_only(),
            others: others.map(|(names, attr)| (names, Map::new(attr))).into(),
        }
    }

    fn of(&self, name: &str) -> i32 {
        let found = self.others.iter().find(|(names, _)| names.contains(&name));
        found.map_or(&self.array, |(_, map)| map).fd()
    }
}

fn copy(dst: Reg, src: Reg) -> Instruction {
    Instruction::Alu {
        op: AluOp::Mov,
        width: Width::W64,
        dst,
        src: Operand::Reg(src),
    }
}

fn wide(dst: Reg, value: Imm64) -> Instruction {
    Instruction::LoadImm64 { dst, value }
}

fn call(id: u32) -> Instruction {
    Instruction::Call(CallTarget::Helper(id))
}

/// Asks about a call, and gives back what it may have reserved.
fn ask_call(
    proto: &HelperProto,
    (prog_type, attach_type): (ProgType, u32),
    mut code: Vec<Instruction>,
) -> Verdict {
    if proto.ret == RetType::RingBufMemOrNull {
        code.extend([
            Instruction::Branch {
                cond: Cond::Eq,
                width: Width::W64,
                dst: Reg::R0,
                src: Operand::Imm(0),
                delta: 3,
            },
            copy(Reg::R1, Reg::R0),
            mov(Reg::R2, 0),
            call(133),
        ]);
    }
    ask(prog_type, attach_type, &code)
}

fn ask(prog_type: ProgType, attach_type: u32, body: &[Instruction]) -> Verdict {
    let mut program = body.to_vec();
    program.extend([mov0(), Instruction::Exit]);
    let question = Question {
        prog_type: prog_type as u32,
        attach_type,
        license: "GPL",
        insns: &encode(&program),
    };
    question.ask()
}

const ARGUMENTS: [Reg; 5] = [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5];

/// Bytes of stack that are zeroed, and that memory arguments point to.
const BUFFER: i16 = 64;

/// A program that calls the helper with fitting arguments, but for one.
fn program(
    proto: &HelperProto,
    maps: &Maps,
    instead: Option<(usize, Instead)>,
) -> Vec<Instruction> {
    let mut code = vec![copy(Reg::R6, Reg::R1)];
    if instead.is_some_and(|(_, what)| what == Instead::Number) {
        // The only helper that every type has and that gives a number without bounds.
        code.extend([call(7), copy(Reg::R8, Reg::R0)]);
    }
    if proto.args[0] == ArgType::RingBufMem {
        code.extend([
            wide(Reg::R1, Imm64::MapFd(maps.of("ringbuf_reserve"))),
            mov(Reg::R2, 8),
            mov(Reg::R3, 0),
            call(131),
            Instruction::Branch {
                cond: Cond::Ne,
                width: Width::W64,
                dst: Reg::R0,
                src: Operand::Imm(0),
                delta: 2,
            },
            mov0(),
            Instruction::Exit,
            copy(Reg::R7, Reg::R0),
        ]);
    }
    for off in (-BUFFER..0).step_by(8) {
        code.push(Instruction::Store {
            size: Size::DW,
            base: Reg::R10,
            off,
            src: Operand::Imm(0),
        });
    }
    for (index, (&arg, reg)) in proto.args.iter().zip(ARGUMENTS).enumerate() {
        match instead {
            Some((wrong, what)) if wrong == index => match what {
                Instead::Nothing if index == 0 => {
                    // `r1` is the context at the start; a call clears it.
                    code.push(call(7));
                }
                Instead::Nothing => {}
                Instead::Number => code.push(copy(reg, Reg::R8)),
                Instead::Null => code.push(mov(reg, 0)),
                Instead::ReadOnly => code.push(read_only(reg, maps)),
            },
            Some((null, Instead::Null)) if null + 1 == index && is_size(arg) => {
                code.push(mov(reg, 0));
            }
            _ => fitting(&mut code, arg, reg, proto, maps),
        }
    }
    code.push(call(proto.id));
    code
}

fn read_only(reg: Reg, maps: &Maps) -> Instruction {
    let fd = maps.read_only.fd();
    wide(reg, Imm64::MapFdValue { fd, offset: 0 })
}

fn is_size(arg: ArgType) -> bool {
    matches!(arg, ArgType::ConstSize | ArgType::ConstSizeOrZero)
}

fn fitting(code: &mut Vec<Instruction>, arg: ArgType, reg: Reg, proto: &HelperProto, maps: &Maps) {
    match arg {
        ArgType::None => {}
        ArgType::Anything | ArgType::Scalar => code.push(mov(reg, 0)),
        ArgType::ConstSize | ArgType::ConstSizeOrZero | ArgType::ConstAllocSize => {
            code.push(mov(reg, 8));
        }
        ArgType::Ctx | ArgType::CtxOrNull => code.push(copy(reg, Reg::R6)),
        ArgType::ConstMapPtr => code.push(wide(reg, Imm64::MapFd(maps.of(proto.name)))),
        ArgType::RingBufMem => code.push(copy(reg, Reg::R7)),
        ArgType::ConstStr => code.push(read_only(reg, maps)),
        _ => {
            code.push(copy(reg, Reg::R10));
            code.push(Instruction::Alu {
                op: AluOp::Add,
                width: Width::W64,
                dst: reg,
                src: Operand::Imm((-BUFFER).into()),
            });
        }
    }
}

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
