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
const UNION: u32 = 5;
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
    // Sections are not nested; what an iterator gives is kept by RCU, and no more.
    "call {bpf_rcu_read_lock}\ncall {bpf_rcu_read_unlock}\ncall {bpf_rcu_read_lock}\ncall {bpf_rcu_read_unlock}",
    "call {bpf_rcu_read_lock}\ncall {bpf_rcu_read_lock}\ncall {bpf_rcu_read_unlock}\ncall {bpf_rcu_read_unlock}",
    "r1 = r10\nr1 += -24\nr2 = *(u64 *)(r6 + 8)\nr3 = 0\ncall {bpf_iter_task_new}\nr1 = r10\nr1 += -24\n\
     call {bpf_iter_task_next}\nif r0 == 0 goto +5\nr1 = r0\ncall {bpf_task_acquire}\nif r0 == 0 goto +2\n\
     r1 = r0\ncall {bpf_task_release}\nr1 = r10\nr1 += -24\ncall {bpf_iter_task_destroy}",
    "r1 = r10\nr1 += -24\nr2 = *(u64 *)(r6 + 8)\nr3 = 0\ncall {bpf_iter_task_new}\nr1 = r10\nr1 += -24\n\
     call {bpf_iter_task_next}\nif r0 == 0 goto +8\nr1 = r10\nr1 += -48\nr2 = r0\nr3 = 0\n\
     call {bpf_iter_task_new}\nr1 = r10\nr1 += -48\ncall {bpf_iter_task_destroy}\n\
     r1 = r10\nr1 += -24\ncall {bpf_iter_task_destroy}",
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
    // What each CPU has its own of, locks and work queues: where there are none.
    "r1 = 5\ncall 154",
    "r1 = *(u64 *)(r6 + 8)\ncall 154",
    "r1 = *(u64 *)(r6 + 8)\nr2 = 0\ncall 153",
    "r1 = 1\nr2 = 0\ncall {bpf_percpu_obj_new_impl}",
    "r1 = *(u64 *)(r6 + 8)\nr2 = 0\ncall {bpf_percpu_obj_drop_impl}",
    "*(u64 *)(r10 - 8) = 0\nr1 = r10\nr1 += -8\ncall {bpf_res_spin_lock}",
    "*(u64 *)(r10 - 8) = 0\nr1 = r10\nr1 += -8\ncall {bpf_res_spin_unlock}",
    "r1 = r10\nr1 += -8\nr2 = r10\nr2 += -16\ncall {bpf_res_spin_lock_irqsave}",
    "*(u64 *)(r10 - 8) = 0\n*(u64 *)(r10 - 16) = 0\nr1 = r10\nr1 += -16\nr2 = 0\ncall {bpf_wq_start}",
    "r1 = *(u64 *)(r6 + 8)\nr2 = 0\nr3 = 0\ncall {bpf_wq_init}",
    // The name of a path: not here, and not of a task.
    "r1 = *(u64 *)(r6 + 8)\nr2 = r10\nr2 += -8\nr3 = 8\ncall 147",
    // An address is some number, and not null with a small offset.
    "r1 = *(u64 *)(r6 + 8)\nr2 = (s8)r1",
    "r1 = *(u64 *)(r6 + 8)\nr1 += 8\nif r1 != 0 goto +1\nr1 = *(u64 *)(r10 + 8)",
    // A union may be cast to.
    "r1 = *(u64 *)(r6 + 24)\nr2 = {union:bpf_attr}\ncall {bpf_rdonly_cast}\nr1 = *(u32 *)(r0 + 0)",
    // Not for this program.
    "r1 = r6\nr2 = 0\nr3 = 0\nr4 = 0\nr5 = 0\ncall {bpf_xdp_ct_alloc}",
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
    load_with(prog_type, expected_attach_type, attach_btf_id, insns, 0)
}

