//! The displaced instructions, rewritten for another address.

use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, Instruction, InstructionBlock, MemoryOperand, OpKind,
    Register,
};

use super::build::BuildError;

/// Where a displaced instruction went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Relocated {
    /// Its own address.
    pub original: u64,
    /// Address of what replaces it. A thread that is stopped exactly at one of the two addresses
    /// can be moved to the other.
    pub address: u64,
}

/// Rewrites `displaced` for `address`, followed by a jump to the instruction after the last one
/// unless the last never goes on.
pub(super) fn relocate(
    displaced: &[Instruction],
    address: u64,
) -> Result<(Vec<u8>, Vec<Relocated>), BuildError> {
    let mut code = Vec::new();
    let mut map = Vec::new();
    let mut continues = None;
    for instruction in displaced {
        let at = address + code.len() as u64;
        map.push(Relocated {
            original: instruction.ip(),
            address: at,
        });
        // One block for each instruction, so that a branch to another displaced instruction, or
        // back to the probed entry, leads to the original place and hits the probe again.
        if is_near_call(instruction) {
            code.extend(call(instruction, at)?);
            continues = None;
        } else {
            code.extend(encode(&[*instruction], at)?);
            continues = super::plan::continues(instruction).then(|| instruction.next_ip());
        }
    }
    if let Some(target) = continues {
        let jump = Instruction::with_branch(Code::Jmp_rel32_64, target)?;
        code.extend(encode(&[jump], address + code.len() as u64)?);
    }
    Ok((code, map))
}

/// A call whose return address is on the stack as 8 bytes.
pub(super) fn is_near_call(instruction: &Instruction) -> bool {
    matches!(instruction.code(), Code::Call_rel32_64 | Code::Call_rm64)
}

/// A call that returns to where the original would: pushes the original's return address and
/// jumps.
fn call(instruction: &Instruction, at: u64) -> Result<Vec<u8>, BuildError> {
    let return_address = instruction.next_ip();
    let low = return_address as i32;
    let high = (return_address >> 32) as i32;
    let upper_half = MemoryOperand::with_base_displ(Register::RSP, 4);
    let push = Instruction::with1(Code::Pushq_imm32, low)?;
    let store = Instruction::with2(Code::Mov_rm32_imm32, upper_half, high)?;
    let jump = if instruction.code() == Code::Call_rel32_64 {
        Instruction::with_branch(Code::Jmp_rel32_64, instruction.near_branch_target())?
    } else {
        let mut jump = *instruction;
        jump.set_code(Code::Jmp_rm64);
        if jump.op0_kind() == OpKind::Register {
            if jump.op0_register() == Register::RSP {
                return Err(BuildError::NotMovable {
                    address: instruction.ip(),
                });
            }
        } else if jump.memory_base() == Register::RSP {
            let displacement = jump.memory_displacement64().wrapping_add(8);
            jump.set_memory_displacement64(displacement);
            // Room for any displacement.
            jump.set_memory_displ_size(8);
        }
        jump
    };
    encode(&[push, store, jump], at)
}

/// Encodes instructions for `at`, with whatever is needed to reach targets that are further
/// away than before.
pub(super) fn encode(instructions: &[Instruction], at: u64) -> Result<Vec<u8>, BuildError> {
    let block = InstructionBlock::new(instructions, at);
    Ok(BlockEncoder::encode(64, block, BlockEncoderOptions::NONE)?.code_buffer)
}
