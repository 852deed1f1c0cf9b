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

/// Greatest sum of rounded frames over any chain of calls, callbacks included. `stack` has the
/// bytes by function, `reached` says which copies of functions the analysis entered.
pub(crate) fn combined(cfg: &Cfg, stack: &[u32], reached: &[bool]) -> Deepest {
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
        .into_iter()
        .zip(reached)
        .filter_map(|(chain, reached)| reached.then_some(chain))
        .max()
        .unwrap_or_default()
}
