//! The notation of LLVM and of the kernel's log.

use super::cursor::Cursor;
use super::token::Token;
use super::{AsmError, AsmErrorKind, Parsed, Target, mnemonic, targeted, value};
use crate::{
    AluOp, AtomicOp, CallTarget, Cond, Imm64, Instruction, Operand, Reg, Size, Width, helper,
};

/// Reads an instruction.
pub(super) fn instruction<'a>(cursor: &mut Cursor<'a>) -> Result<Parsed<'a>, AsmError> {
    let name = match cursor.peek() {
        Some(Token::Sign("*")) => return store(cursor).map(Parsed::from),
        Some(Token::Word(_)) if cursor.is_register() => return assignment(cursor),
        Some(Token::Word(name)) => name,
        _ => return cursor.expected("an instruction"),
    };
    let long = match name {
        "if" => return branch(cursor),
        "store_release" => return store_release(cursor).map(Parsed::from),
        "callx" => {
            cursor.skip();
            let target = CallTarget::Register(cursor.wide_register()?);
            return Ok(Instruction::Call(target).into());
        }
        "may_goto" => {
            cursor.skip();
            let target = cursor.target()?;
            return targeted(Instruction::MayGoto { delta: 0 }, target, cursor);
        }
        "ld_pseudo" => return ld_pseudo(cursor).map(Parsed::from),
        "goto" => false,
        "gotol" => true,
        _ => return cursor.expected("an instruction"),
    };
    cursor.skip();
    let target = cursor.target()?;
    targeted(Instruction::Jump { long, delta: 0 }, target, cursor)
}

/// What follows `call`, in both notations.
pub(super) fn call<'a>(cursor: &mut Cursor<'a>) -> Result<Parsed<'a>, AsmError> {
    if cursor.peek() == Some(Token::Sign("%")) || cursor.is_register() {
        let target = CallTarget::Register(mnemonic::register(cursor)?);
        return Ok(Instruction::Call(target).into());
    }
    let local = Instruction::Call(CallTarget::Local(0));
    let Some(Token::Word(name)) = cursor.peek() else {
        let id = cursor.bounded("helper number", i32::MIN.into(), u32::MAX.into())?;
        return Ok(Instruction::Call(CallTarget::Helper(id as u32)).into());
    };
    match name {
        "pc" => {
            let target = cursor.target()?;
            targeted(local, target, cursor)
        }
        "local" => {
            cursor.skip();
            let target = cursor.target()?;
            targeted(local, target, cursor)
        }
        "kfunc" => {
            cursor.skip();
            cursor.sign("(")?;
            let id = cursor.unsigned32("BTF id")?;
            let btf_idx = if cursor.take(",") {
                cursor.bounded("BTF index", i16::MIN.into(), i16::MAX.into())? as i16
            } else {
                0
            };
            cursor.sign(")")?;
            Ok(Instruction::Call(CallTarget::Kfunc { id, btf_idx }).into())
        }
        _ => {
            cursor.skip();
            if cursor.take("#") {
                let id = cursor.unsigned32("helper number")?;
                return Ok(Instruction::Call(CallTarget::Helper(id)).into());
            }
            match helper::by_name(name).filter(|_| name.starts_with("bpf_")) {
                Some(proto) => Ok(Instruction::Call(CallTarget::Helper(proto.id)).into()),
                None => targeted(local, Target::Label(name), cursor),
            }
        }
    }
}

/// What follows `lock`: `*(u64 *)(r1 + 0) += r2`.
pub(super) fn locked<'a>(cursor: &mut Cursor<'a>) -> Result<Parsed<'a>, AsmError> {
    let (size, base, off) = unsigned_memory(cursor)?;
    let width = atomic_width(cursor, size)?;
    let fetch = false;
    let op = match cursor.peek() {
        Some(Token::Sign("+=")) => AtomicOp::Add { fetch },
        Some(Token::Sign("|=")) => AtomicOp::Or { fetch },
        Some(Token::Sign("&=")) => AtomicOp::And { fetch },
        Some(Token::Sign("^=")) => AtomicOp::Xor { fetch },
        _ => return cursor.expected("`+=`, `|=`, `&=` or `^=`"),
    };
    cursor.skip();
    let src = sized_register(cursor, size)?;
    let insn = Instruction::Atomic {
        op,
        width,
        base,
        off,
        src,
    };
    Ok(insn.into())
}

