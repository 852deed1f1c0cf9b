//! The notation of ubpf and bpf_conformance.

use super::cursor::Cursor;
use super::token::Token;
use super::{AsmError, Parsed, llvm, targeted};
use crate::{AluOp, AtomicOp, ByteOrderOp, Cond, Imm64, Instruction, Operand, Reg, Size, Width};

/// What a mnemonic stands for.
#[derive(Clone, Copy)]
enum Form {
    Alu(AluOp, Width),
    MovSx(Size, Width),
    Neg(Width),
    ByteOrder(ByteOrderOp, Size),
    LoadImm64,
    Load(Size, bool),
    StoreImm(Size),
    StoreReg(Size),
    Jump { long: bool },
    Branch(Cond, Width),
    Call,
    Exit,
    Lock,
}

/// Reads an instruction if the line begins with a mnemonic.
pub(super) fn instruction<'a>(cursor: &mut Cursor<'a>) -> Result<Option<Parsed<'a>>, AsmError> {
    let Some(Token::Word(name)) = cursor.peek() else {
        return Ok(None);
    };
    let Some(form) = form(name) else {
        return Ok(None);
    };
    cursor.skip();
    let insn = match form {
        Form::Alu(op, width) => {
            let dst = first(cursor)?;
            let src = operand(cursor)?;
            Instruction::Alu {
                op,
                width,
                dst,
                src,
            }
        }
        Form::MovSx(from, width) => {
            let dst = first(cursor)?;
            let src = register(cursor)?;
            Instruction::MovSx {
                width,
                from,
                dst,
                src,
            }
        }
        Form::Neg(width) => Instruction::Neg {
            width,
            dst: register(cursor)?,
        },
        Form::ByteOrder(op, size) => Instruction::ByteOrder {
            op,
            size,
            dst: register(cursor)?,
        },
        Form::LoadImm64 => {
            let dst = first(cursor)?;
            let value = Imm64::Value(cursor.imm64()?);
            Instruction::LoadImm64 { dst, value }
        }
        Form::Load(size, signed) => {
            let dst = first(cursor)?;
            let (base, off) = memory(cursor)?;
            Instruction::Load {
                size,
                signed,
                dst,
                base,
                off,
            }
        }
        Form::StoreImm(size) => {
            let (base, off) = memory(cursor)?;
            cursor.sign(",")?;
            let src = Operand::Imm(cursor.imm32()?);
            Instruction::Store {
                size,
                base,
                off,
                src,
            }
        }
        Form::StoreReg(size) => {
            let (base, off) = memory(cursor)?;
            cursor.sign(",")?;
            let src = Operand::Reg(register(cursor)?);
            Instruction::Store {
                size,
                base,
                off,
                src,
            }
        }
        Form::Jump { long } => {
            let target = cursor.target()?;
            return targeted(Instruction::Jump { long, delta: 0 }, target, cursor).map(Some);
        }
        Form::Branch(cond, width) => {
            let dst = first(cursor)?;
            let src = operand(cursor)?;
            cursor.sign(",")?;
            let target = cursor.target()?;
            let branch = Instruction::Branch {
                cond,
                width,
                dst,
                src,
                delta: 0,
            };
            return targeted(branch, target, cursor).map(Some);
        }
        Form::Call => return llvm::call(cursor).map(Some),
        Form::Exit => Instruction::Exit,
        // `lock *(u64 *)(r1 + 0) += r2` is the other notation.
        Form::Lock if cursor.peek() == Some(Token::Sign("*")) => {
            return llvm::locked(cursor).map(Some);
        }
        Form::Lock => locked(cursor)?,
    };
    Ok(Some(insn.into()))
}

fn form(name: &str) -> Option<Form> {
    Some(match name {
        "lddw" => Form::LoadImm64,
        "ja" => Form::Jump { long: false },
        "ja32" => Form::Jump { long: true },
        "call" => Form::Call,
        "exit" => Form::Exit,
        "lock" => Form::Lock,
        "movsx832" => Form::MovSx(Size::B, Width::W32),
        "movsx1632" => Form::MovSx(Size::H, Width::W32),
        "movsx864" => Form::MovSx(Size::B, Width::W64),
        "movsx1664" => Form::MovSx(Size::H, Width::W64),
        "movsx3264" => Form::MovSx(Size::W, Width::W64),
        _ => {
            return byte_order(name)
                .map(|(op, size)| Form::ByteOrder(op, size))
                .or_else(|| access(name))
                .or_else(|| sized(name));
        }
    })
}

