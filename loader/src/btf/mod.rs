//! BPF Type Format, read in place.
//!
//! Types are decoded when they are asked for, so that the 150 000 types of a kernel cost one
//! pass over their headers. Format: `Documentation/bpf/btf.rst` of the kernel.
//!
//! - `types`: one decoded type, its members and enumerators
//! - `ext`: `.BTF.ext`, where instructions come from and CO-RE relocations

pub(crate) mod ext;
pub(crate) mod types;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};

use thiserror::Error;
pub(crate) use types::{Kind, Type};

use crate::limits;

const MAGIC: u16 = 0xeb9f;
const HEADER_BYTES: usize = 24;
/// Greatest type number and offset of a string (kernel `BTF_MAX_TYPE`).
const MAX_TYPES: usize = 0x000f_ffff;
/// Bytes of a name or source line; bounds the time to read one.
const MAX_STRING: usize = 1 << 16;
/// Modifiers, typedefs and arrays that may hide a type; the kernel's limit is the same.
const MAX_RESOLVE_DEPTH: usize = 32;

/// What is wrong with type information.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[error("{at}: {message}")]
pub struct BtfError {
    /// The place: an offset, a type number.
    pub at: String,
    /// What is wrong there.
    pub message: String,
}

impl BtfError {
    pub(crate) fn offset(offset: usize, message: impl Into<String>) -> Self {
        Self {
            at: format!("offset {offset:#x}"),
            message: message.into(),
        }
    }

    pub(crate) fn type_id(id: u32, message: impl Into<String>) -> Self {
        Self {
            at: format!("type {id}"),
            message: message.into(),
        }
    }
}

/// Type information of an object file or of a kernel.
#[derive(Debug, Clone)]
pub struct Btf {
    data: Arc<[u8]>,
    /// Offset of each type in `data`, by type number less 1.
    offsets: Vec<u32>,
    strings: std::ops::Range<usize>,
    /// Types by name without flavour, made on first use.
    by_name: OnceLock<HashMap<Box<str>, Vec<u32>>>,
    /// Variables of each CPU's own, found on first use.
    percpu: OnceLock<HashSet<u32>>,
    /// Tags of declarations by what they are about, a type and a member or `u32::MAX`; made on first use.
    tags: OnceLock<HashMap<(u32, u32), Vec<u32>>>,
}

impl Btf {
    /// Reads the contents of a `.BTF` section or of `/sys/kernel/btf/vmlinux`.
    pub fn parse(data: impl Into<Arc<[u8]>>) -> Result<Self, BtfError> {
        let data: Arc<[u8]> = data.into();
        if data.len() as u64 > limits::BTF_BYTES {
            return Err(BtfError::offset(
                0,
                format!(
                    "{} bytes, more than the limit of {}",
                    data.len(),
                    limits::BTF_BYTES
                ),
            ));
        }
        let header = data
            .get(..HEADER_BYTES)
            .ok_or_else(|| BtfError::offset(0, format!("{} bytes, no header", data.len())))?;
        let magic = u16::from_le_bytes([header[0], header[1]]);
        if magic != MAGIC {
            return Err(BtfError::offset(
                0,
                format!("magic number {magic:#06x}, expected {MAGIC:#06x}"),
            ));
        }
        let word = |at: usize| read_u32(header, at).map(|word| word as usize);
        let header_len = word(4)?;
        let part = |offset: usize, len: usize, what: &str| {
            let start = header_len.saturating_add(offset);
            let end = start.saturating_add(len);
            if header_len < HEADER_BYTES || end > data.len() {
                return Err(BtfError::offset(
                    start,
                    format!("{what} of {len} bytes end beyond the {} bytes", data.len()),
                ));
            }
            Ok(start..end)
        };
        let types = part(word(8)?, word(12)?, "types")?;
        let strings = part(word(16)?, word(20)?, "strings")?;
        if data.get(strings.end.wrapping_sub(1)) != Some(&0) || strings.is_empty() {
            return Err(BtfError::offset(
                strings.start,
                "the strings do not end with a zero byte",
            ));
        }

        let mut offsets = Vec::new();
        let mut at = types.start;
        while at < types.end {
            if offsets.len() >= MAX_TYPES {
                return Err(BtfError::offset(at, format!("more than {MAX_TYPES} types")));
            }
            let len = types::record_len(&data[..types.end], at)?;
            // `at` is below `BTF_BYTES`, which fits.
            offsets.push(at as u32);
            at += len;
        }
        Ok(Self {
            data,
            offsets,
            strings,
            by_name: OnceLock::new(),
            percpu: OnceLock::new(),
            tags: OnceLock::new(),
        })
    }

