//! Where a program is attached, as far as its type does not say it.

pub mod tracepoint;

use crate::context::{CtxField, CtxFieldKind, CtxLayout, Object, ObjectPointer, Pieces, Trust};
use crate::helper::Caller;
use crate::returns::HookResult;
use crate::{ProgType, Program, SectionKind};

/// Where a program is attached, as far as its type does not say it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hook {
    /// The program may sleep (`BPF_F_SLEEPABLE`).
    pub sleepable: bool,
    /// What it is attached to, as far as it is known: the text after the `/` of its section
    /// (`libc.so.6:malloc`, `tcp` of `iter/tcp`), or the structure of `struct_ops`.
    pub target: Option<String>,
    /// The member of that structure which the program implements.
    pub member: Option<String>,
    /// What programs are called with whose context is typed by BTF.
    pub signature: Option<Signature>,
}

/// What a program is called with whose context is an array of 8-byte words, typed by BTF: functions
/// (`fentry`, `lsm`), BTF-typed tracepoints, iterators, `struct_ops`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signature {
    /// Name of the function.
    pub name: String,
    /// The arguments, one word each.
    pub args: Vec<HookArg>,
    /// What the function returns.
    pub result: HookResult,
    /// Programs see what the function returned, after the arguments (`fexit`, `fmod_ret`, `lsm`).
    pub sees_result: bool,
}

/// An argument of a hook.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HookArg {
    /// A number.
    Number,
    /// The address of something that is no structure, or of a structure that is not known: a number
    /// for programs.
    Address,
    /// A pointer to a structure of the kernel's.
    Object {
        /// Number of the structure in the kernel's BTF.
        type_id: u32,
        /// How far it can be relied upon.
        trust: Trust,
        /// It may be null, and has to be compared with null first.
        nullable: bool,
    },
    /// Keys or values that an iterator gives, or null.
    Buffer {
        /// Programs may write it.
        writable: bool,
    },
    /// Not to be read: part of a structure that is passed by value, a floating-point number.
    Hidden,
}

impl Signature {
    /// Layout of the context. Names of fields are `arg`; numbers may be read in parts from the
    /// word's start (`btf_ctx_access` in `kernel/bpf/btf.c`).
    pub fn layout(&self) -> CtxLayout {
        let result = self.sees_result.then_some(match self.result {
            HookResult::Void => HookArg::Hidden,
            HookResult::Bool | HookResult::Number => HookArg::Number,
        });
        let word = |offset| CtxField::scalar("arg", offset, 8);
        let words = self.args.iter().copied().chain(result);
        let fields = words.enumerate().filter_map(|(index, arg)| {
            let offset = 8 * u32::try_from(index).ok()?;
            match arg {
                HookArg::Hidden => None,
                HookArg::Number => Some(word(offset).parts(Pieces::AtStart)),
                HookArg::Address => Some(word(offset)),
                HookArg::Buffer { writable } => {
                    let object = Object::IteratorBuffer { writable };
                    let nullable = true;
                    let kind = CtxFieldKind::Object(ObjectPointer { object, nullable });
                    Some(CtxField {
                        kind,
                        ..word(offset)
                    })
                }
                HookArg::Object {
                    type_id,
                    trust,
                    nullable,
                } => {
                    let object = Object::Typed { type_id, trust };
                    let kind = CtxFieldKind::Object(ObjectPointer { object, nullable });
                    Some(CtxField {
                        kind,
                        ..word(offset)
                    })
                }
            }
        });
        let fields: Vec<CtxField> = fields.collect();
        CtxLayout {
            name: "arguments",
            size: fields.last().map_or(0, |field| field.offset + field.size),
            fields: fields.into(),
            plain_memory: false,
        }
    }
}

impl Hook {
    /// What the name of a program's section says.
    pub fn of_section(kind: &SectionKind<'_>) -> Self {
        Self {
            sleepable: kind.def.sleepable,
            target: kind.target.map(str::to_owned),
            member: None,
            signature: None,
        }
    }
}

impl Program {
    /// Who calls helpers, when the program runs.
    pub fn caller(&self) -> Caller<'_> {
        Caller {
            prog_type: self.prog_type,
            attach_type: self.attach_type,
            sleepable: self.may_sleep(),
            target: self.hook.target.as_deref(),
            member: self.hook.member.as_deref(),
        }
    }

    /// Whether it may sleep.
    pub fn may_sleep(&self) -> bool {
        self.hook.sleepable || self.prog_type == ProgType::Syscall
    }
}
