//! From instructions to slots.

use crate::opcode::{LDDW, SRC_X, alu, atomic, class, jmp, mode, pseudo, size};
use crate::{
    AluOp, AtomicOp, ByteOrderOp, CallTarget, Cond, Imm64, Insn, Instruction, Operand, Reg, Size,
    Width,
};

/// Encodes instructions one after the other; the inverse of [`crate::decode()`].
pub fn encode(instructions: &[Instruction]) -> Vec<Insn> {
    let mut slots = Vec::with_capacity(instructions.len());
    for instruction in instructions {
        let (first, second) = instruction.encode();
        slots.push(first);
        slots.extend(second);
    }
    slots
}

impl Instruction {
    /// The slot or the two slots of the instruction.
    ///
    /// A combination that no encoding has (a byte swap of one byte, a sign-extending 8-byte load,
    /// a 32-bit move that extends 32 bits, a packet load of 8 bytes) gives a slot that decoding
    /// refuses. A short [`Instruction::Jump`] whose distance does not fit 16 bits is encoded in
    /// the long form.
    pub fn encode(&self) -> (Insn, Option<Insn>) {
        let mut insn = Insn::default();
        match *self {
            Self::Alu {
                op,
                width,
                dst,
                src,
            } => {
                insn.dst = number(dst);
                insn.opcode = alu_class(width) | alu_op(op);
                if matches!(op, AluOp::Sdiv | AluOp::Smod) {
                    insn.off = alu::OFF_SIGNED;
                }
                set_operand(&mut insn, src);
            }
            Self::MovSx {
                width,
                from,
                dst,
                src,
            } => {
                insn.opcode = alu_class(width) | alu::MOV | SRC_X;
                insn.dst = number(dst);
                insn.src = number(src);
                insn.off = bits(from) as i16;
            }
            Self::Neg { width, dst } => {
                insn.opcode = alu_class(width) | alu::NEG;
                insn.dst = number(dst);
            }
            Self::ByteOrder { op, size, dst } => {
                insn.opcode = alu::END
                    | match op {
                        ByteOrderOp::ToLe => class::ALU,
                        ByteOrderOp::ToBe => class::ALU | SRC_X,
                        ByteOrderOp::Swap => class::ALU64,
                    };
                insn.dst = number(dst);
                insn.imm = bits(size);
            }
            Self::LoadImm64 { dst, value } => return load_imm64(dst, value),
            Self::Load {
                size,
                signed,
                dst,
                base,
                off,
            } => {
                let mode = if signed { mode::MEMSX } else { mode::MEM };
                insn.opcode = class::LDX | mode | size_bits(size);
                insn.dst = number(dst);
                insn.src = number(base);
                insn.off = off;
            }
            Self::Store {
                size,
                base,
                off,
                src,
            } => {
                insn.dst = number(base);
                insn.off = off;
                let class = match src {
                    Operand::Reg(src) => {
                        insn.src = number(src);
                        class::STX
                    }
                    Operand::Imm(imm) => {
                        insn.imm = imm;
                        class::ST
                    }
                };
                insn.opcode = class | mode::MEM | size_bits(size);
            }
            Self::Atomic {
                op,
                width,
                base,
                off,
                src,
            } => {
                let size = match width {
                    Width::W32 => size::W,
                    Width::W64 => size::DW,
                };
                insn.opcode = class::STX | mode::ATOMIC | size;
                insn.dst = number(base);
                insn.src = number(src);
                insn.off = off;
                insn.imm = atomic_op(op);
            }
            Self::LoadAcquire {
                size,
                dst,
                base,
                off,
            } => {
                insn.opcode = class::STX | mode::ATOMIC | size_bits(size);
                insn.dst = number(dst);
                insn.src = number(base);
                insn.off = off;
                insn.imm = atomic::LOAD_ACQ;
            }
            Self::StoreRelease {
                size,
                base,
                off,
                src,
            } => {
                insn.opcode = class::STX | mode::ATOMIC | size_bits(size);
                insn.dst = number(base);
                insn.src = number(src);
                insn.off = off;
                insn.imm = atomic::STORE_REL;
            }
            Self::LoadPacket { size, index, off } => {
                let mode = if index.is_some() {
                    mode::IND
                } else {
                    mode::ABS
                };
                insn.opcode = class::LD | mode | size_bits(size);
                insn.src = index.map_or(0, number);
                insn.imm = off;
            }
            Self::AddrSpaceCast { dst, src, to, from } => {
                insn.opcode = class::ALU64 | alu::MOV | SRC_X;
                insn.dst = number(dst);
                insn.src = number(src);
                insn.off = alu::OFF_ADDR_SPACE_CAST;
                insn.imm = (u32::from(to) << 16 | u32::from(from)) as i32;
            }
            Self::Jump { long, delta } => match i16::try_from(delta) {
                Ok(short) if !long => {
                    insn.opcode = class::JMP | jmp::JA;
                    insn.off = short;
                }
                _ => {
                    insn.opcode = class::JMP32 | jmp::JA;
                    insn.imm = delta;
                }
            },
            Self::Branch {
                cond,
                width,
                dst,
                src,
                delta,
            } => {
                let class = match width {
                    Width::W32 => class::JMP32,
                    Width::W64 => class::JMP,
                };
                insn.opcode = class | jump_op(cond);
                insn.dst = number(dst);
                insn.off = delta;
                set_operand(&mut insn, src);
            }
            Self::MayGoto { delta } => {
                insn.opcode = class::JMP | jmp::JCOND;
                insn.off = delta;
            }
            Self::Call(target) => set_call(&mut insn, target),
            Self::Exit => insn.opcode = class::JMP | jmp::EXIT,
        }
        (insn, None)
    }
}

