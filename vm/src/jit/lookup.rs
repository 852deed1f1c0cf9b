//! Lookups in arrays, without a call.

use bpftime_isa::Reg;
use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;

use super::error::CompileError;
use super::lower::{Lowering, table_flags};
use super::proved::InlineArray;

impl Lowering<'_, '_> {
    /// What `bpf_map_lookup_elem` gives: the value's address, or 0 beyond the array. The index is read
    /// once; the array's sizes are constants, so nobody who can write to the map has a say in where the
    /// value is. The comparison selects, so that the address is not computed with a wrong index even
    /// where the processor guesses.
    pub(super) fn look_up(&mut self, array: InlineArray) -> Result<(), CompileError> {
        let too_many = CompileError::Unsupported {
            slot: self.index as u32,
            what: "a map index above 2^28",
        };
        let first = self
            .table_entry(bpftime_abi::vmctx::OFFSET_MAP_VALUES, array.map)
            .ok_or(too_many)?;
        let index = self.index_of_value();
        let inside =
            self.builder
                .ins()
                .icmp_imm_u(IntCC::UnsignedLessThan, index, i64::from(array.entries));
        let offset = self
            .builder
            .ins()
            .imul_imm_u(index, array.value_stride as i64);
        let mut address = self.builder.ins().iadd(first, offset);
        if let Some(stride) = array.cpu_stride {
            let cpu = bpftime_abi::vmctx::OFFSET_CPU;
            let cpu = self.builder.ins().uload32(table_flags(), self.vm, cpu);
            let offset = self.builder.ins().imul_imm_u(cpu, stride as i64);
            address = self.builder.ins().iadd(address, offset);
        }
        let none = self.builder.ins().iconst(I64, 0);
        let value = self.builder.ins().select(inside, address, none);
        self.set(Reg::R0, value);
        self.forget_arguments();
        Ok(())
    }
}
