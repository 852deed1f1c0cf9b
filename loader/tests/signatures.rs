//! What programs are called with that are attached to tracepoints and iterators, and what they may read
//! through that, compared with the running kernel. Needs Linux 6.18 and the privilege to load programs; says so and skips
//! otherwise.

use std::collections::BTreeMap;

use bpftime_isa::{
    AttachType, CtxFieldKind, HookArg, KernelTypes as _, Object, ProgType, Trust, Walked,
};
use bpftime_loader::{Btf, signature};

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
const TYPEDEF: u32 = 8;
const FUNC: u32 = 12;

/// The beginning of `union bpf_attr` for `BPF_PROG_LOAD`.
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

/// `r2 = *(u64 *)(r1 + offset)`.
fn load_word(offset: u8) -> [u8; 8] {
    [0x79, 0x12, offset, 0, 0, 0, 0, 0]
}

/// Loads `r2 = *(u64 *)(r1 + offset); r0 = 0; exit`: what the kernel says of `r2`, or its log.
fn read_word(attach_type: AttachType, attach_btf_id: u32, offset: u8) -> Result<String, String> {
    ask(attach_type, attach_btf_id, &[load_word(offset)], "R2")
}

/// Loads the instructions, then `r0 = 0; exit`: what the kernel says last of the register, or its log.
fn ask(
    attach_type: AttachType,
    attach_btf_id: u32,
    body: &[[u8; 8]],
    reg: &str,
) -> Result<String, String> {
    let mut code = body.to_vec();
    code.extend([[0xb7, 0, 0, 0, 0, 0, 0, 0], [0x95, 0, 0, 0, 0, 0, 0, 0]]);
    let mut log = vec![0u8; 1 << 14];
    let attributes = ProgLoad {
        prog_type: ProgType::Tracing as u32,
        insn_cnt: code.len() as u32,
        insns: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 2,
        log_size: log.len() as u32,
        log_buf: log.as_mut_ptr() as u64,
        expected_attach_type: attach_type.0,
        attach_btf_id,
        ..ProgLoad::default()
    };
    // SAFETY: every address in the attributes is of a buffer that outlives the call and has the length
    // given beside it; the kernel writes only to the log.
    let fd = unsafe {
        let size = size_of::<ProgLoad>();
        libc::syscall(libc::SYS_bpf, 5, &raw const attributes, size)
    };
    let end = log.iter().position(|byte| *byte == 0).unwrap_or(0);
    let log = String::from_utf8_lossy(&log[..end]).into_owned();
    if fd < 0 {
        return Err(log);
    }
    // SAFETY: the descriptor was just made and is closed once.
    unsafe { libc::close(fd as i32) };
    let log = log.replace("_w=", "=");
    let said = log.split(&format!("{reg}=")).nth(1).unwrap_or_default();
    Ok(said
        .split(['(', '\n', ' '])
        .next()
        .unwrap_or_default()
        .into())
}

/// Numbers by kind and name, of typedefs and functions.
type Numbers = BTreeMap<(u32, String), u32>;

