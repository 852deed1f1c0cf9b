//! Why a function cannot be probed.

use thiserror::Error;

/// Neither way of patching a function works.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error(
    "the function at {address:#x} cannot be patched: a 5-byte jump: {near}; a 2-byte jump: {short}"
)]
pub struct Refusal {
    /// Address of the function.
    pub address: u64,
    /// What is in the way of a 5-byte jump.
    pub near: Obstacle,
    /// What is in the way of a 2-byte jump to an island in padding.
    pub short: Obstacle,
}

/// What is in the way of a patch.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Obstacle {
    /// The function, with the padding after it, is too small.
    #[error("the function has {available} bytes, {needed} are needed")]
    TooShort {
        /// Bytes of function and padding.
        available: usize,
        /// Bytes of the jump.
        needed: usize,
    },
    /// The function jumps into the bytes to be replaced.
    #[error("the jump at {from:#x} leads into it, to {to:#x}")]
    JumpInto {
        /// The jump.
        from: u64,
        /// Its target.
        to: u64,
    },
    /// Another function begins inside the bytes to be replaced, or jumps there.
    #[error("another function begins in it or jumps into it, at {at:#x}")]
    EntryInside {
        /// Its address.
        at: u64,
    },
    /// A thread that is in a call would return into the bytes to be replaced.
    #[error("the call at {at:#x} returns into it")]
    CallReturnsInto {
        /// The call.
        at: u64,
    },
    /// A thread that is in a system call may be restarted inside the bytes to be replaced.
    #[error("the system call at {at:#x} is inside it")]
    SystemCallInside {
        /// The instruction.
        at: u64,
    },
    /// The bytes are no instruction.
    #[error("the bytes at {at:#x} are no valid instruction")]
    Undecodable {
        /// Their address.
        at: u64,
    },
    /// A breakpoint of somebody else, whose original byte is not known.
    #[error("a breakpoint is set at {at:#x}")]
    Breakpoint {
        /// Its address.
        at: u64,
    },
    /// An instruction does something else when it is moved, and no replacement is known.
    #[error("the instruction at {at:#x} ({text}) cannot be moved")]
    NotMovable {
        /// Its address.
        at: u64,
        /// Its mnemonic.
        text: String,
    },
    /// No unused padding within reach of a 2-byte jump.
    #[error("no 5 bytes of padding are within 127 bytes")]
    NoPadding,
}

/// Whether the C library's function of this name returns twice to the same caller, or hands
/// its own return address on. A return probe would lose its way in them; refuse one by name.
pub fn returns_twice(symbol: &str) -> bool {
    matches!(
        symbol.trim_start_matches('_').trim_start_matches("libc_"),
        "setjmp"
            | "sigsetjmp"
            | "vfork"
            | "getcontext"
            | "swapcontext"
            | "savectx"
            | "clone"
            | "clone3"
            | "longjmp"
            | "siglongjmp"
            | "longjmp_chk"
            | "setcontext"
            | "restore_rt"
            | "restore"
    )
}
