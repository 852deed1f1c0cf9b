//! One instruction, by class and operation.

use super::{DecodeError, Field};
use crate::opcode::{LDDW, SRC_X, alu, atomic, class, jmp, mode, pseudo, size};
use crate::{
    AluOp, AtomicOp, ByteOrderOp, CallTarget, Cond, Imm64, Insn, Instruction, Operand, Reg, Size,
    Width,
};

/// A slot with its number, so that checks can say where they failed.
#[derive(Clone, Copy)]
struct At {
    insn: Insn,
    slot: u32,
}

/// Decodes the instruction whose first slot is `insn`; `next` is the slot after it.
pub(super) fn decode_slot(
    insn: Insn,
    next: Option<&Insn>,
    slot: u32,
) -> Result<Instruction, DecodeError> {
    let at = At { insn, slot };
    match insn.opcode & class::MASK {
        class::ALU => at.alu(Width::W32),
        class::ALU64 => at.alu(Width::W64),
        class::JMP => at.jump(Width::W64),
        class::JMP32 => at.jump(Width::W32),
        class::LDX => at.load(),
        class::STX => at.store_register(),
        class::ST => at.store_immediate(),
        _ => at.load_legacy(next),
    }
}

impl At {
    fn unknown<T>(self) -> Result<T, DecodeError> {
        Err(DecodeError::UnknownOpcode {
            slot: self.slot,
            opcode: self.insn.opcode,
        })
    }

    fn variant<T>(self, field: Field) -> Result<T, DecodeError> {
        Err(DecodeError::UnknownVariant {
            slot: self.slot,
            opcode: self.insn.opcode,
            field,
            value: self.value(field),
        })
    }

    fn value(self, field: Field) -> i64 {
        match field {
            Field::Opcode => self.insn.opcode.into(),
            Field::Dst => self.insn.dst.into(),
            Field::Src => self.insn.src.into(),
            Field::Off => self.insn.off.into(),
            Field::Imm => self.insn.imm.into(),
        }
    }

    /// Checks that a field that the instruction does not use is zero.
    #[inline]
    fn zero(self, field: Field) -> Result<(), DecodeError> {
        let value = self.value(field);
        if value == 0 {
            return Ok(());
        }
        Err(DecodeError::ReservedField {
            slot: self.slot,
            opcode: self.insn.opcode,
            field,
            value,
        })
    }

    #[inline]
    fn dst(self) -> Result<Reg, DecodeError> {
        Reg::new(self.insn.dst).ok_or(DecodeError::BadRegister {
            slot: self.slot,
            field: Field::Dst,
            value: self.insn.dst,
        })
    }

    #[inline]
    fn src(self) -> Result<Reg, DecodeError> {
        Reg::new(self.insn.src).ok_or(DecodeError::BadRegister {
            slot: self.slot,
            field: Field::Src,
            value: self.insn.src,
        })
    }

    /// The second operand; the field that the form does not use must be zero.
    #[inline]
    fn operand(self) -> Result<Operand, DecodeError> {
        if self.insn.opcode & SRC_X == 0 {
            self.zero(Field::Src)?;
            Ok(Operand::Imm(self.insn.imm))
        } else {
            self.zero(Field::Imm)?;
            Ok(Operand::Reg(self.src()?))
        }
    }

    fn size(self) -> Size {
        match self.insn.opcode & size::MASK {
            size::W => Size::W,
            size::H => Size::H,
            size::B => Size::B,
            _ => Size::DW,
        }
    }

    fn alu(self, width: Width) -> Result<Instruction, DecodeError> {
        let op = match self.insn.opcode & 0xf0 {
            alu::ADD => AluOp::Add,
            alu::SUB => AluOp::Sub,
            alu::MUL => AluOp::Mul,
            alu::OR => AluOp::Or,
            alu::AND => AluOp::And,
            alu::LSH => AluOp::Lsh,
            alu::RSH => AluOp::Rsh,
            alu::XOR => AluOp::Xor,
            alu::ARSH => AluOp::Arsh,
            alu::DIV => return self.division(width, AluOp::Div, AluOp::Sdiv),
            alu::MOD => return self.division(width, AluOp::Mod, AluOp::Smod),
            alu::MOV => return self.mov(width),
            alu::NEG => return self.neg(width),
            alu::END => return self.byte_order(width),
            _ => return self.unknown(),
        };
        self.zero(Field::Off)?;
        self.binary(width, op)
    }

