//! Stack of chains of calls.

use bpftime_isa::Decoded;

use crate::structure::{Index, Structure};

/// Bytes of stack over all frames of a chain of calls (kernel `MAX_BPF_STACK`).
pub(crate) const LIMIT: u32 = bpftime_abi::STACK_SIZE as u32;

/// Frames are rounded up to this many bytes, as the kernel does for compiled programs.
const FRAME_ROUNDING: u32 = 16;

/// The chain of calls that needs most stack.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Deepest {
    /// Sum of the rounded frames.
    pub(crate) bytes: u32,
    /// Frames.
    pub(crate) frames: u32,
}

/// Greatest sum of rounded frames over any chain of calls from the main program. Calls form no
/// cycle.
pub(crate) fn combined(code: &[Decoded], structure: &Structure, stack: &[u32]) -> Deepest {
    let count = structure.functions.len();
    let mut callees: Vec<Vec<usize>> = vec![Vec::new(); count];
    for index in 0..code.len() as Index {
        if let Some(target) = structure.function_target(code, index) {
            let callee = structure.function_of(target);
            if let Some(list) = callees.get_mut(structure.function_of(index)) {
                list.push(callee);
            }
        }
    }
    // Depth-first with an explicit stack; a function is settled after its callees.
    let mut needs: Vec<Option<Deepest>> = vec![None; count];
    let mut path = vec![(0, 0)];
    while let Some((function, next)) = path.pop() {
        if needs[function].is_some() {
            continue;
        }
        if let Some(&callee) = callees[function].get(next) {
            path.push((function, next + 1));
            path.push((callee, 0));
            continue;
        }
        let own = stack
            .get(function)
            .map_or(0, |used| used.next_multiple_of(FRAME_ROUNDING))
            .max(FRAME_ROUNDING);
        let below = callees[function]
            .iter()
            .filter_map(|callee| needs[*callee])
            .max()
            .unwrap_or_default();
        needs[function] = Some(Deepest {
            bytes: own + below.bytes,
            frames: 1 + below.frames,
        });
    }
    needs.first().copied().flatten().unwrap_or_default()
}
