//! Accepted random programs are run, step by step, by an evaluator of this test's own.
//!
//! No access may be out of bounds, no instruction may be executed that the analysis did not
//! reach, and what it says of registers and of the result has to be so. The evaluator follows RFC 9669 and knows nothing of the verifier.

mod common;
#[path = "common/numbers.rs"]
mod numbers;

use bpftime_isa::{
    AluOp, Cond, Decoded, Imm64, Instruction, MapType, Operand, ProgType, Reg, Size, Width,
};
use bpftime_verifier::domain::value::Kind;
use bpftime_verifier::{Known, verify};
use numbers::{Random, insn, numbers};

const VALUE: u64 = 0x1000_0000;
const VALUE_SIZE: u64 = 48;
const FRAME: u64 = 0x2000_0000;

struct Machine {
    regs: [u64; 11],
    value: [u8; VALUE_SIZE as usize],
    stack: [u8; 512],
}

impl Machine {
    fn bytes(&mut self, address: u64, size: usize) -> Result<&mut [u8], String> {
        let outside = || format!("access to {address:#x}, {size} bytes");
        if let Some(at) = address.checked_sub(VALUE).filter(|at| *at < 1 << 20) {
            return self
                .value
                .get_mut(at as usize..at as usize + size)
                .ok_or_else(outside);
        }
        let at = address.wrapping_sub(FRAME - 512);
        if at > 512 {
            return Err(outside());
        }
        self.stack
            .get_mut(at as usize..at as usize + size)
            .ok_or_else(outside)
    }

    fn operand(&self, operand: Operand) -> u64 {
        match operand {
            Operand::Reg(reg) => self.regs[reg.index()],
            Operand::Imm(imm) => i64::from(imm) as u64,
        }
    }

    /// Runs; the positions that were executed. `before` sees the registers before each.
    fn run(
        &mut self,
        code: &[Decoded],
        mut before: impl FnMut(usize, &[u64; 11]),
    ) -> Result<Vec<usize>, String> {
        let mut at = 0;
        let mut executed = Vec::new();
        loop {
            executed.push(at);
            before(at, &self.regs);
            let decoded = code[at];
            let mut next = at + 1;
            match decoded.insn {
                Instruction::Alu {
                    op,
                    width,
                    dst,
                    src,
                } => {
                    let (a, b) = (self.regs[dst.index()], self.operand(src));
                    self.regs[dst.index()] = match width {
                        Width::W64 => alu64(op, a, b),
                        Width::W32 => u64::from(alu32(op, a as u32, b as u32)),
                    };
                }
                Instruction::Neg { width, dst } => {
                    let a = self.regs[dst.index()];
                    self.regs[dst.index()] = match width {
                        Width::W64 => a.wrapping_neg(),
                        Width::W32 => u64::from((a as u32).wrapping_neg()),
                    };
                }
                Instruction::MovSx {
                    width,
                    from,
                    dst,
                    src,
                } => {
                    let wide = sign_extend(self.regs[src.index()], from);
                    self.regs[dst.index()] = match width {
                        Width::W64 => wide,
                        Width::W32 => u64::from(wide as u32),
                    };
                }
                Instruction::LoadImm64 { dst, value } => {
                    self.regs[dst.index()] = match value {
                        Imm64::MapIdxValue { offset, .. } => VALUE + u64::from(offset),
                        Imm64::Value(value) => value,
                        other => return Err(format!("{other:?}")),
                    };
                }
                Instruction::Load {
                    size,
                    signed,
                    dst,
                    base,
                    off,
                } => {
                    let address = self.regs[base.index()].wrapping_add_signed(off.into());
                    let mut wide = [0; 8];
                    let bytes = self.bytes(address, size.bytes() as usize)?;
                    wide[..bytes.len()].copy_from_slice(bytes);
                    let loaded = u64::from_le_bytes(wide);
                    self.regs[dst.index()] = if signed {
                        sign_extend(loaded, size)
                    } else {
                        loaded
                    };
                }
                Instruction::Store {
                    size,
                    base,
                    off,
                    src,
                } => {
                    let address = self.regs[base.index()].wrapping_add_signed(off.into());
                    let stored = self.operand(src).to_le_bytes();
                    let bytes = self.bytes(address, size.bytes() as usize)?;
                    bytes.copy_from_slice(&stored[..bytes.len()]);
                }
                Instruction::Jump { delta, .. } => next = target(code, decoded.slot, delta),
                Instruction::Branch {
                    cond,
                    width,
                    dst,
                    src,
                    delta,
                } => {
                    let (a, b) = (self.regs[dst.index()], self.operand(src));
                    let (unsigned, signed) = match width {
                        Width::W64 => ((a, b), (a as i64, b as i64)),
                        Width::W32 => (
                            (u64::from(a as u32), u64::from(b as u32)),
                            (i64::from(a as i32), i64::from(b as i32)),
                        ),
                    };
                    if holds(cond, unsigned, signed) {
                        next = target(code, decoded.slot, delta.into());
                    }
                }
                Instruction::Exit => return Ok(executed),
                other => return Err(format!("not generated: {other}")),
            }
            at = next;
        }
    }
}

