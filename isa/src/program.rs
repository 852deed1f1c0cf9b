//! A program before verification.

use std::sync::Arc;

use crate::{AttachType, Hook, Insn, LocalStruct, MapDef, ProgType};

/// One program with all that verification needs, from an object file or from a `bpf()` call.
///
/// Nothing here is trusted: slots may be nonsense, indices out of range, text arbitrary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Program {
    /// Name of the function or of the `bpf()` call.
    pub name: String,
    /// ELF section, empty if it came from a `bpf()` call.
    pub section: String,
    /// Type, which fixes context and helpers.
    pub prog_type: ProgType,
    /// Attach type where the program type has several.
    pub attach_type: Option<AttachType>,
    /// Where it is attached, as far as the types do not say it.
    pub hook: Hook,
    /// Licence text; some helpers ask for one that is compatible with the GPL.
    pub license: String,
    /// Slots: main program first, subprograms after it. Maps are referred to by
    /// `BPF_PSEUDO_MAP_IDX` and `BPF_PSEUDO_MAP_IDX_VALUE`, indexing `maps`.
    pub insns: Vec<Insn>,
    /// Maps that the slots refer to.
    pub maps: Vec<MapDef>,
    /// Functions by first slot in ascending order, as far as BTF tells; may be empty.
    pub subprograms: Vec<Subprogram>,
    /// Source lines by slot in ascending order, as far as BTF tells; may be empty.
    pub lines: Vec<LineInfo>,
    /// Structures that the program may make objects of, by ascending number in its BTF; empty if it
    /// makes none.
    pub objects: Arc<[LocalStruct]>,
    /// What happens when it throws.
    pub on_throw: OnThrow,
}

/// What happens when a program throws (`bpf_throw`).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum OnThrow {
    /// It ends, and returns what it threw.
    #[default]
    Ends,
    /// A function of its own is called with what it threw, and gives the result (`__exception_cb`). It
    /// comes as a program: that function first, and what it calls.
    Calls(Arc<Program>),
    /// It is such a function itself: `r1` is a number, and it may not throw.
    IsCalled,
}

/// A function of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subprogram {
    /// First slot.
    pub insn: u32,
    /// Name.
    pub name: String,
    /// Global (`BTF_FUNC_GLOBAL`): the kernel verifies it by its prototype alone.
    pub global: bool,
    /// What its type says of its arguments and its result, if it is global and that can be said.
    pub contract: Option<Contract>,
}

/// What a global function is called with, by its type alone. It gives a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Contract {
    /// Arguments, at most five.
    pub arguments: Vec<ContractArg>,
}

/// An argument of a global function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ContractArg {
    /// Any number.
    Number,
    /// The program's context.
    Context,
    /// The address of so many bytes that may be read and written.
    Memory {
        /// Bytes of what the pointer's type says that it points to.
        size: u32,
        /// It may be null instead (without `__arg_nonnull`).
        nullable: bool,
    },
}

/// Where a slot comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineInfo {
    /// First slot that the line made.
    pub insn: u32,
    /// File name as the compiler was given it.
    pub file: String,
    /// Text of the line.
    pub text: String,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1; 0 if unknown.
    pub column: u32,
}

impl Program {
    /// A program of nothing but instructions: without a name, a licence or maps.
    pub fn new(prog_type: ProgType, insns: Vec<Insn>) -> Self {
        Self {
            name: String::new(),
            section: String::new(),
            prog_type,
            attach_type: None,
            hook: Hook::default(),
            license: String::new(),
            insns,
            maps: Vec::new(),
            subprograms: Vec::new(),
            lines: Vec::new(),
            objects: Arc::default(),
            on_throw: OnThrow::Ends,
        }
    }

    /// The source line of a slot.
    pub fn line_of(&self, slot: u32) -> Option<&LineInfo> {
        let after = self.lines.partition_point(|line| line.insn <= slot);
        after.checked_sub(1).map(|index| &self.lines[index])
    }
}
