//! The trampoline around the displaced instructions, and the bytes of the patch.

use bpftime_abi::target::{ImageHeader, MAX_HOOKS, RED_ZONE, RETURN_MISSED_OFFSET};
use iced_x86::IcedError;
use thiserror::Error;

use super::plan::{Jump, NEAR_JUMP, SHORT_JUMP, SitePlan};
use super::relocate::{Relocated, relocate};

/// Addresses of the image's entry points in the target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dispatchers {
    /// [`ImageHeader::entry_dispatch`].
    pub entry: u64,
    /// [`ImageHeader::return_entry_dispatch`].
    pub return_entry: u64,
    /// [`ImageHeader::return_dispatch`].
    pub on_return: u64,
    /// [`ImageHeader::find_fde`].
    pub find_fde: u64,
    /// [`ImageHeader::find_object`].
    pub find_object: u64,
}

impl Dispatchers {
    /// The entry points of an image at `base`.
    pub fn new(header: &ImageHeader, base: u64) -> Self {
        Self {
            entry: base + header.entry_dispatch,
            return_entry: base + header.return_entry_dispatch,
            on_return: base + header.return_dispatch,
            find_fde: base + header.find_fde,
            find_object: base + header.find_object,
        }
    }
}

/// Machine code that a patched function jumps to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trampoline {
    /// Its address.
    pub address: u64,
    /// Its bytes. Position-dependent.
    pub code: Vec<u8>,
    /// Address to which the probed function returns, in a trampoline of [`build_return`].
    pub return_point: Option<u64>,
    /// Where the displaced instructions are.
    pub relocated: Vec<Relocated>,
    /// What is to be patched, in this order; one or two.
    pub patches: Vec<Patch>,
}

/// Bytes to be replaced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Patch {
    /// Address of the first.
    pub address: u64,
    /// What is there.
    pub original: Vec<u8>,
    /// What shall be there.
    pub replacement: Vec<u8>,
}

/// A trampoline cannot be made for this address.
#[derive(Debug, Error)]
pub enum BuildError {
    /// A jump between the two does not reach.
    #[error("{from:#x} cannot jump to {to:#x}: more than 2 GiB away")]
    TooFar {
        /// Where the jump would be.
        from: u64,
        /// Where it would lead.
        to: u64,
    },
    /// Hook indices are below [`MAX_HOOKS`].
    #[error("hook index {index} is not below {}", MAX_HOOKS)]
    Index {
        /// The index.
        index: u32,
    },
    /// An instruction has no equivalent elsewhere.
    #[error("the instruction at {address:#x} cannot be moved")]
    NotMovable {
        /// Its address.
        address: u64,
    },
    /// The assembler refused.
    #[error("a displaced instruction cannot be encoded: {0}")]
    Encode(#[from] IcedError),
}

/// The trampoline of a hook with entry programs only. `address` is where it will be; it must be
/// within 2 GiB of the site.
pub fn build_entry(
    plan: &SitePlan,
    index: u32,
    dispatchers: &Dispatchers,
    address: u64,
) -> Result<Trampoline, BuildError> {
    let mut code = Vec::with_capacity(96);
    skip_red_zone_and_push(&mut code, index)?;
    let call = Literal::place(&mut code, [0xff, 0x15], dispatchers.entry);
    // lea rsp, [rsp + RED_ZONE + 8]
    code.extend([0x48, 0x8d, 0xa4, 0x24]);
    code.extend((RED_ZONE as u32 + 8).to_le_bytes());
    finish(plan, address, code, None, &[call])
}

/// The trampoline of a hook with return programs (and perhaps entry programs).
pub fn build_return(
    plan: &SitePlan,
    index: u32,
    dispatchers: &Dispatchers,
    address: u64,
) -> Result<Trampoline, BuildError> {
    let mut code = Vec::with_capacity(128);
    skip_red_zone_and_push(&mut code, index)?;
    let enter = Literal::place(&mut code, [0xff, 0x15], dispatchers.return_entry);
    let seen = code.len();
    // lea rsp, [rsp + RED_ZONE + 8 + 8]: takes the return address off, which the image keeps.
    code.extend([0x48, 0x8d, 0xa4, 0x24]);
    code.extend((RED_ZONE as u32 + 16).to_le_bytes());
    // call displaced: puts the return point in its place, so that the processor's return
    // predictor goes on matching.
    code.extend([0xe8, 0, 0, 0, 0]);
    let return_point = code.len();
    // push index: at the address of the return address; the image overwrites it with that.
    push_index(&mut code, index)?;
    let leave = Literal::place(&mut code, [0xff, 0x25], dispatchers.on_return);
    debug_assert_eq!(code.len() - seen, RETURN_MISSED_OFFSET);
    // lea rsp, [rsp + RED_ZONE + 8]: the return will not be seen, its address stays.
    code.extend([0x48, 0x8d, 0xa4, 0x24]);
    code.extend((RED_ZONE as u32 + 8).to_le_bytes());
    let to_displaced = (code.len() - return_point) as u32;
    code[return_point - 4..return_point].copy_from_slice(&to_displaced.to_le_bytes());
    finish(plan, address, code, Some(return_point), &[enter, leave])
}

/// The trampoline of a hook by which an unwinder learns what return points stand for: `dispatcher`
/// ([`Dispatchers::find_fde`] or [`Dispatchers::find_object`]) answers in the function's place, or
/// lets it.
pub fn build_unwind(
    plan: &SitePlan,
    dispatcher: u64,
    address: u64,
) -> Result<Trampoline, BuildError> {
    let mut code = Vec::with_capacity(64);
    // At the entry of a function that was called, nothing is below the stack pointer.
    let ask = Literal::place(&mut code, [0xff, 0x15], dispatcher);
    finish(plan, address, code, None, &[ask])
}

/// `lea rsp, [rsp - RED_ZONE]; push index`, neither of which changes flags.
fn skip_red_zone_and_push(code: &mut Vec<u8>, index: u32) -> Result<(), BuildError> {
    code.extend([0x48, 0x8d, 0x64, 0x24, (RED_ZONE as u8).wrapping_neg()]);
    push_index(code, index)
}

fn push_index(code: &mut Vec<u8>, index: u32) -> Result<(), BuildError> {
    if index as usize >= MAX_HOOKS {
        return Err(BuildError::Index { index });
    }
    code.push(0x68);
    code.extend(index.to_le_bytes());
    Ok(())
}

/// An instruction with a rip-relative operand that refers to an 8-byte constant at the end.
struct Literal {
    /// Offset of the operand's 4 bytes, which end the instruction.
    operand: usize,
    value: u64,
}

impl Literal {
    fn place(code: &mut Vec<u8>, opcode: [u8; 2], value: u64) -> Self {
        code.extend(opcode);
        let operand = code.len();
        code.extend([0; 4]);
        Self { operand, value }
    }

