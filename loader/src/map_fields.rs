//! Parts of map values that belong to the kernel, as BTF declares them.
//!
//! Reads: the type of a map's value, or of a section of global variables. Throws nothing: what
//! does not make sense is left out, and the bytes stay plain memory, as they are for the kernel.

use std::collections::HashMap;

use bpftime_isa::{MapField, MapFieldKind};

use crate::btf::{Btf, BtfError, Kind, Type};

/// Most parts of one value (kernel `BTF_FIELDS_MAX`).
const MAX_FIELDS: usize = 11;

/// Types looked at for one value; arrays of structs could ask for more.
const MAX_VISITS: usize = 4096;

/// The parts of a value of the type.
#[doc(alias = "btf_parse_fields")]
pub(crate) fn fields_of(btf: &Btf, value: u32) -> Vec<MapField> {
    let mut found = Vec::new();
    let mut work = vec![(value, 0u32)];
    let mut visits = 0;
    while let Some((id, offset)) = work.pop() {
        visits += 1;
        if visits > MAX_VISITS || found.len() > MAX_FIELDS {
            break;
        }
        // A type that does not resolve holds nothing that is known.
        let _ = visit(btf, id, offset, &mut found, &mut work);
    }
    if found.len() > MAX_FIELDS {
        // So the kernel takes the value for plain memory.
        return Vec::new();
    }
    found.sort_by_key(|field: &MapField| field.offset);
    found
}

/// The parts of the section's variables, of which `offsets` tells the places: those in BTF are not
/// filled in by the compiler.
pub(crate) fn fields_of_section(
    btf: &Btf,
    section: &str,
    offsets: &HashMap<&str, u64>,
) -> Vec<MapField> {
    let named = |ty: &Type<'_>| ty.kind == Kind::DataSec && btf.name(ty) == Ok(section);
    let Some(datasec) = btf.types().find(named) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for variable in datasec.variables() {
        let Ok(var) = btf.ty(variable.ty) else {
            continue;
        };
        let place = btf.name(&var).ok().and_then(|name| offsets.get(name));
        let Some(place) = place.and_then(|place| u32::try_from(*place).ok()) else {
            continue;
        };
        for mut field in fields_of(btf, var.size_or_type) {
            field.offset = field.offset.saturating_add(place);
            found.push(field);
        }
        if found.len() > MAX_FIELDS {
            break;
        }
    }
    found.sort_by_key(|field: &MapField| field.offset);
    found
}

fn visit(
    btf: &Btf,
    id: u32,
    offset: u32,
    found: &mut Vec<MapField>,
    work: &mut Vec<(u32, u32)>,
) -> Result<(), BtfError> {
    let ty = btf.resolve(id)?;
    match ty.kind {
        Kind::Struct | Kind::Union => {
            if let Some(kind) = named(btf.name(&ty)?) {
                found.push(MapField {
                    offset,
                    size: ty.size_or_type,
                    kind,
                });
                return Ok(());
            }
            for member in ty.members().filter(|member| member.bit_size == 0) {
                work.push((member.ty, offset.saturating_add(member.bit_offset / 8)));
            }
        }
        Kind::Array => {
            let array = ty.array();
            let size = btf.size(array.element)?;
            let holds = matches!(
                btf.resolve(array.element)?.kind,
                Kind::Struct | Kind::Union | Kind::Array | Kind::Ptr
            );
            if holds {
                for index in 0..array.len.min(MAX_FIELDS as u32 + 1) {
                    let at = size.saturating_mul(index.into());
                    let at = u32::try_from(at).unwrap_or(u32::MAX);
                    work.push((array.element, offset.saturating_add(at)));
                }
            }
        }
        Kind::Ptr => {
            if let Some(kind) = pointer(btf, &ty)? {
                found.push(MapField {
                    offset,
                    size: 8,
                    kind,
                });
            }
        }
        _ => {}
    }
    Ok(())
}

fn named(name: &str) -> Option<MapFieldKind> {
    Some(match name {
        "bpf_spin_lock" => MapFieldKind::SpinLock,
        "bpf_res_spin_lock" => MapFieldKind::ResSpinLock,
        "bpf_timer" => MapFieldKind::Timer,
        "bpf_wq" => MapFieldKind::Workqueue,
        "bpf_task_work" => MapFieldKind::TaskWork,
        "bpf_list_head" => MapFieldKind::ListHead,
        "bpf_list_node" => MapFieldKind::ListNode,
        "bpf_rb_root" => MapFieldKind::RbRoot,
        "bpf_rb_node" => MapFieldKind::RbNode,
        "bpf_refcount" => MapFieldKind::Refcount,
        _ => return None,
    })
}

/// What a pointer with a type tag is.
#[doc(alias = "btf_find_kptr")]
fn pointer(btf: &Btf, ty: &Type<'_>) -> Result<Option<MapFieldKind>, BtfError> {
    let tag = btf.ty(ty.size_or_type)?;
    if tag.kind != Kind::TypeTag {
        return Ok(None);
    }
    let target = btf.resolve(tag.size_or_type)?;
    let target = btf.name(&target)?.to_owned();
    Ok(match btf.name(&tag)? {
        "kptr_untrusted" => Some(MapFieldKind::Kptr {
            target,
            referenced: false,
        }),
        "kptr" | "percpu_kptr" => Some(MapFieldKind::Kptr {
            target,
            referenced: true,
        }),
        "uptr" => Some(MapFieldKind::Uptr { target }),
        _ => None,
    })
}
