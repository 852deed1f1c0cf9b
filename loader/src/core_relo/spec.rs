//! What an access string such as `0:3:1` names in a type.

use super::{CoreError, Fuel, RelocationKind};
use crate::btf::{Btf, Kind, Type, ext::CoreRecord};

/// Steps of an access string (kernel `BPF_CORE_SPEC_MAX_LEN`).
#[doc(alias = "BPF_CORE_SPEC_MAX_LEN")]
pub(super) const MAX_LEN: usize = 64;

/// One step that counts when types are compared; steps into unnamed members do not.
#[derive(Clone, Copy)]
pub(super) struct Accessor {
    /// The struct, union or enumeration, or the element of an array.
    pub(super) ty: u32,
    /// The member, enumerator or element.
    pub(super) index: u32,
    /// Offset of the name of the member or enumerator; `None` for an element.
    pub(super) name: Option<u32>,
}

/// A place in a type.
pub(super) struct Spec<'a> {
    pub(super) btf: &'a Btf,
    pub(super) root: u32,
    /// Never empty, except for a relocation about a whole type.
    pub(super) accessors: Vec<Accessor>,
    pub(super) bit_offset: u64,
}

impl<'a> Spec<'a> {
    pub(super) fn parse(
        btf: &'a Btf,
        record: &CoreRecord,
        kind: RelocationKind,
        fuel: &mut Fuel,
    ) -> Result<Self, CoreError> {
        let text = btf.string(record.access)?;
        fuel.steps(text.len() + 1)?;
        let steps = text
            .split(':')
            .take(MAX_LEN + 1)
            .map(|step| step.parse::<u32>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| CoreError::new(format!("access string `{text}` is not numbers")))?;
        if steps.len() > MAX_LEN {
            return Err(CoreError::new(format!(
                "an access string of more than {MAX_LEN} steps"
            )));
        }
        for index in &steps {
            // Members are counted through.
            fuel.steps((*index).min(u32::from(u16::MAX)) as usize)?;
        }
        let mut spec = Self {
            btf,
            root: record.ty,
            accessors: Vec::new(),
            bit_offset: 0,
        };
        let invalid = |why: &str| {
            Err(CoreError::new(format!(
                "access string `{text}` of type {}: {why}",
                record.ty
            )))
        };
        let Some((first, rest)) = steps.split_first() else {
            return invalid("no step");
        };
        if kind.about_type() {
            if steps != [0] {
                return invalid("a relocation about a type must have `0`");
            }
            btf.ty(record.ty)?;
            return Ok(spec);
        }
        let root = btf.resolve(record.ty)?;
        if kind.about_enumerator() {
            let Some(enumerator) = root.enumerators().nth(*first as usize) else {
                return invalid("no such enumerator");
            };
            if !rest.is_empty() {
                return invalid("an enumerator has no members");
            }
            spec.accessors.push(Accessor {
                ty: root.id,
                index: *first,
                name: Some(enumerator.name),
            });
            return Ok(spec);
        }

        spec.push_element(root.id, *first)?;
        let mut ty = root;
        for index in rest {
            ty = match ty.kind {
                Kind::Struct | Kind::Union => {
                    let Some(member) = ty.member(*index as usize) else {
                        return invalid("no such member");
                    };
                    spec.bit_offset = spec.bit_offset.saturating_add(u64::from(member.bit_offset));
                    if !btf.string(member.name)?.is_empty() {
                        spec.accessors.push(Accessor {
                            ty: ty.id,
                            index: *index,
                            name: Some(member.name),
                        });
                    }
                    btf.resolve(member.ty)?
                }
                Kind::Array => {
                    let array = ty.array();
                    let element = btf.resolve(array.element)?;
                    if *index >= array.len && !spec.at_flexible_array(&ty)? {
                        return invalid("beyond the array");
                    }
                    spec.push_element(element.id, *index)?;
                    element
                }
                _ => return invalid("a step into something without members"),
            };
        }
        Ok(spec)
    }

    /// Adds a step to an element of an array of `ty`.
    pub(super) fn push_element(&mut self, ty: u32, index: u32) -> Result<(), CoreError> {
        let bits = self.btf.size(ty)?.saturating_mul(u64::from(index)) * 8;
        self.bit_offset = self.bit_offset.saturating_add(bits);
        self.accessors.push(Accessor {
            ty,
            index,
            name: None,
        });
        Ok(())
    }

    /// Whether `array`, just stepped into, is a flexible array: length 0, last of its struct.
    pub(super) fn at_flexible_array(&self, array: &Type<'_>) -> Result<bool, CoreError> {
        let Some(Accessor {
            ty,
            index,
            name: Some(_),
        }) = self.accessors.last()
        else {
            return Ok(false);
        };
        let parent = self.btf.ty(*ty)?;
        Ok(array.array().len == 0 && *index + 1 == u32::from(parent.vlen))
    }
}
