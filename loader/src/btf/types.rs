//! One BTF type.

use super::{BtfError, read_u32};

/// Kind of a type (`BTF_KIND_*`), by the kernel's number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Void,
    Int,
    Ptr,
    Array,
    Struct,
    Union,
    Enum,
    Fwd,
    Typedef,
    Volatile,
    Const,
    Restrict,
    Func,
    FuncProto,
    Var,
    DataSec,
    Float,
    DeclTag,
    TypeTag,
    Enum64,
}

impl Kind {
    const ALL: [Self; 20] = [
        Self::Void,
        Self::Int,
        Self::Ptr,
        Self::Array,
        Self::Struct,
        Self::Union,
        Self::Enum,
        Self::Fwd,
        Self::Typedef,
        Self::Volatile,
        Self::Const,
        Self::Restrict,
        Self::Func,
        Self::FuncProto,
        Self::Var,
        Self::DataSec,
        Self::Float,
        Self::DeclTag,
        Self::TypeTag,
        Self::Enum64,
    ];

    /// Bytes after the common header: fixed, and for each of `vlen` entries.
    const fn extra(self) -> (usize, usize) {
        match self {
            Self::Int | Self::Var | Self::DeclTag => (4, 0),
            Self::Array => (12, 0),
            Self::Struct | Self::Union | Self::DataSec | Self::Enum64 => (0, 12),
            Self::Enum | Self::FuncProto => (0, 8),
            _ => (0, 0),
        }
    }

    pub(crate) const fn is_composite(self) -> bool {
        matches!(self, Self::Struct | Self::Union)
    }

    pub(crate) const fn is_enum(self) -> bool {
        matches!(self, Self::Enum | Self::Enum64)
    }
}

const COMMON_BYTES: usize = 12;

/// A decoded type. Which accessor makes sense depends on `kind`; the others give nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Type<'a> {
    pub(crate) id: u32,
    pub(crate) kind: Kind,
    /// `kind_flag`: bit fields in a struct, a signed enum, a forward union.
    pub(crate) flag: bool,
    /// Offset of the name.
    pub(crate) name: u32,
    /// Size in bytes, or the type referred to, by kind.
    pub(crate) size_or_type: u32,
    /// `vlen`: members, enumerators, parameters, variables; linkage of a function.
    pub(crate) vlen: u16,
    /// What follows the common header.
    extra: &'a [u8],
}

/// Element type and length of an array.
#[derive(Clone, Copy)]
pub(crate) struct Array {
    pub(crate) element: u32,
    pub(crate) len: u32,
}

/// A member of a struct or union.
#[derive(Clone, Copy)]
pub(crate) struct Member {
    pub(crate) name: u32,
    pub(crate) ty: u32,
    pub(crate) bit_offset: u32,
    /// Width of a bit field; 0 if it is none.
    pub(crate) bit_size: u32,
}

/// An enumerator, its value extended to 64 bits by the enumeration's signedness.
#[derive(Clone, Copy)]
pub(crate) struct Enumerator {
    pub(crate) name: u32,
    pub(crate) value: u64,
}

/// A variable of a section.
#[derive(Clone, Copy)]
pub(crate) struct SecVar {
    pub(crate) ty: u32,
    pub(crate) offset: u32,
    pub(crate) size: u32,
}

fn header(data: &[u8], at: usize) -> Result<(u32, u32, u32), BtfError> {
    Ok((
        read_u32(data, at)?,
        read_u32(data, at + 4)?,
        read_u32(data, at + 8)?,
    ))
}

fn kind_of(info: u32, at: usize) -> Result<Kind, BtfError> {
    let number = (info >> 24) as usize & 0x1f;
    match Kind::ALL.get(number) {
        None | Some(Kind::Void) => Err(BtfError::offset(
            at,
            format!("unknown kind of type {number}"),
        )),
        Some(kind) => Ok(*kind),
    }
}

/// Bytes of the type at `at`, which lies in `data` with all of them.
pub(super) fn record_len(data: &[u8], at: usize) -> Result<usize, BtfError> {
    let (_, info, _) = header(data, at)?;
    let (fixed, each) = kind_of(info, at)?.extra();
    let len = COMMON_BYTES + fixed + each * (info as usize & 0xffff);
    if at + len > data.len() {
        return Err(BtfError::offset(at, "the type ends beyond the types"));
    }
    Ok(len)
}