fn named_types(bytes: &[u8]) -> Numbers {
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let header = word(4) as usize;
    let (mut at, strings) = (header + word(8) as usize, header + word(16) as usize);
    let end = at + word(12) as usize;
    let mut found = BTreeMap::new();
    for id in 1.. {
        if at >= end {
            break;
        }
        let (name, info) = (strings + word(at) as usize, word(at + 4));
        let (kind, count) = (info >> 24 & 0x1f, info as usize & 0xffff);
        if matches!(kind, TYPEDEF | FUNC) {
            let name = bytes[name..].split(|byte| *byte == 0).next().expect("text");
            let name = String::from_utf8_lossy(name).into_owned();
            found.entry((kind, name)).or_insert(id);
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
    found
}

/// The kernel's types and their numbers, if it can be asked.
fn kernel() -> Option<(Btf, Numbers)> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if !release.starts_with("6.18.") {
        println!("skipped: the rules are those of Linux 6.18, this is {release:?}");
        return None;
    }
    let Ok(bytes) = std::fs::read(VMLINUX) else {
        println!("skipped: {VMLINUX} cannot be read");
        return None;
    };
    let types = named_types(&bytes);
    let some = types.get(&(TYPEDEF, "btf_trace_sched_switch".into()))?;
    if let Err(log) = read_word(AttachType::TRACE_RAW_TP, *some, 0) {
        println!("skipped: the kernel lets us load no program ({log})");
        return None;
    }
    Some((Btf::parse(bytes).expect("the kernel's types"), types))
}

/// Compares all words of what the programs are called with, and gives how many pointers there were.
fn compare(
    btf: &Btf,
    attach_type: AttachType,
    target: &str,
    id: u32,
    wrong: &mut Vec<String>,
) -> usize {
    let signature = signature(btf, ProgType::Tracing, Some(attach_type), target);
    let signature = signature.expect("a signature");
    let layout = signature.layout();
    let mut pointers = 0;
    for offset in (0..96).step_by(8) {
        let ours = layout.readable(offset, 8).map(|field| match field.kind {
            CtxFieldKind::Object(to) => match (to.object, to.nullable) {
                (
                    Object::Typed {
                        trust: Trust::Trusted,
                        ..
                    },
                    false,
                ) => "trusted_ptr_",
                (
                    Object::Typed {
                        trust: Trust::Trusted,
                        ..
                    },
                    true,
                ) => "trusted_ptr_or_null_",
                (
                    Object::Typed {
                        trust: Trust::Argument,
                        ..
                    },
                    true,
                ) => "ptr_or_null_",
                (Object::IteratorBuffer { writable: true }, true) => "buf_or_null",
                (Object::IteratorBuffer { writable: false }, true) => "rdonly_buf_or_null",
                _ => "another object",
            },
            CtxFieldKind::Scalar => "scalar",
            _ => "something else",
        });
        let kernel = read_word(attach_type, id, offset as u8);
        let same = match (&kernel, ours) {
            (Err(_), None) => true,
            (Ok(said), Some("scalar" | "buf_or_null" | "rdonly_buf_or_null")) => {
                Some(&**said) == ours
            }
            (Ok(said), Some("trusted_ptr_")) => {
                said.starts_with("trusted_ptr_") && !said.contains("_or_null_")
            }
            // Of iterators, the kernel knows which are never null.
            (Ok(said), Some("trusted_ptr_or_null_")) => {
                said.starts_with("trusted_ptr_or_null_")
                    || (attach_type == AttachType::TRACE_ITER && said.starts_with("trusted_ptr_"))
            }
            (Ok(said), Some("ptr_or_null_")) => said.starts_with("ptr_or_null_"),
            _ => false,
        };
        pointers += usize::from(ours.is_some_and(|ours| ours.contains("ptr")));
        if !same {
            wrong.push(format!("{target} at {offset}: {ours:?}, kernel {kernel:?}"));
        }
    }
    pointers
}

#[test]
fn tracepoints_are_called_with_what_the_kernel_says() {
    let Some((btf, types)) = kernel() else { return };
    let mut wrong = Vec::new();
    let mut pointers = 0;
    for ((kind, name), id) in &types {
        if *kind == TYPEDEF
            && let Some(target) = name.strip_prefix("btf_trace_")
        {
            pointers += compare(&btf, AttachType::TRACE_RAW_TP, target, *id, &mut wrong);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(pointers > 500, "only {pointers} pointers");
}

#[test]
fn iterators_are_called_with_what_the_kernel_says() {
    let Some((btf, types)) = kernel() else { return };
    let mut wrong = Vec::new();
    let mut iterators = 0;
    for ((kind, name), id) in &types {
        if *kind == FUNC
            && let Some(target) = name.strip_prefix("bpf_iter_")
            && read_word(AttachType::TRACE_ITER, *id, 0).is_ok()
        {
            compare(&btf, AttachType::TRACE_ITER, target, *id, &mut wrong);
            iterators += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(iterators > 10, "only {iterators} iterators");
}

/// The structures that arguments of tracepoints point to: number, tracepoint, offset of the argument.
fn structures(btf: &Btf, types: &Numbers) -> BTreeMap<u32, (u32, u8)> {
    let mut found = BTreeMap::new();
    for ((kind, name), id) in types {
        let Some(target) = name.strip_prefix("btf_trace_").filter(|_| *kind == TYPEDEF) else {
            continue;
        };
        let place = Some(AttachType::TRACE_RAW_TP);
        let signature = signature(btf, ProgType::Tracing, place, target).expect("a signature");
        for (arg, offset) in signature.args.iter().zip((0u8..).step_by(8)) {
            if let HookArg::Object {
                type_id,
                nullable: false,
                ..
            } = arg
            {
                found.entry(*type_id).or_insert((*id, offset));
            }
        }
    }
    found
}

/// Whether the kernel says the same of a read.
fn same(btf: &Btf, said: &Result<String, String>, ours: Option<Walked>) -> bool {
    let name = |id| btf.name(id).unwrap_or_default();
    match (said, ours) {
        (Err(_), None) => true,
        (Ok(said), Some(Walked::Object(0))) => said == "rdonly_untrusted_mem",
        (Ok(said), Some(Walked::Object(to))) => {
            let name = name(to);
            let kinds = ["ptr", "untrusted_ptr", "rcu_ptr"];
            kinds.iter().any(|kind| *said == format!("{kind}_{name}"))
        }
        (
            Ok(said),
            Some(Walked::Kept {
                type_id,
                nullable,
                rcu,
            }),
        ) => {
            let kind = if rcu { "rcu_ptr" } else { "trusted_ptr" };
            let null = if nullable { "_or_null" } else { "" };
            *said == format!("{kind}{null}_{}", name(type_id))
        }
        (Ok(said), Some(Walked::Number)) => {
            said == "scalar" || said.starts_with("user_ptr") || said.starts_with("percpu_ptr")
        }
        _ => false,
    }
}

/// Structures with members that stay valid, and those near them.
const WHOLE: &[&str] = &[
    "cgroup",
    "dentry",
    "file",
    "linux_binprm",
    "mm_struct",
    "request_sock",
    "sk_buff",
    "sock",
    "socket",
    "task_struct",
    "vm_area_struct",
];

#[test]
fn members_that_stay_valid_are_those_of_the_kernel() {
    let Some((btf, types)) = kernel() else { return };
    let mut wrong = Vec::new();
    let mut kept = 0;
    for (type_id, (tracepoint, word)) in structures(&btf, &types) {
        let structure = btf.name(type_id).unwrap_or_default();
        if !WHOLE.contains(&structure.as_str()) {
            continue;
        }
        for offset in (0u16..16384).step_by(8) {
            let ours = btf.read(type_id, offset.into(), 8);
            if !matches!(ours, Some(Walked::Object(1..) | Walked::Kept { .. })) {
                continue;
            }
            kept += usize::from(matches!(ours, Some(Walked::Kept { .. })));
            let [low, high] = offset.to_le_bytes();
            let read = [0x79, 0x23, low, high, 0, 0, 0, 0];
            let body = [load_word(word), read];
            let said = ask(AttachType::TRACE_RAW_TP, tracepoint, &body, "R3");
            if !same(&btf, &said, ours) {
                wrong.push(format!("{structure}+{offset}: {ours:?}, kernel {said:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(kept > 5, "only {kept}");
}

#[test]
fn structures_are_read_as_the_kernel_reads_them() {
    let Some((btf, types)) = kernel() else { return };
    let mut wrong = Vec::new();
    let (mut numbers, mut pointers, mut refused) = (0, 0, 0);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for (type_id, (tracepoint, word)) in structures(&btf, &types) {
        for round in 0..80u64 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // Most structures are small, and pointers are at multiples of 8.
            let range = [32, 128, 512][(random >> 40) as usize % 3];
            let mut offset = (random >> 32) as u32 % range;
            let (code, size) = [(0x71, 1), (0x69, 2), (0x61, 4), (0x79, 8)][round as usize % 4];
            if size == 8 {
                offset &= !7;
            }
            let [low, high, ..] = offset.to_le_bytes();
            let read = [code, 0x23, low, high, 0, 0, 0, 0];
            let place = AttachType::TRACE_RAW_TP;
            let said = ask(place, tracepoint, &[load_word(word), read], "R3");
            let ours = btf.read(type_id, offset, size);
            let same = same(&btf, &said, ours);
            match ours {
                None => refused += 1,
                Some(Walked::Number) => numbers += 1,
                Some(Walked::Object(_) | Walked::Kept { .. }) => pointers += 1,
            }
            if !same {
                let name = btf.name(type_id).unwrap_or_default();
                wrong.push(format!(
                    "{name}+{offset}, {size}: {ours:?}, kernel {said:?}"
                ));
            }
        }
    }
    println!("{numbers} numbers, {pointers} pointers, {refused} refused");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(numbers > 1000 && pointers > 500 && refused > 500);
}
