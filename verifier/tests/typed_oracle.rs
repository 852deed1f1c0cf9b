//! Programs on a tracepoint with pointers to tasks, judged here and by the running kernel. Needs the
//! privilege to load programs, and the kernel's types; skips without.

use std::sync::Arc;

use bpftime_isa::kernel_types::KernelTypes as _;
use bpftime_isa::{AttachType, Hook, Insn, ProgType, Program, asm};
use bpftime_loader::signature::member_signature;
use bpftime_loader::{Btf, Environment, TargetBtf, TargetTypes, signature};
use bpftime_verifier::{Options, verify};

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const TRACEPOINT: &str = "sched_switch";
const STRUCT: u32 = 4;
const TYPEDEF: u32 = 8;
const FUNC: u32 = 12;

/// Of arguments 1 and 2, which are tasks: programs, by what is done with `r6`, the context.
const PROGRAMS: &[&str] = &[
    "r1 = *(u64 *)(r6 + 8)",
    "r1 = *(u8 *)(r6 + 0)",
    "r1 = *(u8 *)(r6 + 1)",
    "r1 = *(u32 *)(r6 + 8)",
    "r1 = *(u64 *)(r6 + 32)",
    "*(u64 *)(r6 + 0) = 1",
    "r1 = *(u64 *)(r6 + 8)\nr2 = *(u64 *)(r1 + 0)",
    "r1 = *(u64 *)(r6 + 8)\nr2 = *(u64 *)(r1 - 8)",
    "r1 = *(u64 *)(r6 + 8)\nr2 = *(u64 *)(r1 + 32000)",
    "r1 = *(u64 *)(r6 + 8)\n*(u64 *)(r1 + 0) = 1",
    "r1 = *(u64 *)(r6 + 8)\nr1 += 16\nr2 = *(u64 *)(r1 + 0)",
    "r1 = *(u64 *)(r6 + 8)\nr1 *= 2",
    // The value is not known.
    "r1 = *(u64 *)(r6 + 8)\nr2 = *(u64 *)(r6 + 24)\nr2 &= 7\nr1 += r2\nr2 = *(u64 *)(r1 + 0)",
    // Anything may be compared with null, and be handed to helpers that take anything.
    "r1 = *(u64 *)(r6 + 8)\nif r1 == 0 goto +1\nr2 = *(u64 *)(r1 + 0)",
    "r3 = *(u64 *)(r6 + 16)\nr3 += 64\nr1 = r10\nr1 += -8\nr2 = 8\ncall 113",
    "r1 = *(u64 *)(r6 + 24)\nr1 <<= 3",
    // Helpers that take a task: its stack.
    "r1 = *(u64 *)(r6 + 8)\nr2 = r10\nr2 += -8\nr3 = 8\nr4 = 0\ncall 141",
    "r1 = *(u64 *)(r6 + 8)\nr1 += 8\nr2 = r10\nr2 += -8\nr3 = 8\nr4 = 0\ncall 141",
    "r1 = 0\nr2 = r10\nr2 += -8\nr3 = 8\nr4 = 0\ncall 141",
    "r1 = r6\nr2 = r10\nr2 += -8\nr3 = 8\nr4 = 0\ncall 141",
    "call 158\nr1 = r0\nr2 = r10\nr2 += -8\nr3 = 8\nr4 = 0\ncall 141",
    // Its registers, and what is in them.
    "call 158\nr1 = r0\ncall 175\nr1 = *(u64 *)(r0 + 0)",
    "call 158\nr1 = r0\ncall 175\nr1 = *(u64 *)(r0 + 168)",
    // A task is no socket and no file.
    "r1 = *(u64 *)(r6 + 8)\ncall 46",
    "r1 = *(u64 *)(r6 + 8)\ncall 162",
    "r1 = *(u64 *)(r6 + 8)\ncall 137",
    // Not null for certain: the other branch is not looked at, or it is.
    "r1 = *(u64 *)(r6 + 8)\nif r1 != 0 goto +1\nr1 = *(u64 *)(r10 + 8)",
    // Of other programs: not with this tracepoint.
    "r1 = r6\ncall 184",
    "r1 = r6\ncall 173",
    "call 161",
    // Tasks are acquired and given back, once.
    "r1 = *(u64 *)(r6 + 8)\ncall {bpf_task_acquire}\nif r0 == 0 goto +2\nr1 = r0\ncall {bpf_task_release}",
    "r1 = *(u64 *)(r6 + 8)\ncall {bpf_task_acquire}",
    "r1 = *(u64 *)(r6 + 8)\ncall {bpf_task_acquire}\nr1 = r0\ncall {bpf_task_release}",
    "r1 = *(u64 *)(r6 + 8)\ncall {bpf_task_release}",
    "r1 = *(u64 *)(r6 + 8)\ncall {bpf_task_acquire}\nif r0 == 0 goto +4\nr7 = r0\nr1 = r0\n\
     call {bpf_task_release}\nr1 = *(u64 *)(r7 + 0)",
    "r1 = *(u64 *)(r6 + 8)\ncall {bpf_task_acquire}\nif r0 == 0 goto +5\nr7 = r0\nr1 = r0\n\
     call {bpf_task_release}\nr1 = r7\ncall {bpf_task_release}",
    // Members that RCU keeps, and others.
    "r1 = *(u64 *)(r6 + 8)\nr1 = *(u64 *)(r1 + {group_leader})\ncall {bpf_task_acquire}\n\
     if r0 == 0 goto +2\nr1 = r0\ncall {bpf_task_release}",
    "r1 = *(u64 *)(r6 + 8)\nr1 = *(u64 *)(r1 + {parent})\ncall {bpf_task_acquire}\n\
     if r0 == 0 goto +2\nr1 = r0\ncall {bpf_task_release}",
    "r1 = *(u64 *)(r6 + 8)\nr1 = *(u64 *)(r1 + {parent})\nr2 = r10\nr2 += -8\nr3 = 8\nr4 = 0\ncall 141",
    "r1 = *(u64 *)(r6 + 8)\nr1 = *(u64 *)(r1 + {group_leader})\nr1 = *(u64 *)(r1 + {group_leader})\n\
     call {bpf_task_acquire}\nif r0 == 0 goto +2\nr1 = r0\ncall {bpf_task_release}",
    "call {bpf_rcu_read_lock}\nr1 = *(u64 *)(r6 + 8)\nr7 = *(u64 *)(r1 + {group_leader})\n\
     call {bpf_rcu_read_unlock}\nr1 = r7\ncall {bpf_task_acquire}\nif r0 == 0 goto +2\nr1 = r0\n\
     call {bpf_task_release}",
    "call {bpf_rcu_read_lock}\nr1 = *(u64 *)(r6 + 8)\nr7 = *(u64 *)(r1 + {group_leader})\n\
     call {bpf_rcu_read_unlock}\nr1 = *(u64 *)(r7 + 0)",
    "r1 = *(u64 *)(r6 + 8)\nr1 += {cpus_mask}\ncall {bpf_cpumask_first_zero}",
    "r1 = *(u64 *)(r6 + 8)\nr1 += {comm}\ncall {bpf_cpumask_first_zero}",
    "r1 = *(u64 *)(r6 + 8)\nr1 = *(u64 *)(r1 + {cpus_ptr})\ncall {bpf_cpumask_first_zero}",
    // Casts give what may be anything.
    "r1 = *(u64 *)(r6 + 24)\nr2 = {struct:task_struct}\ncall {bpf_rdonly_cast}\nr1 = *(u64 *)(r0 + 8)",
    "r1 = *(u64 *)(r6 + 24)\nr2 = {struct:task_struct}\ncall {bpf_rdonly_cast}\nr1 = r0\n\
     call {bpf_task_acquire}\nif r0 == 0 goto +2\nr1 = r0\ncall {bpf_task_release}",
    "r1 = *(u64 *)(r6 + 24)\nr2 = {struct:task_struct}\ncall {bpf_rdonly_cast}\n*(u64 *)(r0 + 8) = 1",
    "r1 = *(u64 *)(r6 + 24)\nr2 = r1\ncall {bpf_rdonly_cast}",
    "r1 = *(u64 *)(r6 + 24)\nr2 = 0\ncall {bpf_rdonly_cast}\nr1 = *(u64 *)(r0 + 8)",
    // Interrupts.
    "r1 = r10\nr1 += -8\ncall {bpf_local_irq_save}\nr1 = r10\nr1 += -8\ncall {bpf_local_irq_restore}",
    "r1 = r10\nr1 += -8\ncall {bpf_local_irq_save}",
    "r1 = r10\nr1 += -8\ncall {bpf_local_irq_restore}",
    "r1 = r10\nr1 += -8\ncall {bpf_local_irq_save}\nr1 = r10\nr1 += -16\ncall {bpf_local_irq_save}\n\
     r1 = r10\nr1 += -8\ncall {bpf_local_irq_restore}\nr1 = r10\nr1 += -16\ncall {bpf_local_irq_restore}",
    "r1 = r10\nr1 += -8\ncall {bpf_local_irq_save}\nr1 = r10\nr1 += -16\ncall {bpf_local_irq_save}\n\
     r1 = r10\nr1 += -16\ncall {bpf_local_irq_restore}\nr1 = r10\nr1 += -8\ncall {bpf_local_irq_restore}",
    "r1 = r10\nr1 += -8\ncall {bpf_local_irq_save}\nr1 = *(u64 *)(r10 - 8)\n\
     r1 = r10\nr1 += -8\ncall {bpf_local_irq_restore}",
    "r1 = r10\nr1 += -8\ncall {bpf_local_irq_save}\n*(u64 *)(r10 - 8) = 0\n\
     r1 = r10\nr1 += -8\ncall {bpf_local_irq_restore}",
    // Dynptrs that are none, or of what may not be had.
    "r1 = r10\nr1 += -16\ncall {bpf_dynptr_size}",
    "*(u64 *)(r10 - 8) = 0\nr1 = r10\nr1 += -8\nr2 = 8\nr3 = 0\nr4 = r10\nr4 += -24\ncall 197",
    "r1 = *(u64 *)(r6 + 8)\nr2 = 0\nr3 = r10\nr3 += -16\ncall {bpf_dynptr_from_skb}",
    // Not for this program.
    "r1 = r10\nr1 += -8\nr2 = *(u64 *)(r6 + 8)\nr3 = 0\ncall {bpf_iter_css_task_new}",
    "r1 = r10\nr1 += -8\nr2 = 8\nr3 = 0\nr4 = 0\ncall {bpf_copy_from_user_str}",
    "r1 = *(u64 *)(r6 + 8)\ncall {bpf_sock_destroy}",
    "r1 = *(u64 *)(r6 + 8)\ncall {tcp_reno_ssthresh}",
];

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    btf: [u64; 4],
    line_info_cnt: u32,
    attach_btf_id: u32,
}

