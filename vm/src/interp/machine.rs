//! What the interpreter core asks of its surroundings.

use bpftime_isa::{AtomicOp, Size, Width};

use super::trap::TrapReason;

/// Argument registers `r1` to `r5` of a helper call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arguments {
    /// Values; registers that hold nothing are 0.
    pub(crate) values: [u64; 5],
    /// Whether each register was written on this path.
    pub(crate) initialised: [bool; 5],
}

/// Memory, maps and helpers of a running program. Addresses are those of this process.
pub(crate) trait Machine {
    /// Reads `size` bytes, zero-extended.
    fn load(&mut self, address: u64, size: Size) -> Result<u64, TrapReason>;

    /// Writes the low `size` bytes of `value`.
    fn store(&mut self, address: u64, size: Size, value: u64) -> Result<(), TrapReason>;

    /// Carries out `op` and gives what memory held before, zero-extended. `expected` is `r0`,
    /// for [`AtomicOp::Cmpxchg`].
    fn atomic(
        &mut self,
        address: u64,
        width: Width,
        op: AtomicOp,
        operand: u64,
        expected: u64,
    ) -> Result<u64, TrapReason>;

    /// Calls a helper. `None` when it returns nothing.
    fn helper(&mut self, number: u32, arguments: Arguments) -> Result<Option<u64>, TrapReason>;

    /// The handle of a map, as helpers take it.
    fn map_handle(&mut self, index: u32) -> Result<u64, TrapReason>;

    /// The address of a byte of a map's first value.
    fn map_value(&mut self, index: u32, offset: u32) -> Result<u64, TrapReason>;

    /// Makes the stack of a new innermost frame and gives its end, which is `r10`. `depth` is
    /// below [`bpftime_abi::MAX_CALL_FRAMES`].
    fn enter(&mut self, depth: usize) -> u64;

    /// Takes the innermost frame's stack away.
    fn leave(&mut self, depth: usize);
}
