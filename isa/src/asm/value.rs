//! What LLVM's notation has to the right of `dst =`.

use super::cursor::Cursor;
use super::llvm::{
    address, atomic_width, operand, pointee, same_width, sized_register, typed_address, width,
};
use super::token::Token;
use super::{AsmError, AsmErrorKind, Parsed, mnemonic, targeted};
use crate::opcode::LDDW;
use crate::{AluOp, AtomicOp, Imm64, Instruction, Operand, Reg, Size};

/// What follows `dst =`.
pub(super) fn value<'a>(
    cursor: &mut Cursor<'a>,
    dst: Reg,
    wide: bool,
) -> Result<Parsed<'a>, AsmError> {
    let insn = match cursor.peek() {
        Some(Token::Sign("*")) => load(cursor, dst, wide)?,
        Some(Token::Sign("(")) => sign_extension(cursor, dst, wide)?,
        Some(Token::Word(_)) if cursor.is_register() => Instruction::Alu {
            op: AluOp::Mov,
            width: width(wide),
            dst,
            src: operand(cursor, wide)?,
        },
        Some(Token::Word(name)) => return named(cursor, name, dst, wide),
        Some(Token::Sign("-")) if cursor.register_ahead() => {
            cursor.skip();
            if cursor.register()? != (dst, wide) {
                let why = "negation takes and gives the same register";
                return Err(cursor.error(AsmErrorKind::Mismatch(why)));
            }
            let width = width(wide);
            Instruction::Neg { width, dst }
        }
        _ => number(cursor, dst, wide)?,
    };
    Ok(insn.into())
}

/// An immediate, of 64 bits if `ll` follows or the opcode is known to be that of such a load.
fn number(cursor: &mut Cursor<'_>, dst: Reg, wide: bool) -> Result<Instruction, AsmError> {
    if wide && (cursor.opcode == Some(LDDW) || cursor.ends_with_ll()) {
        let value = Imm64::Value(cursor.imm64()?);
        cursor.take_word("ll");
        return Ok(Instruction::LoadImm64 { dst, value });
    }
    Ok(Instruction::Alu {
        op: AluOp::Mov,
        width: width(wide),
        dst,
        src: Operand::Imm(cursor.imm32()?),
    })
}

fn load(cursor: &mut Cursor<'_>, dst: Reg, wide: bool) -> Result<Instruction, AsmError> {
    cursor.sign("*")?;
    let (size, signed) = pointee(cursor)?;
    if cursor.take_word("skb") {
        return load_packet(cursor, size, signed, dst);
    }
    let (base, off) = address(cursor)?;
    if !wide && (signed || size == Size::DW) {
        let why = "8-byte and sign-extending loads need a 64-bit register (`r0`, not `w0`)";
        return Err(cursor.error(AsmErrorKind::Mismatch(why)));
    }
    Ok(Instruction::Load {
        size,
        signed,
        dst,
        base,
        off,
    })
}

/// `skb[0x4]`, `skb[r1]`, `skb[r1 + 0x4]`.
fn load_packet(
    cursor: &mut Cursor<'_>,
    size: Size,
    signed: bool,
    dst: Reg,
) -> Result<Instruction, AsmError> {
    if signed || size == Size::DW || dst != Reg::R0 {
        let why = "packet loads are of `u8`, `u16` or `u32`, into `r0`";
        return Err(cursor.error(AsmErrorKind::Mismatch(why)));
    }
    cursor.sign("[")?;
    let index = if cursor.is_register() {
        Some(cursor.wide_register()?)
    } else {
        None
    };
    let off = if index.is_some() && cursor.peek() == Some(Token::Sign("]")) {
        0
    } else {
        if index.is_some() {
            // The kernel writes `+ -8`.
            cursor.take("+");
        }
        cursor.imm32()?
    };
    cursor.sign("]")?;
    Ok(Instruction::LoadPacket { size, index, off })
}

/// `(s8)r1`.
fn sign_extension(cursor: &mut Cursor<'_>, dst: Reg, wide: bool) -> Result<Instruction, AsmError> {
    cursor.sign("(")?;
    let from = match cursor.peek() {
        Some(Token::Word("s8")) => Size::B,
        Some(Token::Word("s16")) => Size::H,
        Some(Token::Word("s32")) if wide => Size::W,
        _ => return cursor.expected("`s8`, `s16` or, for 64-bit registers, `s32`"),
    };
    cursor.skip();
    cursor.sign(")")?;
    let src = same_width(cursor, wide)?;
    Ok(Instruction::MovSx {
        width: width(wide),
        from,
        dst,
        src,
    })
}

/// A value that begins with a word.
fn named<'a>(
    cursor: &mut Cursor<'a>,
    name: &'a str,
    dst: Reg,
    wide: bool,
) -> Result<Parsed<'a>, AsmError> {
    if let Some((op, size)) = mnemonic::byte_order(name) {
        cursor.skip();
        if !wide || cursor.register()? != (dst, true) {
            let why = "byte order conversion takes and gives the same 64-bit register";
            return Err(cursor.error(AsmErrorKind::Mismatch(why)));
        }
        return Ok(Instruction::ByteOrder { op, size, dst }.into());
    }
    match name {
        "func" if wide => func(cursor, dst),
        "map_fd" | "map_idx" | "btf_id" if wide => pseudo(cursor, name, dst).map(Parsed::from),
        "addr_space_cast" if wide => addr_space_cast(cursor, dst).map(Parsed::from),
        "load_acquire" => load_acquire(cursor, dst, wide).map(Parsed::from),
        _ => atomic(cursor, name, dst).map(Parsed::from),
    }
}