fn load_imm64(dst: Reg, value: Imm64) -> (Insn, Option<Insn>) {
    let (src, low, high) = match value {
        Imm64::Value(value) => (0, value as i32, (value >> 32) as i32),
        Imm64::MapFd(fd) => (pseudo::MAP_FD, fd, 0),
        Imm64::MapFdValue { fd, offset } => (pseudo::MAP_VALUE, fd, offset as i32),
        Imm64::BtfId { id, btf_fd } => (pseudo::BTF_ID, id as i32, btf_fd as i32),
        Imm64::Func { delta } => (pseudo::FUNC, delta, 0),
        Imm64::MapIdx(index) => (pseudo::MAP_IDX, index as i32, 0),
        Imm64::MapIdxValue { index, offset } => {
            (pseudo::MAP_IDX_VALUE, index as i32, offset as i32)
        }
    };
    let first = Insn {
        opcode: LDDW,
        dst: number(dst),
        src,
        off: 0,
        imm: low,
    };
    let second = Insn {
        imm: high,
        ..Insn::default()
    };
    (first, Some(second))
}

fn set_call(insn: &mut Insn, target: CallTarget) {
    insn.opcode = class::JMP | jmp::CALL;
    match target {
        CallTarget::Helper(id) => insn.imm = id as i32,
        CallTarget::Local(delta) => {
            insn.src = pseudo::CALL_LOCAL;
            insn.imm = delta;
        }
        CallTarget::Kfunc { id, btf_idx } => {
            insn.src = pseudo::CALL_KFUNC;
            insn.imm = id as i32;
            insn.off = btf_idx;
        }
        CallTarget::Register(reg) => {
            insn.opcode |= SRC_X;
            insn.dst = number(reg);
        }
    }
}

fn set_operand(insn: &mut Insn, src: Operand) {
    match src {
        Operand::Reg(reg) => {
            insn.opcode |= SRC_X;
            insn.src = number(reg);
        }
        Operand::Imm(imm) => insn.imm = imm,
    }
}

const fn number(reg: Reg) -> u8 {
    reg as u8
}

const fn bits(size: Size) -> i32 {
    8 * size.bytes() as i32
}

const fn alu_class(width: Width) -> u8 {
    match width {
        Width::W32 => class::ALU,
        Width::W64 => class::ALU64,
    }
}

const fn size_bits(size: Size) -> u8 {
    match size {
        Size::B => size::B,
        Size::H => size::H,
        Size::W => size::W,
        Size::DW => size::DW,
    }
}

const fn alu_op(op: AluOp) -> u8 {
    match op {
        AluOp::Add => alu::ADD,
        AluOp::Sub => alu::SUB,
        AluOp::Mul => alu::MUL,
        AluOp::Div | AluOp::Sdiv => alu::DIV,
        AluOp::Mod | AluOp::Smod => alu::MOD,
        AluOp::Or => alu::OR,
        AluOp::And => alu::AND,
        AluOp::Xor => alu::XOR,
        AluOp::Lsh => alu::LSH,
        AluOp::Rsh => alu::RSH,
        AluOp::Arsh => alu::ARSH,
        AluOp::Mov => alu::MOV,
    }
}

const fn jump_op(cond: Cond) -> u8 {
    match cond {
        Cond::Eq => jmp::JEQ,
        Cond::Ne => jmp::JNE,
        Cond::Gt => jmp::JGT,
        Cond::Ge => jmp::JGE,
        Cond::Lt => jmp::JLT,
        Cond::Le => jmp::JLE,
        Cond::Set => jmp::JSET,
        Cond::Sgt => jmp::JSGT,
        Cond::Sge => jmp::JSGE,
        Cond::Slt => jmp::JSLT,
        Cond::Sle => jmp::JSLE,
    }
}

const fn atomic_op(op: AtomicOp) -> i32 {
    match op {
        AtomicOp::Add { fetch } => atomic::ADD | fetch as i32,
        AtomicOp::Or { fetch } => atomic::OR | fetch as i32,
        AtomicOp::And { fetch } => atomic::AND | fetch as i32,
        AtomicOp::Xor { fetch } => atomic::XOR | fetch as i32,
        AtomicOp::Xchg => atomic::XCHG,
        AtomicOp::Cmpxchg => atomic::CMPXCHG,
    }
}