    /// Whether the variable is one of each CPU's own.
    pub(crate) fn is_percpu(&self, variable: u32) -> bool {
        let percpu = self.percpu.get_or_init(|| {
            let named = |ty: &Type<'_>| {
                ty.kind == Kind::DataSec && self.name(ty).is_ok_and(|name| name == ".data..percpu")
            };
            let section = self.types().find(named);
            let variables = section.into_iter().flat_map(|section| section.variables());
            variables.map(|found| found.ty).collect()
        });
        percpu.contains(&variable)
    }

    /// The tags of a declaration: of a type, or of its member with the index, if that is not `u32::MAX`.
    pub(crate) fn tags(&self, of: (u32, u32)) -> impl Iterator<Item = &str> {
        let tags = self.tags.get_or_init(|| {
            let mut tags: HashMap<(u32, u32), Vec<u32>> = HashMap::new();
            for tag in self.types().filter(|ty| ty.kind == Kind::DeclTag) {
                let of = (tag.size_or_type, tag.component());
                tags.entry(of).or_default().push(tag.name);
            }
            tags
        });
        let found = tags.get(&of).into_iter().flatten();
        found.filter_map(|name| self.string(*name).ok())
    }

    /// Number of types, `void` not counted; type numbers go from 1 to this.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there is no type.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    pub(crate) fn types(&self) -> impl Iterator<Item = Type<'_>> {
        (1..=self.offsets.len() as u32).filter_map(|id| self.ty(id).ok())
    }

    pub(crate) fn ty(&self, id: u32) -> Result<Type<'_>, BtfError> {
        if id == 0 {
            return Ok(Type::VOID);
        }
        let offset = self.offsets.get(id as usize - 1).ok_or_else(|| {
            BtfError::type_id(
                id,
                format!("does not exist; the last is {}", self.offsets.len()),
            )
        })?;
        Type::read(&self.data, *offset as usize, id)
    }

    pub(crate) fn string(&self, offset: u32) -> Result<&str, BtfError> {
        let bytes = self
            .data
            .get(self.strings.clone())
            .and_then(|strings| strings.get(offset as usize..))
            .ok_or_else(|| BtfError::offset(offset as usize, "beyond the strings"))?;
        let len = bytes
            .iter()
            .take(MAX_STRING)
            .position(|byte| *byte == 0)
            .ok_or_else(|| {
                let message = format!("a string of more than {MAX_STRING} bytes");
                BtfError::offset(offset as usize, message)
            })?;
        std::str::from_utf8(&bytes[..len])
            .map_err(|_| BtfError::offset(offset as usize, "a string that is not UTF-8"))
    }

    pub(crate) fn name(&self, ty: &Type<'_>) -> Result<&str, BtfError> {
        self.string(ty.name)
    }

    /// The type behind typedefs, qualifiers and type tags.
    #[doc(alias = "skip_mods_and_typedefs")]
    pub(crate) fn resolve(&self, id: u32) -> Result<Type<'_>, BtfError> {
        let mut ty = self.ty(id)?;
        for _ in 0..MAX_RESOLVE_DEPTH {
            match ty.kind {
                Kind::Typedef | Kind::Const | Kind::Volatile | Kind::Restrict | Kind::TypeTag => {
                    ty = self.ty(ty.size_or_type)?;
                }
                _ => return Ok(ty),
            }
        }
        Err(BtfError::type_id(id, "typedefs nested too deeply"))
    }

    /// Bytes of a value of the type.
    #[doc(alias = "btf__resolve_size")]
    pub(crate) fn size(&self, id: u32) -> Result<u64, BtfError> {
        let mut elements = 1u64;
        let mut ty = self.resolve(id)?;
        for _ in 0..MAX_RESOLVE_DEPTH {
            let size = match ty.kind {
                Kind::Array => {
                    let array = ty.array();
                    elements = elements.saturating_mul(u64::from(array.len));
                    ty = self.resolve(array.element)?;
                    continue;
                }
                Kind::Ptr => 8,
                Kind::Int
                | Kind::Struct
                | Kind::Union
                | Kind::Enum
                | Kind::Enum64
                | Kind::Float
                | Kind::DataSec => u64::from(ty.size_or_type),
                Kind::Var => {
                    ty = self.resolve(ty.size_or_type)?;
                    continue;
                }
                _ => return Err(BtfError::type_id(id, format!("{:?} has no size", ty.kind))),
            };
            return size
                .checked_mul(elements)
                .filter(|size| *size <= u64::from(u32::MAX))
                .ok_or_else(|| BtfError::type_id(id, "larger than 4 GiB"));
        }
        Err(BtfError::type_id(id, "arrays nested too deeply"))
    }

    /// Types whose name without flavour is `name`, ascending.
    pub(crate) fn candidates(&self, name: &str) -> &[u32] {
        let by_name = self.by_name.get_or_init(|| {
            let mut by_name: HashMap<Box<str>, Vec<u32>> = HashMap::new();
            for ty in self.types() {
                if let Ok(name) = self.name(&ty)
                    && !name.is_empty()
                {
                    by_name
                        .entry(essential_name(name).into())
                        .or_default()
                        .push(ty.id);
                }
            }
            by_name
        });
        by_name.get(name).map_or(&[], Vec::as_slice)
    }
}