/// `func(+0x5) ll` or `func(label) ll`.
fn func<'a>(cursor: &mut Cursor<'a>, dst: Reg) -> Result<Parsed<'a>, AsmError> {
    cursor.skip();
    cursor.sign("(")?;
    let target = cursor.target()?;
    cursor.sign(")")?;
    end_of_wide(cursor)?;
    let value = Imm64::Func { delta: 0 };
    targeted(Instruction::LoadImm64 { dst, value }, target, cursor)
}

/// `map_fd(0x3) ll`, `map_idx(0x3) + 0x8 ll`, `btf_id(0x5, 0x0) ll`.
fn pseudo(cursor: &mut Cursor<'_>, name: &str, dst: Reg) -> Result<Instruction, AsmError> {
    cursor.skip();
    cursor.sign("(")?;
    let fd = if name == "map_fd" {
        cursor.imm32()?
    } else {
        cursor.unsigned32("index")? as i32
    };
    let btf_fd = if name == "btf_id" {
        cursor.sign(",")?;
        cursor.unsigned32("descriptor")?
    } else {
        0
    };
    cursor.sign(")")?;
    let offset = if name != "btf_id" && cursor.take("+") {
        Some(cursor.unsigned32("offset")?)
    } else {
        None
    };
    end_of_wide(cursor)?;
    let id = fd as u32;
    let value = match (name, offset) {
        ("map_fd", None) => Imm64::MapFd(fd),
        ("map_fd", Some(offset)) => Imm64::MapFdValue { fd, offset },
        ("map_idx", None) => Imm64::MapIdx(id),
        ("map_idx", Some(offset)) => Imm64::MapIdxValue { index: id, offset },
        _ => Imm64::BtfId { id, btf_fd },
    };
    Ok(Instruction::LoadImm64 { dst, value })
}

fn end_of_wide(cursor: &mut Cursor<'_>) -> Result<(), AsmError> {
    if cursor.take_word("ll") {
        return Ok(());
    }
    cursor.expected("`ll`")
}

/// `addr_space_cast(r2, 0x1, 0x0)`.
fn addr_space_cast(cursor: &mut Cursor<'_>, dst: Reg) -> Result<Instruction, AsmError> {
    cursor.skip();
    cursor.sign("(")?;
    let src = cursor.wide_register()?;
    cursor.sign(",")?;
    let to = cursor.bounded("address space", 0, u16::MAX.into())? as u16;
    cursor.sign(",")?;
    let from = cursor.bounded("address space", 0, u16::MAX.into())? as u16;
    cursor.sign(")")?;
    Ok(Instruction::AddrSpaceCast { dst, src, to, from })
}

/// `load_acquire((u32 *)(r1 + 0x0))`.
fn load_acquire(cursor: &mut Cursor<'_>, dst: Reg, wide: bool) -> Result<Instruction, AsmError> {
    cursor.skip();
    cursor.sign("(")?;
    let (size, base, off) = typed_address(cursor)?;
    if !wide && size == Size::DW {
        let why = "8 bytes of memory need a 64-bit register (`r0`, not `w0`)";
        return Err(cursor.error(AsmErrorKind::Mismatch(why)));
    }
    cursor.sign(")")?;
    Ok(Instruction::LoadAcquire {
        size,
        dst,
        base,
        off,
    })
}

/// Atomic operations that give the old value. LLVM's names carry the width for exchanges; the
/// kernel's (`atomic64_xchg`) come with a typed address.
fn atomic(cursor: &mut Cursor<'_>, name: &str, dst: Reg) -> Result<Instruction, AsmError> {
    let fetch = true;
    let (op, size) = match name {
        "atomic_fetch_add" | "atomic64_fetch_add" => (AtomicOp::Add { fetch }, None),
        "atomic_fetch_or" | "atomic64_fetch_or" => (AtomicOp::Or { fetch }, None),
        "atomic_fetch_and" | "atomic64_fetch_and" => (AtomicOp::And { fetch }, None),
        "atomic_fetch_xor" | "atomic64_fetch_xor" => (AtomicOp::Xor { fetch }, None),
        "atomic_xchg" | "atomic64_xchg" => (AtomicOp::Xchg, None),
        "atomic_cmpxchg" | "atomic64_cmpxchg" => (AtomicOp::Cmpxchg, None),
        "xchg_64" => (AtomicOp::Xchg, Some(Size::DW)),
        "xchg32_32" => (AtomicOp::Xchg, Some(Size::W)),
        "cmpxchg_64" => (AtomicOp::Cmpxchg, Some(Size::DW)),
        "cmpxchg32_32" => (AtomicOp::Cmpxchg, Some(Size::W)),
        _ => return cursor.expected("a value"),
    };
    cursor.skip();
    cursor.sign("(")?;
    let (size, base, off) = match size {
        None => typed_address(cursor)?,
        Some(size) => {
            let base = cursor.wide_register()?;
            (size, base, cursor.offset()?)
        }
    };
    let width = atomic_width(cursor, size)?;
    cursor.sign(",")?;
    if op == AtomicOp::Cmpxchg {
        if dst != Reg::R0 || sized_register(cursor, size)? != Reg::R0 {
            let why = "compare-and-exchange compares with `r0` and gives the old value in it";
            return Err(cursor.error(AsmErrorKind::Mismatch(why)));
        }
        cursor.sign(",")?;
    }
    let src = sized_register(cursor, size)?;
    if op != AtomicOp::Cmpxchg && src != dst {
        let why = "an atomic operation gives the old value in the register it takes";
        return Err(cursor.error(AsmErrorKind::Mismatch(why)));
    }
    cursor.sign(")")?;
    Ok(Instruction::Atomic {
        op,
        width,
        base,
        off,
        src,
    })
}