fn branch<'a>(cursor: &mut Cursor<'a>) -> Result<Parsed<'a>, AsmError> {
    cursor.skip();
    let (dst, wide) = cursor.register()?;
    let signed = cursor.take_word("s");
    let cond = match (cursor.peek(), signed) {
        (Some(Token::Sign("==")), false) => Cond::Eq,
        (Some(Token::Sign("!=")), false) => Cond::Ne,
        (Some(Token::Sign(">")), false) => Cond::Gt,
        (Some(Token::Sign(">=")), false) => Cond::Ge,
        (Some(Token::Sign("<")), false) => Cond::Lt,
        (Some(Token::Sign("<=")), false) => Cond::Le,
        (Some(Token::Sign("&")), false) => Cond::Set,
        (Some(Token::Sign(">")), true) => Cond::Sgt,
        (Some(Token::Sign(">=")), true) => Cond::Sge,
        (Some(Token::Sign("<")), true) => Cond::Slt,
        (Some(Token::Sign("<=")), true) => Cond::Sle,
        _ => return cursor.expected("a comparison"),
    };
    cursor.skip();
    let src = operand(cursor, wide)?;
    if !cursor.take_word("goto") {
        return cursor.expected("`goto`");
    }
    let target = cursor.target()?;
    let branch = Instruction::Branch {
        cond,
        width: width(wide),
        dst,
        src,
        delta: 0,
    };
    targeted(branch, target, cursor)
}

fn store(cursor: &mut Cursor<'_>) -> Result<Instruction, AsmError> {
    let (size, base, off) = unsigned_memory(cursor)?;
    cursor.sign("=")?;
    let src = if cursor.is_register() {
        Operand::Reg(sized_register(cursor, size)?)
    } else {
        Operand::Imm(cursor.imm32()?)
    };
    Ok(Instruction::Store {
        size,
        base,
        off,
        src,
    })
}

fn store_release(cursor: &mut Cursor<'_>) -> Result<Instruction, AsmError> {
    cursor.skip();
    cursor.sign("(")?;
    let (size, base, off) = typed_address(cursor)?;
    cursor.sign(",")?;
    let src = sized_register(cursor, size)?;
    cursor.sign(")")?;
    Ok(Instruction::StoreRelease {
        size,
        base,
        off,
        src,
    })
}

/// What LLVM prints for pseudo loads. It leaves out the high half, so that only the forms where
/// that half is zero can be read.
fn ld_pseudo(cursor: &mut Cursor<'_>) -> Result<Instruction, AsmError> {
    cursor.skip();
    let dst = cursor.wide_register()?;
    cursor.sign(",")?;
    let kind = cursor.unsigned32("kind of pseudo load")?;
    cursor.sign(",")?;
    let imm = cursor.imm32()?;
    let value = match kind {
        1 => Imm64::MapFd(imm),
        4 => Imm64::Func { delta: imm },
        5 => Imm64::MapIdx(imm as u32),
        _ => {
            let why = "`ld_pseudo` leaves out the second half of this kind of load";
            return Err(cursor.error(AsmErrorKind::Mismatch(why)));
        }
    };
    Ok(Instruction::LoadImm64 { dst, value })
}

fn assignment<'a>(cursor: &mut Cursor<'a>) -> Result<Parsed<'a>, AsmError> {
    let (dst, wide) = cursor.register()?;
    if cursor.take("=") {
        return value::value(cursor, dst, wide);
    }
    let signed = cursor.take_word("s");
    let op = match (cursor.peek(), signed) {
        (Some(Token::Sign("+=")), false) => AluOp::Add,
        (Some(Token::Sign("-=")), false) => AluOp::Sub,
        (Some(Token::Sign("*=")), false) => AluOp::Mul,
        (Some(Token::Sign("/=")), false) => AluOp::Div,
        (Some(Token::Sign("%=")), false) => AluOp::Mod,
        (Some(Token::Sign("|=")), false) => AluOp::Or,
        (Some(Token::Sign("&=")), false) => AluOp::And,
        (Some(Token::Sign("^=")), false) => AluOp::Xor,
        (Some(Token::Sign("<<=")), false) => AluOp::Lsh,
        (Some(Token::Sign(">>=")), false) => AluOp::Rsh,
        (Some(Token::Sign("/=")), true) => AluOp::Sdiv,
        (Some(Token::Sign("%=")), true) => AluOp::Smod,
        (Some(Token::Sign(">>=")), true) => AluOp::Arsh,
        _ => return cursor.expected("an assignment operator"),
    };
    cursor.skip();
    let insn = Instruction::Alu {
        op,
        width: width(wide),
        dst,
        src: operand(cursor, wide)?,
    };
    Ok(insn.into())
}