    #[inline]
    fn binary(self, width: Width, op: AluOp) -> Result<Instruction, DecodeError> {
        Ok(Instruction::Alu {
            op,
            width,
            dst: self.dst()?,
            src: self.operand()?,
        })
    }

    fn division(
        self,
        width: Width,
        unsigned: AluOp,
        signed: AluOp,
    ) -> Result<Instruction, DecodeError> {
        match self.insn.off {
            0 => self.binary(width, unsigned),
            alu::OFF_SIGNED => self.binary(width, signed),
            _ => self.variant(Field::Off),
        }
    }

    fn mov(self, width: Width) -> Result<Instruction, DecodeError> {
        if self.insn.opcode & SRC_X == 0 {
            self.zero(Field::Off)?;
        }
        let from = match (self.insn.off, width) {
            (0, _) => return self.binary(width, AluOp::Mov),
            (alu::OFF_ADDR_SPACE_CAST, Width::W64) => return self.addr_space_cast(),
            (8, _) => Size::B,
            (16, _) => Size::H,
            (32, Width::W64) => Size::W,
            _ => return self.variant(Field::Off),
        };
        self.zero(Field::Imm)?;
        Ok(Instruction::MovSx {
            width,
            from,
            dst: self.dst()?,
            src: self.src()?,
        })
    }

    fn addr_space_cast(self) -> Result<Instruction, DecodeError> {
        let spaces = self.insn.imm as u32;
        Ok(Instruction::AddrSpaceCast {
            dst: self.dst()?,
            src: self.src()?,
            to: (spaces >> 16) as u16,
            from: spaces as u16,
        })
    }

    fn neg(self, width: Width) -> Result<Instruction, DecodeError> {
        if self.insn.opcode & SRC_X != 0 {
            return self.unknown();
        }
        self.zero(Field::Src)?;
        self.zero(Field::Off)?;
        self.zero(Field::Imm)?;
        Ok(Instruction::Neg {
            width,
            dst: self.dst()?,
        })
    }

    fn byte_order(self, width: Width) -> Result<Instruction, DecodeError> {
        // The source bit chooses the direction here.
        let op = match (width, self.insn.opcode & SRC_X != 0) {
            (Width::W32, false) => ByteOrderOp::ToLe,
            (Width::W32, true) => ByteOrderOp::ToBe,
            (Width::W64, false) => ByteOrderOp::Swap,
            (Width::W64, true) => return self.unknown(),
        };
        self.zero(Field::Src)?;
        self.zero(Field::Off)?;
        let size = match self.insn.imm {
            16 => Size::H,
            32 => Size::W,
            64 => Size::DW,
            _ => return self.variant(Field::Imm),
        };
        Ok(Instruction::ByteOrder {
            op,
            size,
            dst: self.dst()?,
        })
    }

    fn jump(self, width: Width) -> Result<Instruction, DecodeError> {
        let cond = match self.insn.opcode & 0xf0 {
            jmp::JEQ => Cond::Eq,
            jmp::JGT => Cond::Gt,
            jmp::JGE => Cond::Ge,
            jmp::JSET => Cond::Set,
            jmp::JNE => Cond::Ne,
            jmp::JSGT => Cond::Sgt,
            jmp::JSGE => Cond::Sge,
            jmp::JLT => Cond::Lt,
            jmp::JLE => Cond::Le,
            jmp::JSLT => Cond::Slt,
            jmp::JSLE => Cond::Sle,
            _ => return self.jump_unconditional(width),
        };
        Ok(Instruction::Branch {
            cond,
            width,
            dst: self.dst()?,
            src: self.operand()?,
            delta: self.insn.off,
        })
    }