fn target(code: &[Decoded], slot: u32, delta: i32) -> usize {
    let to = slot.wrapping_add(1).wrapping_add_signed(delta);
    code.iter().position(|d| d.slot == to).expect("a target")
}

fn sign_extend(value: u64, from: Size) -> u64 {
    match from {
        Size::B => i64::from(value as i8) as u64,
        Size::H => i64::from(value as i16) as u64,
        Size::W => i64::from(value as i32) as u64,
        Size::DW => value,
    }
}

fn alu64(op: AluOp, a: u64, b: u64) -> u64 {
    match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::Div => a.checked_div(b).unwrap_or(0),
        AluOp::Mod => a.checked_rem(b).unwrap_or(a),
        AluOp::Sdiv if b == 0 => 0,
        AluOp::Sdiv => (a as i64).wrapping_div(b as i64) as u64,
        AluOp::Smod if b == 0 => a,
        AluOp::Smod => (a as i64).wrapping_rem(b as i64) as u64,
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Xor => a ^ b,
        AluOp::Lsh => a << (b & 63),
        AluOp::Rsh => a >> (b & 63),
        AluOp::Arsh => ((a as i64) >> (b & 63)) as u64,
        AluOp::Mov => b,
    }
}

fn alu32(op: AluOp, a: u32, b: u32) -> u32 {
    match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::Div => a.checked_div(b).unwrap_or(0),
        AluOp::Mod => a.checked_rem(b).unwrap_or(a),
        AluOp::Sdiv if b == 0 => 0,
        AluOp::Sdiv => (a as i32).wrapping_div(b as i32) as u32,
        AluOp::Smod if b == 0 => a,
        AluOp::Smod => (a as i32).wrapping_rem(b as i32) as u32,
        AluOp::Or => a | b,
        AluOp::And => a & b,
        AluOp::Xor => a ^ b,
        AluOp::Lsh => a << (b & 31),
        AluOp::Rsh => a >> (b & 31),
        AluOp::Arsh => ((a as i32) >> (b & 31)) as u32,
        AluOp::Mov => b,
    }
}

/// Whether a register may hold that, by what is known of it.
fn is_as_known(known: &Known, value: u64) -> bool {
    match known.kind {
        Kind::Scalar => known.may_be(value) && known.low_may_be(value as u32),
        Kind::MapValue { map: 0 } => known.number.contains(value.wrapping_sub(VALUE)),
        Kind::Stack { frame: 0 } => known.number.contains(value.wrapping_sub(FRAME)),
        Kind::Any => true,
        _ => false,
    }
}