/// The name without flavour: `task_struct` of `task_struct___old`.
#[doc(alias = "bpf_core_essential_name_len")]
pub(crate) fn essential_name(name: &str) -> &str {
    // The last `___` that has text on both sides and is not part of a longer row of underscores.
    let separator = name
        .as_bytes()
        .windows(5)
        .rposition(|window| matches!(window, [before, b'_', b'_', b'_', after] if *before != b'_' && *after != b'_'));
    separator.and_then(|at| name.get(..at + 1)).unwrap_or(name)
}

pub(crate) fn read_u32(data: &[u8], at: usize) -> Result<u32, BtfError> {
    at.checked_add(4)
        .and_then(|end| data.get(at..end))
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_le_bytes)
        .ok_or_else(|| BtfError::offset(at, "ends in the middle of a record"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flavour_is_cut_off() {
        assert_eq!(essential_name("task_struct___old"), "task_struct");
        assert_eq!(essential_name("a___b___c"), "a___b");
        assert_eq!(essential_name("___x"), "___x");
        assert_eq!(essential_name("x___"), "x___");
        assert_eq!(essential_name("a____b"), "a____b");
        assert_eq!(essential_name(""), "");
    }

    #[test]
    fn header_is_checked() {
        let mut good = vec![0x9f, 0xeb, 1, 0];
        for word in [24u32, 0, 0, 0, 1] {
            good.extend(word.to_le_bytes());
        }
        good.push(0);
        assert!(Btf::parse(good.clone()).is_ok_and(|btf| btf.is_empty()));
        for len in 0..good.len() {
            assert!(Btf::parse(&good[..len]).is_err(), "{len} bytes");
        }
        for (at, value) in [(0, 0), (4, 0), (8, 0xff), (12, 0xff), (20, 0), (24, 1)] {
            let mut bad = good.clone();
            bad[at] = value;
            assert!(Btf::parse(bad).is_err(), "byte {at} = {value}");
        }
    }
}
