//! Which types of the target may stand for types of the object.

use super::{CoreError, Fuel};
use crate::btf::{Btf, Kind, Type, essential_name};

/// Levels of nested types that are compared, as in libbpf.
const MAX_LEVEL: u32 = 32;

fn too_deep() -> CoreError {
    CoreError::new(format!("types nested more than {MAX_LEVEL} levels"))
}

fn same_kind(local: &Type<'_>, target: &Type<'_>) -> bool {
    local.kind == target.kind || (local.kind.is_enum() && target.kind.is_enum())
}

fn same_name(
    local_btf: &Btf,
    local: u32,
    target_btf: &Btf,
    target: u32,
) -> Result<bool, CoreError> {
    Ok(essential_name(local_btf.string(local)?) == essential_name(target_btf.string(target)?))
}

/// Whether a field of one type may be read as a field of the other.
#[doc(alias = "bpf_core_fields_are_compat")]
pub(super) fn fields_compatible(
    local_btf: &Btf,
    local: u32,
    target_btf: &Btf,
    target: u32,
    fuel: &mut Fuel,
) -> Result<bool, CoreError> {
    let (mut local, mut target) = (local, target);
    for _ in 0..MAX_LEVEL {
        fuel.step()?;
        let ours = local_btf.resolve(local)?;
        let theirs = target_btf.resolve(target)?;
        if ours.kind.is_composite() && theirs.kind.is_composite() {
            return Ok(true);
        }
        if !same_kind(&ours, &theirs) {
            return Ok(false);
        }
        match ours.kind {
            Kind::Ptr | Kind::Float => return Ok(true),
            Kind::Int => return Ok(ours.int_offset() == 0 && theirs.int_offset() == 0),
            Kind::Fwd | Kind::Enum | Kind::Enum64 => {
                let unnamed =
                    local_btf.name(&ours)?.is_empty() || target_btf.name(&theirs)?.is_empty();
                return Ok(unnamed || same_name(local_btf, ours.name, target_btf, theirs.name)?);
            }
            Kind::Array => {
                local = ours.array().element;
                target = theirs.array().element;
            }
            _ => return Ok(false),
        }
    }
    Err(too_deep())
}

/// Whether types are of the same shape as far as kinds tell; names and members do not count.
#[doc(alias = "bpf_core_types_are_compat")]
pub(super) fn types_compatible(
    local_btf: &Btf,
    local: u32,
    target_btf: &Btf,
    target: u32,
    fuel: &mut Fuel,
) -> Result<bool, CoreError> {
    if !same_kind(&local_btf.ty(local)?, &target_btf.ty(target)?) {
        return Ok(false);
    }
    compatible(local_btf, local, target_btf, target, MAX_LEVEL, fuel)
}

fn compatible(
    local_btf: &Btf,
    mut local: u32,
    target_btf: &Btf,
    mut target: u32,
    level: u32,
    fuel: &mut Fuel,
) -> Result<bool, CoreError> {
    for level in (0..level).rev() {
        fuel.step()?;
        let ours = local_btf.resolve(local)?;
        let theirs = target_btf.resolve(target)?;
        if !same_kind(&ours, &theirs) {
            return Ok(false);
        }
        (local, target) = match ours.kind {
            Kind::Void | Kind::Struct | Kind::Union | Kind::Enum | Kind::Enum64 | Kind::Fwd => {
                return Ok(true);
            }
            Kind::Int => return Ok(ours.int_offset() == 0 && theirs.int_offset() == 0),
            Kind::Ptr => (ours.size_or_type, theirs.size_or_type),
            Kind::Array => (ours.array().element, theirs.array().element),
            Kind::FuncProto => {
                if ours.vlen != theirs.vlen {
                    return Ok(false);
                }
                for (a, b) in ours.params().zip(theirs.params()) {
                    if !compatible(local_btf, a, target_btf, b, level, fuel)? {
                        return Ok(false);
                    }
                }
                (ours.size_or_type, theirs.size_or_type)
            }
            _ => return Ok(false),
        };
    }
    Err(too_deep())
}