/// The kernel's verdict: `Ok`, or its log.
fn load(insns: &[Insn], attach_btf_id: u32) -> Result<(), String> {
    let place = AttachType::TRACE_RAW_TP.0;
    load_as(ProgType::Tracing, place, attach_btf_id, insns)
}

/// As [`load`], for a type of program and what it is attached to.
fn load_as(
    prog_type: ProgType,
    expected_attach_type: u32,
    attach_btf_id: u32,
    insns: &[Insn],
) -> Result<(), String> {
    let code: Vec<u8> = insns.iter().flat_map(|insn| insn.to_le_bytes()).collect();
    let mut log = vec![0u8; 1 << 16];
    let attributes = ProgLoad {
        prog_type: prog_type as u32,
        insn_cnt: insns.len() as u32,
        insns: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 1,
        log_size: log.len() as u32,
        log_buf: log.as_mut_ptr() as u64,
        expected_attach_type,
        attach_btf_id,
        ..ProgLoad::default()
    };
    // SAFETY: every address in the attributes is of a buffer that outlives the call and has the length
    // given beside it; the kernel writes only to the log.
    let fd = unsafe {
        let size = size_of::<ProgLoad>();
        libc::syscall(libc::SYS_bpf, 5, &raw const attributes, size)
    };
    if fd < 0 {
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(0);
        return Err(String::from_utf8_lossy(&log[..end]).into_owned());
    }
    // SAFETY: the descriptor was just made and is closed once.
    unsafe { libc::close(fd as i32) };
    Ok(())
}

