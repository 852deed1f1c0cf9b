//! The place in a target type that stands for a place in a local type.

use super::spec::{Accessor, MAX_LEN, Spec};
use super::{CoreError, Fuel, RelocationKind, compat};
use crate::btf::{Btf, Kind, essential_name};

/// Finds `local` in the target's type `root`, or `None` if it does not have it.
#[doc(alias = "bpf_core_spec_match")]
pub(super) fn find<'t>(
    local: &Spec<'_>,
    target: &'t Btf,
    root: u32,
    kind: RelocationKind,
    fuel: &mut Fuel,
) -> Result<Option<Spec<'t>>, CoreError> {
    fuel.step()?;
    let mut spec = Spec {
        btf: target,
        root,
        accessors: Vec::new(),
        bit_offset: 0,
    };
    let found = if kind == RelocationKind::TypeMatches {
        compat::types_match(local.btf, local.root, target, root, fuel)?
    } else if kind.about_type() {
        compat::types_compatible(local.btf, local.root, target, root, fuel)?
    } else if kind.about_enumerator() {
        find_enumerator(local, &mut spec, fuel)?
    } else {
        find_field(local, &mut spec, fuel)?
    };
    Ok(found.then_some(spec))
}

fn find_enumerator(
    local: &Spec<'_>,
    spec: &mut Spec<'_>,
    fuel: &mut Fuel,
) -> Result<bool, CoreError> {
    let Some(Accessor {
        name: Some(name), ..
    }) = local.accessors.first()
    else {
        return Ok(false);
    };
    let name = essential_name(local.btf.string(*name)?);
    let ty = spec.btf.resolve(spec.root)?;
    for (index, enumerator) in (0..).zip(ty.enumerators()) {
        fuel.step()?;
        if essential_name(spec.btf.string(enumerator.name)?) == name {
            spec.accessors.push(Accessor {
                ty: ty.id,
                index,
                name: Some(enumerator.name),
            });
            return Ok(true);
        }
    }
    Ok(false)
}

fn find_field(local: &Spec<'_>, spec: &mut Spec<'_>, fuel: &mut Fuel) -> Result<bool, CoreError> {
    let mut ty = spec.btf.resolve(spec.root)?;
    for (step, accessor) in local.accessors.iter().enumerate() {
        fuel.step()?;
        if accessor.name.is_some() {
            match find_member(local, accessor, spec, ty.id, 0, fuel)? {
                Some(next) => ty = spec.btf.resolve(next)?,
                None => return Ok(false),
            }
            continue;
        }
        if step > 0 {
            if ty.kind != Kind::Array {
                return Ok(false);
            }
            let array = ty.array();
            if accessor.index >= array.len && !spec.at_flexible_array(&ty)? {
                return Ok(false);
            }
            ty = spec.btf.resolve(array.element)?;
        }
        spec.push_element(ty.id, accessor.index)?;
    }
    Ok(true)
}

/// Finds the member that `accessor` names, in unnamed structs and unions too; gives its type.
fn find_member(
    local: &Spec<'_>,
    accessor: &Accessor,
    spec: &mut Spec<'_>,
    ty: u32,
    depth: usize,
    fuel: &mut Fuel,
) -> Result<Option<u32>, CoreError> {
    if depth >= MAX_LEN {
        return Err(CoreError::new(format!(
            "the target's type {} has more than {MAX_LEN} levels",
            spec.root
        )));
    }
    let btf = spec.btf;
    let ty = btf.resolve(ty)?;
    let wanted = local
        .btf
        .ty(accessor.ty)?
        .member(accessor.index as usize)
        .ok_or_else(|| CoreError::new("the member is gone"))?;
    let wanted_name = local.btf.string(wanted.name)?;
    for (index, member) in (0..).zip(ty.members()) {
        fuel.step()?;
        let before = spec.bit_offset;
        spec.bit_offset = before.saturating_add(u64::from(member.bit_offset));
        let name = btf.string(member.name)?;
        if name.is_empty() {
            if let Some(found) = find_member(local, accessor, spec, member.ty, depth + 1, fuel)? {
                return Ok(Some(found));
            }
        } else if name == wanted_name {
            if !compat::fields_compatible(local.btf, wanted.ty, btf, member.ty, fuel)? {
                return Ok(None);
            }
            spec.accessors.push(Accessor {
                ty: ty.id,
                index,
                name: Some(member.name),
            });
            return Ok(Some(member.ty));
        }
        spec.bit_offset = before;
    }
    Ok(None)
}
