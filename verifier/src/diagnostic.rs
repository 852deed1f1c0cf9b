//! Rejections as data.

use core::fmt;

use bpftime_isa::LineInfo;

use crate::refine::Refuted;

macro_rules! codes {
    ($($variant:ident = $text:expr, $title:expr;)*) => {
        /// Why a program is rejected; the text form is stable.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// All codes.
            pub const ALL: &'static [Code] = &[$(Code::$variant,)*];

            /// Stable name, for machines.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// One line for people.
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$variant => $title,)*
                }
            }
        }
    };
}

codes! {
    Decode = "decode", "A slot is not an instruction.";
    ProgramSize = "program-size", "The program is empty or too long.";
    ProgramType = "program-type", "The program type is not supported.";
    JumpOutOfRange = "jump-out-of-range", "A jump or call leads out of the program.";
    JumpIntoWide = "jump-into-wide", "A jump leads into the second half of a 64-bit load.";
    JumpAcrossFunctions = "jump-across-functions", "A jump leads into another function.";
    FallsOff = "falls-off", "A function does not end with an exit or a jump.";
    Unreachable = "unreachable", "Nothing leads to an instruction, which Linux refuses.";
    Recursion = "recursion", "A function calls itself, directly or not.";
    CallDepth = "call-depth", "Calls nest too deeply.";
    StackDepth = "stack-depth", "The frames of a chain of calls need too much stack.";
    UnsupportedInstruction = "unsupported-instruction", "The instruction is not supported here.";
    UninitRegister = "uninit-register", "A register is read before it is written.";
    FrameRegister = "frame-register", "The frame register r10 is read-only.";
    PointerArithmetic = "pointer-arithmetic", "This arithmetic on a pointer is not allowed.";
    DivisionByZero = "division-by-zero", "A constant divisor is 0, which Linux refuses.";
    PointerComparison = "pointer-comparison", "These pointers may not be compared.";
    PointerLeak = "pointer-leak", "A pointer would become visible outside the program.";
    NotAPointer = "not-a-pointer", "Memory is accessed through something that is no pointer.";
    PossibleNull = "possible-null", "Memory is accessed through a pointer that may be null.";
    StackBounds = "stack-bounds", "A stack access is out of bounds.";
    StackUninit = "stack-uninit", "Stack bytes are read before they are written.";
    StackSpill = "stack-spill", "A pointer on the stack is accessed in part.";
    ContextAccess = "context-access", "The context has no such field, or it is not writable.";
    ObjectAccess = "object-access", "A kernel object has no such field, or it is not writable.";
    MapValueBounds = "map-value-bounds", "An access to a map value is out of bounds.";
    MapAccess = "map-access", "The map may not be accessed in this way.";
    MapField = "map-field", "A part of a map's value that belongs to the kernel is accessed.";
    Section = "section", "This is not allowed while a lock is held, or without it.";
    MapType = "map-type", "The map type does not fit, or is not offered.";
    PacketBounds = "packet-bounds", "A packet access is not proved to be in bounds.";
    MemoryBounds = "memory-bounds", "A memory access is out of bounds.";
    AtomicAccess = "atomic-access", "An atomic operation on this memory is not allowed.";
    UnknownHelper = "unknown-helper", "The helper does not exist or is not offered.";
    HelperUnavailable = "helper-unavailable", "The helper is not available to programs of this type.";
    HelperLicense = "helper-license", "The helper or program type needs a licence compatible with the GPL.";
    HelperArgument = "helper-argument", "An argument does not fit the helper.";
    UnsupportedCall = "unsupported-call", "This kind of call is not supported.";
    UnreleasedReference = "unreleased-reference", "A resource is not given back on some path.";
    ReturnValue = "return-value", "The return value is not allowed.";
    Termination = "termination", "A loop is not proved to end.";
    Complexity = "complexity", "The analysis would exceed its budget.";
    Internal = "internal", "The verifier failed to judge the program.";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a program was rejected, and where.
#[derive(Clone, PartialEq, Debug)]
pub struct Rejection {
    /// Kind of failure.
    pub code: Code,
    /// Slot of the instruction.
    pub slot: u32,
    /// The instruction as `llvm-objdump` prints it; empty if there is none.
    pub instruction: String,
    /// Source line, if BTF tells.
    pub source: Option<LineInfo>,
    /// What the instruction needs.
    pub needed: String,
    /// What is known instead.
    pub known: String,
    /// Slots of the calls that lead to the instruction, outermost first.
    pub calls: Vec<u32>,
    /// Registers and stack before the instruction, in the kernel's notation; empty if the
    /// program was rejected before its instructions were analysed.
    pub state: String,
    /// The kernel verifier's sentence for this failure; tools search the log for it.
    pub kernel_message: String,
    /// Abstract steps until the rejection.
    pub steps: u64,
    /// What a solver said, if one was asked.
    pub refuted: Option<Refuted>,
}

impl Rejection {
    /// The error number that `BPF_PROG_LOAD` returns for such a program.
    pub fn errno(&self) -> bpftime_abi::Errno {
        use bpftime_abi::Errno;
        match self.code {
            Code::ProgramSize | Code::Complexity => Errno::E2BIG,
            Code::Decode
            | Code::ProgramType
            | Code::JumpOutOfRange
            | Code::JumpIntoWide
            | Code::JumpAcrossFunctions
            | Code::FallsOff
            | Code::Unreachable
            | Code::DivisionByZero
            | Code::Recursion
            | Code::UnsupportedInstruction
            | Code::UnsupportedCall
            | Code::UnknownHelper
            | Code::HelperUnavailable
            | Code::HelperLicense
            | Code::UnreleasedReference
            | Code::MapType
            | Code::Section
            | Code::Termination => Errno::EINVAL,
            _ => Errno::EACCES,
        }
    }

    /// The last lines of the kernel verifier's log for such a program: source line, state,
    /// instruction, sentence, cost.
    pub fn kernel_log(&self) -> String {
        use fmt::Write as _;
        let mut log = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_kernel_log(&mut log);
        let _ = writeln!(
            log,
            "processed {} insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0",
            self.steps
        );
        log
    }

    fn write_kernel_log(&self, log: &mut String) -> fmt::Result {
        use fmt::Write as _;
        if let Some(line) = &self.source {
            writeln!(log, "; {} @ {}:{}", line.text.trim(), line.file, line.line)?;
        }
        if !self.instruction.is_empty() {
            if !self.state.is_empty() {
                writeln!(log, "{}: {}", self.slot, self.state)?;
            }
            writeln!(log, "{}: {}", self.slot, self.instruction)?;
        }
        writeln!(log, "{}", self.kernel_message)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "rejected [{}]: {}", self.code, self.code.title())?;
        write!(f, "  at instruction {}", self.slot)?;
        if !self.instruction.is_empty() {
            write!(f, ": {}", self.instruction)?;
        }
        writeln!(f)?;
        if let Some(line) = &self.source {
            writeln!(f, "  in {}:{}: {}", line.file, line.line, line.text.trim())?;
        }
        for call in self.calls.iter().rev() {
            writeln!(f, "  called from instruction {call}")?;
        }
        writeln!(f, "  needed: {}", self.needed)?;
        writeln!(f, "  known:  {}", self.known)?;
        if !self.state.is_empty() {
            writeln!(f, "  state:  {}", self.state)?;
        }
        if let Some(refuted) = &self.refuted {
            writeln!(f, "  solver: {refuted}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejection {}