    fn jump_unconditional(self, width: Width) -> Result<Instruction, DecodeError> {
        const CALL: u8 = class::JMP | jmp::CALL;
        const CALLX: u8 = class::JMP | jmp::CALL | SRC_X;
        const EXIT: u8 = class::JMP | jmp::EXIT;
        const JCOND: u8 = class::JMP | jmp::JCOND;
        const JA: u8 = class::JMP | jmp::JA;
        const JA32: u8 = class::JMP32 | jmp::JA;
        match self.insn.opcode {
            JA | JA32 => {
                self.zero(Field::Dst)?;
                self.zero(Field::Src)?;
                let long = width == Width::W32;
                self.zero(if long { Field::Off } else { Field::Imm })?;
                let delta = if long {
                    self.insn.imm
                } else {
                    self.insn.off.into()
                };
                Ok(Instruction::Jump { long, delta })
            }
            EXIT => {
                self.zero(Field::Dst)?;
                self.zero(Field::Src)?;
                self.zero(Field::Off)?;
                self.zero(Field::Imm)?;
                Ok(Instruction::Exit)
            }
            JCOND => {
                self.zero(Field::Dst)?;
                // The source register selects the kind; `BPF_MAY_GOTO` is the only one.
                if self.insn.src != 0 {
                    return self.variant(Field::Src);
                }
                self.zero(Field::Imm)?;
                Ok(Instruction::MayGoto {
                    delta: self.insn.off,
                })
            }
            CALL => self.call().map(Instruction::Call),
            CALLX => {
                self.zero(Field::Src)?;
                self.zero(Field::Off)?;
                self.zero(Field::Imm)?;
                Ok(Instruction::Call(CallTarget::Register(self.dst()?)))
            }
            _ => self.unknown(),
        }
    }

    fn call(self) -> Result<CallTarget, DecodeError> {
        self.zero(Field::Dst)?;
        let imm = self.insn.imm;
        match self.insn.src {
            0 => {
                self.zero(Field::Off)?;
                Ok(CallTarget::Helper(imm as u32))
            }
            pseudo::CALL_LOCAL => {
                self.zero(Field::Off)?;
                Ok(CallTarget::Local(imm))
            }
            pseudo::CALL_KFUNC => Ok(CallTarget::Kfunc {
                id: imm as u32,
                btf_idx: self.insn.off,
            }),
            _ => self.variant(Field::Src),
        }
    }

    fn load(self) -> Result<Instruction, DecodeError> {
        let size = self.size();
        let signed = match self.insn.opcode & mode::MASK {
            mode::MEM => false,
            mode::MEMSX if size != Size::DW => true,
            _ => return self.unknown(),
        };
        self.zero(Field::Imm)?;
        Ok(Instruction::Load {
            size,
            signed,
            dst: self.dst()?,
            base: self.src()?,
            off: self.insn.off,
        })
    }

    fn store_immediate(self) -> Result<Instruction, DecodeError> {
        if self.insn.opcode & mode::MASK != mode::MEM {
            return self.unknown();
        }
        self.zero(Field::Src)?;
        Ok(Instruction::Store {
            size: self.size(),
            base: self.dst()?,
            off: self.insn.off,
            src: Operand::Imm(self.insn.imm),
        })
    }

    fn store_register(self) -> Result<Instruction, DecodeError> {
        match self.insn.opcode & mode::MASK {
            mode::MEM => {
                self.zero(Field::Imm)?;
                Ok(Instruction::Store {
                    size: self.size(),
                    base: self.dst()?,
                    off: self.insn.off,
                    src: Operand::Reg(self.src()?),
                })
            }
            mode::ATOMIC => self.atomic(),
            _ => self.unknown(),
        }
    }