/// Number of the type of that kind with the name.
fn number(bytes: &[u8], wanted_kind: u32, name: &str) -> Option<u32> {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let header = word(4) as usize;
    let (mut at, strings) = (header + word(8) as usize, header + word(16) as usize);
    let end = at + word(12) as usize;
    let wanted = format!("{name}\0");
    for id in 1.. {
        if at >= end {
            break;
        }
        let (found, info) = (strings + word(at) as usize, word(at + 4));
        let (kind, count) = (info >> 24 & 0x1f, info as usize & 0xffff);
        if kind == wanted_kind && bytes[found..].starts_with(wanted.as_bytes()) {
            return Some(id);
        }
        at += 12
            + match kind {
                1 | 14 | 17 => 4,
                3 => 12,
                4 | 5 | 15 | 19 => 12 * count,
                6 | 13 => 8 * count,
                _ => 0,
            };
    }
    None
}

/// The program with numbers in the place of names: `{function}`, `{struct:name}` and `{member}` of tasks.
fn resolved(text: &str, bytes: &[u8], types: &Btf) -> Option<String> {
    let mut parts = text.split('{');
    let mut all = parts.next()?.to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}')?;
        all += &match name.split_once(':') {
            Some((_, name)) => number(bytes, STRUCT, name)?.to_string(),
            None if name.starts_with("bpf_") || name.starts_with("tcp_") => {
                format!("kfunc({:#x})", number(bytes, FUNC, name)?)
            }
            None => types.member("task_struct", &[name])?.0.to_string(),
        };
        all += rest;
    }
    Some(all)
}

