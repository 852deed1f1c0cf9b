//! Random programs, judged here and by the running kernel.
//!
//! Programs about packets: what is accepted here and rejected there fails the test, unless the
//! kernel's sentence is one of those below, which are not about safety. Programs about numbers:
//! here the analysis is more precise (division, for example), and `concrete.rs` runs what it
//! accepts; the counts are printed. Needs the privilege to load programs; skips without it.

mod common;
#[path = "common/numbers.rs"]
mod numbers;
#[path = "common/packets.rs"]
mod packets;

use bpftime_isa::{Insn, MapType, ProgType};
use bpftime_verifier::verify;
use numbers::{Random, insn, numbers};

/// Sentences of rules that are not about memory safety, each with the reason.
const POLICY: &[&str] = &[
    // Code that no path reaches is reported, not refused.
    "unreachable insn",
    // The kernel's own budget or heuristics about loops.
    "infinite loop detected",
    "back-edge",
    // The kernel's JITs might not manage; the offset is exact.
    "subtraction from stack pointer prohibited",
];

/// A pointer to the packet's start that is below its end proves the first byte; the kernel does
/// not use that.
const FIRST_BYTE: &str = "invalid access to packet, off=0 size=1, R";

const INSN_SIZE: usize = 8;

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

#[repr(C)]
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
}

fn bpf<T>(command: i32, attributes: &T) -> Result<i32, i32> {
    // SAFETY: the attributes are a live `#[repr(C)]` value of the size that is given, and the
    // buffers that it points to outlive the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    if result < 0 {
        Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    } else {
        Ok(result as i32)
    }
}

fn close(descriptor: i32) {
    // SAFETY: the descriptor was returned by the kernel and is closed once.
    unsafe { libc::close(descriptor) };
}

/// The kernel's verdict: `Ok`, or its log.
fn load(prog_type: ProgType, insns: &[Insn]) -> Result<(), String> {
    let bytes: Vec<u8> = insns.iter().flat_map(|insn| insn.to_le_bytes()).collect();
    let mut log = vec![0u8; 1 << 16];
    let attributes = ProgLoad {
        prog_type: prog_type as u32,
        insn_cnt: (bytes.len() / INSN_SIZE) as u32,
        insns: bytes.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 1,
        log_size: log.len() as u32,
        log_buf: log.as_mut_ptr() as u64,
        kern_version: 0,
        prog_flags: 0,
    };
    match bpf(5, &attributes) {
        Ok(descriptor) => {
            close(descriptor);
            Ok(())
        }
        Err(errno) => {
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(0);
            let text = String::from_utf8_lossy(&log[..end]);
            Err(format!("errno {errno}: {text}"))
        }
    }
}

