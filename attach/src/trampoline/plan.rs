//! Whether and how a function's entry can be replaced by a jump.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind};

use super::refusal::{Obstacle, Refusal};

/// Bytes of `jmp rel32`.
pub(super) const NEAR_JUMP: usize = 5;
/// Bytes of `jmp rel8`.
pub(super) const SHORT_JUMP: usize = 2;

/// A function to be probed, as it is in the target's memory.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// Address of the function's entry.
    pub address: u64,
    /// The function's bytes, all of them: jumps into the patch are looked for in the whole.
    pub code: &'a [u8],
    /// Bytes that directly follow the function, up to the next one; may be empty. What is not
    /// padding in them is found out here.
    pub padding_after: &'a [u8],
    /// Bytes between the end of the function before and this one; may be empty.
    pub padding_before: &'a [u8],
    /// Known entries other than `address` (symbols, and where other functions jump to); those
    /// outside the function do no harm.
    pub entries: &'a [u64],
}

/// How a function will be patched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SitePlan {
    /// Address of the function's entry.
    pub address: u64,
    /// Form of the patch.
    pub jump: Jump,
    /// The target's own bytes that the patch replaces at `address`.
    pub original: Vec<u8>,
    /// The whole instructions that the patch replaces or cuts.
    pub displaced: Vec<Instruction>,
}

/// Form of a patch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Jump {
    /// A 5-byte jump to the trampoline.
    Near,
    /// A 2-byte jump to a 5-byte jump in padding.
    Short(Padding),
}

/// Five bytes of padding that a patch uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Padding {
    /// Address of the first.
    pub address: u64,
    /// What is there.
    pub original: [u8; NEAR_JUMP],
}

/// Decides how to patch a function.
///
/// The displaced instructions are also tried for relocation where that does not depend on the
/// distance, so that a plan fails early.
pub fn plan(site: &Site<'_>) -> Result<SitePlan, Refusal> {
    let padding = padding_len(site.padding_after, site.address + site.code.len() as u64);
    let near = match with_jump(site, NEAR_JUMP, padding) {
        Ok(displaced) => return Ok(finish(site, Jump::Near, NEAR_JUMP, displaced)),
        Err(obstacle) => obstacle,
    };
    let short = match with_jump(site, SHORT_JUMP, padding) {
        Ok(displaced) => match island(site, padding) {
            Some(island) => {
                return Ok(finish(site, Jump::Short(island), SHORT_JUMP, displaced));
            }
            None => Obstacle::NoPadding,
        },
        Err(obstacle) => obstacle,
    };
    Err(Refusal {
        address: site.address,
        near,
        short,
    })
}

impl SitePlan {
    /// Address of the first instruction that is not displaced.
    pub fn resume(&self) -> u64 {
        self.displaced
            .last()
            .map_or(self.address, Instruction::next_ip)
    }

    /// What cannot be done where the processor keeps return addresses of its own, with the reason.
    /// A call that is displaced is a push and a jump, of which the processor knows nothing.
    pub fn breaks_shadow_stacks(&self, returns: bool) -> Option<&'static str> {
        if returns {
            Some("returns cannot be probed")
        } else if self.displaced.iter().any(super::relocate::is_near_call) {
            Some("a function that begins with a call cannot be probed")
        } else {
            None
        }
    }
}

fn finish(site: &Site<'_>, jump: Jump, len: usize, displaced: Vec<Instruction>) -> SitePlan {
    let original = site
        .code
        .iter()
        .chain(site.padding_after)
        .take(len)
        .copied()
        .collect();
    SitePlan {
        address: site.address,
        jump,
        original,
        displaced,
    }
}

/// The instructions that a jump of `len` bytes displaces, if nothing is in the way.
fn with_jump(site: &Site<'_>, len: usize, padding: usize) -> Result<Vec<Instruction>, Obstacle> {
    let available = site.code.len() + padding;
    if site.code.is_empty() || available < len {
        return Err(Obstacle::TooShort {
            available,
            needed: len,
        });
    }
    let inside = site.address + 1..site.address + len as u64;
    if let Some(&at) = site.entries.iter().find(|at| inside.contains(at)) {
        return Err(Obstacle::EntryInside { at });
    }

    let patch_end = inside.end;
    let mut displaced = Vec::new();
    let mut decoder = Decoder::with_ip(64, site.code, site.address, DecoderOptions::NONE);
    let mut instruction = Instruction::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        let at = instruction.ip();
        if at < patch_end {
            check_displaced(&instruction, patch_end, at == site.address)?;
            displaced.push(instruction);
        }
        if let Some(to) = branch_target(&instruction)
            && inside.contains(&to)
        {
            return Err(Obstacle::JumpInto { from: at, to });
        }
    }
    // A function that ends before the patch must not run on into its padding.
    match displaced.last() {
        Some(last) if last.next_ip() >= patch_end || !continues(last) => Ok(displaced),
        _ => Err(Obstacle::TooShort {
            available: site.code.len(),
            needed: len,
        }),
    }
}

