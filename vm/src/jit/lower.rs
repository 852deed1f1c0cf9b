//! From BPF instructions to Cranelift's intermediate representation, one function at a time.

use std::collections::BTreeMap;

use bpftime_abi::STACK_SIZE;
use bpftime_isa::{ArgType, CallTarget, Decoded, Imm64, Instruction, Operand, Reg, Width, helper};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I32, I64};
use cranelift_codegen::ir::{
    AbiParam, Block, BlockArg, ExtFuncData, ExternalName, FuncRef, InstBuilder, MemFlagsData,
    SigRef, Signature, StackSlot, StackSlotData, StackSlotKind, TrapCode, UserExternalName, Value,
};
use cranelift_codegen::isa::{CallConv, TargetFrontendConfig};
use cranelift_frontend::{FunctionBuilder, Variable};

use super::error::CompileError;
use super::functions::{Function, Functions, next_slot, successors};
use super::proved::Proved;
use crate::interp::MAY_GOTO_BUDGET;
use crate::interp::loops::LOOP;

/// Signature of the main program: [`bpftime_abi::ProgramFn`].
pub(super) fn program_signature() -> Signature {
    signature(3)
}

/// Signature of a subprogram: the `VmCtx` pointer, then `r1` to `r5`. That of a helper is the
/// same, [`bpftime_abi::HelperFn`].
pub(super) fn call_signature() -> Signature {
    signature(6)
}

fn signature(parameters: usize) -> Signature {
    let mut signature = Signature::new(CallConv::SystemV);
    signature.params = vec![AbiParam::new(I64); parameters];
    signature.returns = vec![AbiParam::new(I64)];
    signature
}

/// Loads from [`bpftime_abi::VmCtx`] and its tables. They do not change while a program runs,
/// but Cranelift is not told so: it would keep the loaded pointers in registers across calls,
/// which costs a typical short program more than loading them again.
pub(super) fn table_flags() -> MemFlagsData {
    MemFlagsData::trusted()
}

/// How many argument registers a helper reads.
fn argument_count(number: u32) -> usize {
    /// `bpf_trace_printk` reads registers that its prototype does not tell of.
    const TRACE_PRINTK: u32 = 6;
    match helper::proto(number) {
        Some(proto) if number != TRACE_PRINTK => proto
            .args
            .iter()
            .rposition(|argument| !matches!(argument, ArgType::None))
            .map_or(0, |last| last + 1),
        _ => 5,
    }
}

/// Where no run comes.
const NEVER: TrapCode = TrapCode::unwrap_user(1);

/// State of the lowering of one function.
pub(super) struct Lowering<'f, 'p> {
    pub(super) builder: FunctionBuilder<'f>,
    functions: &'p Functions<'p>,
    /// Number of the instruction that is lowered.
    pub(super) index: usize,
    /// `r0` to `r9`.
    variables: Vec<Variable>,
    pub(super) vm: Value,
    stack: StackSlot,
    /// Bytes of it.
    stack_size: i32,
    /// How many calls lead to the function, where that is known and frames are counted so.
    depth: Option<u8>,
    may_goto_left: Option<Variable>,
    blocks: BTreeMap<u32, Block>,
    /// Signatures of helpers with none to five arguments.
    helper_signatures: [SigRef; 6],
    pub(super) callees: BTreeMap<u32, FuncRef>,
}

/// Lowers `function` into the empty function that `builder` builds, which has the signature that
/// belongs to it. Callees are named by their first slot.
pub(super) fn lower(
    functions: &Functions<'_>,
    function: &Function,
    builder: FunctionBuilder<'_>,
    frontend: TargetFrontendConfig,
) -> Result<(), CompileError> {
    let mut lowering = Lowering::start(functions, function, builder);
    // The instruction to which the last one leads, where it leads to the next one only.
    let mut open = None;
    for (index, item) in function
        .body
        .iter()
        .filter_map(|index| Some((*index, functions.get(*index)?)))
    {
        lowering.index = index;
        if open.is_some_and(|next| next != index) {
            lowering.never();
            open = None;
        }
        if let Some(&block) = lowering.blocks.get(&item.slot) {
            if open.is_some() {
                lowering.builder.ins().jump(block, &[] as &[BlockArg]);
            }
            lowering.builder.switch_to_block(block);
        }
        lowering.instruction(item)?;
        open = successors(item).falls_through_only().then_some(index + 1);
    }
    if open.is_some() {
        lowering.never();
    }
    lowering.builder.seal_all_blocks();
    lowering.builder.finalize(frontend);
    Ok(())
}