/// The operation and size that a name like `be16` stands for.
pub(super) fn byte_order(name: &str) -> Option<(ByteOrderOp, Size)> {
    let (name, size) = if let Some(name) = name.strip_suffix("16") {
        (name, Size::H)
    } else if let Some(name) = name.strip_suffix("32") {
        (name, Size::W)
    } else {
        (name.strip_suffix("64")?, Size::DW)
    };
    let op = match name {
        "le" => ByteOrderOp::ToLe,
        "be" => ByteOrderOp::ToBe,
        "swap" | "bswap" => ByteOrderOp::Swap,
        _ => return None,
    };
    Some((op, size))
}

fn access(name: &str) -> Option<Form> {
    let (name, size) = if let Some(name) = name.strip_suffix("dw") {
        (name, Size::DW)
    } else {
        let size = match name.chars().next_back()? {
            'b' => Size::B,
            'h' => Size::H,
            'w' => Size::W,
            _ => return None,
        };
        (name.get(..name.len() - 1)?, size)
    };
    match name {
        "ldx" => Some(Form::Load(size, false)),
        "ldxs" if size != Size::DW => Some(Form::Load(size, true)),
        "st" => Some(Form::StoreImm(size)),
        "stx" => Some(Form::StoreReg(size)),
        _ => None,
    }
}

/// Arithmetic and jumps, which may have their width as a suffix.
fn sized(name: &str) -> Option<Form> {
    let (name, width) = split_width(name);
    let op = match name {
        "neg" => return Some(Form::Neg(width)),
        "add" => AluOp::Add,
        "sub" => AluOp::Sub,
        "mul" => AluOp::Mul,
        "div" => AluOp::Div,
        "sdiv" => AluOp::Sdiv,
        "mod" => AluOp::Mod,
        "smod" => AluOp::Smod,
        "or" => AluOp::Or,
        "and" => AluOp::And,
        "xor" => AluOp::Xor,
        "lsh" => AluOp::Lsh,
        "rsh" => AluOp::Rsh,
        "arsh" => AluOp::Arsh,
        "mov" => AluOp::Mov,
        _ => return Some(Form::Branch(condition(name)?, width)),
    };
    Some(Form::Alu(op, width))
}

fn condition(name: &str) -> Option<Cond> {
    Some(match name {
        "jeq" => Cond::Eq,
        "jne" => Cond::Ne,
        "jgt" => Cond::Gt,
        "jge" => Cond::Ge,
        "jlt" => Cond::Lt,
        "jle" => Cond::Le,
        "jset" => Cond::Set,
        "jsgt" => Cond::Sgt,
        "jsge" => Cond::Sge,
        "jslt" => Cond::Slt,
        "jsle" => Cond::Sle,
        _ => return None,
    })
}

fn split_width(name: &str) -> (&str, Width) {
    match name.strip_suffix("32") {
        Some(name) => (name, Width::W32),
        None => (name.strip_suffix("64").unwrap_or(name), Width::W64),
    }
}

/// `lock add32 [%r1+4], %r2`, `lock fetch or [..], %r2`, `lock xchg [..], %r2`.
fn locked(cursor: &mut Cursor<'_>) -> Result<Instruction, AsmError> {
    let fetch = cursor.take_word("fetch");
    let Some(Token::Word(name)) = cursor.peek() else {
        return cursor.expected("an atomic operation");
    };
    let (name, width) = split_width(name);
    let op = match name {
        "add" => AtomicOp::Add { fetch },
        "or" => AtomicOp::Or { fetch },
        "and" => AtomicOp::And { fetch },
        "xor" => AtomicOp::Xor { fetch },
        // These always fetch.
        "xchg" => AtomicOp::Xchg,
        "cmpxchg" => AtomicOp::Cmpxchg,
        _ => return cursor.expected("an atomic operation"),
    };
    cursor.skip();
    let (base, off) = memory(cursor)?;
    cursor.sign(",")?;
    Ok(Instruction::Atomic {
        op,
        width,
        base,
        off,
        src: register(cursor)?,
    })
}

/// `%r1` or `r1`.
pub(super) fn register(cursor: &mut Cursor<'_>) -> Result<Reg, AsmError> {
    cursor.take("%");
    cursor.wide_register()
}

/// A register and the comma after it.
fn first(cursor: &mut Cursor<'_>) -> Result<Reg, AsmError> {
    let reg = register(cursor)?;
    cursor.sign(",")?;
    Ok(reg)
}

fn operand(cursor: &mut Cursor<'_>) -> Result<Operand, AsmError> {
    if cursor.peek() == Some(Token::Sign("%")) || cursor.is_register() {
        return register(cursor).map(Operand::Reg);
    }
    cursor.imm32().map(Operand::Imm)
}

/// `[%r1+4]`.
fn memory(cursor: &mut Cursor<'_>) -> Result<(Reg, i16), AsmError> {
    cursor.sign("[")?;
    let base = register(cursor)?;
    let off = cursor.offset()?;
    cursor.sign("]")?;
    Ok((base, off))
}
