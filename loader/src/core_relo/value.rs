//! The number that a relocation asks for, of the local place and of the target's.

use super::patch::Change;
use super::spec::Spec;
use super::{CoreError, RelocationKind};
use crate::btf::{Btf, Kind, Type};

/// A relocation's number for one place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Value {
    pub(super) number: u64,
    /// Bytes to load or store, where that is part of the relocation; else 0.
    pub(super) access: u64,
    /// How the loaded bytes are extended to a register.
    pub(super) extension: Extension,
    /// Whether the compiler's number must be what the local types say.
    pub(super) checked: bool,
}

/// Whether a load of another width gives the same value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Extension {
    /// A pointer: always zero-extended.
    Pointer,
    /// An unsigned integer.
    Unsigned,
    /// Anything else: the width may not change.
    Fixed,
}

impl Value {
    pub(super) const fn number(number: u64) -> Self {
        Self {
            number,
            access: 0,
            extension: Extension::Fixed,
            checked: true,
        }
    }

    const fn unchecked(number: u64) -> Self {
        Self {
            checked: false,
            ..Self::number(number)
        }
    }
}

/// What is to be written, from the local place and the target's; `None` if it has none.
#[doc(alias = "bpf_core_calc_relo")]
pub(super) fn change(
    kind: RelocationKind,
    local: &Spec<'_>,
    target: Option<&Spec<'_>>,
) -> Result<Change, CoreError> {
    use RelocationKind as K;
    let exists = u64::from(target.is_some());
    let new = match (kind, target) {
        (K::FieldExists | K::TypeExists | K::TypeMatches | K::EnumvalExists, _) => {
            return Ok(Change::checked(Value::number(1), Value::number(exists)));
        }
        // A type that the target does not have is of size 0 and number 0.
        (K::TypeSize | K::TypeIdTarget, None) => Value::number(0),
        (_, None) => return Ok(Change::Poison),
        (_, Some(target)) => of(kind, target)?,
    };
    let old = of(kind, local)?;
    let change = if old.checked {
        Change::checked(old, new)
    } else {
        Change::unchecked(new)
    };
    Ok(change)
}

fn of(kind: RelocationKind, spec: &Spec<'_>) -> Result<Value, CoreError> {
    use RelocationKind as K;
    match kind {
        K::TypeIdLocal | K::TypeIdTarget => Ok(Value::unchecked(u64::from(spec.root))),
        K::TypeSize => Ok(Value::number(spec.btf.size(spec.root)?)),
        K::EnumvalValue => {
            let accessor = spec.accessors.first();
            let accessor = accessor.ok_or_else(|| CoreError::new("no enumerator"))?;
            spec.btf
                .ty(accessor.ty)?
                .enumerators()
                .nth(accessor.index as usize)
                .map(|enumerator| Value::number(enumerator.value))
                .ok_or_else(|| CoreError::new("no such enumerator"))
        }
        _ => of_field(kind, spec),
    }
}

fn of_field(kind: RelocationKind, spec: &Spec<'_>) -> Result<Value, CoreError> {
    use RelocationKind as K;
    let accessor = spec.accessors.last();
    let accessor = accessor.ok_or_else(|| CoreError::new("no field"))?;
    let btf = spec.btf;
    let Some(_) = accessor.name else {
        return match kind {
            K::FieldByteOffset => access(btf, spec.bit_offset / 8, accessor.ty),
            K::FieldByteSize => Ok(Value::number(btf.size(accessor.ty)?)),
            _ => Err(CoreError::new(format!(
                "{kind:?} asked of an element of an array"
            ))),
        };
    };
    let member = btf
        .ty(accessor.ty)?
        .member(accessor.index as usize)
        .ok_or_else(|| CoreError::new("no such member"))?;
    let ty = btf.resolve(member.ty)?;
    let bit_field = member.bit_size > 0;
    let (byte_offset, byte_size) = if bit_field {
        storage(&ty, spec.bit_offset, member.bit_size)?
    } else {
        (spec.bit_offset / 8, btf.size(ty.id)?)
    };
    let bit_size = if bit_field {
        u64::from(member.bit_size)
    } else {
        byte_size.saturating_mul(8)
    };
    let make = if bit_field {
        Value::unchecked
    } else {
        Value::number
    };
    match kind {
        K::FieldByteOffset if bit_field => Ok(Value::unchecked(byte_offset)),
        K::FieldByteOffset => access(btf, byte_offset, ty.id),
        K::FieldByteSize => Ok(make(byte_size)),
        K::FieldSigned => {
            let signed = (ty.kind.is_enum() && ty.flag) || ty.int_signed();
            Ok(Value::number(u64::from(signed)))
        }
        K::FieldLShift64 => {
            let end = spec.bit_offset.saturating_add(bit_size) - byte_offset * 8;
            Ok(make(64u64.wrapping_sub(end)))
        }
        K::FieldRShift64 => Ok(make(64u64.wrapping_sub(bit_size))),
        _ => Err(CoreError::new(format!("{kind:?} asked of a field"))),
    }
}

/// The smallest aligned integer that holds a bit field: its offset and size in bytes.
fn storage(ty: &Type<'_>, bit_offset: u64, bit_size: u32) -> Result<(u64, u64), CoreError> {
    let mut size = u64::from(ty.size_or_type);
    if !matches!(ty.kind, Kind::Int | Kind::Enum | Kind::Enum64) || !matches!(size, 1 | 2 | 4 | 8) {
        return Err(CoreError::new("a bit field that is not an integer"));
    }
    let end = bit_offset.saturating_add(u64::from(bit_size));
    loop {
        let offset = bit_offset / 8 / size * size;
        if end - offset * 8 <= size * 8 {
            return Ok((offset, size));
        }
        if size >= 8 {
            return Err(CoreError::new("a bit field that no 8-byte load covers"));
        }
        size *= 2;
    }
}

/// An offset that is loaded from or stored to; of an array, its elements count.
fn access(btf: &Btf, offset: u64, ty: u32) -> Result<Value, CoreError> {
    let mut element = btf.resolve(ty)?;
    while element.kind == Kind::Array {
        // `size` below bounds the nesting; a cycle of arrays fails there.
        btf.size(element.id)?;
        element = btf.resolve(element.array().element)?;
    }
    let extension = match element.kind {
        Kind::Ptr => Extension::Pointer,
        Kind::Int if element.int_encoding() != 1 => Extension::Unsigned,
        _ => Extension::Fixed,
    };
    Ok(Value {
        number: offset,
        access: btf.size(element.id)?,
        extension,
        checked: true,
    })
}
