//! Stack of chains of calls.

use crate::cfg::Cfg;

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

/// Bytes of the frames below a function from which a tail call leaves them where they are.
const LIMIT_BELOW_TAIL_CALL: u32 = 256;

/// Bytes of the frames below a function that goes on with another program, if there are too many: each
/// of a chain of such programs may leave as many.
pub(crate) fn below_tail_call(cfg: &Cfg, stack: &[u32], tail_calls: &[bool]) -> Option<u32> {
    let chains = chains(cfg, stack);
    cfg.instances
        .iter()
        .zip(tail_calls)
        .filter(|(_, calls)| **calls)
        .filter_map(|(instance, _)| chains.get(instance.caller?.0))
        .map(|below| below.bytes)
        .find(|bytes| *bytes >= LIMIT_BELOW_TAIL_CALL)
}

/// Greatest sum of rounded frames over any chain of calls, callbacks included. `stack` has the
/// bytes by function, `reached` says which copies of functions the analysis entered.
pub(crate) fn combined(cfg: &Cfg, stack: &[u32], reached: &[bool]) -> Deepest {
    chains(cfg, stack)
        .into_iter()
        .zip(reached)
        .filter_map(|(chain, reached)| reached.then_some(chain))
        .max()
        .unwrap_or_default()
}

/// What the chain needs that ends in each copy of a function.
fn chains(cfg: &Cfg, stack: &[u32]) -> Vec<Deepest> {
    let mut chains: Vec<Deepest> = Vec::with_capacity(cfg.instances.len());
    // A copy comes after the one that calls it.
    for instance in &cfg.instances {
        let above = instance
            .caller
            .and_then(|(caller, _)| chains.get(caller))
            .copied()
            .unwrap_or_default();
        let own = stack
            .get(instance.function)
            .map_or(0, |used| used.next_multiple_of(FRAME_ROUNDING))
            .max(FRAME_ROUNDING);
        chains.push(Deepest {
            bytes: above.bytes.saturating_add(own),
            frames: above.frames + 1,
        });
    }
    chains
}
