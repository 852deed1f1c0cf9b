//! `bpf_loop` as a loop.

use bpftime_abi::Errno;
use bpftime_isa::{Decoded, Reg};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::I64;
use cranelift_codegen::ir::{BlockArg, InstBuilder};

use super::error::CompileError;
use super::lower::Lowering;
use crate::interp::loops::MAX_LOOPS;

impl Lowering<'_, '_> {
    /// `long bpf_loop(u32 nr_loops, void *callback_fn, void *callback_ctx, u64 flags)`, of which the function
    /// is known: it is called directly, until it returns something else than 0.
    pub(super) fn call_back(&mut self, item: &Decoded) -> Result<(), CompileError> {
        let callee = self
            .proved()
            .looped(self.index)
            .and_then(|entry| self.callees.get(&entry).copied())
            .ok_or(CompileError::Unsupported {
                slot: item.slot,
                what: "a callback that differs from run to run, or is not recorded,",
            })?;
        let rounds = self.get_low(Reg::R1);
        let rounds = self.builder.ins().uextend(I64, rounds);
        let (context, flags) = (self.get(Reg::R3), self.get(Reg::R4));

        let builder = &mut self.builder;
        let none = &[] as &[BlockArg];
        let [checked, head, round, after] = [(); 4].map(|()| builder.create_block());
        let begun = builder.append_block_param(head, I64);
        let result = builder.append_block_param(after, I64);

        let zero = builder.ins().iconst(I64, 0);
        let invalid = builder.ins().iconst(I64, Errno::EINVAL.to_r0() as i64);
        let invalid = BlockArg::Value(invalid);
        builder.ins().brif(flags, after, &[invalid], checked, none);

        builder.switch_to_block(checked);
        let too_many = builder.ins().iconst(I64, Errno::E2BIG.to_r0() as i64);
        let most =
            builder
                .ins()
                .icmp_imm_u(IntCC::UnsignedGreaterThan, rounds, i64::from(MAX_LOOPS));
        let (too_many, first) = (BlockArg::Value(too_many), BlockArg::Value(zero));
        builder.ins().brif(most, after, &[too_many], head, &[first]);

        builder.switch_to_block(head);
        let more = builder.ins().icmp(IntCC::UnsignedLessThan, begun, rounds);
        builder
            .ins()
            .brif(more, round, none, after, &[BlockArg::Value(begun)]);

        builder.switch_to_block(round);
        let call = builder
            .ins()
            .call(callee, &[self.vm, begun, context, zero, zero, zero]);
        let ends = builder.inst_results(call).first().copied().unwrap_or(zero);
        let begun = BlockArg::Value(builder.ins().iadd_imm_s(begun, 1));
        builder.ins().brif(ends, after, &[begun], head, &[begun]);

        builder.switch_to_block(after);
        self.set(Reg::R0, result);
        self.forget_arguments();
        Ok(())
    }
}