impl<'f, 'p> Lowering<'f, 'p> {
    fn start(
        functions: &'p Functions<'p>,
        function: &Function,
        mut builder: FunctionBuilder<'f>,
    ) -> Self {
        let entry = builder.create_block();
        builder.append_block_params_for_function_params(entry);
        builder.switch_to_block(entry);
        let parameters = builder.block_params(entry).to_vec();
        let (vm, arguments) = match parameters.split_first() {
            Some((vm, arguments)) => (*vm, arguments),
            None => unreachable!("both signatures have parameters"),
        };
        // A register that holds no value on some path is never read there, but has to have one.
        let zero = builder.ins().iconst(I64, 0);
        let variables: Vec<Variable> = (0..Reg::R10.index())
            .map(|number| {
                let variable = builder.declare_var(I64);
                let argument = number.checked_sub(1).and_then(|index| arguments.get(index));
                builder.def_var(variable, argument.copied().unwrap_or(zero));
                variable
            })
            .collect();
        // What the function does not use need not be there.
        let proved = functions.proved;
        let stack_size = proved.stack(function.start);
        let stack_size = stack_size.map_or(STACK_SIZE as u32, |used| used.next_multiple_of(8));
        let stack = builder.create_sized_stack_slot(StackSlotData::new(
            StackSlotKind::ExplicitSlot,
            stack_size,
            4,
        ));
        let may_goto_left = function.has_may_goto.then(|| {
            let variable = builder.declare_var(I64);
            let budget = builder.ins().iconst(I64, MAY_GOTO_BUDGET as i64);
            builder.def_var(variable, budget);
            variable
        });
        let helper_signatures: [SigRef; 6] =
            std::array::from_fn(|count| builder.import_signature(signature(1 + count)));
        let [.., call_signature] = helper_signatures;
        let callees = function
            .callees
            .iter()
            .map(|slot| {
                let name = UserExternalName::new(0, *slot);
                let name = builder.func.declare_imported_user_function(name);
                let reference = builder.import_function(ExtFuncData {
                    name: ExternalName::user(name),
                    signature: call_signature,
                    colocated: true,
                    patchable: false,
                });
                (*slot, reference)
            })
            .collect();
        // The entry block may not be jumped to, a function's first instruction may.
        let blocks: BTreeMap<u32, Block> = function
            .leaders
            .iter()
            .map(|slot| (*slot, builder.create_block()))
            .collect();
        if let Some(first) = blocks.get(&function.start) {
            builder.ins().jump(*first, &[] as &[BlockArg]);
        }
        Self {
            builder,
            functions,
            index: 0,
            variables,
            vm,
            stack,
            stack_size: stack_size as i32,
            depth: functions
                .depth(function.start)
                .filter(|_| proved.counts_frames(function.start)),
            may_goto_left,
            blocks,
            helper_signatures,
            callees,
        }
    }

    fn instruction(&mut self, item: &Decoded) -> Result<(), CompileError> {
        let unsupported = |what| CompileError::Unsupported {
            slot: item.slot,
            what,
        };
        match item.insn {
            Instruction::Alu {
                op,
                width,
                dst,
                src,
            } => self.alu(op, width, dst, src),
            Instruction::MovSx {
                width,
                from,
                dst,
                src,
            } => self.mov_sx(width, from, dst, src),
            Instruction::Neg { width, dst } => self.neg(width, dst),
            Instruction::ByteOrder { op, size, dst } => self.byte_order(op, size, dst),
            Instruction::LoadImm64 {
                dst: Reg::R1,
                value: Imm64::MapIdx(_),
            } if self.functions.serves_lookup_only(self.index) => {}
            Instruction::LoadImm64 { dst, value } => {
                let value = self.imm64(value).map_err(unsupported)?;
                self.set(dst, value);
            }
            Instruction::Load {
                size,
                signed,
                dst,
                base,
                off,
            } => self.load(size, signed, dst, base, off),
            Instruction::Store {
                size,
                base,
                off,
                src,
            } => self.store(size, base, off, src),
            Instruction::Atomic {
                op,
                width,
                base,
                off,
                src,
            } => self.atomic(op, width, base, off, src),
            Instruction::LoadAcquire {
                size,
                dst,
                base,
                off,
            } => self.load_acquire(size, dst, base, off),
            Instruction::StoreRelease {
                size,
                base,
                off,
                src,
            } => self.store_release(size, base, off, src),
            Instruction::Jump { .. } if !self.functions.reaches(successors(item).jump) => {
                self.never();
            }
            Instruction::Jump { .. } => {
                let target = self.jump_target(item)?;
                self.builder.ins().jump(target, &[] as &[BlockArg]);
            }
            Instruction::Branch {
                cond,
                width,
                dst,
                src,
                ..
            } => {
                let taken = self.condition(cond, width, dst, src);
                self.branch(taken, item)?;
            }
            Instruction::MayGoto { .. } => self.may_goto(item)?,
            Instruction::Call(CallTarget::Helper(LOOP)) => self.call_back(item)?,
            Instruction::Call(CallTarget::Helper(number)) => match self.proved().array(item.slot) {
                Some(array) => self.look_up(array)?,
                None => self.call_helper(number),
            },
            Instruction::Call(CallTarget::Local(delta)) => {
                let slot = next_slot(item) + i64::from(delta);
                self.call_local(item.slot, slot)?;
            }
            Instruction::Exit => {
                let result = self.get(Reg::R0);
                self.builder.ins().return_(&[result]);
            }
            Instruction::LoadPacket { .. } => return Err(unsupported("legacy packet access")),
            Instruction::AddrSpaceCast { .. } => return Err(unsupported("addr_space_cast")),
            Instruction::Call(CallTarget::Kfunc { .. }) => {
                return Err(unsupported("a call of a kernel function"));
            }
            Instruction::Call(CallTarget::Register(_)) => {
                return Err(unsupported("a call through a register"));
            }
        }
        Ok(())
    }

