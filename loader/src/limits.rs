//! How much of everything the loader takes, so that no file can exhaust memory or time.

use crate::LoadError;

/// Bytes of an object file.
pub const FILE_BYTES: u64 = 64 << 20;
/// Sections of an object file.
pub const SECTIONS: u64 = 8192;
/// Symbols of an object file.
pub const SYMBOLS: u64 = 1 << 18;
/// Relocations of an object file.
pub const RELOCATIONS: u64 = 1 << 20;
/// Maps of an object file, global data included.
pub const MAPS: u64 = 4096;
/// Bytes of all global data (`.data`, `.rodata`, `.bss`, `.kconfig`) together.
pub const DATA_BYTES: u64 = 64 << 20;
/// Bytes of a section of zeros (`.bss`) that are kept as such; of a larger one, the size alone is.
pub const ZERO_BYTES: u64 = 16 << 20;
/// Slots of one linked program; the kernel's limit for privileged programs.
#[doc(alias = "BPF_COMPLEXITY_LIMIT_INSNS")]
pub const PROGRAM_SLOTS: u64 = 1_000_000;
/// Slots of all linked programs together; subprograms count once for each user.
pub const TOTAL_SLOTS: u64 = 8_000_000;
/// Bytes in memory of the source lines of all linked programs together.
pub const LINE_BYTES: u64 = 128 << 20;
/// Bytes of type information, in a file or of a kernel.
pub const BTF_BYTES: u64 = 64 << 20;
/// Bytes of a kernel configuration, uncompressed.
pub const KERNEL_CONFIG_BYTES: u64 = 8 << 20;
/// Steps of matching types for CO-RE, for all relocations of an object together.
pub const CORE_STEPS: u64 = 10_000_000;

/// An error if `found` is more than `limit`.
pub(crate) fn check(what: impl Into<String>, found: u64, limit: u64) -> Result<(), LoadError> {
    if found > limit {
        return Err(LoadError::TooLarge {
            what: what.into(),
            found,
            limit,
        });
    }
    Ok(())
}
