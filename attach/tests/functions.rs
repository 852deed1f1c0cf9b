//! Plans and trampolines for every function of real programs: what is displaced must do the
//! same elsewhere. Compared by decoding the trampoline again.

use std::collections::BTreeMap;

use bpftime_abi::target::RETURN_MISSED_OFFSET;
use bpftime_attach::trampoline::{
    Dispatchers, Jump, Obstacle, Site, SitePlan, Trampoline, build_entry, build_return, plan,
};
use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register,
};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};
use rand::{Rng, SeedableRng, rngs::StdRng};

const DISPATCHERS: Dispatchers = Dispatchers {
    entry: 0x7fff_0000_1000,
    return_entry: 0x7fff_0000_2000,
    on_return: 0x7fff_0000_3000,
    find_fde: 0x7fff_0000_4000,
    find_object: 0x7fff_0000_5000,
};

/// Where the program is thought to be loaded.
const BIAS: u64 = 0x5555_0000_0000;

struct Function<'a> {
    name: String,
    address: u64,
    code: &'a [u8],
    padding_before: &'a [u8],
    padding_after: &'a [u8],
}

/// All functions with a size, from both symbol tables.
fn functions(file: &[u8]) -> (Vec<Function<'_>>, Vec<u64>) {
    let elf = object::File::parse(file).expect("an ELF file");
    let mut symbols = BTreeMap::new();
    for symbol in elf.symbols().chain(elf.dynamic_symbols()) {
        let in_text = symbol
            .section_index()
            .and_then(|index| elf.section_by_index(index).ok())
            .is_some_and(|section| section.kind() == SectionKind::Text);
        if in_text && symbol.kind() == SymbolKind::Text && symbol.size() > 0 {
            let name = symbol.name().unwrap_or("?").to_owned();
            symbols.insert(symbol.address(), (symbol.size(), name));
        }
    }
    let entries: Vec<u64> = symbols.keys().map(|address| address + BIAS).collect();
    let mut functions = Vec::new();
    for section in elf.sections().filter(|s| s.kind() == SectionKind::Text) {
        let (start, data) = (section.address(), section.data().expect("readable"));
        let end = start + data.len() as u64;
        let bytes = |from: u64, to: u64| {
            data.get((from - start) as usize..(to - start) as usize)
                .unwrap_or_default()
        };
        let mut previous_end = start;
        let inside: Vec<_> = symbols.range(start..end).collect();
        for (index, (address, (size, name))) in inside.iter().enumerate() {
            let stop = **address + *size;
            let next = inside.get(index + 1).map_or(end, |(address, _)| **address);
            functions.push(Function {
                name: name.clone(),
                address: **address + BIAS,
                code: bytes(**address, stop),
                padding_before: bytes(previous_end.min(**address), **address),
                padding_after: bytes(stop.min(next), next),
            });
            previous_end = stop;
        }
    }
    (functions, entries)
}

/// The instruction at an address of the trampoline.
fn decode(trampoline: &Trampoline, address: u64) -> Instruction {
    let offset = (address - trampoline.address) as usize;
    Decoder::with_ip(
        64,
        &trampoline.code[offset..],
        address,
        DecoderOptions::NONE,
    )
    .decode()
}

/// The place that a jump leads to, also one through a constant in the trampoline.
fn destination(trampoline: &Trampoline, jump: &Instruction) -> u64 {
    match jump.op0_kind() {
        OpKind::NearBranch64 => jump.near_branch_target(),
        OpKind::Memory if jump.is_ip_rel_memory_operand() => {
            literal(trampoline, jump.ip_rel_memory_address())
        }
        kind => panic!("{jump:?} has no fixed destination: {kind:?}"),
    }
}

fn literal(trampoline: &Trampoline, address: u64) -> u64 {
    let offset = (address - trampoline.address) as usize;
    u64::from_le_bytes(
        trampoline.code[offset..offset + 8]
            .try_into()
            .expect("8 bytes"),
    )
}