/// Whether an instruction that the patch replaces or cuts may be moved.
fn check_displaced(instruction: &Instruction, patch_end: u64, first: bool) -> Result<(), Obstacle> {
    let at = instruction.ip();
    if instruction.is_invalid() {
        return Err(Obstacle::Undecodable { at });
    }
    let not_movable = || Obstacle::NotMovable {
        at,
        text: format!("{:?}", instruction.mnemonic()).to_lowercase(),
    };
    match instruction.flow_control() {
        FlowControl::Call | FlowControl::IndirectCall => {
            if matches!(
                instruction.mnemonic(),
                Mnemonic::Syscall | Mnemonic::Sysenter | Mnemonic::Vmcall | Mnemonic::Vmmcall
            ) {
                return if first {
                    Ok(())
                } else {
                    Err(Obstacle::SystemCallInside { at })
                };
            }
            if !super::relocate::is_near_call(instruction) {
                return Err(not_movable());
            }
            if instruction.next_ip() < patch_end {
                return Err(Obstacle::CallReturnsInto { at });
            }
            Ok(())
        }
        FlowControl::Interrupt => match instruction.code() {
            Code::Int3 => Err(Obstacle::Breakpoint { at }),
            Code::Int_imm8 if first => Ok(()),
            Code::Int_imm8 => Err(Obstacle::SystemCallInside { at }),
            _ => Err(not_movable()),
        },
        FlowControl::XbeginXabortXend => Err(not_movable()),
        FlowControl::IndirectBranch if instruction.is_jmp_far_indirect() => Err(not_movable()),
        _ => Ok(()),
    }
}

/// Whether the instruction after this one may be executed next. A call that is emulated returns
/// to the original place.
pub(super) fn continues(instruction: &Instruction) -> bool {
    !matches!(
        instruction.flow_control(),
        FlowControl::UnconditionalBranch
            | FlowControl::IndirectBranch
            | FlowControl::Return
            | FlowControl::Exception
    )
}

/// Target of a direct jump, conditional jump, loop, call or `xbegin`.
pub(super) fn branch_target(instruction: &Instruction) -> Option<u64> {
    matches!(instruction.op0_kind(), OpKind::NearBranch64).then(|| instruction.near_branch_target())
}

/// The number of bytes at the start of `bytes` that are padding: `int3`, `nop` of any length.
fn padding_len(bytes: &[u8], address: u64) -> usize {
    let mut decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
    let mut len = 0;
    while decoder.can_decode() {
        let instruction = decoder.decode();
        let padding = match instruction.mnemonic() {
            Mnemonic::Nop | Mnemonic::Int3 => true,
            // `xchg ax,ax` and `data16 nop` decode as other mnemonics.
            Mnemonic::Xchg => {
                instruction.op0_register() == instruction.op1_register()
                    && instruction.op0_kind() == OpKind::Register
                    && instruction.op1_kind() == OpKind::Register
                    && instruction.op0_register().full_register() == iced_x86::Register::RAX
            }
            _ => false,
        };
        if !padding {
            break;
        }
        len += instruction.len();
    }
    len
}

/// Five bytes of padding that a 2-byte jump at the site reaches.
fn island(site: &Site<'_>, padding: usize) -> Option<Padding> {
    let from = site.address + SHORT_JUMP as u64;
    let reach = |address: u64| i8::try_from(address.wrapping_sub(from) as i64).is_ok();
    let take = |bytes: &[u8], address: u64| {
        let original = bytes.get(..NEAR_JUMP)?.try_into().ok()?;
        reach(address).then_some(Padding { address, original })
    };

    // The patch itself may need the first bytes after a function of one byte.
    let used = SHORT_JUMP.saturating_sub(site.code.len());
    let end = site.address + site.code.len() as u64;
    let after = take(site.padding_after.get(used..padding)?, end + used as u64);
    after.or_else(|| {
        let bytes = site.padding_before;
        let start = site.address.checked_sub(bytes.len() as u64)?;
        if padding_len(bytes, start) != bytes.len() {
            return None;
        }
        let offset = bytes.len().checked_sub(NEAR_JUMP)?;
        take(&bytes[offset..], start + offset as u64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_shadow_stack_forbids() {
        let plan_of = |code: &[u8]| {
            plan(&Site {
                address: 0x1000,
                code,
                padding_after: &[],
                padding_before: &[],
                entries: &[],
            })
            .expect("can be patched")
        };
        // call; ret
        let calls = plan_of(&[0xe8, 0, 1, 0, 0, 0xc3]);
        assert!(calls.breaks_shadow_stacks(false).is_some());
        // mov eax, 1; call; ret
        let plain = plan_of(&[0xb8, 1, 0, 0, 0, 0xe8, 0, 1, 0, 0, 0xc3]);
        assert!(plain.breaks_shadow_stacks(false).is_none());
        assert!(plain.breaks_shadow_stacks(true).is_some());
    }
}
