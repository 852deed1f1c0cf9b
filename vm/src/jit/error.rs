//! Why a verified program cannot be compiled.

/// What the compiler does not support, or an error of Cranelift. Never a matter of safety: that
/// was decided before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// The JIT has no lowering for this.
    #[error("instruction {slot}: {what} cannot be compiled; the interpreter may run it")]
    Unsupported {
        /// Slot of the instruction.
        slot: u32,
        /// What it is.
        what: &'static str,
    },
    /// Control goes to a slot where no instruction starts.
    #[error("instruction {slot}: control goes to slot {target}, where no instruction starts")]
    BadTarget {
        /// Slot of the instruction that goes there.
        slot: u32,
        /// Where it goes.
        target: i64,
    },
    /// Calls are nested too deeply, or recursive.
    #[error(
        "calls are nested more than {} deep, or recursive",
        bpftime_abi::MAX_CALL_FRAMES
    )]
    CallDepth,
    /// Cranelift could not compile a function.
    #[error("the function at slot {slot}: {message}")]
    Cranelift {
        /// First slot of the function.
        slot: u32,
        /// Cranelift's message.
        message: String,
    },
    /// The compiled code refers to something outside itself.
    #[error("the function at slot {slot}: relocation {kind} of {target} is not allowed")]
    Relocation {
        /// First slot of the function.
        slot: u32,
        /// Kind of the relocation.
        kind: String,
        /// What it refers to.
        target: String,
    },
    /// The machine code is too large.
    #[error("the machine code has {0} bytes, more than 2 GiB")]
    TooLarge(usize),
}