    fn atomic(self) -> Result<Instruction, DecodeError> {
        let size = self.size();
        let off = self.insn.off;
        if self.insn.imm == atomic::LOAD_ACQ {
            return Ok(Instruction::LoadAcquire {
                size,
                dst: self.dst()?,
                base: self.src()?,
                off,
            });
        }
        if self.insn.imm == atomic::STORE_REL {
            return Ok(Instruction::StoreRelease {
                size,
                base: self.dst()?,
                off,
                src: self.src()?,
            });
        }
        let width = match size {
            Size::W => Width::W32,
            Size::DW => Width::W64,
            // Only loads and stores with ordering have these sizes.
            Size::B | Size::H => return self.variant(Field::Imm),
        };
        let fetch = self.insn.imm & atomic::FETCH != 0;
        let op = match self.insn.imm {
            atomic::XCHG => AtomicOp::Xchg,
            atomic::CMPXCHG => AtomicOp::Cmpxchg,
            imm => match imm & !atomic::FETCH {
                atomic::ADD => AtomicOp::Add { fetch },
                atomic::OR => AtomicOp::Or { fetch },
                atomic::AND => AtomicOp::And { fetch },
                atomic::XOR => AtomicOp::Xor { fetch },
                _ => return self.variant(Field::Imm),
            },
        };
        Ok(Instruction::Atomic {
            op,
            width,
            base: self.dst()?,
            off,
            src: self.src()?,
        })
    }

    fn load_legacy(self, next: Option<&Insn>) -> Result<Instruction, DecodeError> {
        if self.insn.opcode == LDDW {
            return self.load_imm64(next);
        }
        if self.insn.opcode == 0 {
            return Err(DecodeError::LoneSecondSlot { slot: self.slot });
        }
        let size = self.size();
        if size == Size::DW {
            return self.unknown();
        }
        let index = match self.insn.opcode & mode::MASK {
            mode::ABS => {
                self.zero(Field::Src)?;
                None
            }
            mode::IND => Some(self.src()?),
            _ => return self.unknown(),
        };
        self.zero(Field::Dst)?;
        self.zero(Field::Off)?;
        Ok(Instruction::LoadPacket {
            size,
            index,
            off: self.insn.imm,
        })
    }

    fn load_imm64(self, next: Option<&Insn>) -> Result<Instruction, DecodeError> {
        self.zero(Field::Off)?;
        let dst = self.dst()?;
        let Some(&second) = next else {
            return Err(DecodeError::MissingSecondSlot { slot: self.slot });
        };
        let second = Self {
            insn: second,
            slot: self.slot + 1,
        };
        for field in [Field::Opcode, Field::Dst, Field::Src, Field::Off] {
            second.second_zero(field)?;
        }
        let imm = self.insn.imm;
        let high = second.insn.imm;
        let value = match self.insn.src {
            0 => Imm64::Value(u64::from(imm as u32) | u64::from(high as u32) << 32),
            pseudo::MAP_FD => {
                second.second_zero(Field::Imm)?;
                Imm64::MapFd(imm)
            }
            pseudo::MAP_VALUE => Imm64::MapFdValue {
                fd: imm,
                offset: high as u32,
            },
            pseudo::BTF_ID => Imm64::BtfId {
                id: imm as u32,
                btf_fd: high as u32,
            },
            pseudo::FUNC => {
                second.second_zero(Field::Imm)?;
                Imm64::Func { delta: imm }
            }
            pseudo::MAP_IDX => {
                second.second_zero(Field::Imm)?;
                Imm64::MapIdx(imm as u32)
            }
            pseudo::MAP_IDX_VALUE => Imm64::MapIdxValue {
                index: imm as u32,
                offset: high as u32,
            },
            _ => return self.variant(Field::Src),
        };
        Ok(Instruction::LoadImm64 { dst, value })
    }

    fn second_zero(self, field: Field) -> Result<(), DecodeError> {
        let value = self.value(field);
        if value == 0 {
            return Ok(());
        }
        Err(DecodeError::BadSecondSlot {
            slot: self.slot,
            field,
            value,
        })
    }
}
