//! Helpers that take constant strings and write buffers: `bpf_snprintf`, `bpf_strncmp`.

mod common;

use std::sync::Arc;

use bpftime_abi::map_type::create_flags::BPF_F_RDONLY_PROG;
use bpftime_isa::{MapDef, MapType, ProgType, asm};
use bpftime_verifier::{Code, verify};

/// A frozen array of strings of eight bytes, of which the first is known and ends.
fn strings(entries: u32, flags: u32) -> MapDef {
    MapDef {
        flags,
        initial: Some(Arc::from(&b"%d\0\0\0\0\0\0"[..])),
        frozen: true,
        ..common::map(MapType::Array, 4, 8, entries)
    }
}

fn judge(text: &str, strings: MapDef) -> Result<(), Code> {
    let maps = vec![common::map(MapType::Array, 4, 48, 1), strings];
    let insns = asm::parse(text).expect("assembles");
    verify(
        common::program(ProgType::Kprobe, insns, maps),
        &common::options(),
    )
    .map(|_| ())
    .map_err(|rejection| rejection.code)
}

fn snprintf(buffer: &str, size: &str) -> Result<(), Code> {
    let text = format!(
        "r1 = {buffer}
        r2 = {size}
        r3 = map_idx(0x1) + 0x0 ll
        *(u64 *)(r10 - 8) = 7
        r4 = r10
        r4 += -8
        r5 = 8
        call 165
        r0 = 0
        exit"
    );
    judge(&text, strings(1, BPF_F_RDONLY_PROG))
}

#[test]
fn the_buffer_of_snprintf_is_memory_of_its_size() {
    assert_eq!(snprintf("map_idx(0x0) + 0x0 ll", "48"), Ok(()));
    assert_eq!(snprintf("map_idx(0x0) + 0x8 ll", "40"), Ok(()));
    assert_eq!(snprintf("0", "0"), Ok(()));
    let over = snprintf("map_idx(0x0) + 0x0 ll", "49");
    assert_eq!(over, Err(Code::MapValueBounds));
    assert_eq!(snprintf("0", "8"), Err(Code::HelperArgument));
    assert_eq!(snprintf("4096", "8"), Err(Code::NotAPointer));
    assert_eq!(snprintf("r10", "8"), Err(Code::StackBounds));
    let constant = snprintf("map_idx(0x1) + 0x0 ll", "8");
    assert_eq!(constant, Err(Code::MapAccess));
    let unknown = snprintf("map_idx(0x0) + 0x0 ll", "-1");
    assert_eq!(unknown, Err(Code::HelperArgument));
}

#[test]
fn what_snprintf_overwrites_is_forgotten() {
    // A pointer to a map value lies where the helper writes.
    let text = "r6 = map_idx(0x0) + 0x0 ll
        *(u64 *)(r10 - 16) = r6
        r1 = r10
        r1 += -16
        r2 = 8
        r3 = map_idx(0x1) + 0x0 ll
        *(u64 *)(r10 - 8) = 7
        r4 = r10
        r4 += -8
        r5 = 8
        call 165
        r1 = *(u64 *)(r10 - 16)
        r0 = *(u64 *)(r1 + 0)
        exit";
    let verdict = judge(text, strings(1, BPF_F_RDONLY_PROG));
    assert_eq!(verdict, Err(Code::NotAPointer));
}

fn strncmp(of: &str, strings: MapDef) -> Result<(), Code> {
    let text = format!(
        "*(u32 *)(r10 - 4) = 1
        {of}
        r3 = r0
        r1 = map_idx(0x0) + 0x0 ll
        r2 = 48
        call 182
        out: r0 = 0
        exit"
    );
    judge(&text, strings)
}

#[test]
fn a_constant_string_is_the_only_value_of_its_map() {
    let direct = "r0 = map_idx(0x1) + 0x0 ll";
    let looked_up = "r1 = map_idx(0x1) ll
        r2 = r10
        r2 += -4
        call 1
        if r0 == 0 goto out";
    assert_eq!(strncmp(direct, strings(1, BPF_F_RDONLY_PROG)), Ok(()));
    // What is known is the first value, the pointer may be to the second.
    let second = strncmp(looked_up, strings(2, BPF_F_RDONLY_PROG));
    assert_eq!(second, Err(Code::HelperArgument));
    // A program that may write the map can take the end of the string away.
    let writable = strncmp(direct, strings(1, 0));
    assert_eq!(writable, Err(Code::HelperArgument));
    // What is known beyond the value is not part of it.
    let mut long = strings(1, BPF_F_RDONLY_PROG);
    long.initial = Some(Arc::from(&b"12345678\0"[..]));
    assert_eq!(strncmp(direct, long), Err(Code::HelperArgument));
}
