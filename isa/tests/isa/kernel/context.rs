//! Every offset and size of every context, read and written.

use bpftime_isa::{
    AluOp, AttachType, CallTarget, Cond, CtxFieldKind, Instruction, Object, Operand, ProgType, Reg,
    Size, Width, context, encode,
};

use super::load::{Kind, Question, Verdict, available, mov, mov0};

/// Program types and their attach types for the load.
const CASES: &[(ProgType, &[u32])] = &[
    (ProgType::Kprobe, &[0]),
    (ProgType::Tracepoint, &[0]),
    (ProgType::RawTracepoint, &[0]),
    (ProgType::RawTracepointWritable, &[0]),
    (ProgType::PerfEvent, &[0]),
    (ProgType::Syscall, &[0]),
    (ProgType::Xdp, &[0, 33, 35, 37]),
    (ProgType::SchedCls, &[0, 46]),
    (ProgType::SchedAct, &[0]),
    (ProgType::SocketFilter, &[0]),
    (ProgType::CgroupSkb, &[0, 1]),
    (ProgType::LwtIn, &[0]),
    (ProgType::LwtOut, &[0]),
    (ProgType::LwtXmit, &[0]),
    (ProgType::LwtSeg6Local, &[0]),
    (ProgType::SkSkb, &[38]),
    (ProgType::FlowDissector, &[17]),
    (ProgType::CgroupDevice, &[6]),
    (ProgType::CgroupSysctl, &[18]),
    (ProgType::CgroupSock, &[0, 2, 12, 13, 34]),
    (
        ProgType::CgroupSockAddr,
        &[
            0, 8, 9, 10, 11, 14, 15, 19, 20, 29, 30, 31, 32, 49, 50, 51, 52, 53,
        ],
    ),
    (ProgType::CgroupSockopt, &[0, 21, 22]),
    (ProgType::SockOps, &[3]),
    (ProgType::SkMsg, &[7]),
    (ProgType::SkLookup, &[36]),
    (ProgType::SkReuseport, &[39, 40]),
    (ProgType::Netfilter, &[45]),
];

/// Whether the table leaves the read out on purpose, though the kernel has nothing against it.
fn left_out(prog_type: ProgType, off: i16, size: u32) -> bool {
    match prog_type {
        // Parts of an address.
        ProgType::RawTracepointWritable => off < 8 && size < 8,
        _ => false,
    }
}

fn ask(prog_type: ProgType, attach_type: u32, body: &[Instruction]) -> Verdict {
    let mut program = body.to_vec();
    program.extend([mov0(), Instruction::Exit]);
    let question = Question {
        kind: Kind::new(prog_type, attach_type),
        license: "GPL",
        insns: &encode(&program),
    };
    question.ask()
}

fn read(off: i16, size: Size) -> Instruction {
    Instruction::Load {
        size,
        signed: false,
        dst: Reg::R2,
        base: Reg::R1,
        off,
    }
}

fn write(off: i16, size: Size) -> [Instruction; 2] {
    let store = Instruction::Store {
        size,
        base: Reg::R1,
        off,
        src: Operand::Reg(Reg::R2),
    };
    [mov(Reg::R2, 0), store]
}

#[test]
fn layouts_allow_what_the_kernel_allows() {
    if !available() {
        return;
    }
    let cases = CASES
        .iter()
        .flat_map(|&(prog_type, attach)| attach.iter().map(move |&attach| (prog_type, attach)));
    for (prog_type, attach) in cases {
        let attach_type = (attach != 0).then_some(AttachType(attach));
        let Some(layout) = context::layout(prog_type, attach_type) else {
            assert_eq!(
                ask(prog_type, attach, &[]).log,
                "",
                "{prog_type:?} {attach}"
            );
            continue;
        };
        let offsets: Vec<i16> = if layout.size > 256 {
            (0..40).chain(8160..8200).collect()
        } else {
            (-8..layout.size as i16 + 9).collect()
        };
        for off in offsets {
            for size in [Size::B, Size::H, Size::W, Size::DW] {
                let what = format!("{prog_type:?} {attach} offset {off} size {size:?}");
                let verdict = ask(prog_type, attach, &[read(off, size)]);
                let ours = layout.readable(off.into(), size.bytes());
                if left_out(prog_type, off, size.bytes()) {
                    assert!(ours.is_none(), "read {what}");
                } else {
                    assert_eq!(
                        ours.is_some(),
                        allowed(&verdict),
                        "read {what}: {verdict:?}"
                    );
                }
                if let Some(field) = ours {
                    let kind = format!("{} {field:?}", verdict.log);
                    assert_eq!(text(field.kind), said(&verdict.log), "read {what}: {kind}");
                }
                let verdict = ask(prog_type, attach, &write(off, size));
                let ours = layout.writable(off.into(), size.bytes()).is_some();
                assert_eq!(ours, allowed(&verdict), "write {what}: {verdict:?}");
            }
        }
    }
}

/// Whether all was well up to the end, where the return value may not be what the type asks for.
fn allowed(verdict: &Verdict) -> bool {
    verdict.errno == 0 || verdict.log.contains("At program exit the register R0 ")
}

