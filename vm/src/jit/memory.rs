//! Lowering of memory accesses. There is no bounds check: each access is proved.
//!
//! Other threads and processes may use a map's values at the same time, so each access that may be
//! to one is done exactly once and in its place: a sequence point, which makes no code, before it keeps
//! Cranelift from merging it with others, dropping it, or moving it past them. Stacks, contexts and
//! packets are private to a run; where the verifier knows that one of them is meant, Cranelift may forward
//! stores to loads, and is told that it is none of the others. An access of which that is not known may be to
//! any of them: the sequence point before it orders it with all.

use bpftime_isa::{AtomicOp, Operand, Reg, Size, Width};
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{AliasRegionData, AtomicRmwOp, InstBuilder, MemFlagsData, Value};

use super::alu::{size_type, width_type};
use super::lower::Lowering;
use super::proved::Private;

/// A proved access does not fault; it may be unaligned, and its place may hold anything at any
/// time.
fn flags() -> MemFlagsData {
    MemFlagsData::new().with_notrap()
}

/// Where an access goes.
struct Place {
    address: Value,
    offset: i32,
    flags: MemFlagsData,
    /// What was stored there may be known.
    forwards: bool,
}

impl Lowering<'_, '_> {
    /// Where an access goes, after a sequence point if the memory may be shared.
    fn place(&mut self, base: Reg, off: i16) -> Place {
        if let Some(at) = self.own_frame(base) {
            return Place {
                address: self.stack_address(at.saturating_add(off)),
                offset: 0,
                flags: self.flags_of(Private::Stack),
                forwards: true,
            };
        }
        let flags = match self.proved().private(self.index, base) {
            Some(private) => self.flags_of(private),
            None => {
                self.builder.ins().sequence_point();
                flags()
            }
        };
        Place {
            address: self.get(base),
            offset: off.into(),
            flags,
            forwards: false,
        }
    }

    fn flags_of(&mut self, private: Private) -> MemFlagsData {
        let (user_id, description) = match private {
            Private::Stack => (1, "stack"),
            Private::Context => (2, "context"),
            Private::Packet => (3, "packet"),
            Private::Memory => (4, "memory"),
        };
        let region = AliasRegionData {
            user_id,
            description: description.into(),
        };
        let region = self.builder.func.dfg.alias_regions.insert(region);
        flags().with_alias_region(Some(region))
    }

    /// The index that the key of an array, at `r2`, is, as 64 bits.
    pub(super) fn index_of_value(&mut self) -> Value {
        let place = self.place(Reg::R2, 0);
        self.load_extended(Size::W, false, &place)
    }

    /// The address of an atomic access, which orders all others itself.
    fn atomic_address(&mut self, base: Reg, off: i16) -> Value {
        let base = self.get(base);
        self.builder.ins().iadd_imm_s(base, i64::from(off))
    }

    pub(super) fn load(&mut self, size: Size, signed: bool, dst: Reg, base: Reg, off: i16) {
        let place = self.place(base, off);
        let value = self.load_extended(size, signed, &place);
        self.set(dst, value);
    }

    /// Cranelift forwards stores to loads that extend nothing, which is for stacks; loads that extend are
    /// one instruction.
    fn load_extended(&mut self, size: Size, signed: bool, place: &Place) -> Value {
        let Place {
            address,
            offset,
            flags,
            forwards,
        } = *place;
        if forwards && size != Size::DW {
            let ty = size_type(size);
            let value = self.builder.ins().load(ty, flags, address, offset);
            return match signed {
                true => self.builder.ins().sextend(I64, value),
                false => self.builder.ins().uextend(I64, value),
            };
        }
        let ins = self.builder.ins();
        match (size, signed) {
            (Size::B, false) => ins.uload8(I64, flags, address, offset),
            (Size::B, true) => ins.sload8(I64, flags, address, offset),
            (Size::H, false) => ins.uload16(I64, flags, address, offset),
            (Size::H, true) => ins.sload16(I64, flags, address, offset),
            (Size::W, false) => ins.uload32(flags, address, offset),
            (Size::W, true) => ins.sload32(flags, address, offset),
            (Size::DW, _) => ins.load(I64, flags, address, offset),
        }
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
        let place = self.place(base, off);
        self.builder
            .ins()
            .store(place.flags, value, place.address, place.offset);
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