/// As [`load_as`], with flags.
fn load_with(
    prog_type: ProgType,
    expected_attach_type: u32,
    attach_btf_id: u32,
    insns: &[Insn],
    prog_flags: u32,
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
        prog_flags,
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
    let strings = word(4) as usize + word(16) as usize;
    let wanted = format!("{name}\0");
    let mut all = types(bytes);
    all.find_map(|(id, at)| {
        let found = strings + word(at) as usize;
        let same = word(at + 4) >> 24 & 0x1f == wanted_kind;
        (same && bytes[found..].starts_with(wanted.as_bytes())).then_some(id)
    })
}

/// Where the type with the number is.
fn place(bytes: &[u8], number: u32) -> usize {
    let mut all = types(bytes);
    all.find(|(id, _)| *id == number).expect("the type").1
}

/// Numbers and places of all types.
fn types(bytes: &[u8]) -> impl Iterator<Item = (u32, usize)> {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let mut at = word(4) as usize + word(8) as usize;
    let end = at + word(12) as usize;
    let step = move || {
        let here = at;
        let info = word(here + 4);
        let (kind, count) = (info >> 24 & 0x1f, info as usize & 0xffff);
        at += 12
            + match kind {
                1 | 14 | 17 => 4,
                3 => 12,
                4 | 5 | 15 | 19 => 12 * count,
                6 | 13 => 8 * count,
                _ => 0,
            };
        (here < end).then_some(here)
    };
    (1..).zip(std::iter::from_fn(step))
}

