//! Programs that call a helper as its prototype says, but for one argument.

use bpftime_isa::returns::returns;
use bpftime_isa::{
    AluOp, ArgType, AttachType, CallTarget, Cond, HelperProto, Imm64, Instruction, Operand, Reg,
    RetType, Size, Width, encode,
};

use super::load::{Kind, Map, Question, Verdict, mov};

/// What is passed for one argument in place of something that fits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Instead {
    /// The register is left as it is at the start of the program: not initialised.
    Nothing,
    /// A number that the verifier does not know.
    Number,
    /// Zero, and no bytes where the next argument is a size.
    Null,
    /// Memory that programs may not write.
    ReadOnly,
    /// Stack that was never written.
    Stale,
}

/// The maps that calls need.
pub(super) struct Maps {
    array: Map,
    read_only: Map,
    others: Vec<(&'static [&'static str], Map)>,
}

impl Maps {
    pub(super) fn new() -> Self {
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

    /// Instead of the map for tail calls, another: it takes programs of the kind that first used it.
    pub(super) fn renew(&mut self) {
        for (names, map) in &mut self.others {
            if names.contains(&"tail_call") {
                *map = Map::new([3, 4, 4, 1, 0]);
            }
        }
    }

    fn of(&self, name: &str) -> i32 {
        let found = self.others.iter().find(|(names, _)| names.contains(&name));
        found.map_or(&self.array, |(_, map)| map).fd()
    }
}

pub(super) fn copy(dst: Reg, src: Reg) -> Instruction {
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

pub(super) fn call(id: u32) -> Instruction {
    Instruction::Call(CallTarget::Helper(id))
}

/// Asks about a call, and gives back what it may have reserved.
pub(super) fn ask_call(proto: &HelperProto, kind: Kind, mut code: Vec<Instruction>) -> Verdict {
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
    ask(kind, &code)
}

pub(super) fn ask(kind: Kind, body: &[Instruction]) -> Verdict {
    let mut program = body.to_vec();
    let attach_type = AttachType(kind.attach_type);
    let least = returns(kind.prog_type, Some(attach_type), None).map_or(0, |range| range.least);
    program.extend([mov(Reg::R0, least), Instruction::Exit]);
    let question = Question {
        kind,
        license: "GPL",
        insns: &encode(&program),
    };
    question.ask()
}

const ARGUMENTS: [Reg; 5] = [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5];

/// Bytes of stack that are zeroed, and that memory arguments point to.
const BUFFER: i16 = 64;

/// A program that calls the helper with fitting arguments, but for one.
pub(super) fn program(
    proto: &HelperProto,
    maps: &Maps,
    instead: Option<(usize, Instead)>,
) -> Vec<Instruction> {
    let mut code = vec![copy(Reg::R6, Reg::R1)];
    let mut reserved = 0;
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
        ]);
        reserved = code.len();
        code.push(copy(Reg::R7, Reg::R0));
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
                Instead::Stale => code.extend(stack(reg, -2 * BUFFER)),
            },
            Some((null, Instead::Null)) if null + 1 == index && is_size(arg) => {
                code.push(mov(reg, 0));
            }
            _ => fitting(&mut code, arg, reg, proto, maps),
        }
    }
    code.push(call(proto.id));
    if reserved > 0 {
        let over = Instruction::Branch {
            cond: Cond::Eq,
            width: Width::W64,
            dst: Reg::R0,
            src: Operand::Imm(0),
            delta: encode(&code[reserved..]).len() as i16,
        };
        code.insert(reserved, over);
    }
    code
}

/// `reg = r10 + off`.
fn stack(reg: Reg, off: i16) -> [Instruction; 2] {
    let add = Instruction::Alu {
        op: AluOp::Add,
        width: Width::W64,
        dst: reg,
        src: Operand::Imm(off.into()),
    };
    [copy(reg, Reg::R10), add]
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
            code.extend(stack(reg, -BUFFER));
        }
    }
}
