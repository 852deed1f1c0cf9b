//! Why a file or a symbol cannot be used.

use std::io;
use std::path::PathBuf;

use super::MAX_FILE;

/// Why a file or a symbol cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElfError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Too large.
    #[error("{} has {len} bytes; at most {MAX_FILE} are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length.
        len: u64,
    },
    /// Not an ELF executable or library for x86-64.
    #[error("{} is not an x86-64 ELF executable or library: {reason}", path.display())]
    NotElf {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Part of the file contradicts the rest.
    #[error("{} is damaged: {what}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which table.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// No such function.
    #[error("{} has no function {name:?}{hint}", path.display())]
    NotFound {
        /// The file.
        path: PathBuf,
        /// The symbol asked for.
        name: String,
        /// What else could be meant, or nothing.
        hint: String,
    },
    /// Several functions have the name.
    #[error(
        "{} has {count} different functions {name:?} (at file offsets {first:#x}, {second:#x}, \
         ...); give the offset or a version (NAME@VERSION)",
        path.display()
    )]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// The symbol asked for.
        name: String,
        /// How many.
        count: usize,
        /// File offset of one.
        first: u64,
        /// File offset of another.
        second: u64,
    },
    /// The symbol names a function that chooses another one when the program starts.
    #[error(
        "{name:?} in {} is an indirect function (IFUNC): the symbol leads to the code that chooses \
         an implementation, not to one; hook the implementation by its own name{hint}",
        path.display()
    )]
    Indirect {
        /// The file.
        path: PathBuf,
        /// The symbol asked for.
        name: String,
        /// Names of likely implementations, or nothing.
        hint: String,
    },
}
