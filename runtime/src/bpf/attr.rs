//! `union bpf_attr` as a tool gave it.

use bpftime_abi::Errno;

use crate::notify::Call;

/// Bytes of `union bpf_attr` that this version knows (Linux 6.18).
pub const KNOWN: usize = 168;
/// Most bytes that a tool may give, one page as in the kernel.
const MOST: u64 = 4096;

/// A private copy of the request, zero where the tool gave nothing.
#[derive(Clone, Debug)]
pub struct Attr {
    bytes: [u8; KNOWN],
}

impl Attr {
    /// Copies `size` bytes at `from`. Bytes beyond those that this version knows must be zero,
    /// else `E2BIG`: the tool asks for something newer.
    pub fn read(call: &Call<'_>, from: u64, size: u64) -> Result<Self, Errno> {
        if size > MOST {
            return Err(Errno::E2BIG);
        }
        Self::from_bytes(&call.read_vec(from, size as usize)?)
    }

    /// As [`Self::read`], from bytes.
    pub fn from_bytes(given: &[u8]) -> Result<Self, Errno> {
        let known = given.len().min(KNOWN);
        if given[known..].iter().any(|byte| *byte != 0) {
            return Err(Errno::E2BIG);
        }
        let mut bytes = [0; KNOWN];
        bytes[..known].copy_from_slice(&given[..known]);
        Ok(Self { bytes })
    }

    /// The 32-bit field at an offset.
    pub fn u32(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.array(offset))
    }

    /// The 32-bit descriptor or signed field at an offset.
    pub fn i32(&self, offset: usize) -> i32 {
        i32::from_le_bytes(self.array(offset))
    }

    /// The 64-bit field at an offset.
    pub fn u64(&self, offset: usize) -> u64 {
        u64::from_le_bytes(self.array(offset))
    }

    /// The bytes of a field; zeros beyond the end.
    pub fn array<const N: usize>(&self, offset: usize) -> [u8; N] {
        let mut field = [0; N];
        if let Some(bytes) = self.bytes.get(offset..offset + N) {
            field.copy_from_slice(bytes);
        }
        field
    }

    /// `EINVAL` unless all bytes from `end`, where the command's last field ends, are zero
    /// (the kernel's `CHECK_ATTR`).
    #[doc(alias = "CHECK_ATTR")]
    pub fn check_end(&self, end: usize) -> Result<(), Errno> {
        match self.bytes.get(end..) {
            Some(rest) if rest.iter().any(|byte| *byte != 0) => Err(Errno::EINVAL),
            _ => Ok(()),
        }
    }

    /// An object name: at most 15 letters, digits, `_` and `.`, then only zeros (the kernel's
    /// `bpf_obj_name_cpy`).
    #[doc(alias = "bpf_obj_name_cpy")]
    pub fn object_name(&self, offset: usize) -> Result<String, Errno> {
        let field: [u8; 16] = self.array(offset);
        let len = field
            .iter()
            .position(|byte| *byte == 0)
            .ok_or(Errno::EINVAL)?;
        let (name, rest) = field.split_at(len);
        let good = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
        if !name.iter().all(good) || rest.iter().any(|byte| *byte != 0) {
            return Err(Errno::EINVAL);
        }
        Ok(name.iter().copied().map(char::from).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_trailing_bytes_must_be_zero() {
        let mut bytes = vec![0; KNOWN + 8];
        assert!(Attr::from_bytes(&bytes).is_ok());
        bytes[KNOWN + 3] = 1;
        assert_eq!(Attr::from_bytes(&bytes).unwrap_err(), Errno::E2BIG);
    }

    #[test]
    fn fields_behind_the_command_must_be_zero() {
        let mut bytes = vec![0; 40];
        bytes[32] = 1;
        let attr = Attr::from_bytes(&bytes).unwrap();
        assert_eq!(attr.check_end(32), Err(Errno::EINVAL));
        assert_eq!(attr.check_end(33), Ok(()));
    }

    #[test]
    fn names_are_checked_as_in_the_kernel() {
        let name = |text: &[u8]| {
            let mut bytes = [0; 16];
            bytes[..text.len()].copy_from_slice(text);
            Attr::from_bytes(&bytes).unwrap().object_name(0)
        };
        assert_eq!(name(b"malloc.bss").unwrap(), "malloc.bss");
        assert_eq!(name(b"").unwrap(), "");
        assert_eq!(name(b"a b").unwrap_err(), Errno::EINVAL);
        assert_eq!(name(b"a\0b").unwrap_err(), Errno::EINVAL);
        assert_eq!(name(b"sixteen_letters_").unwrap_err(), Errno::EINVAL);
    }
}
