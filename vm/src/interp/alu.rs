//! Arithmetic, byte order and comparisons as pure functions (RFC 9669 sections 4.1 to 4.3).

use bpftime_isa::{AluOp, AtomicOp, ByteOrderOp, Cond, Size, Width};

/// `dst op src`. In 32 bits the upper halves of the operands are ignored and the result is
/// zero-extended.
pub(crate) fn alu(op: AluOp, width: Width, dst: u64, src: u64) -> u64 {
    match width {
        Width::W64 => alu64(op, dst, src),
        Width::W32 => u64::from(alu32(op, dst as u32, src as u32)),
    }
}

fn alu64(op: AluOp, a: u64, b: u64) -> u64 {
    match op {
        AluOp::Add => a.wrapping_add(b),
        AluOp::Sub => a.wrapping_sub(b),
        AluOp::Mul => a.wrapping_mul(b),
        AluOp::Div => a.checked_div(b).unwrap_or(0),
        AluOp::Sdiv if b == 0 => 0,
        AluOp::Sdiv => (a as i64).wrapping_div(b as i64) as u64,
        AluOp::Mod => a.checked_rem(b).unwrap_or(a),
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
        AluOp::Sdiv if b == 0 => 0,
        AluOp::Sdiv => (a as i32).wrapping_div(b as i32) as u32,
        AluOp::Mod => a.checked_rem(b).unwrap_or(a),
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

/// `-value` in the width, zero-extended.
pub(crate) fn negate(width: Width, value: u64) -> u64 {
    match width {
        Width::W64 => value.wrapping_neg(),
        Width::W32 => u64::from((value as u32).wrapping_neg()),
    }
}

/// The low bytes of `value`, sign-extended to 64 bits.
pub(crate) fn sign_extend(size: Size, value: u64) -> u64 {
    match size {
        Size::B => value as i8 as u64,
        Size::H => value as i16 as u64,
        Size::W => value as i32 as u64,
        Size::DW => value,
    }
}

/// The low bytes of `value`.
pub(crate) fn truncate(size: Size, value: u64) -> u64 {
    match size {
        Size::B => u64::from(value as u8),
        Size::H => u64::from(value as u16),
        Size::W => u64::from(value as u32),
        Size::DW => value,
    }
}

/// The low bytes of `value` in another byte order; the machine is little-endian.
pub(crate) fn byte_order(op: ByteOrderOp, size: Size, value: u64) -> u64 {
    match (op, size) {
        (ByteOrderOp::ToLe, _) | (_, Size::B) => truncate(size, value),
        (_, Size::H) => u64::from((value as u16).swap_bytes()),
        (_, Size::W) => u64::from((value as u32).swap_bytes()),
        (_, Size::DW) => value.swap_bytes(),
    }
}

/// Whether `a cond b` in the width.
pub(crate) fn compare(cond: Cond, width: Width, a: u64, b: u64) -> bool {
    let (a, b) = match width {
        Width::W64 => (a, b),
        // Sign extension keeps both the signed and the unsigned order of 32-bit numbers.
        Width::W32 => (a as i32 as u64, b as i32 as u64),
    };
    match cond {
        Cond::Eq => a == b,
        Cond::Ne => a != b,
        Cond::Gt => a > b,
        Cond::Ge => a >= b,
        Cond::Lt => a < b,
        Cond::Le => a <= b,
        Cond::Set => a & b != 0,
        Cond::Sgt => a as i64 > b as i64,
        Cond::Sge => a as i64 >= b as i64,
        Cond::Slt => (a as i64) < b as i64,
        Cond::Sle => a as i64 <= b as i64,
    }
}

/// What an atomic operation leaves in memory that held `old`.
pub(crate) fn atomic(op: AtomicOp, width: Width, old: u64, operand: u64, expected: u64) -> u64 {
    let same = match width {
        Width::W64 => old == expected,
        Width::W32 => old as u32 == expected as u32,
    };
    match op {
        AtomicOp::Add { .. } => old.wrapping_add(operand),
        AtomicOp::Or { .. } => old | operand,
        AtomicOp::And { .. } => old & operand,
        AtomicOp::Xor { .. } => old ^ operand,
        AtomicOp::Xchg => operand,
        AtomicOp::Cmpxchg if same => operand,
        AtomicOp::Cmpxchg => old,
    }
}
