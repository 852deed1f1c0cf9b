//! What the kernel's types say of the memory that pointers typed by BTF lead to.

use core::fmt;

/// What a read through a pointer to a structure gives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Walked {
    /// A number.
    Number,
    /// An address of the structure with this number, 0 (`void`) for memory of which no type is known: it
    /// may be anything, and reads through it that fault give 0.
    Object(u32),
    /// An address of the structure with this number, which stays valid as long as the structure that it was
    /// read from.
    Kept {
        /// Number of the structure.
        type_id: u32,
        /// It may be null.
        nullable: bool,
        /// It stays valid in an RCU section only, in which programs that do not sleep always are.
        rcu: bool,
    },
}

/// What the address of a function or variable of the kernel's leads to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[doc(alias = "BPF_PSEUDO_BTF_ID")]
pub enum KernelSymbol {
    /// A function: nothing may be read.
    Function,
    /// A variable of so many bytes, which is no structure.
    Memory(u32),
    /// A variable that is the structure with the number.
    Structure(u32),
    /// A variable of so many bytes, of which each CPU has its own.
    PerCpuMemory(u32),
    /// A variable that is the structure with the number, of which each CPU has its own.
    PerCpuStructure(u32),
}

/// The structures of a kernel. Reads through pointers to them that fault give 0, so that a structure which
/// is not what its pointer says is no danger; writes are never allowed.
pub trait KernelTypes: fmt::Debug + Send + Sync {
    /// What a read of `size` bytes (1, 2, 4 or 8) at `offset` of the structure gives; `None` if programs
    /// may not read so (`btf_struct_walk` in `kernel/bpf/btf.c`). Of 0 (`void`) all is numbers.
    fn read(&self, type_id: u32, offset: u32, size: u32) -> Option<Walked>;

    /// Whether the structure has one of the name at `offset`, or is one itself: a `tcp_sock` begins with an
    /// `inet_connection_sock`, and that with a `sock` (`btf_struct_ids_match`).
    fn contains(&self, type_id: u32, offset: u32, name: &str) -> bool;

    /// Number of the structure with the name.
    fn structure(&self, name: &str) -> Option<u32>;

    /// Offset and size in bytes of a member, by its name and those of the members that it is in;
    /// members of what has no name belong to what that is in.
    fn member(&self, structure: &str, path: &[&str]) -> Option<(u32, u32)> {
        let _ = (structure, path);
        None
    }

    /// Whether the number is that of a structure or union.
    fn is_composite(&self, type_id: u32) -> bool {
        let name = self.name(type_id);
        name.is_some_and(|name| self.contains(type_id, 0, &name))
    }

    /// What the function or variable with the number is. `None` if it is neither.
    fn symbol(&self, id: u32) -> Option<KernelSymbol> {
        let _ = id;
        None
    }

    /// Whether the structure with the name is made of numbers only, so that any memory of its size may be
    /// one (`__btf_type_is_scalar_struct`).
    fn is_numbers(&self, name: &str) -> bool {
        let _ = name;
        false
    }

    /// Name of the structure with the number.
    fn name(&self, type_id: u32) -> Option<String>;
}