fn holds(cond: Cond, (a, b): (u64, u64), (x, y): (i64, i64)) -> bool {
    match cond {
        Cond::Eq => a == b,
        Cond::Ne => a != b,
        Cond::Gt => a > b,
        Cond::Ge => a >= b,
        Cond::Lt => a < b,
        Cond::Le => a <= b,
        Cond::Set => a & b != 0,
        Cond::Sgt => x > y,
        Cond::Sge => x >= y,
        Cond::Slt => x < y,
        Cond::Sle => x <= y,
    }
}

#[test]
fn accepted_programs_stay_in_bounds() {
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let count = std::env::var("CONCRETE_PROGRAMS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(4000);
    let (mut accepted, mut runs) = (0, 0);
    let (mut operands, mut narrow) = (0_u64, 0);
    for _ in 0..count {
        let insns = numbers(&mut random, &|dst| {
            [insn(0x18, dst, 6, 0, 0), insn(0, 0, 0, 0, 0)]
        });
        let maps = vec![common::map(MapType::Array, 4, VALUE_SIZE as u32, 1)];
        let program = common::program(ProgType::SocketFilter, insns, maps);
        // Sometimes states are joined where they meet.
        let mut options = common::options();
        if random.below(3) == 0 {
            options.budget.states_per_shape = 1;
            options.budget.states_per_block = 1;
        }
        options.record_operands = true;
        let Ok(verified) = verify(program, &options) else {
            continue;
        };
        accepted += 1;
        for _ in 0..60 {
            let mut value = [0; VALUE_SIZE as usize];
            for chunk in value.chunks_exact_mut(8) {
                // Small and extreme numbers reach more branches than random ones.
                let word = match random.below(5) {
                    0 => random.below(64),
                    1 => random.below(64).wrapping_neg(),
                    2 => 1 << random.below(64),
                    3 => (1u64 << random.below(64)).wrapping_sub(1),
                    _ => random.below(u64::MAX),
                };
                chunk.copy_from_slice(&word.to_le_bytes());
            }
            let mut machine = Machine {
                regs: [0; 11],
                value,
                stack: [0xaa; 512],
            };
            machine.regs[Reg::R10.index()] = FRAME;
            runs += 1;
            let code = verified.instructions();
            let text = || {
                let lines = code.iter().map(|d| format!("{}: {}", d.slot, d.insn));
                lines.collect::<Vec<_>>().join("\n")
            };
            let facts = verified.facts();
            let before = |at: usize, regs: &[u64; 11]| {
                for reg in Reg::ALL {
                    let Some(known) = facts.operands.get(at, reg) else {
                        continue;
                    };
                    operands += 1;
                    narrow += u64::from(known.kind != Kind::Any && !known.number.is_unknown());
                    let held = regs[reg.index()];
                    if !is_as_known(known, held) {
                        let text = text();
                        panic!(
                            "{reg} is {held:#x} at {at}, {known:?} is known, value {value:?} in\n{text}"
                        );
                    }
                }
                if matches!(code[at].insn, Instruction::Exit) {
                    let known = facts.returns.expect("what it returns");
                    assert!(is_as_known(&known, regs[0]), "{} {known:?}", regs[0]);
                }
            };
            match machine.run(code, before) {
                Err(trap) => panic!("{trap}, value {value:?} in\n{}", text()),
                Ok(executed) => {
                    let most = verified.facts().max_insns.expect("no loops");
                    assert!(executed.len() as u64 <= most, "{} > {most}", executed.len());
                    for at in executed {
                        assert!(
                            verified.facts().reached[at],
                            "{at} was not analysed, value {value:?} in\n{}",
                            text()
                        );
                    }
                }
            }
        }
    }
    println!("{accepted} of {count} programs accepted, {runs} runs");
    println!("{operands} operands, something known of {narrow}");
    assert!(narrow * 2 > operands, "too little is known");
    assert!(accepted * 20 > count, "too few programs are accepted");
}