/// The program with numbers in the place of names: `{function}`, `{struct:name}` and `{member}` of tasks.
fn resolved(text: &str, bytes: &[u8], types: &Btf) -> Option<String> {
    let mut parts = text.split('{');
    let mut all = parts.next()?.to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}')?;
        all += &match name.split_once(':') {
            Some(("union", name)) => number(bytes, UNION, name)?.to_string(),
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
            attach_type: place,
            hook: hook.clone(),
            license: "GPL".into(),
            ..Program::new(ProgType::Tracing, insns.clone())
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

/// Names of the members of the structure with the number, which are functions and numbers alike.
fn members(bytes: &[u8], structure: u32) -> Vec<String> {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let strings = word(4) as usize + word(16) as usize;
    let at = place(bytes, structure);
    let count = word(at + 4) as usize & 0xffff;
    (0..count)
        .map(|index| {
            let name = strings + word(at + 12 + 12 * index) as usize;
            let end = bytes[name..].iter().position(|byte| *byte == 0);
            String::from_utf8_lossy(&bytes[name..name + end.unwrap_or(0)]).into_owned()
        })
        .collect()
}

/// A structure of functions of this kernel's, and whether programs for it can be loaded.
struct Functions {
    name: &'static str,
    id: u32,
    members: Vec<String>,
    btf: Arc<Btf>,
    options: Options,
}

impl Functions {
    /// Says why there is nothing to ask, if so.
    fn new(name: &'static str) -> Option<Self> {
        let Ok(bytes) = std::fs::read(VMLINUX) else {
            eprintln!("skipped: {VMLINUX} cannot be read");
            return None;
        };
        let id = number(&bytes, STRUCT, name).expect("the structure");
        let members = members(&bytes, id);
        let btf = Arc::new(Btf::parse(bytes).expect("the kernel's types"));
        let environment = Environment {
            btf: TargetBtf::Given(btf.clone()),
            ..Environment::none()
        };
        let options = Options {
            kernel_types: Some(Arc::new(TargetTypes(environment))),
            ..Options::linux()
        };
        let found = Self {
            name,
            id,
            members,
            btf,
            options,
        };
        let least = asm::parse("r0 = 0\nexit").expect("a program");
        if let Err(log) = load_as(ProgType::StructOps, 0, id, &least) {
            eprintln!("skipped: the kernel lets us load no program ({log})");
            return None;
        }
        Some(found)
    }

    /// Both verdicts on the program that implements the member: ours, the kernel's.
    fn ask(&self, member: usize, sleepable: bool, text: &str) -> (bool, bool) {
        let insns = asm::parse(text).expect("a program");
        let program = Program {
            name: "test".into(),
            hook: Hook {
                sleepable,
                target: Some(self.name.to_owned()),
                member: Some(self.members[member].clone()),
                signature: member_signature(&self.btf, self.name, &self.members[member]),
            },
            license: "GPL".into(),
            ..Program::new(ProgType::StructOps, insns.clone())
        };
        let flags = if sleepable { BPF_F_SLEEPABLE } else { 0 };
        let there = load_with(ProgType::StructOps, member as u32, self.id, &insns, flags);
        (verify(program, &self.options).is_ok(), there.is_ok())
    }
}

const BPF_F_SLEEPABLE: u32 = 1 << 4;

/// Which members programs may implement, and which of these may sleep.
#[test]
fn members_are_those_that_the_kernel_takes() {
    for name in ["bpf_dummy_ops", "tcp_congestion_ops"] {
        let Some(functions) = Functions::new(name) else {
            return;
        };
        let mut accepted = 0;
        for (index, member) in functions.members.iter().enumerate() {
            for sleepable in [false, true] {
                let (here, there) = functions.ask(index, sleepable, "r0 = 0\nexit");
                assert_eq!(here, there, "{name}.{member}, sleepable: {sleepable}");
                accepted += usize::from(there);
            }
        }
        assert!(accepted >= 4, "{name}: {accepted}");
    }
}

/// What `bpf_dummy_ops` is called with, what it may write and which helpers it has.
#[test]
fn dummies_do_what_the_kernel_lets_them() {
    let Some(functions) = Functions::new("bpf_dummy_ops") else {
        return;
    };
    let (_, size) = functions
        .btf
        .member("bpf_dummy_ops_state", &[])
        .expect("its size");
    let (mut accepted, mut asked) = (0, 0);
    let mut compare = |member: usize, text: &str| {
        let text = format!("{text}\nr0 = 0\nexit");
        let (here, there) = functions.ask(member, false, &text);
        asked += 1;
        accepted += usize::from(there);
        assert_eq!(here, there, "{}: {text}", functions.members[member]);
    };
    // Only the first is called with what may be null.
    for member in 0..2 {
        for checked in ["", "if r1 == 0 goto +1\n"] {
            for bits in [8, 16, 32, 64] {
                for offset in 0..size + 2 {
                    compare(
                        member,
                        &format!("r1 = *(u64 *)(r1 + 0)\n{checked}*(u{bits} *)(r1 + {offset}) = 1"),
                    );
                    compare(
                        member,
                        &format!(
                            "r1 = *(u64 *)(r1 + 0)\n{checked}r2 = *(u{bits} *)(r1 + {offset})"
                        ),
                    );
                }
            }
        }
    }
    for bits in [8, 16, 32, 64] {
        for offset in 0..48 {
            compare(1, &format!("r2 = *(u{bits} *)(r1 + {offset})"));
        }
    }
    for helper in [5, 6, 8, 14, 35, 156, 164] {
        compare(
            1,
            &format!("r1 = 0\nr2 = 0\nr3 = 0\nr4 = 0\nr5 = 0\ncall {helper}"),
        );
    }
    assert!(
        accepted >= 20 && accepted + 20 <= asked,
        "{accepted} of {asked}"
    );
}

/// Each write of a congestion control to each byte of a socket.
#[test]
fn congestion_control_writes_what_the_kernel_lets_it() {
    let Some(functions) = Functions::new("tcp_congestion_ops") else {
        return;
    };
    let member = |name: &str| member_signature(&functions.btf, "tcp_congestion_ops", name);
    assert!(member("ssthresh").is_some());
    assert!(member("get_info").is_none());
    assert!(member("name").is_none());
    // The kernel has this structure, but not for programs.
    assert!(member_signature(&functions.btf, "Qdisc_ops", "enqueue").is_none());
    let first = functions.members.iter().position(|name| name == "ssthresh");
    let first = first.expect("the member");
    let (_, size) = functions.btf.member("tcp_sock", &[]).expect("its size");
    let (mut accepted, mut asked) = (0, 0);
    let mut wrong = Vec::new();
    for offset in 0..size + 8 {
        for bits in [8, 16, 32, 64] {
            let text =
                format!("r1 = *(u64 *)(r1 + 0)\n*(u{bits} *)(r1 + {offset}) = 1\nr0 = 0\nexit");
            let (here, there) = functions.ask(first, false, &text);
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
