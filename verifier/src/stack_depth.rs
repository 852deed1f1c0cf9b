//! Stack of chains of calls.

use bpftime_abi::MAX_CALL_FRAMES;

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

/// Least bytes of a frame that Linux puts elsewhere (kernel `BPF_PRIV_STACK_MIN_SIZE`).
const LEAST_PRIVATE: u32 = 64;

/// What is left on the stack that all functions share, where Linux gives each function with a large frame a
/// stack of its own. No frame is larger than that; the program is entered again only after it has ended.
pub(crate) fn shared(cfg: &Cfg, stack: &[u32], reached: &[bool]) -> Deepest {
    let small = |used: &u32| match used.next_multiple_of(FRAME_ROUNDING) {
        frame if frame >= LEAST_PRIVATE => 0,
        frame => frame,
    };
    let left: Vec<u32> = stack.iter().map(small).collect();
    combined(cfg, &left, reached)
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

/// What the longest chain needs that ends in each copy of a function. A copy that runs while it runs
/// already counts once.
fn chains(cfg: &Cfg, stack: &[u32]) -> Vec<Deepest> {
    let mut chains = vec![Deepest::default(); cfg.instances.len()];
    let (order, callees) = callers_first(cfg);
    for at in order {
        let own = stack
            .get(cfg.instances[at].function)
            .map_or(0, |used| used.next_multiple_of(FRAME_ROUNDING))
            .max(FRAME_ROUNDING);
        let chain = Deepest {
            bytes: chains[at].bytes.saturating_add(own),
            frames: chains[at].frames + 1,
        };
        chains[at] = chain;
        for callee in &callees[at] {
            let below = &mut chains[*callee];
            below.bytes = below.bytes.max(chain.bytes);
            below.frames = below.frames.max(chain.frames);
        }
    }
    chains
}

/// Whether a function that is judged by its contract may come to run while it runs, or chains through
/// such functions have too many frames.
pub(crate) fn too_deep_by_contract(cfg: &Cfg) -> bool {
    let (order, _) = callers_first(cfg);
    let deepest = || chains(cfg, &[]).into_iter().map(|chain| chain.frames).max();
    order.len() < cfg.instances.len() || deepest() > Some(MAX_CALL_FRAMES as u32)
}

/// Copies of functions, each after those that call it, without those that come to call themselves; and
/// for each the copies that it calls.
fn callers_first(cfg: &Cfg) -> (Vec<usize>, Vec<Vec<usize>>) {
    let count = cfg.instances.len();
    let mut callees: Vec<Vec<usize>> = vec![Vec::new(); count];
    let mut callers = vec![0_usize; count];
    let inlined = cfg.instances.iter().enumerate();
    let inlined = inlined.filter_map(|(at, instance)| Some((instance.caller?.0, at)));
    for (caller, callee) in inlined.chain(cfg.contract_calls()) {
        if let (Some(list), Some(number)) = (callees.get_mut(caller), callers.get_mut(callee)) {
            list.push(callee);
            *number += 1;
        }
    }
    let mut order: Vec<usize> = (0..count).filter(|at| callers[*at] == 0).collect();
    let mut next = 0;
    while let Some(at) = order.get(next).copied() {
        next += 1;
        for callee in &callees[at] {
            callers[*callee] -= 1;
            if callers[*callee] == 0 {
                order.push(*callee);
            }
        }
    }
    (order, callees)
}
