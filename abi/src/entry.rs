//! The opaque code address that a hook calls.

/// Address, in the process that runs it, of code with the [`crate::ProgramFn`] convention.
///
/// Hooks carry it without knowing how it was made. Only the crates that hold a verified program
/// create one.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct EntryPoint(u64);

impl EntryPoint {
    /// Wraps the address of verified, compiled code.
    pub const fn new(address: u64) -> Self {
        Self(address)
    }

    /// The address in the process that runs the code.
    pub const fn address(self) -> u64 {
        self.0
    }
}
