//! The fetch-and-execute loop.

use bpftime_abi::MAX_CALL_FRAMES;
use bpftime_isa::{AluOp, AtomicOp, CallTarget, Imm64, Instruction, Operand, Reg, Size, Width};

use super::alu;
use super::code::Code;
use super::machine::{Called, Machine};
use super::registers::Registers;
use super::trap::{Trap, TrapReason};

/// Jumps that the `may_goto` instructions of one frame may decline before they are taken
/// (kernel `BPF_MAX_LOOPS`).
#[doc(alias = "BPF_MAX_LOOPS")]
pub(crate) const MAY_GOTO_BUDGET: u64 = 8 * 1024 * 1024;

/// What a caller gets back when its callee exits.
struct Caller {
    return_slot: i64,
    saved: [Option<u64>; 4],
    frame_pointer: u64,
    may_goto_left: u64,
    /// The caller is a helper.
    is_helper: bool,
}

/// Runs from slot 0 with the given `r1` and `r2` until the main program exits, and gives `r0`.
pub(crate) fn execute<M: Machine>(
    code: &Code,
    machine: &mut M,
    r1: u64,
    r2: u64,
    limit: u64,
) -> Result<u64, Trap> {
    let mut cpu = Cpu {
        registers: Registers::new(r1, r2, machine.enter(0)),
        machine,
        callers: Vec::new(),
        may_goto_left: MAY_GOTO_BUDGET,
        next: 0,
    };
    let mut at = 0;
    for _ in 0..limit {
        let (slot, instruction) = code
            .at(cpu.next)
            .map_err(|reason| Trap { slot: at, reason })?;
        at = slot;
        cpu.next = i64::from(slot) + instruction.slots() as i64;
        cpu.machine.executing(slot);
        match cpu.step(instruction) {
            Ok(None) => {}
            Ok(Some(result)) => return Ok(result),
            Err(reason) => return Err(Trap { slot, reason }),
        }
    }
    Err(Trap {
        slot: at,
        reason: TrapReason::BudgetSpent { limit },
    })
}

struct Cpu<'m, M> {
    registers: Registers,
    machine: &'m mut M,
    callers: Vec<Caller>,
    may_goto_left: u64,
    /// Slot of the next instruction.
    next: i64,
}

