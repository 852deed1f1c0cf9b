//! Lowering of memory accesses. There is no bounds check: each access is proved.
//!
//! Other threads and processes may use a map's values at the same time, so each access that is
//! not to the function's own stack is done exactly once and in its place: a sequence point, which
//! makes no code, before it keeps Cranelift from merging it with others, dropping it, or moving
//! it past them. Accesses relative to `r10` are private, and Cranelift may forward stores to
//! loads there.

use bpftime_isa::{AtomicOp, Operand, Reg, Size, Width};
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AtomicRmwOp, InstBuilder, MemFlagsData, Value};

use super::alu::{size_type, width_type};
use super::lower::Lowering;

/// A proved access does not fault; it may be unaligned, and its place may hold anything at any
/// time.
fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

impl Lowering<'_> {
    /// The address and offset of an access, after a sequence point if the memory may be shared.
    fn place(&mut self, base: Reg, off: i16) -> (Value, i32) {
        if base == Reg::R10 {
            (self.stack_address(off), 0)
        } else {
            self.builder.ins().sequence_point();
            (self.get(base), off.into())
        }
    }

    /// The address of an atomic access, which orders all others itself.
    fn atomic_address(&mut self, base: Reg, off: i16) -> Value {
        let base = self.get(base);
        self.builder.ins().iadd_imm_s(base, i64::from(off))
    }

    pub(super) fn load(&mut self, size: Size, signed: bool, dst: Reg, base: Reg, off: i16) {
        let (address, offset) = self.place(base, off);
        let value = self
            .builder
            .ins()
            .load(size_type(size), flags(), address, offset);
        let value = match (size, signed) {
            (Size::DW, _) => value,
            (_, true) => self.builder.ins().sextend(I64, value),
            (_, false) => self.builder.ins().uextend(I64, value),
        };
        self.set(dst, value);
    }

    /// The low bytes of a value.
    fn low(&mut self, size: Size, value: Value) -> Value {
        match size {
            Size::DW => value,
            _ => self.builder.ins().ireduce(size_type(size), value),
        }
    }

    pub(super) fn store(&mut self, size: Size, base: Reg, off: i16, src: Operand) {
        let value = self.operand64(src);
        let value = self.low(size, value);
        let (address, offset) = self.place(base, off);
        self.builder.ins().store(flags(), value, address, offset);
    }

    pub(super) fn load_acquire(&mut self, size: Size, dst: Reg, base: Reg, off: i16) {
        let address = self.atomic_address(base, off);
        let value = self
            .builder
            .ins()
            .atomic_load(size_type(size), flags(), address);
        let value = match size {
            Size::DW => value,
            _ => self.builder.ins().uextend(I64, value),
        };
        self.set(dst, value);
    }

    /// Stores are released in order on x86-64 (Intel SDM volume 3, "Memory Ordering"), so a plain
    /// store does, kept in place by sequence points. Cranelift's atomic store would be sequentially
    /// consistent, at the price of a fence.
    pub(super) fn store_release(&mut self, size: Size, base: Reg, off: i16, src: Reg) {
        self.builder.ins().sequence_point();
        let value = self.get(src);
        let value = self.low(size, value);
        let address = self.get(base);
        self.builder
            .ins()
            .store(flags(), value, address, i32::from(off));
        self.builder.ins().sequence_point();
    }

    pub(super) fn atomic(&mut self, op: AtomicOp, width: Width, base: Reg, off: i16, src: Reg) {
        let operand = self.get_width(width, src);
        let address = self.atomic_address(base, off);
        let (operation, fetch) = match op {
            AtomicOp::Add { fetch } => (AtomicRmwOp::Add, fetch),
            AtomicOp::Or { fetch } => (AtomicRmwOp::Or, fetch),
            AtomicOp::And { fetch } => (AtomicRmwOp::And, fetch),
            AtomicOp::Xor { fetch } => (AtomicRmwOp::Xor, fetch),
            AtomicOp::Xchg => (AtomicRmwOp::Xchg, true),
            AtomicOp::Cmpxchg => {
                let expected = self.get_width(width, Reg::R0);
                let old = self
                    .builder
                    .ins()
                    .atomic_cas(flags(), address, expected, operand);
                return self.set_width(width, Reg::R0, old);
            }
        };
        let old =
            self.builder
                .ins()
                .atomic_rmw(width_type(width), flags(), operation, address, operand);
        if fetch {
            self.set_width(width, src, old);
        }
    }
}
