//! Which function of a kernel structure (`struct_ops`) a program implements.
//!
//! Variables in `.struct_ops` sections are such structures; the relocations of the section say which
//! program is in which member, and the object's BTF names structure and member.

use std::collections::HashMap;

use crate::btf::{Btf, Kind, Type, essential_name};
use crate::elf::{Elf, SymbolKind};
use crate::maps::symbols_of;

/// A member of a structure of functions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Member {
    /// Name of the structure in the kernel.
    pub(crate) structure: String,
    /// Name of the member.
    pub(crate) member: String,
}

/// The members that functions implement, by the function's name. A function that would be several is
/// none, as the kernel verifies a program for one.
pub(crate) fn members(elf: &Elf<'_>, btf: &Btf) -> HashMap<String, Member> {
    let mut found: HashMap<String, Member> = HashMap::new();
    let mut several = Vec::new();
    for (index, section) in elf.sections.iter().enumerate() {
        if !matches!(section.name, ".struct_ops" | ".struct_ops.link") {
            continue;
        }
        let offsets = symbols_of(elf, index);
        for relocation in &section.relocations {
            let Some(symbol) = elf.symbols.get(relocation.symbol) else {
                continue;
            };
            let Some(member) = member_at(btf, section.name, &offsets, relocation.offset)
                .filter(|_| symbol.kind == SymbolKind::Function)
            else {
                continue;
            };
            match found.get(symbol.name) {
                Some(known) if *known != member => several.push(symbol.name),
                _ => {
                    found.insert(symbol.name.to_owned(), member);
                }
            }
        }
    }
    found.retain(|name, _| !several.contains(&name.as_str()));
    found
}

/// The member at an offset of the section.
fn member_at(
    btf: &Btf,
    section: &str,
    offsets: &HashMap<&str, u64>,
    offset: u64,
) -> Option<Member> {
    let named = |ty: &Type<'_>| ty.kind == Kind::DataSec && btf.name(ty) == Ok(section);
    let datasec = btf.types().find(named)?;
    datasec.variables().find_map(|variable| {
        let var = btf.ty(variable.ty).ok()?;
        let start = offsets.get(btf.name(&var).ok()?)?;
        let within = u32::try_from(offset.checked_sub(*start)?).ok()?;
        let ty = btf.resolve(var.size_or_type).ok()?;
        if ty.kind != Kind::Struct || within >= ty.size_or_type {
            return None;
        }
        let at = within.checked_mul(8)?;
        let member = ty.members().find(|member| member.bit_offset == at)?;
        Some(Member {
            structure: essential_name(btf.name(&ty).ok()?).to_owned(),
            member: btf.string(member.name).ok()?.to_owned(),
        })
    })
}
