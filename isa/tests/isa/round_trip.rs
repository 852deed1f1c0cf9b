//! Slots, instructions and text: what goes one way comes back.

use bpftime_isa::{DecodeError, Imm64, Insn, Instruction, asm, decode, decode_one, encode};
use proptest::prelude::*;

use crate::{generate, mnemonic};

/// Numbers that select variants, are register numbers, or are out of range.
const INTERESTING: [i32; 24] = [
    0,
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    10,
    11,
    15,
    16,
    32,
    64,
    0x40,
    0x51,
    0xa0,
    0xe1,
    0xf1,
    0x100,
    0x110,
    -1,
    i32::MIN,
];

/// Slots that are close to instructions.
fn likely_insn() -> impl Strategy<Value = Insn> {
    let small = prop_oneof![
        3 => Just(0),
        2 => proptest::sample::select(INTERESTING.to_vec()),
        1 => any::<i32>()
    ];
    let wide = small.clone();
    (any::<u8>(), 0u8..12, 0u8..12, small, wide).prop_map(|(opcode, dst, src, off, imm)| Insn {
        opcode,
        dst,
        src,
        off: off as i16,
        imm,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn an_instruction_comes_back_from_its_slots(insn in generate::instruction()) {
        let slots = encode(&[insn]);
        prop_assert_eq!(slots.len(), insn.slots());
        let decoded = decode(&slots).unwrap();
        prop_assert_eq!(decoded.len(), 1);
        prop_assert_eq!(decoded[0].insn, insn);
        prop_assert_eq!(decoded[0].slot, 0);
    }

    #[test]
    fn an_instruction_comes_back_from_its_text(insn in generate::instruction()) {
        let text = insn.to_string();
        prop_assert_eq!(asm::parse_instructions(&text), Ok(vec![insn]), "{}", text);
    }

    #[test]
    fn an_instruction_comes_back_from_its_mnemonic(insn in generate::instruction()) {
        if let Some(text) = mnemonic::print(&insn) {
            prop_assert_eq!(asm::parse_instructions(&text), Ok(vec![insn]), "{}", text);
        }
    }

    #[test]
    fn text_never_panics(text in "\\PC{0,40}") {
        let _ = asm::parse(&text);
    }

    #[test]
    fn likely_text_never_panics(words in proptest::collection::vec(
        proptest::sample::select(vec![
            "r0", "w1", "r10", "=", "+=", "s", ">>=", "*", "(", ")", "[", "]", "u8", "u64", "s32",
            "0x10", "-", "+", "ll", "if", "goto", "pc", "lock", "call", "exit", "%", "#", "<", ">",
            "ldxw", "jne", ",", "label", ":", "map_fd", "func", "skb", "99999999999999999999", "é",
            "0:", "12:", "(b7)", "cmpxchg_64", "atomic_fetch_add", "store_release", "\n", " ",
        ]), 0..14)) {
        let _ = asm::parse(&words.concat());
        let _ = asm::parse(&words.join(" "));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn slots_come_back_or_are_refused(slots in proptest::collection::vec(likely_insn(), 0..6)) {
        check(&slots);
    }

    #[test]
    fn a_program_comes_back_from_its_text(
        insns in proptest::collection::vec(generate::instruction(), 0..20)
    ) {
        let text: String = insns.iter().map(|insn| format!("{insn}\n")).collect();
        prop_assert_eq!(asm::parse(&text).unwrap(), encode(&insns));
    }

    #[test]
    fn bytes_never_panic(bytes in proptest::collection::vec(any::<[u8; 8]>(), 0..20)) {
        let slots: Vec<Insn> = bytes.iter().map(|&b| Insn::from_le_bytes(b)).collect();
        for (slot, bytes) in slots.iter().zip(&bytes) {
            prop_assert_eq!(slot.to_le_bytes(), *bytes);
        }
        check(&slots);
    }
}

/// If slots are accepted, the instructions encode to them, and each slot alone agrees.
fn check(slots: &[Insn]) {
    match decode(slots) {
        Ok(decoded) => {
            let insns: Vec<Instruction> = decoded.iter().map(|d| d.insn).collect();
            assert_eq!(encode(&insns), slots);
            let mut expected = 0;
            for one in &decoded {
                assert_eq!(one.slot, expected);
                assert_eq!(decode_one(slots, one.slot), Ok(one.insn));
                expected += one.insn.slots() as u32;
            }
            assert_eq!(expected as usize, slots.len());
        }
        Err(error) => {
            assert!((error.slot() as usize) < slots.len());
            let first = match error {
                DecodeError::BadSecondSlot { slot, .. } => slot - 1,
                _ => error.slot(),
            };
            assert_eq!(decode_one(slots, first), Err(error));
        }
    }
}

#[test]
fn every_combination_of_interesting_fields_comes_back_or_is_refused() {
    let offs = [0i16, 1, 2, 8, 16, 32, 64, -1, i16::MIN];
    let mut accepted = 0;
    for opcode in 0..=u8::MAX {
        for (dst, src) in [
            (0, 0),
            (1, 0),
            (0, 1),
            (3, 2),
            (10, 6),
            (11, 0),
            (0, 11),
            (16, 0),
        ] {
            for off in offs {
                for imm in INTERESTING {
                    let insn = Insn {
                        opcode,
                        dst,
                        src,
                        off,
                        imm,
                    };
                    let slots = [insn, Insn::default()];
                    let slots = if opcode == 0x18 {
                        &slots[..]
                    } else {
                        &slots[..1]
                    };
                    check(slots);
                    accepted += usize::from(decode(slots).is_ok());
                }
            }
        }
    }
    assert!(accepted > 15_000, "only {accepted} accepted");
}

#[test]
fn errors_say_where_and_what() {
    let lddw = encode(&[Instruction::LoadImm64 {
        dst: bpftime_isa::Reg::R1,
        value: Imm64::Value(1),
    }]);
    assert_eq!(
        decode(&lddw[..1]),
        Err(DecodeError::MissingSecondSlot { slot: 0 })
    );
    assert_eq!(
        decode(&lddw[1..]),
        Err(DecodeError::LoneSecondSlot { slot: 0 })
    );
    assert_eq!(
        decode_one(&lddw, 2),
        Err(DecodeError::OutOfRange { slot: 2, len: 2 })
    );
    let text = |text: &str| asm::parse(text).unwrap_err().to_string();
    assert_eq!(
        text("r0 = 0\ngoto nowhere"),
        "line 2: label `nowhere` is not defined"
    );
    assert_eq!(
        text("r0 = 0x100000000"),
        "line 1, column 6: immediate 4294967296 is out of range (-2147483648 to 4294967295)"
    );
    assert!(text("r0 = w1").contains("one width"));
    assert!(text("a: exit\na: exit").contains("defined twice"));
    assert!(text("mov32 %r11, 0").contains("register"));
}

#[test]
fn labels_and_dumps() {
    let plain = "r1 = 0x5 ll\nif r1 != 0x5 goto +0x1\ncall pc+0x1\nexit\nr0 = 0x0\nexit";
    let labels = "
        lddw %r1, 5     # two slots
        jne %r1, 5, out // the label below
        call local f
    out: exit
    f:  mov %r0, 0
        exit";
    let dump = "
       0:\t18 01 00 00 05 00 00 00 00 00 00 00 00 00 00 00\tr1 = 0x5 ll
       2:\t55 01 01 00 05 00 00 00\tif r1 != 0x5 goto +0x1 <f+0x20>
       3:\t85 10 00 00 01 00 00 00\tcall pc+0x1
       4:\t95 00 00 00 00 00 00 00\texit
       5:\tb7 00 00 00 00 00 00 00\tr0 = 0x0
       6:\t95 00 00 00 00 00 00 00\texit";
    let log = "
0: (18) r1 = 0x5                      ; R1_w=5
2: (55) if r1 != 0x5 goto pc+1
3: (85) call pc+1
4: (95) exit
5: (b7) r0 = 0
6: (95) exit";
    let expected = asm::parse(plain).unwrap();
    assert_eq!(expected.len(), 7);
    assert_eq!(asm::parse(labels).unwrap(), expected);
    assert_eq!(asm::parse(dump).unwrap(), expected);
    assert_eq!(asm::parse(log).unwrap(), expected);
}

#[test]
fn exit_as_a_target_is_the_last_exit() {
    let far = asm::parse("jeq %r1, 0, exit\nmov %r0, 1\nexit\nmov %r0, 2\nexit").unwrap();
    assert_eq!(far[0].off, 3);
    let own = asm::parse("jeq %r1, 0, exit\nexit:\nmov %r0, 1\nexit").unwrap();
    assert_eq!(own[0].off, 0);
}
