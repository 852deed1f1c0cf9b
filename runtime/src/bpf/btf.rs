//! BTF blobs of tools: checked well enough to keep, and read for line information.

use bpftime_abi::Errno;

/// `BTF_MAGIC`.
const MAGIC: u16 = 0xeb9f;
/// Bytes of the header of version 1.
const HEADER: usize = 24;
/// Greatest size, as in the kernel (`BTF_MAX_SIZE`).
pub const MAX_SIZE: u32 = 16 << 20;
/// Greatest number of types, as in the kernel (`BTF_MAX_TYPE`).
const MAX_TYPES: usize = 0x000f_ffff;

/// The sections of a blob.
#[derive(Clone, Debug)]
pub struct Sections<'a> {
    /// Type records.
    pub types: &'a [u8],
    /// Strings, NUL-terminated, the first one empty.
    pub strings: &'a [u8],
}

impl<'a> Sections<'a> {
    /// Finds the sections. `EINVAL` if the header is malformed; sections may not overlap or
    /// leave gaps, as in the kernel.
    pub fn parse(blob: &'a [u8]) -> Result<Self, Errno> {
        let word = |at: usize| -> Result<usize, Errno> {
            let bytes = blob.get(at..at + 4).and_then(|b| b.try_into().ok());
            Ok(u32::from_le_bytes(bytes.ok_or(Errno::EINVAL)?) as usize)
        };
        if blob.get(..2) != Some(&MAGIC.to_le_bytes()[..]) || blob.get(2) != Some(&1) {
            return Err(Errno::EINVAL);
        }
        let header = word(4)?;
        if blob.get(3) != Some(&0) || header < HEADER {
            return Err(Errno::EINVAL);
        }
        let (type_off, type_len, str_off, str_len) = (word(8)?, word(12)?, word(16)?, word(20)?);
        if blob
            .get(HEADER..header)
            .is_none_or(|rest| rest.iter().any(|byte| *byte != 0))
        {
            return Err(Errno::E2BIG);
        }
        if type_off != 0 || !type_len.is_multiple_of(4) || str_off != type_len {
            return Err(Errno::EINVAL);
        }
        let body = &blob[header..];
        if str_off.checked_add(str_len) != Some(body.len()) {
            return Err(Errno::EINVAL);
        }
        let (types, strings) = body.split_at(str_off);
        if strings.first() != Some(&0) || strings.last() != Some(&0) {
            return Err(Errno::EINVAL);
        }
        Ok(Self { types, strings })
    }

    /// The string at an offset, or `None` outside the section.
    pub fn string(&self, offset: u32) -> Option<&'a str> {
        let bytes = self.strings.get(offset as usize..)?;
        let len = bytes.iter().position(|byte| *byte == 0)?;
        std::str::from_utf8(&bytes[..len]).ok()
    }

    /// Offsets of the type records, in order of type id from 1.
    pub fn type_offsets(&self) -> Result<Vec<usize>, Errno> {
        let mut offsets = Vec::new();
        let mut at = 0;
        while at < self.types.len() {
            if offsets.len() >= MAX_TYPES {
                return Err(Errno::E2BIG);
            }
            offsets.push(at);
            at += self.record_len(at)?;
        }
        Ok(offsets)
    }

    fn type_word(&self, at: usize) -> Result<u32, Errno> {
        let bytes = self.types.get(at..at + 4).and_then(|b| b.try_into().ok());
        Ok(u32::from_le_bytes(bytes.ok_or(Errno::EINVAL)?))
    }

    /// Bytes of the record at an offset.
    fn record_len(&self, at: usize) -> Result<usize, Errno> {
        let info = self.type_word(at + 4)?;
        self.type_word(at + 8)?;
        let vlen = (info & 0xffff) as usize;
        let tail = match (info >> 24) & 0x1f {
            1 | 14 | 17 => 4,             // INT, VAR, DECL_TAG
            3 => 12,                      // ARRAY
            4 | 5 | 15 | 19 => 12 * vlen, // STRUCT, UNION, DATASEC, ENUM64
            6 | 13 => 8 * vlen,           // ENUM, FUNC_PROTO
            2 | 7..=12 | 16 | 18 => 0,    // PTR, FWD .. FUNC, FLOAT, TYPE_TAG
            _ => return Err(Errno::EINVAL),
        };
        // Bits that no version uses.
        if info & 0x60ff_0000 != 0 {
            return Err(Errno::EINVAL);
        }
        let len = 12 + tail;
        if at + len > self.types.len() {
            return Err(Errno::EINVAL);
        }
        Ok(len)
    }

    /// Name of the function type (kind FUNC) with this id, and whether it is global.
    pub fn function(&self, offsets: &[usize], id: u32) -> Option<(&'a str, bool)> {
        let at = *offsets.get((id as usize).checked_sub(1)?)?;
        let info = self.type_word(at + 4).ok()?;
        if (info >> 24) & 0x1f != 12 {
            return None;
        }
        Some((self.string(self.type_word(at).ok()?)?, info & 0xffff == 1))
    }
}

/// Checks a blob that a tool loads.
pub fn check(blob: &[u8]) -> Result<(), Errno> {
    let sections = Sections::parse(blob)?;
    let offsets = sections.type_offsets()?;
    if offsets.is_empty() {
        return Err(Errno::EINVAL);
    }
    let count = offsets.len() as u32;
    for at in &offsets {
        let name = sections.type_word(*at)?;
        if name as usize >= sections.strings.len() {
            return Err(Errno::EINVAL);
        }
        // Kinds whose third word is a type id.
        let info = sections.type_word(at + 4)?;
        let reference = matches!((info >> 24) & 0x1f, 2 | 8..=14 | 17 | 18);
        if reference && sections.type_word(at + 8)? > count {
            return Err(Errno::EINVAL);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(types: &[u32], strings: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [
            24,
            0,
            types.len() as u32 * 4,
            types.len() as u32 * 4,
            strings.len() as u32,
        ] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(types.iter().flat_map(|word| word.to_le_bytes()));
        bytes.extend(strings);
        bytes
    }

    const INT: [u32; 4] = [1, 1 << 24, 4, 32];

    #[test]
    fn a_plain_integer_type_is_accepted() {
        assert_eq!(check(&blob(&INT, b"\0int\0")), Ok(()));
    }

    #[test]
    fn every_truncation_is_refused() {
        let whole = blob(&INT, b"\0int\0");
        for len in 0..whole.len() {
            assert!(check(&whole[..len]).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_reference_past_the_end_is_refused() {
        let mut types = INT.to_vec();
        types.extend([0, 2 << 24, 3]);
        assert_eq!(check(&blob(&types, b"\0int\0")), Err(Errno::EINVAL));
        types[6] = 1;
        assert_eq!(check(&blob(&types, b"\0int\0")), Ok(()));
    }

    #[test]
    fn functions_have_names_and_linkage() {
        let types = [0, 13 << 24, 0, 1, (12 << 24) | 1, 1];
        let blob = blob(&types, b"\0main\0");
        let sections = Sections::parse(&blob).unwrap();
        let offsets = sections.type_offsets().unwrap();
        assert_eq!(sections.function(&offsets, 2), Some(("main", true)));
        assert_eq!(sections.function(&offsets, 1), None);
        assert_eq!(sections.function(&offsets, 0), None);
        assert_eq!(sections.function(&offsets, 9), None);
    }
}