/// Whether `moved` and what follows does what `original` did. Gives the address behind it.
fn same_effect(trampoline: &Trampoline, original: &Instruction, at: u64) -> u64 {
    let moved = decode(trampoline, at);
    let context = || format!("{original:?} became {moved:?}");
    if matches!(original.code(), Code::Call_rel32_64 | Code::Call_rm64) {
        // push low half (sign-extended); mov the upper half; jmp.
        assert_eq!(moved.code(), Code::Pushq_imm32, "{}", context());
        let store = decode(trampoline, moved.next_ip());
        assert_eq!(store.code(), Code::Mov_rm32_imm32);
        assert_eq!(
            (store.memory_base(), store.memory_displacement64()),
            (Register::RSP, 4)
        );
        let pushed = moved.immediate(0) & 0xffff_ffff | store.immediate(1) << 32;
        assert_eq!(pushed, original.next_ip(), "{}", context());
        let jump = decode(trampoline, store.next_ip());
        if original.code() == Code::Call_rel32_64 {
            let target = original.near_branch_target();
            assert_eq!(destination(trampoline, &jump), target);
        } else {
            assert_eq!(jump.code(), Code::Jmp_rm64);
            assert_eq!(jump.op0_kind(), original.op0_kind());
            if original.op0_kind() == OpKind::Memory {
                let moved_by = if original.memory_base() == Register::RSP {
                    8
                } else {
                    0
                };
                same_memory(original, &jump, moved_by);
            } else {
                assert_eq!(jump.op0_register(), original.op0_register());
            }
        }
        return jump.next_ip();
    }
    if original.op0_kind() == OpKind::NearBranch64 {
        return same_branch(trampoline, original, &moved);
    }
    assert_eq!(moved.code(), original.code(), "{}", context());
    assert_eq!(moved.op_count(), original.op_count());
    for operand in 0..original.op_count() {
        assert_eq!(moved.op_kind(operand), original.op_kind(operand));
        match original.op_kind(operand) {
            OpKind::Register => {
                assert_eq!(moved.op_register(operand), original.op_register(operand));
            }
            OpKind::Memory => same_memory(original, &moved, 0),
            kind => {
                let kind = format!("{kind:?}");
                if kind.starts_with("Immediate") {
                    assert_eq!(moved.immediate(operand), original.immediate(operand));
                }
            }
        }
    }
    assert_eq!(moved.has_lock_prefix(), original.has_lock_prefix());
    assert_eq!(moved.has_rep_prefix(), original.has_rep_prefix());
    assert_eq!(moved.segment_prefix(), original.segment_prefix());
    moved.next_ip()
}

fn same_memory(original: &Instruction, moved: &Instruction, moved_by: u64) {
    assert_eq!(moved.memory_base(), original.memory_base());
    assert_eq!(moved.memory_index(), original.memory_index());
    assert_eq!(moved.memory_index_scale(), original.memory_index_scale());
    assert_eq!(moved.memory_segment(), original.memory_segment());
    // For a rip-relative operand this is the absolute address.
    assert_eq!(
        moved.memory_displacement64(),
        original.memory_displacement64().wrapping_add(moved_by)
    );
}

/// A jump that leads to the same place under the same condition, in one of the forms: itself,
/// or inverted around a jump, or (loop, jrcxz) short to a long jump.
fn same_branch(trampoline: &Trampoline, original: &Instruction, moved: &Instruction) -> u64 {
    let target = original.near_branch_target();
    if original.flow_control() == FlowControl::UnconditionalBranch {
        assert_eq!(destination(trampoline, moved), target);
        return moved.next_ip();
    }
    if moved.mnemonic() == original.mnemonic() && moved.near_branch_target() == target {
        return moved.next_ip();
    }
    if original.is_jcc_short_or_near() {
        let mut inverted = *original;
        inverted.negate_condition_code();
        assert_eq!(moved.condition_code(), inverted.condition_code());
        let jump = decode(trampoline, moved.next_ip());
        assert_eq!(destination(trampoline, &jump), target);
        assert_eq!(moved.near_branch_target(), jump.next_ip());
        return jump.next_ip();
    }
    // loop L; jmp past; L: jmp target; past:
    assert_eq!(moved.mnemonic(), original.mnemonic());
    let past = decode(trampoline, moved.next_ip());
    let jump = decode(trampoline, moved.near_branch_target());
    assert_eq!(moved.near_branch_target(), past.next_ip());
    assert_eq!(destination(trampoline, &jump), target);
    assert_eq!(destination(trampoline, &past), jump.next_ip());
    jump.next_ip()
}

/// Compares everything after the call of the dispatcher with the plan.
fn check(plan: &SitePlan, trampoline: &Trampoline) {
    let mut at = 0;
    for (original, place) in plan.displaced.iter().zip(&trampoline.relocated) {
        assert_eq!(place.original, original.ip());
        if at != 0 {
            assert_eq!(place.address, at, "nothing lies between");
        }
        at = same_effect(trampoline, original, place.address);
    }
    let last = plan.displaced.last().expect("at least one");
    let goes_on = !matches!(
        last.flow_control(),
        FlowControl::UnconditionalBranch
            | FlowControl::IndirectBranch
            | FlowControl::Return
            | FlowControl::Exception
            | FlowControl::Call
            | FlowControl::IndirectCall
    ) || last.mnemonic() == Mnemonic::Syscall;
    if goes_on {
        let back = decode(trampoline, at);
        assert_eq!(back.flow_control(), FlowControl::UnconditionalBranch);
        assert_eq!(destination(trampoline, &back), plan.resume());
    }
    // The patches lead to the trampoline.
    let mut to = trampoline.address;
    for patch in &trampoline.patches {
        assert_eq!(patch.original.len(), patch.replacement.len());
        let jump =
            Decoder::with_ip(64, &patch.replacement, patch.address, DecoderOptions::NONE).decode();
        assert_eq!(jump.len(), patch.replacement.len());
        assert_eq!(jump.near_branch_target(), to);
        to = patch.address;
    }
    assert_eq!(to, plan.address);
}

