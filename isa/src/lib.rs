//! What an eBPF program is.
//!
//! - [`insn`]: one 8-byte slot as it stands in memory and in object files
//! - [`reg`]: the eleven registers
//! - [`instruction`]: decoded instructions, one enum
//! - [`decode`](mod@decode), [`encode`](mod@encode): between slots and instructions
//! - [`asm`]: instructions from text; `Display` of [`Instruction`] is the way back
//! - [`program`]: a program before verification: slots, maps, subprograms, line table
//! - [`hook`]: where a program is attached, and what it is called with there
//! - [`kernel_types`]: what pointers to structures of the kernel lead to
//! - [`kfunc`]: kernel functions that programs may call by BTF
//! - [`map`]: map definitions
//! - [`prog_type`]: program and attach types with the kernel's numbers
//! - [`context`]: layouts of the contexts that programs are called with
//! - [`helper`]: prototypes of helper functions
//! - [`returns`]: what programs may return
//! - [`struct_ops`]: structures of functions that programs may implement
//! - [`section`]: names of ELF sections and what programs in them are
#![forbid(unsafe_code)]

pub mod asm;
pub mod context;
pub mod decode;
mod display;
pub mod encode;
pub mod helper;
pub mod hook;
pub mod insn;
pub mod instruction;
pub mod kernel_types;
pub mod kfunc;
pub mod map;
mod opcode;
pub mod prog_type;
pub mod program;
pub mod reg;
pub mod returns;
pub mod section;
pub mod struct_ops;

pub use bpftime_abi::MapType;
pub use context::{CtxField, CtxFieldKind, CtxLayout, Object, ObjectPointer, Pieces, Trust};
pub use decode::{DecodeError, Decoded, Field, decode, decode_one};
pub use encode::encode;
pub use helper::{ArgType, HelperProto, RetType};
pub use hook::{Hook, HookArg, Signature};
pub use insn::Insn;
pub use instruction::{
    AluOp, AtomicOp, ByteOrderOp, CallTarget, Cond, Imm64, Instruction, Operand, Size, Width,
};
pub use kernel_types::{KernelSymbol, KernelTypes, Walked};
pub use map::{GraphNode, LocalStruct, MapDef, MapField, MapFieldKind};
pub use prog_type::{AttachType, ProgType};
pub use program::{Contract, ContractArg, LineInfo, OnThrow, Program, Subprogram};
pub use reg::Reg;
pub use returns::ReturnRange;
pub use section::{SectionDef, SectionKind};