#[test]
fn the_kernel_agrees_on_random_programs() {
    let created = bpf(
        0,
        &MapCreate {
            map_type: MapType::Array as u32,
            key_size: 4,
            value_size: 48,
            max_entries: 1,
            map_flags: 0,
        },
    );
    let Ok(descriptor) = created else {
        eprintln!("skipped: the kernel lets us create no map ({created:?})");
        return;
    };
    let count = std::env::var("ORACLE_PROGRAMS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(3000);
    let mut tally = [[0u32; 2]; 2];
    let mut unexplained = Vec::new();
    let seed = std::env::var("ORACLE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0x9e37_79b9_7f4a_7c15);
    let mut random = Random(seed);
    for _ in 0..count {
        let start = random.0;
        let by_index = |dst| [insn(0x18, dst, 6, 0, 0), insn(0, 0, 0, 0, 0)];
        let ours = numbers(&mut random, &by_index);
        random.0 = start;
        let by_fd = |dst| [insn(0x18, dst, 2, 0, descriptor), insn(0, 0, 0, 0, 0)];
        let theirs = numbers(&mut random, &by_fd);
        let maps = vec![common::map(MapType::Array, 4, 48, 1)];
        let program = common::program(ProgType::SocketFilter, ours, maps);
        let here = verify(program.clone(), &common::options());
        let there = load(ProgType::SocketFilter, &theirs);
        tally[usize::from(here.is_ok())][usize::from(there.is_ok())] += 1;
        if let (Ok(_), Err(log)) = (&here, &there)
            && !POLICY.iter().any(|sentence| log.contains(sentence))
        {
            let code = bpftime_isa::decode(&program.insns).expect("accepted");
            let text: Vec<String> = code
                .iter()
                .map(|d| format!("{}: {}", d.slot, d.insn))
                .collect();
            unexplained.push(format!("{}\n{log}", text.join("\n")));
        }
    }
    close(descriptor);
    println!(
        "both accept {}, both reject {}, only here {}, only there {}",
        tally[1][1], tally[0][0], tally[1][0], tally[0][1]
    );
    if let Some(folder) = std::env::var_os("ORACLE_OUT") {
        std::fs::write(folder, unexplained.join("\n=====\n")).expect("writable");
    }
    assert!(
        tally[1][1] > count / 50,
        "too few programs are accepted: {tally:?}"
    );
    println!("more precise here: {}", unexplained.len());
}

#[test]
fn the_kernel_agrees_on_random_packet_programs() {
    let least = [insn(0xb7, 0, 0, 0, 0), insn(0x95, 0, 0, 0, 0)];
    if let Err(log) = load(ProgType::Xdp, &least) {
        eprintln!("skipped: the kernel lets us load no program ({log})");
        return;
    }
    let count = std::env::var("ORACLE_PROGRAMS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(4000);
    let mut random = Random(0xd1b5_4a32_d192_ed03);
    let mut tally = [[0u32; 2]; 2];
    let mut unexplained = Vec::new();
    for _ in 0..count {
        let insns = packets::packets(&mut random);
        let program = common::program(ProgType::Xdp, insns.clone(), Vec::new());
        let here = verify(program, &common::options());
        let there = load(ProgType::Xdp, &insns);
        tally[usize::from(here.is_ok())][usize::from(there.is_ok())] += 1;
        if let (Ok(_), Err(log)) = (&here, &there)
            && !log.contains(FIRST_BYTE)
            && !POLICY.iter().any(|sentence| log.contains(sentence))
        {
            unexplained.push(log.clone());
        }
    }
    println!(
        "both accept {}, both reject {}, only here {}, only there {}",
        tally[1][1], tally[0][0], tally[1][0], tally[0][1]
    );
    if let Some(file) = std::env::var_os("ORACLE_OUT_PACKETS") {
        std::fs::write(file, unexplained.join("\n=====\n")).expect("writable");
    }
    assert!(
        tally[1][1] > count / 50,
        "too few programs are accepted: {tally:?}"
    );
    assert!(
        unexplained.is_empty(),
        "accepted, but the kernel rejects:\n{}",
        unexplained[0]
    );
}

#[test]
fn logs_name_the_helper_as_the_kernel_does() {
    // A kprobe's helper in a socket filter, and a number that no helper has.
    for number in [58, 9999] {
        let insns = [insn(0x85, 0, 0, 0, number), insn(0x95, 0, 0, 0, 0)];
        let mut options = common::options();
        options.capabilities = bpftime_abi::Capabilities::NONE;
        let program = common::program(ProgType::SocketFilter, insns.to_vec(), Vec::new());
        let rejection = verify(program, &options).expect_err("not offered");
        let Err(log) = load(ProgType::SocketFilter, &insns) else {
            panic!("the kernel offers helper {number} to socket filters");
        };
        if !log.contains('\n') {
            eprintln!("skipped: the kernel lets us load no program ({log})");
            return;
        }
        let sentence = &rejection.kernel_message;
        assert!(log.contains(sentence), "{sentence:?} is not in {log}");
        assert!(rejection.kernel_log().contains(sentence));
    }
}