impl<'a> Type<'a> {
    pub(crate) const VOID: Type<'static> = Type {
        id: 0,
        kind: Kind::Void,
        flag: false,
        name: 0,
        size_or_type: 0,
        vlen: 0,
        extra: &[],
    };

    pub(super) fn read(data: &'a [u8], at: usize, id: u32) -> Result<Self, BtfError> {
        let (name, info, size_or_type) = header(data, at)?;
        let len = record_len(data, at)?;
        Ok(Self {
            id,
            kind: kind_of(info, at)?,
            flag: info >> 31 != 0,
            name,
            size_or_type,
            vlen: (info & 0xffff) as u16,
            extra: data.get(at + COMMON_BYTES..at + len).unwrap_or_default(),
        })
    }

    fn word(&self, index: usize) -> u32 {
        read_u32(self.extra, index * 4).unwrap_or(0)
    }

    fn entries(&self, words: usize) -> impl Iterator<Item = [u32; 3]> + use<'a> {
        self.extra.chunks_exact(words * 4).map(move |entry| {
            let word = |index: usize| read_u32(entry, index * 4).unwrap_or(0);
            [word(0), word(1), if words > 2 { word(2) } else { 0 }]
        })
    }

    /// Of an `Array`.
    pub(crate) fn array(&self) -> Array {
        Array {
            element: self.word(0),
            len: self.word(2),
        }
    }

    /// Of an `Int`: signed.
    pub(crate) fn int_signed(&self) -> bool {
        self.kind == Kind::Int && self.word(0) >> 24 & 1 != 0
    }

    /// Of an `Int`: declared as `bool`.
    pub(crate) fn int_bool(&self) -> bool {
        self.kind == Kind::Int && self.word(0) >> 24 & 4 != 0
    }

    /// Of an `Int`: the whole encoding byte.
    pub(crate) fn int_encoding(&self) -> u32 {
        self.word(0) >> 24 & 0xf
    }

    /// Of an `Int`: offset in bits, from a deprecated kind of bit field.
    pub(crate) fn int_offset(&self) -> u32 {
        self.word(0) >> 16 & 0xff
    }

    /// Of a `Var`: linkage (0 static, 1 global, 2 extern).
    pub(crate) fn var_linkage(&self) -> u32 {
        self.word(0)
    }

    /// Of a `DeclTag`: the member or parameter that it is about, or `u32::MAX`.
    pub(crate) fn component(&self) -> u32 {
        self.word(0)
    }

    /// Of a `Struct` or `Union`.
    pub(crate) fn members(&self) -> impl Iterator<Item = Member> + use<'a> {
        let flag = self.flag;
        let composite = self.kind.is_composite();
        self.entries(3)
            .filter(move |_| composite)
            .map(move |[name, ty, offset]| Member {
                name,
                ty,
                bit_offset: if flag { offset & 0x00ff_ffff } else { offset },
                bit_size: if flag { offset >> 24 } else { 0 },
            })
    }

    /// Of a `Struct` or `Union`.
    pub(crate) fn member(&self, index: usize) -> Option<Member> {
        self.members().nth(index)
    }

    /// Of an `Enum` or `Enum64`.
    pub(crate) fn enumerators(&self) -> impl Iterator<Item = Enumerator> + use<'a> {
        let (kind, signed) = (self.kind, self.flag);
        let words = if kind == Kind::Enum64 { 3 } else { 2 };
        self.entries(words)
            .filter(move |_| kind.is_enum())
            .map(move |[name, low, high]| Enumerator {
                name,
                value: match (kind, signed) {
                    (Kind::Enum64, _) => u64::from(high) << 32 | u64::from(low),
                    (_, true) => i64::from(low.cast_signed()).cast_unsigned(),
                    (_, false) => u64::from(low),
                },
            })
    }

    /// Of a `FuncProto`: names and types of the parameters.
    pub(crate) fn named_params(&self) -> impl Iterator<Item = (u32, u32)> + use<'a> {
        let proto = self.kind == Kind::FuncProto;
        self.entries(2)
            .filter(move |_| proto)
            .map(|[name, ty, _]| (name, ty))
    }

    /// Of a `FuncProto`: types of the parameters.
    pub(crate) fn params(&self) -> impl Iterator<Item = u32> + use<'a> {
        let proto = self.kind == Kind::FuncProto;
        self.entries(2).filter(move |_| proto).map(|[_, ty, _]| ty)
    }

    /// Of a `DataSec`.
    pub(crate) fn variables(&self) -> impl Iterator<Item = SecVar> + use<'a> {
        let section = self.kind == Kind::DataSec;
        self.entries(3)
            .filter(move |_| section)
            .map(|[ty, offset, size]| SecVar { ty, offset, size })
    }
}
