//! Joins the code of a program's functions.

use std::collections::BTreeMap;

use cranelift_codegen::binemit::Reloc;
use cranelift_codegen::ir::ExternalName;
use cranelift_codegen::ir::function::FunctionParameters;
use cranelift_codegen::{CompiledCode, FinalizedRelocTarget};

use super::error::CompileError;

/// Functions start at multiples of this.
const ALIGNMENT: usize = 16;

/// `int3`: what stands between functions, so that a stray jump there stops.
const FILLER: u8 = 0xcc;

/// Saved frame pointer and return address, which Cranelift does not count as part of a frame.
const FRAME_LINK: usize = 16;

/// A 32-bit distance to a function, to be filled in.
#[derive(Debug)]
struct Call {
    /// Slot of the calling function.
    caller: u32,
    /// Where the distance stands in the joined code.
    offset: usize,
    /// Slot of the called function.
    callee: u32,
    /// Added to the distance.
    addend: i64,
}

/// Collects functions.
#[derive(Debug, Default)]
pub(super) struct Linker {
    code: Vec<u8>,
    starts: BTreeMap<u32, usize>,
    frames: BTreeMap<u32, usize>,
    calls: Vec<Call>,
}

impl Linker {
    /// Appends the function that starts at a slot.
    pub(super) fn add(
        &mut self,
        slot: u32,
        compiled: &CompiledCode,
        names: &FunctionParameters,
    ) -> Result<(), CompileError> {
        let start = self.code.len().next_multiple_of(ALIGNMENT);
        self.code.resize(start, FILLER);
        self.code.extend_from_slice(compiled.code_buffer());
        self.starts.insert(slot, start);
        let frame = compiled
            .buffer
            .frame_layout()
            .ok_or_else(|| CompileError::Cranelift {
                slot,
                message: "the frame's size is not known".to_owned(),
            })?;
        self.frames
            .insert(slot, frame.frame_to_fp_offset as usize + FRAME_LINK);
        for relocation in compiled.buffer.relocs() {
            let refused = || CompileError::Relocation {
                slot,
                kind: format!("{:?}", relocation.kind),
                target: relocation.target.display(Some(names)),
            };
            let FinalizedRelocTarget::ExternalName(ExternalName::User(name)) = relocation.target
            else {
                return Err(refused());
            };
            let callee = names
                .user_named_funcs()
                .get(name)
                .ok_or_else(refused)?
                .index;
            if relocation.kind != Reloc::X86CallPCRel4 {
                return Err(refused());
            }
            self.calls.push(Call {
                caller: slot,
                offset: start + relocation.offset as usize,
                callee,
                addend: relocation.addend,
            });
        }
        Ok(())
    }

    /// Native stack bytes of each function by slot.
    pub(super) fn frames(&self) -> &BTreeMap<u32, usize> {
        &self.frames
    }

    /// Resolves the calls and gives the code and the offset of the main program in it.
    pub(super) fn link(mut self) -> Result<(Vec<u8>, usize), CompileError> {
        if i32::try_from(self.code.len()).is_err() {
            return Err(CompileError::TooLarge(self.code.len()));
        }
        for call in &self.calls {
            let broken = || CompileError::Relocation {
                slot: call.caller,
                kind: format!("{:?}", Reloc::X86CallPCRel4),
                target: format!("the function at slot {}", call.callee),
            };
            let callee = *self.starts.get(&call.callee).ok_or_else(broken)?;
            // Both are below 2 GiB; the addend accounts for the field's own four bytes.
            let distance = callee as i64 - call.offset as i64 + call.addend;
            let distance = i32::try_from(distance).map_err(|_| broken())?;
            self.code
                .get_mut(call.offset..call.offset + 4)
                .ok_or_else(broken)?
                .copy_from_slice(&distance.to_le_bytes());
        }
        let entry = self.starts.get(&0).copied().unwrap_or(0);
        Ok((self.code, entry))
    }
}