    /// Appends the constant and lets the operand refer to it.
    fn resolve(&self, code: &mut Vec<u8>) {
        let distance = (code.len() - (self.operand + 4)) as u32;
        code[self.operand..self.operand + 4].copy_from_slice(&distance.to_le_bytes());
        code.extend(self.value.to_le_bytes());
    }
}

/// Appends displaced instructions and literals, and makes the patches.
fn finish(
    plan: &SitePlan,
    address: u64,
    mut code: Vec<u8>,
    return_point: Option<usize>,
    literals: &[Literal],
) -> Result<Trampoline, BuildError> {
    let patches = patches(plan, address)?;
    let (displaced, relocated) = relocate(&plan.displaced, address + code.len() as u64)?;
    code.extend(displaced);
    // Nothing falls through to here; int3 says so, and the constants are aligned.
    code.resize(code.len().next_multiple_of(8), 0xcc);
    for literal in literals {
        literal.resolve(&mut code);
    }
    Ok(Trampoline {
        address,
        code,
        return_point: return_point.map(|offset| address + offset as u64),
        relocated,
        patches,
    })
}

fn patches(plan: &SitePlan, trampoline: u64) -> Result<Vec<Patch>, BuildError> {
    let patch = |replacement: Vec<u8>| Patch {
        address: plan.address,
        original: plan.original.clone(),
        replacement,
    };
    match &plan.jump {
        Jump::Near => Ok(vec![patch(near_jump(plan.address, trampoline)?)]),
        Jump::Short(island) => {
            let distance = island
                .address
                .wrapping_sub(plan.address + SHORT_JUMP as u64);
            Ok(vec![
                Patch {
                    address: island.address,
                    original: island.original.to_vec(),
                    replacement: near_jump(island.address, trampoline)?,
                },
                patch(vec![0xeb, distance as u8]),
            ])
        }
    }
}

/// `jmp rel32`.
fn near_jump(from: u64, to: u64) -> Result<Vec<u8>, BuildError> {
    let distance = to.wrapping_sub(from + NEAR_JUMP as u64) as i64;
    let distance = i32::try_from(distance).map_err(|_| BuildError::TooFar { from, to })?;
    let mut code = vec![0xe9];
    code.extend(distance.to_le_bytes());
    Ok(code)
}
