//! Parts of map values that belong to the kernel, as BTF declares them.
//!
//! Reads: the type of a map's value, or of a section of global variables. Throws nothing: what
//! does not make sense is left out, and the bytes stay plain memory, as they are for the kernel.

use std::collections::HashMap;
use std::sync::Arc;

use bpftime_isa::{GraphNode, LocalStruct, MapField, MapFieldKind};

use crate::btf::{Btf, BtfError, Kind, Type, essential_name};

/// Most parts of one value (kernel `BTF_FIELDS_MAX`).
const MAX_FIELDS: usize = 11;

/// Types looked at for one value; arrays of structs could ask for more.
const MAX_VISITS: usize = 4096;

/// What the list or tree at the place holds, if its nodes are of the type: its declaration says
/// `contains:structure:member`.
#[doc(alias = "btf_parse_graph_root")]
fn held(btf: &Btf, declared: (u32, u32), node: &str) -> Option<GraphNode> {
    let mut tags = btf.tags(declared);
    let what = tags.find_map(|tag| tag.strip_prefix("contains:"))?;
    let (name, member) = what.split_once(':')?;
    let candidates = btf.candidates(essential_name(name)).iter();
    let mut types = candidates.filter_map(|id| btf.ty(*id).ok());
    let is_it = |ty: &Type<'_>| ty.kind == Kind::Struct && btf.name(ty) == Ok(name);
    let ty = types.find(is_it)?;
    let member = ty
        .members()
        .find(|found| btf.string(found.name) == Ok(member))?;
    let of = btf.resolve(member.ty).ok()?;
    let fits =
        btf.name(&of) == Ok(node) && member.bit_size == 0 && member.bit_offset.is_multiple_of(8);
    fits.then_some(GraphNode {
        type_id: ty.id,
        offset: member.bit_offset / 8,
    })
}

/// A type to look at: its number, its offset in the value, and the declaration that has it.
type Work = (u32, u32, (u32, u32));

/// Of a tag that is about a declaration as a whole.
const WHOLE: u32 = u32::MAX;

/// The parts of a value of the type.
#[doc(alias = "btf_parse_fields")]
pub(crate) fn fields_of(btf: &Btf, value: u32) -> Vec<MapField> {
    fields(btf, value, (value, WHOLE)).found
}

/// The structures that the program declares, but those with more parts than the kernel takes.
pub(crate) fn local_structs(btf: &Btf) -> Arc<[LocalStruct]> {
    let structs = btf.types().filter(|ty| ty.kind == Kind::Struct);
    structs
        .filter_map(|ty| {
            let fields = fields(btf, ty.id, (ty.id, WHOLE));
            fields.complete.then_some(LocalStruct {
                type_id: ty.id,
                name: btf.name(&ty).ok()?.to_owned(),
                size: ty.size_or_type,
                numbers: fields.found.is_empty() && is_numbers(btf, ty.id, NUMBERS_DEPTH),
                fields: fields.found,
            })
        })
        .collect()
}

/// Structures within each other that the kernel looks into.
pub(crate) const NUMBERS_DEPTH: u32 = 3;

/// Whether the structure is made of numbers only.
#[doc(alias = "__btf_type_is_scalar_struct")]
pub(crate) fn is_numbers(btf: &Btf, structure: u32, depth: u32) -> bool {
    let Ok(ty) = btf.resolve(structure) else {
        return false;
    };
    let number = |id: u32| {
        let of = btf.resolve(id).ok()?;
        Some(match of.kind {
            Kind::Int | Kind::Enum | Kind::Enum64 => true,
            Kind::Struct if depth > 1 => is_numbers(btf, of.id, depth - 1),
            Kind::Array if of.array().len > 0 => {
                let element = btf.resolve(of.array().element).ok()?;
                matches!(element.kind, Kind::Int | Kind::Enum | Kind::Enum64)
            }
            _ => false,
        })
    };
    let mut members = ty.members();
    ty.kind == Kind::Struct && members.all(|member| number(member.ty) == Some(true))
}

/// The parts of a value of a type.
struct Fields {
    found: Vec<MapField>,
    /// There are no others.
    complete: bool,
}

/// The parts of a value of the type.
fn fields(btf: &Btf, value: u32, declared: (u32, u32)) -> Fields {
    let mut found = Vec::new();
    let mut work = vec![(value, 0u32, declared)];
    let mut visits = 0;
    while let Some(next) = work.pop() {
        visits += 1;
        if visits > MAX_VISITS || found.len() > MAX_FIELDS {
            break;
        }
        // A type that does not resolve holds nothing that is known.
        let _ = visit(btf, next, &mut found, &mut work);
    }
    let complete = found.len() <= MAX_FIELDS && work.is_empty();
    if found.len() > MAX_FIELDS {
        // So the kernel takes the value for plain memory.
        found.clear();
    }
    found.sort_by_key(|field: &MapField| field.offset);
    Fields { found, complete }
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
        for mut field in fields(btf, var.size_or_type, (var.id, WHOLE)).found {
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
    (id, offset, declared): Work,
    found: &mut Vec<MapField>,
    work: &mut Vec<Work>,
) -> Result<(), BtfError> {
    let ty = btf.resolve(id)?;
    match ty.kind {
        Kind::Struct | Kind::Union => {
            if let Some(kind) = named(btf, btf.name(&ty)?, declared) {
                found.push(MapField {
                    offset,
                    size: ty.size_or_type,
                    kind,
                });
                return Ok(());
            }
            let members = (0..).zip(ty.members());
            for (index, member) in members.filter(|(_, member)| member.bit_size == 0) {
                let at = offset.saturating_add(member.bit_offset / 8);
                work.push((member.ty, at, (ty.id, index)));
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
                    work.push((array.element, offset.saturating_add(at), declared));
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

fn named(btf: &Btf, name: &str, declared: (u32, u32)) -> Option<MapFieldKind> {
    Some(match name {
        "bpf_spin_lock" => MapFieldKind::SpinLock,
        "bpf_res_spin_lock" => MapFieldKind::ResSpinLock,
        "bpf_timer" => MapFieldKind::Timer,
        "bpf_wq" => MapFieldKind::Workqueue,
        "bpf_task_work" => MapFieldKind::TaskWork,
        "bpf_list_head" => MapFieldKind::ListHead {
            holds: held(btf, declared, "bpf_list_node"),
        },
        "bpf_list_node" => MapFieldKind::ListNode,
        "bpf_rb_root" => MapFieldKind::RbRoot {
            holds: held(btf, declared, "bpf_rb_node"),
        },
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
            percpu: false,
        }),
        tag @ ("kptr" | "percpu_kptr") => Some(MapFieldKind::Kptr {
            target,
            referenced: true,
            percpu: tag == "percpu_kptr",
        }),
        "uptr" => Some(MapFieldKind::Uptr { target }),
        _ => None,
    })
}