    /// Ends a block whose end no run reaches.
    fn never(&mut self) {
        self.builder.ins().trap(NEVER);
    }

    /// What is proved of the program.
    pub(super) fn proved(&self) -> &'p Proved<'p> {
        self.functions.proved
    }

    /// The value of a register.
    pub(super) fn get(&mut self, reg: Reg) -> Value {
        if let Some(number) = self.proved().constant(self.index, reg) {
            return self.builder.ins().iconst(I64, number as i64);
        }
        if let Some(off) = self.own_frame(reg) {
            return self.stack_address(off);
        }
        match self.variables.get(reg.index()) {
            Some(variable) => self.builder.use_var(*variable),
            None => self.stack_address(0),
        }
    }

    /// The register's distance from `r10`, if it always points to one place in the own frame.
    pub(super) fn own_frame(&self, reg: Reg) -> Option<i16> {
        if reg == Reg::R10 {
            return Some(0);
        }
        self.proved().own_frame(self.index, reg, self.depth?)
    }

    /// Writes a register. The verifier refuses writes to `r10`.
    pub(super) fn set(&mut self, reg: Reg, value: Value) {
        if let Some(variable) = self.variables.get(reg.index()) {
            self.builder.def_var(*variable, value);
        }
    }

    /// Address of a byte of the frame's stack, by distance from `r10`.
    pub(super) fn stack_address(&mut self, off: i16) -> Value {
        let offset = self.stack_size + i32::from(off);
        if (0..self.stack_size).contains(&offset) {
            return self.builder.ins().stack_addr(I64, self.stack, offset);
        }
        // Not to be accessed there: `r10` itself, and what comes before an access in a calculation.
        let base = self.builder.ins().stack_addr(I64, self.stack, 0);
        self.builder.ins().iadd_imm_s(base, i64::from(offset))
    }

    /// A second operand as a 64-bit value.
    pub(super) fn operand64(&mut self, operand: Operand) -> Value {
        match operand {
            Operand::Reg(reg) => self.get(reg),
            Operand::Imm(imm) => self.builder.ins().iconst(I64, i64::from(imm)),
        }
    }

    /// A second operand in its width.
    pub(super) fn operand(&mut self, width: Width, operand: Operand) -> Value {
        match (width, operand) {
            (Width::W64, _) => self.operand64(operand),
            (Width::W32, Operand::Reg(reg)) => self.get_low(reg),
            (Width::W32, Operand::Imm(imm)) => {
                self.builder.ins().iconst(I32, i64::from(imm as u32))
            }
        }
    }

    /// The low 32 bits of a register.
    pub(super) fn get_low(&mut self, reg: Reg) -> Value {
        let value = self.get(reg);
        self.builder.ins().ireduce(I32, value)
    }

    /// A register in a width.
    pub(super) fn get_width(&mut self, width: Width, reg: Reg) -> Value {
        match width {
            Width::W64 => self.get(reg),
            Width::W32 => self.get_low(reg),
        }
    }

    /// Writes a register with a value of a width, zero-extended.
    pub(super) fn set_width(&mut self, width: Width, reg: Reg, value: Value) {
        let value = match width {
            Width::W64 => value,
            Width::W32 => self.builder.ins().uextend(I64, value),
        };
        self.set(reg, value);
    }

    /// An entry of one of the tables that [`bpftime_abi::VmCtx`] points to.
    pub(super) fn table_entry(&mut self, table: i32, index: u32) -> Option<Value> {
        let offset = i32::try_from(u64::from(index) * 8).ok()?;
        let table = self.builder.ins().load(I64, table_flags(), self.vm, table);
        Some(self.builder.ins().load(I64, table_flags(), table, offset))
    }

