//! Every offset and size of every context, read and written.

use bpftime_isa::{
    AttachType, CtxFieldKind, Instruction, Operand, ProgType, Reg, Size, context, encode,
};

use super::load::{Question, Verdict, available, mov, mov0};

/// Program type, attach type, and accesses (offset, size) that the table leaves out.
type Case = (ProgType, u32, &'static [(i16, u32)]);

/// Program types, their attach type for the load, and what the table leaves out on purpose.
const CASES: &[Case] = &[
    (ProgType::Kprobe, 0, &[]),
    (ProgType::Tracepoint, 0, &[]),
    (ProgType::RawTracepoint, 0, &[]),
    (ProgType::PerfEvent, 0, &[]),
    (ProgType::Xdp, 0, &[]),
    (ProgType::Xdp, 33, &[]),
    (ProgType::SchedCls, 0, &[(168, 8)]),
    (ProgType::SchedAct, 0, &[(168, 8)]),
    (ProgType::SocketFilter, 0, &[(168, 8)]),
    (ProgType::CgroupSkb, 0, &[(168, 8)]),
    (ProgType::LwtIn, 0, &[(168, 8)]),
    (ProgType::LwtOut, 0, &[(168, 8)]),
    (ProgType::LwtXmit, 0, &[(168, 8)]),
    (ProgType::LwtSeg6Local, 0, &[(168, 8)]),
    (ProgType::SkSkb, 38, &[(168, 8)]),
    (ProgType::CgroupDevice, 6, &[]),
    (ProgType::CgroupSysctl, 18, &[]),
    (ProgType::SkMsg, 7, &[(72, 8)]),
    (ProgType::SkLookup, 36, &[(0, 8)]),
    // The sockets, and the halves of a field, which we do not model.
    (
        ProgType::SkReuseport,
        39,
        &[(40, 8), (48, 8), (20, 2), (22, 2)],
    ),
];

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
    for &(prog_type, attach, left_out) in CASES {
        let attach_type = (attach != 0).then_some(AttachType(attach));
        let layout = context::layout(prog_type, attach_type).expect("a layout");
        let offsets: Vec<i16> = if layout.size > 256 {
            (0..40).chain(8160..8200).collect()
        } else {
            (-8..layout.size as i16 + 9).collect()
        };
        for off in offsets {
            for size in [Size::B, Size::H, Size::W, Size::DW] {
                // The kernel judges unaligned accesses by `CONFIG_HAVE_EFFICIENT_UNALIGNED_ACCESS`
                // rules of its own in places; all contexts here refuse them.
                let what = format!("{prog_type:?} {attach} offset {off} size {size:?}");
                let verdict = ask(prog_type, attach, &[read(off, size)]);
                let ours = layout.readable(off.into(), size.bytes());
                if left_out.contains(&(off, size.bytes())) {
                    assert!(ours.is_none(), "read {what}");
                } else {
                    assert_eq!(
                        ours.is_some(),
                        verdict.errno == 0,
                        "read {what}: {verdict:?}"
                    );
                }
                if let Some(field) = ours {
                    assert_eq!(field.kind, kind(&verdict.log), "read {what}: {verdict:?}");
                }
                let verdict = ask(prog_type, attach, &write(off, size));
                let ours = layout.writable(off.into(), size.bytes()).is_some();
                assert_eq!(ours, verdict.errno == 0, "write {what}: {verdict:?}");
            }
        }
    }
}

/// What the kernel's log says of `r2` after the load.
fn kind(log: &str) -> CtxFieldKind {
    let text = log
        .split_once("R2_w=")
        .or_else(|| log.split_once("R2="))
        .map_or("", |(_, after)| after);
    if text.starts_with("pkt_end(") {
        CtxFieldKind::PacketEnd
    } else if text.starts_with("pkt_meta(") {
        CtxFieldKind::PacketMeta
    } else if text.starts_with("pkt(") {
        CtxFieldKind::PacketStart
    } else {
        assert!(
            text.starts_with("scalar("),
            "unknown register state in {log}"
        );
        CtxFieldKind::Scalar
    }
}
