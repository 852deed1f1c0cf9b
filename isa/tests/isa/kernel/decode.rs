//! Which slots are instructions, and their text, as the kernel's verifier has it.

use bpftime_isa::{
    AluOp, CallTarget, Cond, DecodeError, Imm64, Insn, Instruction, Operand, ProgType, Reg, Width,
    asm, decode, encode,
};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;

use super::load::{Question, Verdict, available, mov, mov0};
use crate::generate;

/// Slots after the ones asked about, so that they can be jumped to.
const PADDING: usize = 20;

const LDDW: u8 = 0x18;
const CALLX: u8 = 0x8d;
const EXIT: u8 = 0x95;

/// Asks about slots in a program where `r6` is the context, all other registers are initialised,
/// and every slot can be reached.
fn ask(slots: &[Insn], whole_log: bool) -> Verdict {
    let mut before: Vec<Instruction> = [0, 2, 3, 4, 5, 7, 8, 9]
        .map(|number| mov(Reg::new(number).unwrap(), 0))
        .to_vec();
    before.push(Instruction::Alu {
        op: AluOp::Mov,
        width: Width::W64,
        dst: Reg::R6,
        src: Operand::Reg(Reg::R1),
    });
    for _ in 0..PADDING {
        before.push(Instruction::Branch {
            cond: Cond::Eq,
            width: Width::W64,
            dst: Reg::R2,
            src: Operand::Imm(1),
            // Over the branches that are left, the slots asked about and the padding before.
            delta: (PADDING - 1 + slots.len()) as i16,
        });
    }
    let mut insns = encode(&before);
    insns.extend_from_slice(slots);
    insns.extend(encode(&[mov0(); PADDING]));
    insns.extend(encode(&[Instruction::Exit]));
    let question = Question {
        kind: ProgType::SocketFilter.into(),
        license: "GPL",
        insns: &insns,
    };
    if whole_log {
        question.ask()
    } else {
        question.ask_briefly()
    }
}

/// What the kernel's log says of slots that are no instruction. Everything else is about what an
/// instruction does.
const MALFORMED: [&str; 8] = [
    "uses reserved fields",
    "unknown opcode",
    "R11 is invalid",
    "R12 is invalid",
    "invalid atomic operand size",
    "invalid atomic opcode",
    "unrecognized bpf_ld_imm64 insn",
    "invalid may_goto imm",
];

#[test]
fn strictness_is_the_kernels() {
    if !available() {
        return;
    }
    let mut disagreements = Vec::new();
    let mut refused = 0;
    for opcode in 0..=u8::MAX {
        for insn in variants(opcode) {
            let slots = [insn, Insn::default()];
            let slots = if opcode == LDDW {
                &slots[..]
            } else {
                &slots[..1]
            };
            let verdict = ask(slots, false);
            let ours = decode(slots);
            if matches!(ours, Err(DecodeError::UnknownOpcode { .. })) {
                // The kernel tells unknown opcodes from a table, whatever the fields.
                // Modes of loads it calls reserved.
                let unknown = format!("unknown opcode {opcode:02x}");
                let reserved = "BPF_LDX uses reserved fields";
                let refused = [&unknown, reserved]
                    .iter()
                    .any(|text| verdict.log.contains(*text));
                assert!(refused, "{insn:x?}: {verdict:?}");
                break;
            }
            if masked(&verdict.log) || known_difference(&insn) {
                continue;
            }
            let malformed = MALFORMED.iter().any(|text| verdict.log.contains(text));
            assert!(verdict.errno != 0 || !malformed, "{verdict:?}");
            refused += usize::from(malformed);
            if ours.is_err() != malformed {
                let last = verdict.log.lines().rev().nth(1).unwrap_or_default();
                disagreements.push(format!("{insn:x?}: ours {ours:?}; kernel: {last}"));
            }
        }
    }
    assert!(refused > 3_000, "the kernel refused only {refused}");
    assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
}

fn variants(opcode: u8) -> impl Iterator<Item = Insn> {
    let registers = [(0, 0), (2, 0), (11, 0), (0, 3), (2, 12)];
    let numbers = [
        (0, 0),
        (0, 1),
        (0, 16),
        (0, 0x41),
        (0, 0x100),
        (0, 0x110),
        (1, 0),
        (1, 16),
        (2, 0),
        (8, 0),
        (32, 0),
    ];
    registers.into_iter().flat_map(move |(dst, src)| {
        numbers.into_iter().map(move |(off, imm)| Insn {
            opcode,
            dst,
            src,
            off,
            imm,
        })
    })
}

/// Where we differ on purpose: we decode calls through registers, for a better error later, and
/// refuse offsets of `exit`, which the kernel does not look at.
fn known_difference(insn: &Insn) -> bool {
    insn.opcode == CALLX || (insn.opcode == EXIT && insn.off != 0)
}

/// Whether the kernel gave up before it looked at the fields.
fn masked(log: &str) -> bool {
    log.contains("jump out of range")
        || log.contains("pseudo btf_id")
        || log.contains("addr_space_cast insn can only")
        || log.contains("jump into the middle of ldimm64")
        || log.contains("unreachable insn")
}

#[test]
fn text_of_the_kernels_log_assembles() {
    if !available() {
        return;
    }
    let mut runner = TestRunner::deterministic();
    let strategy = generate::instruction();
    let mut count = 0;
    while count < 2000 {
        let instruction = strategy.new_tree(&mut runner).unwrap().current();
        if !printed_in_full(&instruction) {
            continue;
        }
        count += 1;
        let slots = encode(&[instruction]);
        let verdict = ask(&slots, true);
        // The kernel lists all instructions before it looks at what they do.
        let Some((_, listing)) = verdict.log.split_once("Live regs before insn:") else {
            assert!(masked(&verdict.log), "{instruction}: {verdict:?}");
            continue;
        };
        let place = (9 + PADDING).to_string();
        let line = listing
            .lines()
            .find(|line| line.trim_start().split(':').next() == Some(&place))
            .unwrap_or_else(|| panic!("no slot {place} in {listing}"));
        let (_, text) = line.split_once(" (").unwrap_or_else(|| panic!("{line}"));
        let text = format!("0: ({text}");
        let ours = asm::parse_instructions(&text);
        assert_eq!(ours, Ok(vec![instruction]), "{line}");
    }
}

/// Whether the kernel gets as far as listing the instruction, and leaves nothing out.
fn printed_in_full(instruction: &Instruction) -> bool {
    match instruction {
        Instruction::LoadImm64 { value, .. } => matches!(value, Imm64::Value(_)),
        Instruction::Call(target) => matches!(target, CallTarget::Helper(1..=211)),
        Instruction::Jump { delta, .. } => (0..PADDING as i32).contains(delta),
        Instruction::Branch { delta, .. } | Instruction::MayGoto { delta } => {
            (0..PADDING as i16).contains(delta)
        }
        Instruction::AddrSpaceCast { .. } => false,
        _ => true,
    }
}