/// What the kernel calls such a value.
fn text(kind: CtxFieldKind) -> String {
    let name = match kind {
        CtxFieldKind::Scalar | CtxFieldKind::UserPointer => "scalar",
        CtxFieldKind::PacketStart => "pkt",
        CtxFieldKind::PacketEnd => "pkt_end",
        CtxFieldKind::PacketMeta => "pkt_meta",
        CtxFieldKind::Object(pointer) => {
            let null = if pointer.nullable { "_or_null" } else { "" };
            let name = match pointer.object {
                Object::Socket => "sock",
                Object::SockCommon => "sock_common",
                Object::TcpSock => "tcp_sock",
                Object::XdpSock => "xdp_sock",
                Object::FlowKeys => "flow_keys",
                Object::TraceBuffer => "tp_buffer",
                Object::IteratorBuffer { .. } => "buf",
                Object::Kernel(name) => return format!("trusted_ptr{null}_{name}"),
                Object::Typed { .. } => unreachable!("no layout by type has one"),
            };
            return format!("{name}{null}");
        }
    };
    name.into()
}

/// What the kernel's log says of `r2` after the load.
fn said(log: &str) -> &str {
    let text = log
        .split_once("R2_w=")
        .or_else(|| log.split_once("R2="))
        .map_or("", |(_, after)| after);
    text.split('(').next().unwrap_or_default()
}

/// Programs that end with a pointer to an object in `r0`, and the object.
fn objects() -> [(Object, u32, Vec<Instruction>); 4] {
    let load = |off| Instruction::Load {
        size: Size::DW,
        signed: false,
        dst: Reg::R1,
        base: Reg::R1,
        off,
    };
    // Ends the program if the register is null.
    let not_null = |dst| {
        let branch = Instruction::Branch {
            cond: Cond::Ne,
            width: Width::W64,
            dst,
            src: Operand::Imm(0),
            delta: 2,
        };
        [branch, mov0(), Instruction::Exit]
    };
    let call = |id| Instruction::Call(CallTarget::Helper(id));
    let copy = |dst, src| Instruction::Alu {
        op: AluOp::Mov,
        width: Width::W64,
        dst,
        src: Operand::Reg(src),
    };
    let common = [&[load(168)], &not_null(Reg::R1)[..]].concat();
    let sock = [&common[..], &[call(95)], &not_null(Reg::R0)].concat();
    let tcp = [copy(Reg::R1, Reg::R0), call(96)];
    let tcp = [&sock[..], &tcp, &not_null(Reg::R0)].concat();
    let last = [copy(Reg::R0, Reg::R1)];
    [
        (Object::SockCommon, 0, [&common[..], &last].concat()),
        (Object::Socket, 0, sock),
        (Object::TcpSock, 0, tcp),
        (Object::FlowKeys, 17, [&[load(144)], &last[..]].concat()),
    ]
}

#[test]
fn objects_allow_what_the_kernel_allows() {
    if !available() {
        return;
    }
    for (object, attach, code) in objects() {
        let prog_type = match object {
            Object::FlowKeys => ProgType::FlowDissector,
            _ => ProgType::SchedCls,
        };
        let layout = object.layout().expect("a layout");
        let ask_with = |last: Instruction| {
            let code = [&code[..], &[last]].concat();
            ask(prog_type, attach, &code)
        };
        assert_eq!(ask_with(mov0()).errno, 0, "{object:?}");
        for off in -8..layout.size as i16 + 9 {
            for size in [Size::B, Size::H, Size::W, Size::DW] {
                let what = format!("{object:?} offset {off} size {size:?}");
                let verdict = ask_with(Instruction::Load {
                    size,
                    signed: false,
                    dst: Reg::R2,
                    base: Reg::R0,
                    off,
                });
                let ours = layout.readable(off.into(), size.bytes()).is_some();
                assert_eq!(ours, verdict.errno == 0, "read {what}: {verdict:?}");
                let verdict = ask_with(Instruction::Store {
                    size,
                    base: Reg::R0,
                    off,
                    src: Operand::Imm(0),
                });
                let ours = layout.writable(off.into(), size.bytes()).is_some();
                assert_eq!(ours, verdict.errno == 0, "write {what}: {verdict:?}");
            }
        }
    }
}

#[test]
fn buffers_allow_what_the_kernel_allows() {
    if !available() {
        return;
    }
    let layout = Object::TraceBuffer.layout().expect("a layout");
    for off in [i16::MIN, -8, -1, 0, 1, 7, 8, 4096, i16::MAX] {
        for size in [Size::B, Size::H, Size::W, Size::DW] {
            let load = |size, dst, base, off| Instruction::Load {
                size,
                signed: false,
                dst,
                base,
                off,
            };
            let pointer = load(Size::DW, Reg::R2, Reg::R1, 0);
            let read = ask(
                ProgType::RawTracepointWritable,
                0,
                &[pointer, load(size, Reg::R3, Reg::R2, off)],
            );
            let store = Instruction::Store {
                size,
                base: Reg::R2,
                off,
                src: Operand::Imm(0),
            };
            let write = ask(ProgType::RawTracepointWritable, 0, &[pointer, store]);
            let ours = layout.readable(off.into(), size.bytes()).is_some();
            assert_eq!(ours, read.errno == 0, "read {off} {size:?}: {read:?}");
            let ours = layout.writable(off.into(), size.bytes()).is_some();
            assert_eq!(ours, write.errno == 0, "write {off} {size:?}: {write:?}");
        }
    }
}
