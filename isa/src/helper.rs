//! Prototypes of helper functions, and which programs may call them.

mod offers;
mod set;
mod table;
mod variants;

pub use offers::{Caller, Unavailable, available};
pub use set::HelperSet;
pub use table::PROTOS;
pub use variants::{VARIANTS, Variant};

use crate::kfunc::DynptrKind;

/// What a helper expects in an argument register (kernel `enum bpf_arg_type`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ArgType {
    /// Not an argument; whatever the register holds is ignored.
    None,
    /// Any initialised value, pointers included (a leak where leaks are refused).
    Anything,
    /// A number.
    Scalar,
    /// A map known when the program is verified.
    ConstMapPtr,
    /// Initialised memory of the map's key size.
    MapKey,
    /// Initialised memory of the map's value size.
    MapValue,
    /// Initialised memory of the map's value size, or null.
    MapValueOrNull,
    /// Memory of the map's value size that the helper writes.
    UninitMapValue,
    /// Initialised memory that the helper reads; its size is the next argument.
    MemRead,
    /// As [`Self::MemRead`], or null.
    MemReadOrNull,
    /// Initialised memory that the helper may write; its size is the next argument.
    MemWrite,
    /// As [`Self::MemWrite`], or null.
    MemWriteOrNull,
    /// Memory, not necessarily initialised, that the helper writes; size in the next argument.
    UninitMem,
    /// As [`Self::UninitMem`], or null.
    UninitMemOrNull,
    /// Memory of a fixed size that the helper reads.
    FixedMemRead(u32),
    /// Initialised memory of a fixed size that the helper reads and writes.
    FixedMemReadWrite(u32),
    /// Memory of a fixed size, not necessarily initialised, that the helper writes.
    FixedMemWrite(u32),
    /// Size of the memory in the argument before, greater than zero.
    ConstSize,
    /// Size of the memory in the argument before, or zero.
    ConstSizeOrZero,
    /// A number known at verification: the size of the memory that the helper returns.
    ConstAllocSize,
    /// The context.
    Ctx,
    /// The context, or null.
    CtxOrNull,
    /// Memory that `bpf_ringbuf_reserve` returned, which the helper gives back.
    RingBufMem,
    /// A NUL-terminated string in a read-only map.
    ConstStr,
    /// A socket, seen in part or as a whole.
    #[doc(alias = "ARG_PTR_TO_SOCK_COMMON")]
    SockCommon,
    /// As [`Self::SockCommon`], or one typed by BTF.
    #[doc(alias = "ARG_PTR_TO_BTF_ID_SOCK_COMMON")]
    AnySock,
    /// As [`Self::AnySock`], or null.
    AnySockOrNull,
    /// A full socket, or null.
    SocketOrNull,
    /// A socket that a helper found, which is given back.
    ReleasedSock,
    /// A `struct bpf_spin_lock` in a map's value.
    SpinLock,
    /// A `struct bpf_timer` in a map's value.
    Timer,
    /// A kernel pointer in a map's value that owns its object.
    #[doc(alias = "ARG_PTR_TO_KPTR")]
    KptrField,
    /// The object that the pointer in the first argument is to own, which is given away, or null.
    ReleasedKptr,
    /// A structure of the kernel's with this name, typed by BTF.
    #[doc(alias = "ARG_PTR_TO_BTF_ID")]
    Struct(&'static str),
    /// As [`Self::Struct`], or null.
    StructOrNull(&'static str),
    /// A variable of the kernel's, or an object of the program's, of which each CPU has its own.
    #[doc(alias = "ARG_PTR_TO_PERCPU_BTF_ID")]
    PerCpu,
    /// Room for a dynptr on the stack, which the helper makes.
    #[doc(alias = "ARG_PTR_TO_DYNPTR")]
    NewDynptr(DynptrKind),
    /// A dynptr that was made.
    Dynptr,
    /// A dynptr on a ring buffer record, which is given back.
    ReleasedDynptr,
    /// A subprogram used as a callback.
    Func,
    /// A pointer to the program's own stack, or null (context of a callback).
    StackOrNull,
    /// A kind of argument that this version does not know; calls are rejected.
    Unsupported(&'static str),
}

/// What a helper returns (kernel `enum bpf_return_type`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RetType {
    /// A number, any.
    Integer,
    /// Nothing; `r0` may not be read.
    Void,
    /// Address of a value of the map in the first argument, or null.
    MapValueOrNull,
    /// Address of the value of the map in the first argument that belongs to where the program
    /// is attached; never null.
    MapValue,
    /// Memory of the constant size given as [`ArgType::ConstAllocSize`], which must be given
    /// back, or null.
    RingBufMemOrNull,
    /// An object that must be given back, or null.
    AcquiredOrNull(crate::context::Object),
    /// The object of the first argument, seen as another kind, or null: valid as long as that one.
    CastOrNull(crate::context::Object),
    /// What the kernel pointer in the first argument owned, to be given back, or null.
    KptrOrNull,
    /// An object that stays valid while the program runs, or null.
    ObjectOrNull(crate::context::Object),
    /// Memory of the dynptr in the first argument, of the size in the third, or null.
    #[doc(alias = "RET_PTR_TO_DYNPTR_MEM_OR_NULL")]
    SliceOrNull,
    /// A structure of the kernel's with this name, that is valid while the program runs.
    #[doc(alias = "RET_PTR_TO_BTF_ID_TRUSTED")]
    Struct(&'static str),
    /// As [`Self::Struct`], or null.
    StructOrNull(&'static str),
    /// One CPU's own of what is in the first argument; whether it may be null.
    #[doc(alias = "RET_PTR_TO_MEM_OR_BTF_ID")]
    OfCpu(bool),
    /// A kind of result that this version does not know; calls are rejected.
    Unsupported(&'static str),
}

/// Prototype of a helper.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[doc(alias = "bpf_func_proto")]
pub struct HelperProto {
    /// Number in calls (`BPF_FUNC_*`).
    pub id: u32,
    /// Name without `bpf_`, as in the kernel's list (`map_lookup_elem`).
    pub name: &'static str,
    /// Arguments `r1` to `r5`.
    pub args: [ArgType; 5],
    /// Result.
    pub ret: RetType,
    /// Only for programs under a licence compatible with the GPL.
    pub gpl_only: bool,
    /// May sleep: only for programs that may (`BPF_F_SLEEPABLE`).
    pub sleeps: bool,
    /// Packet pointers are invalid after the call (`bpf_helper_changes_pkt_data`). `tail_call` is
    /// not marked, because the caller goes on only if nothing was called; but a subprogram that
    /// calls it can return to its caller with the packet moved and any value in `r0`.
    pub changes_packet: bool,
}

impl HelperProto {
    /// Whether an argument is the context, or may be.
    pub const fn takes_context(&self) -> bool {
        let mut index = 0;
        while index < self.args.len() {
            if matches!(self.args[index], ArgType::Ctx | ArgType::CtxOrNull) {
                return true;
            }
            index += 1;
        }
        false
    }
}

/// The prototype of the helper with the number, as most types of programs get it; [`available`]
/// knows the others.
pub fn proto(id: u32) -> Option<&'static HelperProto> {
    // The table has no gaps and begins at 1.
    PROTOS.get((id as usize).checked_sub(1)?)
}

/// The prototype of the helper with the name, given with or without `bpf_`.
pub fn by_name(name: &str) -> Option<&'static HelperProto> {
    let name = name.strip_prefix("bpf_").unwrap_or(name);
    PROTOS.iter().find(|proto| proto.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_by_number_and_name() {
        assert_eq!(proto(0), None);
        assert_eq!(proto(1).map(|p| p.name), Some("map_lookup_elem"));
        assert_eq!(proto(211).map(|p| p.name), Some("cgrp_storage_delete"));
        assert_eq!(proto(212), None);
        assert_eq!(proto(u32::MAX), None);
        assert_eq!(by_name("bpf_loop").map(|p| p.id), Some(181));
        assert_eq!(by_name("ringbuf_reserve").map(|p| p.id), Some(131));
        assert_eq!(by_name("nothing"), None);
    }

    #[test]
    fn names_are_unique() {
        for proto in PROTOS {
            assert_eq!(by_name(proto.name), Some(proto));
        }
    }

    #[test]
    fn sizes_follow_memory() {
        for proto in PROTOS {
            for (index, arg) in proto.args.iter().enumerate() {
                let sized = matches!(
                    arg,
                    ArgType::MemRead
                        | ArgType::MemReadOrNull
                        | ArgType::MemWrite
                        | ArgType::MemWriteOrNull
                        | ArgType::UninitMem
                        | ArgType::UninitMemOrNull
                );
                let size = matches!(
                    proto.args.get(index + 1),
                    Some(ArgType::ConstSize | ArgType::ConstSizeOrZero)
                );
                assert_eq!(sized, size, "{}", proto.name);
            }
        }
    }
}