#[test]
fn programs_on_a_tracepoint_are_judged_as_by_the_kernel() {
    let Ok(bytes) = std::fs::read(VMLINUX) else {
        eprintln!("skipped: {VMLINUX} cannot be read");
        return;
    };
    let trace = format!("btf_trace_{TRACEPOINT}");
    let id = number(&bytes, TYPEDEF, &trace).expect("the tracepoint's type");
    let least = asm::parse("r0 = 0\nexit").expect("a program");
    if let Err(log) = load(&least, id) {
        eprintln!("skipped: the kernel lets us load no program ({log})");
        return;
    }
    let btf = Arc::new(Btf::parse(bytes.clone()).expect("the kernel's types"));
    let place = Some(AttachType::TRACE_RAW_TP);
    let hook = Hook {
        signature: signature(&btf, ProgType::Tracing, place, TRACEPOINT),
        ..Hook::default()
    };
    let environment = Environment {
        btf: TargetBtf::Given(btf.clone()),
        ..Environment::none()
    };
    let options = Options {
        kernel_types: Some(Arc::new(TargetTypes(environment))),
        ..Options::linux()
    };
    let mut asked = 0;
    let mut accepted = 0;
    let mut wrong = Vec::new();
    for text in PROGRAMS {
        let Some(text) = resolved(text, &bytes, &btf) else {
            eprintln!("not asked, as this kernel has other names: {text}");
            continue;
        };
        asked += 1;
        let insns = asm::parse(&format!("r6 = r1\n{text}\nr0 = 0\nexit")).expect("a program");
        let program = Program {
            name: "test".into(),
            section: String::new(),
            prog_type: ProgType::Tracing,
            attach_type: place,
            hook: hook.clone(),
            license: "GPL".into(),
            insns: insns.clone(),
            maps: Vec::new(),
            subprograms: Vec::new(),
            lines: Vec::new(),
            objects: [].into(),
            on_throw: bpftime_isa::OnThrow::Ends,
        };
        let here = verify(program, &options).map(drop);
        let there = load(&insns, id);
        accepted += usize::from(there.is_ok());
        if here.is_ok() != there.is_ok() {
            wrong.push(format!("{text}\nhere: {here:?}\nthere: {there:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(accepted >= 20 && accepted + 30 <= asked, "{accepted}");
}

/// Each write of a congestion control to each byte of a socket.
#[test]
fn congestion_control_writes_what_the_kernel_lets_it() {
    const STRUCTURE: &str = "tcp_congestion_ops";
    let Ok(bytes) = std::fs::read(VMLINUX) else {
        eprintln!("skipped: {VMLINUX} cannot be read");
        return;
    };
    let id = number(&bytes, STRUCT, STRUCTURE).expect("the structure");
    let btf = Arc::new(Btf::parse(bytes).expect("the kernel's types"));
    // Its first member, which the kernel knows by index.
    let first = btf.member(STRUCTURE, &["ssthresh"]).expect("the member");
    assert_eq!(first.0, 0);
    let ask = |insns: &[Insn]| load_as(ProgType::StructOps, 0, id, insns);
    let least = asm::parse("r0 = 0\nexit").expect("a program");
    if let Err(log) = ask(&least) {
        eprintln!("skipped: the kernel lets us load no program ({log})");
        return;
    }
    let hook = Hook {
        target: Some(STRUCTURE.to_owned()),
        signature: member_signature(&btf, STRUCTURE, "ssthresh"),
        ..Hook::default()
    };
    assert!(hook.signature.is_some());
    assert!(member_signature(&btf, STRUCTURE, "get_info").is_none());
    assert!(member_signature(&btf, STRUCTURE, "name").is_none());
    let (_, size) = btf.member("tcp_sock", &[]).expect("its size");
    let environment = Environment {
        btf: TargetBtf::Given(btf),
        ..Environment::none()
    };
    let options = Options {
        kernel_types: Some(Arc::new(TargetTypes(environment))),
        ..Options::linux()
    };
    let (mut accepted, mut asked) = (0, 0);
    let mut wrong = Vec::new();
    for offset in 0..size + 8 {
        for bits in [8, 16, 32, 64] {
            let text =
                format!("r1 = *(u64 *)(r1 + 0)\n*(u{bits} *)(r1 + {offset}) = 1\nr0 = 0\nexit");
            let insns = asm::parse(&text).expect("a program");
            let program = Program {
                name: "test".into(),
                section: String::new(),
                prog_type: ProgType::StructOps,
                attach_type: None,
                hook: hook.clone(),
                license: "GPL".into(),
                insns: insns.clone(),
                maps: Vec::new(),
                subprograms: Vec::new(),
                lines: Vec::new(),
                objects: [].into(),
                on_throw: bpftime_isa::OnThrow::Ends,
            };
            let (here, there) = (verify(program, &options).is_ok(), ask(&insns).is_ok());
            asked += 1;
            accepted += usize::from(there);
            if here != there {
                wrong.push(format!(
                    "{bits} bits at {offset}: here {here}, there {there}"
                ));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {asked}: {}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
    assert!(accepted >= 100, "{accepted}");
}
