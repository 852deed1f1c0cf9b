//! Lowering of arithmetic, byte order and comparisons.

use bpftime_isa::{AluOp, ByteOrderOp, Cond, Operand, Reg, Size, Width};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I16, I32, I64};
use cranelift_codegen::ir::{InstBuilder, Type, Value};

use super::lower::Lowering;

/// Cranelift's type of a width.
pub(super) fn width_type(width: Width) -> Type {
    match width {
        Width::W32 => I32,
        Width::W64 => I64,
    }
}

/// Cranelift's type of a size.
pub(super) fn size_type(size: Size) -> Type {
    match size {
        Size::B => I8,
        Size::H => I16,
        Size::W => I32,
        Size::DW => I64,
    }
}

impl Lowering<'_, '_> {
    pub(super) fn alu(&mut self, op: AluOp, width: Width, dst: Reg, src: Operand) {
        let b = self.operand(width, src);
        if op == AluOp::Mov {
            return self.set_width(width, dst, b);
        }
        let a = self.get_width(width, dst);
        let result = match op {
            AluOp::Add => self.builder.ins().iadd(a, b),
            AluOp::Sub => self.builder.ins().isub(a, b),
            AluOp::Mul => self.builder.ins().imul(a, b),
            AluOp::Or => self.builder.ins().bor(a, b),
            AluOp::And => self.builder.ins().band(a, b),
            AluOp::Xor => self.builder.ins().bxor(a, b),
            // Cranelift's shifts take the amount modulo the width, as BPF's do.
            AluOp::Lsh => self.builder.ins().ishl(a, b),
            AluOp::Rsh => self.builder.ins().ushr(a, b),
            AluOp::Arsh => self.builder.ins().sshr(a, b),
            AluOp::Div | AluOp::Mod | AluOp::Sdiv | AluOp::Smod => {
                self.divide(op, width, a, b, src)
            }
            AluOp::Mov => b,
        };
        self.set_width(width, dst, result);
    }

    /// Division and remainder. The processor faults on a zero divisor and on the overflow of
    /// `MIN / -1`; BPF defines both.
    fn divide(&mut self, op: AluOp, width: Width, a: Value, b: Value, src: Operand) -> Value {
        let ty = width_type(width);
        let signed = matches!(op, AluOp::Sdiv | AluOp::Smod);
        let remainder = matches!(op, AluOp::Mod | AluOp::Smod);
        let zero = self.builder.ins().iconst(ty, 0);
        // What the special divisors 0 and -1 give: x / 0 = 0, x % 0 = x, x / -1 = -x (which wraps
        // for MIN), x % -1 = 0.
        let by_zero = if remainder { a } else { zero };
        match src {
            Operand::Imm(0) => return by_zero,
            Operand::Imm(-1) if signed && remainder => return zero,
            Operand::Imm(-1) if signed => return self.builder.ins().ineg(a),
            Operand::Imm(_) => return self.divide_plain(op, a, b),
            Operand::Reg(divisor) => {
                let may_be = |number| self.proved().may_be(self.index, divisor, width, number);
                if !(may_be(0) || signed && may_be(-1)) {
                    return self.divide_plain(op, a, b);
                }
            }
        }
        let one = self.builder.ins().iconst(ty, 1);
        let is_zero = self.builder.ins().icmp(IntCC::Equal, b, zero);
        if !signed {
            let divisor = self.builder.ins().select(is_zero, one, b);
            let result = self.divide_plain(op, a, divisor);
            return self.builder.ins().select(is_zero, by_zero, result);
        }
        let minus_one = self.builder.ins().ineg(one);
        let is_minus_one = self.builder.ins().icmp(IntCC::Equal, b, minus_one);
        let special = self.builder.ins().bor(is_zero, is_minus_one);
        let divisor = self.builder.ins().select(special, one, b);
        let result = self.divide_plain(op, a, divisor);
        let by_minus_one = if remainder {
            zero
        } else {
            self.builder.ins().ineg(a)
        };
        let result = self
            .builder
            .ins()
            .select(is_minus_one, by_minus_one, result);
        self.builder.ins().select(is_zero, by_zero, result)
    }

    /// Division by a divisor that is neither 0 nor, if signed, -1.
    fn divide_plain(&mut self, op: AluOp, a: Value, b: Value) -> Value {
        match op {
            AluOp::Sdiv => self.builder.ins().sdiv(a, b),
            AluOp::Smod => self.builder.ins().srem(a, b),
            AluOp::Mod => self.builder.ins().urem(a, b),
            _ => self.builder.ins().udiv(a, b),
        }
    }

    pub(super) fn mov_sx(&mut self, width: Width, from: Size, dst: Reg, src: Reg) {
        let value = self.get_width(width, src);
        let (narrow, ty) = (size_type(from), width_type(width));
        let value = if narrow == ty {
            value
        } else {
            let low = self.builder.ins().ireduce(narrow, value);
            self.builder.ins().sextend(ty, low)
        };
        self.set_width(width, dst, value);
    }

    pub(super) fn neg(&mut self, width: Width, dst: Reg) {
        let value = self.get_width(width, dst);
        let value = self.builder.ins().ineg(value);
        self.set_width(width, dst, value);
    }

    pub(super) fn byte_order(&mut self, op: ByteOrderOp, size: Size, dst: Reg) {
        let value = self.get(dst);
        let ty = size_type(size);
        let low = if ty == I64 {
            value
        } else {
            self.builder.ins().ireduce(ty, value)
        };
        // The machine is little-endian.
        let low = match op {
            ByteOrderOp::ToBe | ByteOrderOp::Swap if ty != I8 => self.builder.ins().bswap(low),
            _ => low,
        };
        let value = if ty == I64 {
            low
        } else {
            self.builder.ins().uextend(I64, low)
        };
        self.set(dst, value);
    }

    /// Whether the branch condition holds, as Cranelift's boolean.
    pub(super) fn condition(&mut self, cond: Cond, width: Width, dst: Reg, src: Operand) -> Value {
        let a = self.get_width(width, dst);
        let b = self.operand(width, src);
        let compare = match cond {
            Cond::Set => {
                // Not zero is true.
                return self.builder.ins().band(a, b);
            }
            Cond::Eq => IntCC::Equal,
            Cond::Ne => IntCC::NotEqual,
            Cond::Gt => IntCC::UnsignedGreaterThan,
            Cond::Ge => IntCC::UnsignedGreaterThanOrEqual,
            Cond::Lt => IntCC::UnsignedLessThan,
            Cond::Le => IntCC::UnsignedLessThanOrEqual,
            Cond::Sgt => IntCC::SignedGreaterThan,
            Cond::Sge => IntCC::SignedGreaterThanOrEqual,
            Cond::Slt => IntCC::SignedLessThan,
            Cond::Sle => IntCC::SignedLessThanOrEqual,
        };
        self.builder.ins().icmp(compare, a, b)
    }
}