/// Whether the target's type has all that the local type says, by name and type.
#[doc(alias = "bpf_core_types_match")]
pub(super) fn types_match(
    local_btf: &Btf,
    local: u32,
    target_btf: &Btf,
    target: u32,
    fuel: &mut Fuel,
) -> Result<bool, CoreError> {
    Matcher {
        local: local_btf,
        target: target_btf,
        fuel,
    }
    .types(local, target, false, MAX_LEVEL)
}

struct Matcher<'a> {
    local: &'a Btf,
    target: &'a Btf,
    fuel: &'a mut Fuel,
}

impl Matcher<'_> {
    fn types(
        &mut self,
        mut local: u32,
        mut target: u32,
        mut behind_ptr: bool,
        level: u32,
    ) -> Result<bool, CoreError> {
        for level in (0..level).rev() {
            self.fuel.step()?;
            let ours = self.local.resolve(local)?;
            let theirs = self.target.resolve(target)?;
            if !same_name(self.local, ours.name, self.target, theirs.name)? {
                return Ok(false);
            }
            let same = ours.kind == theirs.kind;
            (local, target) = match ours.kind {
                Kind::Void => return Ok(same),
                Kind::Fwd if same => return Ok(ours.flag == theirs.flag),
                Kind::Fwd => {
                    let union = theirs.kind == Kind::Union;
                    let full = theirs.kind.is_composite() && ours.flag == union;
                    return Ok(behind_ptr && full);
                }
                Kind::Enum | Kind::Enum64 => return self.enums(&ours, &theirs),
                Kind::Struct | Kind::Union if behind_ptr => {
                    let union = ours.kind == Kind::Union;
                    return Ok(same || (theirs.kind == Kind::Fwd && theirs.flag == union));
                }
                _ if !same => return Ok(false),
                Kind::Struct | Kind::Union => return self.members(&ours, &theirs, level),
                Kind::Int => {
                    return Ok(ours.size_or_type == theirs.size_or_type
                        && ours.int_signed() == theirs.int_signed());
                }
                Kind::Ptr => {
                    behind_ptr = true;
                    (ours.size_or_type, theirs.size_or_type)
                }
                Kind::Array => {
                    let (a, b) = (ours.array(), theirs.array());
                    if a.len != b.len {
                        return Ok(false);
                    }
                    (a.element, b.element)
                }
                Kind::FuncProto => {
                    if ours.vlen != theirs.vlen {
                        return Ok(false);
                    }
                    for (a, b) in ours.params().zip(theirs.params()) {
                        if !self.types(a, b, behind_ptr, level)? {
                            return Ok(false);
                        }
                    }
                    (ours.size_or_type, theirs.size_or_type)
                }
                _ => return Ok(false),
            };
        }
        Err(too_deep())
    }

    fn enums(&mut self, ours: &Type<'_>, theirs: &Type<'_>) -> Result<bool, CoreError> {
        if !theirs.kind.is_enum()
            || ours.size_or_type != theirs.size_or_type
            || ours.vlen > theirs.vlen
        {
            return Ok(false);
        }
        for a in ours.enumerators() {
            let mut found = false;
            for b in theirs.enumerators() {
                self.fuel.step()?;
                if same_name(self.local, a.name, self.target, b.name)? {
                    found = true;
                    break;
                }
            }
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn members(
        &mut self,
        ours: &Type<'_>,
        theirs: &Type<'_>,
        level: u32,
    ) -> Result<bool, CoreError> {
        if ours.vlen > theirs.vlen {
            return Ok(false);
        }
        for a in ours.members() {
            let mut found = false;
            for b in theirs.members() {
                self.fuel.step()?;
                if same_name(self.local, a.name, self.target, b.name)?
                    && self.types(a.ty, b.ty, false, level)?
                {
                    found = true;
                    break;
                }
            }
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