pub(super) fn width(wide: bool) -> Width {
    if wide { Width::W64 } else { Width::W32 }
}

/// A register of the given width, or an immediate.
pub(super) fn operand(cursor: &mut Cursor<'_>, wide: bool) -> Result<Operand, AsmError> {
    if cursor.is_register() {
        return same_width(cursor, wide).map(Operand::Reg);
    }
    cursor.imm32().map(Operand::Imm)
}

/// A register whose name has the same width as that of the other operand.
pub(super) fn same_width(cursor: &mut Cursor<'_>, wide: bool) -> Result<Reg, AsmError> {
    match cursor.register()? {
        (reg, found) if found == wide => Ok(reg),
        _ => {
            let why = "both registers must be of one width (`r0` and `r1`, or `w0` and `w1`)";
            Err(cursor.error(AsmErrorKind::Mismatch(why)))
        }
    }
}

/// A register that goes with a size of memory: 8 bytes need a 64-bit name, less takes either, as
/// the kernel's log knows only one.
pub(super) fn sized_register(cursor: &mut Cursor<'_>, size: Size) -> Result<Reg, AsmError> {
    match cursor.register()? {
        (_, false) if size == Size::DW => {
            let why = "8 bytes of memory need a 64-bit register (`r0`, not `w0`)";
            Err(cursor.error(AsmErrorKind::Mismatch(why)))
        }
        (reg, _) => Ok(reg),
    }
}

pub(super) fn atomic_width(cursor: &Cursor<'_>, size: Size) -> Result<Width, AsmError> {
    match size {
        Size::W => Ok(Width::W32),
        Size::DW => Ok(Width::W64),
        Size::B | Size::H => {
            let why = "atomic operations are of `u32` or `u64`";
            Err(cursor.error(AsmErrorKind::Mismatch(why)))
        }
    }
}

/// `(u32 *)` and whether it is signed.
pub(super) fn pointee(cursor: &mut Cursor<'_>) -> Result<(Size, bool), AsmError> {
    cursor.sign("(")?;
    let found = match cursor.peek() {
        Some(Token::Word("u8")) => (Size::B, false),
        Some(Token::Word("u16")) => (Size::H, false),
        Some(Token::Word("u32")) => (Size::W, false),
        Some(Token::Word("u64")) => (Size::DW, false),
        Some(Token::Word("s8")) => (Size::B, true),
        Some(Token::Word("s16")) => (Size::H, true),
        Some(Token::Word("s32")) => (Size::W, true),
        _ => return cursor.expected("a type (`u8`, `u16`, `u32`, `u64`, `s8`, `s16`, `s32`)"),
    };
    cursor.skip();
    cursor.sign("*")?;
    cursor.sign(")")?;
    Ok(found)
}

/// `(r1 + 0x4)`.
pub(super) fn address(cursor: &mut Cursor<'_>) -> Result<(Reg, i16), AsmError> {
    cursor.sign("(")?;
    let base = cursor.wide_register()?;
    let off = cursor.offset()?;
    cursor.sign(")")?;
    Ok((base, off))
}

/// `(u32 *)(r1 + 0x4)`.
pub(super) fn typed_address(cursor: &mut Cursor<'_>) -> Result<(Size, Reg, i16), AsmError> {
    let (size, signed) = pointee(cursor)?;
    if signed {
        let why = "only loads have signed types";
        return Err(cursor.error(AsmErrorKind::Mismatch(why)));
    }
    let (base, off) = address(cursor)?;
    Ok((size, base, off))
}

/// `*(u32 *)(r1 + 0x4)`.
fn unsigned_memory(cursor: &mut Cursor<'_>) -> Result<(Size, Reg, i16), AsmError> {
    cursor.sign("*")?;
    typed_address(cursor)
}