/// Checks the head of a trampoline of an entry hook, and of a return hook.
fn check_heads(plan: &SitePlan, entry: &Trampoline, returning: &Trampoline) {
    for (trampoline, dispatcher) in [
        (entry, DISPATCHERS.entry),
        (returning, DISPATCHERS.return_entry),
    ] {
        let skip = decode(trampoline, trampoline.address);
        assert_eq!(skip.memory_displacement64() as i64, -128);
        let push = decode(trampoline, skip.next_ip());
        assert_eq!((push.code(), push.immediate(0)), (Code::Pushq_imm32, 200));
        let call = decode(trampoline, push.next_ip());
        assert_eq!(call.flow_control(), FlowControl::IndirectCall);
        assert_eq!(
            literal(trampoline, call.ip_rel_memory_address()),
            dispatcher
        );
        let undo = decode(trampoline, call.next_ip());
        assert_eq!(undo.mnemonic(), Mnemonic::Lea);
        let displaced = trampoline.relocated[0].address;
        if dispatcher == DISPATCHERS.entry {
            assert_eq!(undo.memory_displacement64(), 136);
            assert_eq!(undo.next_ip(), displaced);
            continue;
        }
        assert_eq!(undo.memory_displacement64(), 144);
        let inner = decode(trampoline, undo.next_ip());
        assert_eq!(inner.near_branch_target(), displaced);
        assert_eq!(Some(inner.next_ip()), trampoline.return_point);
        let missed = decode(trampoline, call.next_ip() + RETURN_MISSED_OFFSET as u64);
        assert_eq!(missed.memory_displacement64(), 136);
        assert_eq!(missed.next_ip(), displaced);
        let index = decode(trampoline, inner.next_ip());
        assert_eq!((index.code(), index.immediate(0)), (Code::Pushq_imm32, 200));
        let leave = decode(trampoline, index.next_ip());
        assert_eq!(destination(trampoline, &leave), DISPATCHERS.on_return);
    }
    assert_eq!(plan.address, entry.patches.last().expect("one").address);
}

fn check_file(path: &str, most_refused: f64) {
    let Ok(file) = std::fs::read(path) else {
        eprintln!("skipped: {path} cannot be read");
        return;
    };
    let (functions, entries) = functions(&file);
    let mut random = StdRng::seed_from_u64(4);
    let (mut near, mut short) = (0, 0);
    let mut refused: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for function in &functions {
        let site = Site {
            address: function.address,
            code: function.code,
            padding_before: function.padding_before,
            padding_after: function.padding_after,
            entries: &entries,
        };
        let plan = match plan(&site) {
            Ok(plan) => plan,
            Err(refusal) => {
                let reason = match refusal.near {
                    Obstacle::TooShort { .. } => "too short",
                    Obstacle::JumpInto { .. } => "jump into it",
                    Obstacle::EntryInside { .. } => "another entry",
                    Obstacle::CallReturnsInto { .. } => "call returns into it",
                    Obstacle::SystemCallInside { .. } => "system call inside",
                    _ => "other",
                };
                refused.entry(reason).or_default().push(&function.name);
                continue;
            }
        };
        match plan.jump {
            Jump::Near => near += 1,
            Jump::Short(_) => short += 1,
        }
        let distance = random.random_range(-0x7000_0000i64..0x7000_0000);
        let at = function.address.wrapping_add_signed(distance) & !63;
        let entry = build_entry(&plan, 200, &DISPATCHERS, at).expect("within reach");
        let returning = build_return(&plan, 200, &DISPATCHERS, at).expect("within reach");
        check_heads(&plan, &entry, &returning);
        check(&plan, &entry);
        check(&plan, &returning);
    }
    let total = functions.len();
    let percent = |count: usize| 100.0 * count as f64 / total as f64;
    let count: usize = refused.values().map(Vec::len).sum();
    eprintln!(
        "{path}: {total} functions: {:.2} % by 5 bytes, {:.2} % by 2 bytes, {:.2} % refused",
        percent(near),
        percent(short),
        percent(count)
    );
    for (reason, names) in &refused {
        let some = &names[..names.len().min(6)];
        eprintln!("  {reason}: {} ({})", names.len(), some.join(", "));
    }
    assert!(total > 100, "{path} has symbols");
    assert!(percent(count) < most_refused);
}

#[test]
fn every_function_of_the_c_library() {
    check_file("/lib/x86_64-linux-gnu/libc.so.6", 3.0);
}

#[test]
fn every_function_of_bash() {
    check_file("/bin/bash", 6.0);
}

#[test]
fn every_function_of_this_test() {
    let own = std::env::current_exe().expect("known on Linux");
    check_file(&own.to_string_lossy(), 8.0);
}