impl<M: Machine> Cpu<'_, M> {
    /// Executes one instruction; gives the program's result when it was the last.
    fn step(&mut self, instruction: &Instruction) -> Result<Option<u64>, TrapReason> {
        match *instruction {
            Instruction::Alu {
                op,
                width,
                dst,
                src,
            } => {
                let src = self.operand(src)?;
                let value = match op {
                    // The only operation that does not read its destination.
                    AluOp::Mov => alu::alu(op, width, 0, src),
                    _ => alu::alu(op, width, self.registers.get(dst)?, src),
                };
                self.registers.set(dst, value)?;
            }
            Instruction::MovSx {
                width,
                from,
                dst,
                src,
            } => {
                let value = alu::sign_extend(from, self.registers.get(src)?);
                let value = match width {
                    Width::W32 => alu::truncate(Size::W, value),
                    Width::W64 => value,
                };
                self.registers.set(dst, value)?;
            }
            Instruction::Neg { width, dst } => {
                let value = alu::negate(width, self.registers.get(dst)?);
                self.registers.set(dst, value)?;
            }
            Instruction::ByteOrder { op, size, dst } => {
                let value = alu::byte_order(op, size, self.registers.get(dst)?);
                self.registers.set(dst, value)?;
            }
            Instruction::LoadImm64 { dst, value } => {
                let value = self.imm64(value)?;
                self.registers.set(dst, value)?;
            }
            Instruction::Load {
                size,
                signed,
                dst,
                base,
                off,
            } => {
                let address = self.address(base, off)?;
                let value = self.machine.load(address, size)?;
                let value = if signed {
                    alu::sign_extend(size, value)
                } else {
                    value
                };
                self.registers.set(dst, value)?;
            }
            Instruction::Store {
                size,
                base,
                off,
                src,
            } => {
                let value = self.operand(src)?;
                let address = self.address(base, off)?;
                self.machine.store(address, size, value)?;
            }
            Instruction::Atomic {
                op,
                width,
                base,
                off,
                src,
            } => self.atomic(op, width, base, off, src)?,
            Instruction::LoadAcquire {
                size,
                dst,
                base,
                off,
            } => {
                let address = self.address(base, off)?;
                aligned(address, size)?;
                let value = self.machine.load(address, size)?;
                self.registers.set(dst, value)?;
            }
            Instruction::StoreRelease {
                size,
                base,
                off,
                src,
            } => {
                let value = self.registers.get(src)?;
                let address = self.address(base, off)?;
                aligned(address, size)?;
                self.machine.store(address, size, value)?;
            }
            Instruction::LoadPacket { size, index, off } => {
                let index = match index {
                    // The index is a 32-bit number.
                    Some(reg) => i64::from(self.registers.get(reg)? as i32),
                    None => 0,
                };
                match self.machine.load_packet(index + i64::from(off), size)? {
                    Some(value) => self.registers.after_call(Some(value)),
                    None => return Ok(Some(0)),
                }
            }
            Instruction::AddrSpaceCast { dst, src, to, from } => {
                let address = self.registers.get(src)?;
                let value = self.machine.cast_address(address, to, from)?;
                self.registers.set(dst, value)?;
            }
            Instruction::Jump { delta, .. } => self.jump(delta.into()),
            Instruction::Branch {
                cond,
                width,
                dst,
                src,
                delta,
            } => {
                let src = self.operand(src)?;
                let dst = self.registers.get(dst)?;
                let taken = alu::compare(cond, width, dst, src);
                self.machine.comparing(dst, src, taken);
                if taken {
                    self.jump(delta.into());
                }
            }
            Instruction::MayGoto { delta } => match self.may_goto_left.checked_sub(1) {
                Some(left) => self.may_goto_left = left,
                None => self.jump(delta.into()),
            },
            Instruction::Call(CallTarget::Helper(number)) => {
                let called = self.machine.helper(number, self.registers.arguments())?;
                return self.called(called);
            }
            Instruction::Call(CallTarget::Local(delta)) => {
                self.call(false)?;
                self.jump(delta.into());
            }
            Instruction::Call(CallTarget::Kfunc { id, btf_idx }) => {
                let arguments = self.registers.arguments();
                let called = self.machine.kfunc(id, btf_idx, arguments)?;
                return self.called(called);
            }
            Instruction::Call(CallTarget::Register(_)) => {
                return Err(TrapReason::Unsupported("a call through a register"));
            }
            Instruction::Exit => return self.exit(),
        }
        Ok(None)
    }

    fn operand(&self, operand: Operand) -> Result<u64, TrapReason> {
        match operand {
            Operand::Reg(reg) => self.registers.get(reg),
            Operand::Imm(imm) => Ok(i64::from(imm) as u64),
        }
    }

    fn address(&self, base: Reg, off: i16) -> Result<u64, TrapReason> {
        Ok(self
            .registers
            .get(base)?
            .wrapping_add_signed(i64::from(off)))
    }

    fn jump(&mut self, delta: i64) {
        self.next += delta;
    }

    fn imm64(&mut self, value: Imm64) -> Result<u64, TrapReason> {
        match value {
            Imm64::Value(value) => Ok(value),
            Imm64::MapIdx(index) => self.machine.map_handle(index),
            Imm64::MapIdxValue { index, offset } => self.machine.map_value(index, offset),
            Imm64::MapFd(_) | Imm64::MapFdValue { .. } => Err(TrapReason::Unsupported(
                "a map by descriptor, which the loader must turn into an index,",
            )),
            Imm64::BtfId { id, btf_fd } => self.machine.kernel_symbol(id, btf_fd),
            // `next` is behind the instruction's two slots, `delta` counts from the second.
            Imm64::Func { delta } => self.machine.function(self.next - 1 + i64::from(delta)),
        }
    }

    fn atomic(
        &mut self,
        op: AtomicOp,
        width: Width,
        base: Reg,
        off: i16,
        src: Reg,
    ) -> Result<(), TrapReason> {
        let operand = self.registers.get(src)?;
        let address = self.address(base, off)?;
        let size = match width {
            Width::W32 => Size::W,
            Width::W64 => Size::DW,
        };
        aligned(address, size)?;
        let expected = match op {
            AtomicOp::Cmpxchg => self.registers.get(Reg::R0)?,
            _ => 0,
        };
        let old = self.machine.atomic(address, width, op, operand, expected)?;
        match op {
            AtomicOp::Cmpxchg => self.registers.set(Reg::R0, old),
            AtomicOp::Xchg
            | AtomicOp::Add { fetch: true }
            | AtomicOp::Or { fetch: true }
            | AtomicOp::And { fetch: true }
            | AtomicOp::Xor { fetch: true } => self.registers.set(src, old),
            AtomicOp::Add { fetch: false }
            | AtomicOp::Or { fetch: false }
            | AtomicOp::And { fetch: false }
            | AtomicOp::Xor { fetch: false } => Ok(()),
        }
    }

    /// Goes on as a called helper says; gives the program's result when that was its end.
    fn called(&mut self, called: Called) -> Result<Option<u64>, TrapReason> {
        match called {
            Called::Result(result) => self.registers.after_call(result),
            Called::Callback { entry, arguments } => {
                self.call(true)?;
                self.registers.set_arguments(arguments);
                self.next = i64::from(entry);
            }
            Called::Return(value) => {
                self.registers.after_call(Some(value));
                return self.exit();
            }
            Called::End(value) => return Ok(Some(value)),
        }
        Ok(None)
    }

    /// Enters a new frame; where it begins is left to the caller.
    fn call(&mut self, is_helper: bool) -> Result<(), TrapReason> {
        let depth = self.callers.len() + 1;
        if depth >= MAX_CALL_FRAMES {
            return Err(TrapReason::CallDepth);
        }
        let frame_pointer = self.machine.enter(depth);
        let (saved, caller_frame) = self.registers.enter(frame_pointer);
        self.callers.push(Caller {
            return_slot: self.next,
            saved,
            frame_pointer: caller_frame,
            may_goto_left: self.may_goto_left,
            is_helper,
        });
        self.may_goto_left = MAY_GOTO_BUDGET;
        Ok(())
    }

    fn exit(&mut self) -> Result<Option<u64>, TrapReason> {
        let depth = self.callers.len();
        let Some(caller) = self.callers.pop() else {
            let result = self.registers.get(Reg::R0)?;
            self.machine.leave(depth);
            return Ok(Some(result));
        };
        let result = if caller.is_helper {
            Some(self.registers.get(Reg::R0)?)
        } else {
            None
        };
        self.machine.leave(depth);
        self.next = caller.return_slot;
        self.may_goto_left = caller.may_goto_left;
        self.registers.leave(caller.saved, caller.frame_pointer);
        match result {
            Some(result) => {
                let called = self.machine.called_back(result)?;
                self.called(called)
            }
            None => Ok(None),
        }
    }
}

fn aligned(address: u64, size: Size) -> Result<(), TrapReason> {
    if address.is_multiple_of(size.bytes().into()) {
        Ok(())
    } else {
        Err(TrapReason::Misaligned {
            address,
            size: size.bytes(),
        })
    }
}
