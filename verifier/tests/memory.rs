//! How much memory large programs take. The only test of its process: it reads the peak.

mod common;

use bpftime_isa::{Insn, MapType, ProgType, asm};
use bpftime_verifier::{Code, verify};

fn judge(insns: Vec<Insn>) -> Result<(), Code> {
    let maps = vec![common::map(MapType::Array, 4, 8, 1)];
    verify(
        common::program(ProgType::Xdp, insns, maps),
        &common::options(),
    )
    .map(|_| ())
    .map_err(|rejection| rejection.code)
}

/// Greatest resident size of the process so far, in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let size = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    size.unwrap_or_default()
}

#[test]
fn a_million_instructions_fit_in_the_memory_that_is_promised() {
    let insns = asm::parse(&("r0 = 0\n".repeat(999_999) + "exit\n")).expect("assembles");
    assert_eq!(judge(insns), Ok(()));
    // Each a block of its own.
    let text = "r2 = 0\n".to_owned() + &"if r1 == r2 goto +0\n".repeat(900_000) + "r0 = 0\nexit\n";
    let insns = asm::parse(&text).expect("assembles");
    drop(text);
    assert_eq!(judge(insns), Ok(()));
    let peak = peak_memory();
    assert!(peak < 256 << 10, "{peak} KiB");
}
