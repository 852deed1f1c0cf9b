//! `.BTF.ext`: functions, source lines and CO-RE relocations by section and offset.

use super::{Btf, BtfError, read_u32};
use crate::limits;

const MAGIC: u16 = 0xeb9f;

/// Records of one ELF section.
pub(crate) struct OfSection<T> {
    pub(crate) section: String,
    pub(crate) records: Vec<T>,
}

/// A function (`bpf_func_info`).
pub(crate) struct FuncInfo {
    /// In bytes from the start of the section.
    pub(crate) offset: u32,
    /// A `BTF_KIND_FUNC`.
    pub(crate) ty: u32,
}

/// Where instructions come from (`bpf_line_info`); names are offsets of strings in the BTF.
pub(crate) struct LineRecord {
    /// In bytes from the start of the section.
    pub(crate) offset: u32,
    pub(crate) file: u32,
    pub(crate) text: u32,
    /// Line and column: `line << 10 | column`.
    pub(crate) line_col: u32,
}

/// A CO-RE relocation (`bpf_core_relo`).
pub(crate) struct CoreRecord {
    /// In bytes from the start of the section.
    pub(crate) offset: u32,
    pub(crate) ty: u32,
    /// Offset of the access string.
    pub(crate) access: u32,
    /// `enum bpf_core_relo_kind`.
    pub(crate) kind: u32,
}

/// Everything in `.BTF.ext`.
#[derive(Default)]
pub(crate) struct BtfExt {
    pub(crate) functions: Vec<OfSection<FuncInfo>>,
    pub(crate) lines: Vec<OfSection<LineRecord>>,
    pub(crate) core: Vec<OfSection<CoreRecord>>,
}

impl BtfExt {
    pub(crate) fn parse(data: &[u8], btf: &Btf) -> Result<Self, BtfError> {
        let Some([m0, m1, _version, _flags]) = data.get(..4) else {
            return Err(BtfError::offset(
                0,
                format!("{} bytes, no header", data.len()),
            ));
        };
        if u16::from_le_bytes([*m0, *m1]) != MAGIC {
            return Err(BtfError::offset(0, "wrong magic number"));
        }
        let header_len = read_u32(data, 4)? as usize;
        if header_len < 24 || header_len > data.len() {
            return Err(BtfError::offset(4, format!("header of {header_len} bytes")));
        }
        // Older files have no room for the third part in their header.
        let part = |at: usize| -> Result<&[u8], BtfError> {
            if at + 8 > header_len {
                return Ok(&[]);
            }
            let start = header_len.saturating_add(read_u32(data, at)? as usize);
            let end = start.saturating_add(read_u32(data, at + 4)? as usize);
            data.get(start..end).ok_or_else(|| {
                BtfError::offset(start, format!("ends at {end:#x}, beyond the section"))
            })
        };
        Ok(Self {
            functions: records(part(8)?, btf, 8, |word| FuncInfo {
                offset: word[0],
                ty: word[1],
            })?,
            lines: records(part(16)?, btf, 16, |word| LineRecord {
                offset: word[0],
                file: word[1],
                text: word[2],
                line_col: word[3],
            })?,
            core: records(part(24)?, btf, 16, |word| CoreRecord {
                offset: word[0],
                ty: word[1],
                access: word[2],
                kind: word[3],
            })?,
        })
    }
}

/// Reads one part: the size of a record, then for each section its name, count and records.
fn records<T>(
    data: &[u8],
    btf: &Btf,
    min_len: usize,
    make: impl Fn([u32; 4]) -> T,
) -> Result<Vec<OfSection<T>>, BtfError> {
    if data.is_empty() {
        return Ok(Vec::new());
    }
    let record_len = read_u32(data, 0)? as usize;
    if record_len < min_len || !record_len.is_multiple_of(4) {
        return Err(BtfError::offset(
            0,
            format!("records of {record_len} bytes, expected at least {min_len}"),
        ));
    }
    let mut sections = Vec::new();
    let mut at = 4;
    while at < data.len() {
        if sections.len() as u64 >= limits::SECTIONS {
            return Err(BtfError::offset(
                at,
                format!("more than {} sections", limits::SECTIONS),
            ));
        }
        let section = btf.string(read_u32(data, at)?)?.to_owned();
        let count = read_u32(data, at + 4)? as usize;
        at += 8;
        let bytes = count
            .checked_mul(record_len)
            .and_then(|len| at.checked_add(len))
            .and_then(|end| data.get(at..end))
            .ok_or_else(|| {
                BtfError::offset(at, format!("{count} records of `{section}` do not fit"))
            })?;
        let mut records = Vec::with_capacity(count);
        for record in bytes.chunks_exact(record_len) {
            let mut words = [0; 4];
            for (index, word) in words.iter_mut().enumerate().take(min_len / 4) {
                *word = read_u32(record, index * 4)?;
            }
            records.push(make(words));
        }
        at += bytes.len();
        sections.push(OfSection { section, records });
    }
    Ok(sections)
}
