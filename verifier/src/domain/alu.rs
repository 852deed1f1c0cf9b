//! Arithmetic instructions on numbers (RFC 9669 section 4.1 and 4.2).

use bpftime_isa::{AluOp, ByteOrderOp, Width};

use super::bits::{BitVec, Word};
use super::scalar::Scalar;

impl<W: Word> Scalar<W> {
    /// `dst op src`, or `src` for a move.
    pub fn alu(self, op: AluOp, width: Width, src: Self) -> Self {
        match width {
            Width::W64 => match op {
                AluOp::Add => self.add(src),
                AluOp::Sub => self.sub(src),
                AluOp::Mul => self.mul(src),
                AluOp::Div => self.udiv(src),
                AluOp::Sdiv => self.sdiv(src),
                AluOp::Mod => self.urem(src),
                AluOp::Smod => self.srem(src),
                AluOp::Or => self.or(src),
                AluOp::And => self.and(src),
                AluOp::Xor => self.xor(src),
                AluOp::Lsh => self.shl(src),
                AluOp::Rsh => self.lshr(src),
                AluOp::Arsh => self.ashr(src),
                AluOp::Mov => src,
            },
            Width::W32 => match op {
                AluOp::Add => self.add(src).truncate_half(),
                AluOp::Sub => self.sub(src).truncate_half(),
                AluOp::Mul => self.mul(src).truncate_half(),
                AluOp::Div => self.udiv_half(src),
                AluOp::Sdiv => self.sdiv_half(src),
                AluOp::Mod => self.urem_half(src),
                AluOp::Smod => self.srem_half(src),
                AluOp::Or => self.or(src).truncate_half(),
                AluOp::And => self.and(src).truncate_half(),
                AluOp::Xor => self.xor(src).truncate_half(),
                AluOp::Lsh => self.shl_half(src),
                AluOp::Rsh => self.lshr_half(src),
                AluOp::Arsh => self.ashr_half(src),
                AluOp::Mov => src.truncate_half(),
            },
        }
    }

    /// `-dst`.
    pub fn alu_neg(self, width: Width) -> Self {
        match width {
            Width::W64 => self.neg(),
            Width::W32 => self.neg().truncate_half(),
        }
    }

    /// The low bits of `src` sign-extended to the width; `bits` from 1 to the width.
    pub fn alu_movsx(self, width: Width, bits: u32) -> Self {
        match width {
            Width::W64 => self.sign_extend(bits),
            Width::W32 => self.sign_extend(bits).truncate_half(),
        }
    }

    /// The low bits in another byte order, zero-extended; `bits` is 16, 32 or 64. For a
    /// little-endian machine.
    pub fn byte_order(self, op: ByteOrderOp, bits: u32) -> Self {
        if op == ByteOrderOp::ToLe {
            return self.truncate(bits);
        }
        match self.as_constant() {
            Some(value) => Self::constant(swapped(value, bits)),
            None => Self::below_bits(bits),
        }
    }
}

/// The low bits, a multiple of 8, with their bytes in the opposite order.
fn swapped<B: BitVec>(x: B, bits: u32) -> B {
    let number = |n: u32| B::constant(u64::from(n));
    let mut result = B::zero();
    for at in (0..bits).step_by(8) {
        let byte = x.lshr(number(at)).and(number(0xff));
        result = result.or(byte.shl(number(bits - 8 - at)));
    }
    result
}