    fn imm64(&mut self, value: Imm64) -> Result<Value, &'static str> {
        let index_too_large = "a map index above 2^28";
        match value {
            Imm64::Value(value) => Ok(self.builder.ins().iconst(I64, value as i64)),
            Imm64::MapIdx(index) => self
                .table_entry(bpftime_abi::vmctx::OFFSET_MAPS, index)
                .ok_or(index_too_large),
            Imm64::MapIdxValue { index, offset } => {
                let first = self
                    .table_entry(bpftime_abi::vmctx::OFFSET_MAP_VALUES, index)
                    .ok_or(index_too_large)?;
                Ok(self.builder.ins().iadd_imm_u(first, i64::from(offset)))
            }
            Imm64::MapFd(_) | Imm64::MapFdValue { .. } => Err("a map by descriptor"),
            Imm64::BtfId { .. } => Err("a kernel variable"),
            // Nobody looks at it: the calls that take it know which function is meant.
            Imm64::Func { .. } => Ok(self.builder.ins().iconst(I64, 0)),
        }
    }

    fn call_helper(&mut self, number: u32) {
        let table = bpftime_abi::vmctx::OFFSET_HELPERS;
        // The verifier refuses numbers that the environment does not offer, HELPER_SLOTS and
        // more among them, so this never falls back.
        let Some(address) = self.table_entry(table, number) else {
            return;
        };
        // Registers that the helper does not read need not hold anything.
        let count = argument_count(number).min(5);
        let arguments = self.arguments();
        let signature = self.helper_signatures[count];
        let call = self
            .builder
            .ins()
            .call_indirect(signature, address, &arguments[..=count]);
        self.take_result(call);
    }

    fn call_local(&mut self, from: u32, slot: i64) -> Result<(), CompileError> {
        let callee = u32::try_from(slot)
            .ok()
            .and_then(|slot| self.callees.get(&slot).copied())
            .ok_or(CompileError::BadTarget {
                slot: from,
                target: slot,
            })?;
        let arguments = self.arguments();
        let call = self.builder.ins().call(callee, &arguments);
        self.take_result(call);
        Ok(())
    }

    /// The `VmCtx` pointer and `r1` to `r5`.
    fn arguments(&mut self) -> [Value; 6] {
        [
            self.vm,
            self.get(Reg::R1),
            self.get(Reg::R2),
            self.get(Reg::R3),
            self.get(Reg::R4),
            self.get(Reg::R5),
        ]
    }

    fn take_result(&mut self, call: cranelift_codegen::ir::Inst) {
        if let Some(result) = self.builder.inst_results(call).first().copied() {
            self.set(Reg::R0, result);
        }
        self.forget_arguments();
    }

    /// `r1` to `r5` hold nothing after a call. Not keeping the old values alive saves registers.
    pub(super) fn forget_arguments(&mut self) {
        let zero = self.builder.ins().iconst(I64, 0);
        for reg in [Reg::R1, Reg::R2, Reg::R3, Reg::R4, Reg::R5] {
            self.set(reg, zero);
        }
    }

    /// The block that an instruction jumps to.
    fn jump_target(&self, item: &Decoded) -> Result<Block, CompileError> {
        self.block(item.slot, successors(item).jump)
    }

    fn block(&self, from: u32, target: Option<i64>) -> Result<Block, CompileError> {
        let target = target.unwrap_or(-1);
        u32::try_from(target)
            .ok()
            .and_then(|slot| self.blocks.get(&slot).copied())
            .ok_or(CompileError::BadTarget { slot: from, target })
    }

    fn branch(&mut self, taken: Value, item: &Decoded) -> Result<(), CompileError> {
        let successors = successors(item);
        let none = &[] as &[BlockArg];
        // Where one way is never gone, the other one is gone always.
        let only = match (
            self.functions.reaches(successors.jump),
            self.functions.reaches(successors.fall_through),
        ) {
            (true, false) => successors.jump,
            (false, true) => successors.fall_through,
            (true, true) => None,
            (false, false) => {
                self.never();
                return Ok(());
            }
        };
        if only.is_some() {
            let to = self.block(item.slot, only)?;
            self.builder.ins().jump(to, none);
            return Ok(());
        }
        let jump = self.jump_target(item)?;
        let next = self.block(item.slot, successors.fall_through)?;
        self.builder.ins().brif(taken, jump, none, next, none);
        Ok(())
    }

    fn may_goto(&mut self, item: &Decoded) -> Result<(), CompileError> {
        let Some(variable) = self.may_goto_left else {
            return Err(CompileError::Unsupported {
                slot: item.slot,
                what: "may_goto without a budget",
            });
        };
        let left = self.builder.use_var(variable);
        let spent = self.builder.ins().icmp_imm_u(IntCC::Equal, left, 0);
        let one_less = self.builder.ins().iadd_imm_s(left, -1);
        // Where the budget is spent it stays spent: the next may_goto of the frame jumps, too.
        let left = self.builder.ins().select(spent, left, one_less);
        self.builder.def_var(variable, left);
        self.branch(spent, item)
    }
}
