//! Stacks of the frames of an interpreted program.

use bpftime_abi::{MAX_CALL_FRAMES, STACK_SIZE};

/// Bytes between the ends of neighbouring stacks; the gap belongs to no frame, so that an access
/// beyond one stack does not land in the next.
const STRIDE: usize = 2 * STACK_SIZE;

/// What an entered frame's stack is filled with: programs that depend on bytes they never wrote
/// are to differ from one engine to the other.
const FILL: u8 = 0xa5;

#[repr(C, align(16))]
struct Memory([u8; STRIDE * MAX_CALL_FRAMES]);

/// Memory for the stack of each frame.
pub(crate) struct Stacks(Box<Memory>);

impl Stacks {
    /// Stacks for all frames.
    pub(crate) fn new() -> Self {
        Self(Box::new(Memory([FILL; STRIDE * MAX_CALL_FRAMES])))
    }

    /// Address of the first byte of a frame's stack, which has [`STACK_SIZE`] bytes. `depth` is
    /// below [`MAX_CALL_FRAMES`].
    pub(crate) fn enter(&mut self, depth: usize) -> u64 {
        let bytes = &mut self.0.0[depth * STRIDE..][..STACK_SIZE];
        bytes.fill(FILL);
        bytes.as_mut_ptr() as u64
    }
}
