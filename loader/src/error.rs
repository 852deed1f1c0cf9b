//! Why an object file could not be read.

use thiserror::Error;

use crate::btf::BtfError;

/// Why an object file could not be read.
///
/// Each variant names the place: a section, symbol, map, extern or offset in bytes.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file has no bytes.
    #[error("the file is empty; expected an ELF object made by `clang -target bpf -c`")]
    Empty,
    /// The file does not start with the ELF magic number.
    #[error(
        "not an ELF file (it starts with {start}); expected an object made by `clang -target bpf -c`"
    )]
    NotElf {
        /// The first bytes in hexadecimal.
        start: String,
    },
    /// A 32-bit ELF file.
    #[error("a 32-bit ELF file; BPF objects are 64-bit")]
    Not64Bit,
    /// A big-endian object.
    #[error("a big-endian object; compile with `-target bpfel` (or `-target bpf` on this machine)")]
    BigEndian,
    /// An ELF file for another machine.
    #[error("ELF machine {machine}, not BPF (247); compile with `clang -target bpf -c`")]
    WrongMachine {
        /// `e_machine`.
        machine: u16,
    },
    /// An executable, shared library or core file.
    #[error(
        "ELF file type {file_type}, not a relocatable object (1); give the output of `clang -c`"
    )]
    NotRelocatable {
        /// `e_type`.
        file_type: u16,
    },
    /// The ELF structure is broken.
    #[error("broken ELF file: {what}: {message}")]
    Elf {
        /// The part that is broken, with its offset or index.
        what: String,
        /// What is wrong with it.
        message: String,
    },
    /// Something is larger than the loader takes.
    #[error("{what}: {found} is more than the limit of {limit}")]
    TooLarge {
        /// What is counted or measured, with its unit.
        what: String,
        /// The number found.
        found: u64,
        /// The greatest number taken.
        limit: u64,
    },
    /// A section that cannot be used.
    #[error("section `{section}`: {message}")]
    Section {
        /// Name of the section.
        section: String,
        /// What is wrong with it.
        message: String,
    },
    /// A symbol that cannot be used.
    #[error("symbol `{symbol}` in section `{section}`: {message}")]
    Symbol {
        /// Name of the symbol.
        symbol: String,
        /// Name of the section.
        section: String,
        /// What is wrong with it.
        message: String,
    },
    /// A relocation that cannot be done.
    #[error(
        "relocation at offset {offset:#x} of section `{section}` (symbol `{symbol}`): {message}"
    )]
    Relocation {
        /// Name of the section that is relocated.
        section: String,
        /// Offset in that section, in bytes.
        offset: u64,
        /// Name of the symbol referred to, or its index if it has none.
        symbol: String,
        /// What is wrong.
        message: String,
    },
    /// A CO-RE relocation that cannot be done.
    #[error("CO-RE relocation at offset {offset:#x} of section `{section}`: {message}")]
    #[doc(alias = "bpf_core_relo")]
    Core {
        /// Name of the section that is relocated.
        section: String,
        /// Offset in that section, in bytes.
        offset: u64,
        /// What is wrong.
        message: String,
    },
    /// Broken type information.
    #[error("{section}: {error}")]
    Btf {
        /// `.BTF`, `.BTF.ext` or the file that the type information comes from.
        section: String,
        /// What is wrong, with the offset or type number.
        error: BtfError,
    },
    /// A map definition that cannot be used.
    #[error("map `{map}`: {message}")]
    Map {
        /// Name of the map.
        map: String,
        /// What is wrong with it.
        message: String,
    },
    /// An external symbol that cannot be resolved.
    #[error("extern `{name}`: {message}")]
    Extern {
        /// Name of the symbol.
        name: String,
        /// Why it cannot be resolved.
        message: String,
    },
    /// The object holds no program.
    #[error("the object holds no program: no function in an executable section")]
    NoPrograms,
    /// A defect in this library or one that it uses; the file is refused.
    #[error("internal error while reading the file (please report it): {message}")]
    Internal {
        /// The panic message.
        message: String,
    },
}

impl LoadError {
    pub(crate) fn section(section: &str, message: impl Into<String>) -> Self {
        Self::Section {
            section: section.to_owned(),
            message: message.into(),
        }
    }

    pub(crate) fn map(map: &str, message: impl Into<String>) -> Self {
        Self::Map {
            map: map.to_owned(),
            message: message.into(),
        }
    }

    pub(crate) fn extern_(name: &str, message: impl Into<String>) -> Self {
        Self::Extern {
            name: name.to_owned(),
            message: message.into(),
        }
    }

    pub(crate) fn btf(section: &str) -> impl FnOnce(BtfError) -> Self + '_ {
        move |error| Self::Btf {
            section: section.to_owned(),
            error,
        }
    }
}
