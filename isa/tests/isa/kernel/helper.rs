//! Names, licences and arity of helpers.

use bpftime_isa::{Insn, Instruction, ProgType, encode, helper};

use super::load::{Question, Verdict, available};

/// Types of programs that together may call nearly every helper.
const TYPES: &[(ProgType, u32)] = &[
    (ProgType::Kprobe, 0),
    (ProgType::PerfEvent, 0),
    (ProgType::SchedCls, 0),
    (ProgType::Xdp, 0),
    (ProgType::CgroupSkb, 0),
    (ProgType::CgroupSock, 2),
    (ProgType::CgroupSockAddr, 10),
    (ProgType::CgroupSysctl, 18),
    (ProgType::CgroupSockopt, 22),
    (ProgType::CgroupDevice, 6),
    (ProgType::SockOps, 3),
    (ProgType::SkSkb, 38),
    (ProgType::SkMsg, 7),
    (ProgType::SkLookup, 36),
    (ProgType::SkReuseport, 39),
    (ProgType::LwtIn, 0),
    (ProgType::LwtXmit, 0),
    (ProgType::LwtSeg6Local, 0),
    (ProgType::RawTracepoint, 0),
];

fn call(prog_type: ProgType, attach_type: u32, license: &str, id: u32) -> Verdict {
    let call = Instruction::Call(bpftime_isa::CallTarget::Helper(id));
    let insns: Vec<Insn> = encode(&[call, Instruction::Exit]);
    let question = Question {
        prog_type: prog_type as u32,
        attach_type,
        license,
        insns: &insns,
    };
    question.ask()
}

#[test]
fn names_and_licences_are_the_kernels() {
    if !available() {
        return;
    }
    let mut never_offered = Vec::new();
    for proto in helper::PROTOS {
        let mut offered = false;
        for &(prog_type, attach) in TYPES {
            let log = call(prog_type, attach, "GPL", proto.id).log;
            if log.is_empty() {
                println!("{prog_type:?} programs cannot be loaded here");
                continue;
            }
            let expected = format!("call bpf_{}#{}", proto.name, proto.id);
            assert!(log.contains(&expected), "{expected}: {log}");
            if log.contains("program of this type cannot use helper") {
                continue;
            }
            offered = true;
            let log = call(prog_type, attach, "Proprietary", proto.id).log;
            let restricted = log.contains("cannot call GPL-restricted function");
            if proto.name == "get_stackid" && prog_type == ProgType::PerfEvent {
                // Perf events have a variant of their own, open to all licences.
                assert!(proto.gpl_only && !restricted, "{log}");
                continue;
            }
            assert_eq!(
                proto.gpl_only, restricted,
                "{prog_type:?} {}: {log}",
                proto.name
            );
        }
        if !offered {
            never_offered.push(proto.name);
        }
    }
    println!("offered to none of the types tried: {never_offered:?}");
    assert!(never_offered.len() < 40, "{never_offered:?}");
    let beyond = helper::PROTOS.len() as u32 + 1;
    let log = call(ProgType::Kprobe, 0, "GPL", beyond).log;
    assert!(log.contains("invalid func"), "{log}");
}
