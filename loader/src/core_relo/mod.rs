//! CO-RE relocations: what the compiler assumed about a type becomes what the target has.
//!
//! The rules are those of libbpf, which a program was tested with: candidates are the target's
//! types of the same kind and the same name without flavour; all that match must agree; a
//! relocation without a match, other than a question whether something exists, turns the
//! instruction into a call that no verifier accepts where it is reached.
//!
//! - [`spec`]: what an access string names in the local type
//! - [`find`]: the same place in a target type
//! - [`compat`]: which types may stand for each other
//! - [`value`]: the number that a relocation asks for
//! - [`patch`]: writing it into an instruction

mod compat;
mod find;
mod patch;
mod spec;
#[cfg(test)]
mod tests;
mod value;

use bpftime_isa::Insn;
use thiserror::Error;

use crate::btf::{Btf, BtfError, Kind, Type, essential_name, ext::CoreRecord};
use crate::limits;

/// `enum bpf_core_relo_kind`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum RelocationKind {
    FieldByteOffset,
    FieldByteSize,
    FieldExists,
    FieldSigned,
    FieldLShift64,
    FieldRShift64,
    TypeIdLocal,
    TypeIdTarget,
    TypeExists,
    TypeSize,
    EnumvalExists,
    EnumvalValue,
    TypeMatches,
}

impl RelocationKind {
    const ALL: [Self; 13] = [
        Self::FieldByteOffset,
        Self::FieldByteSize,
        Self::FieldExists,
        Self::FieldSigned,
        Self::FieldLShift64,
        Self::FieldRShift64,
        Self::TypeIdLocal,
        Self::TypeIdTarget,
        Self::TypeExists,
        Self::TypeSize,
        Self::EnumvalExists,
        Self::EnumvalValue,
        Self::TypeMatches,
    ];

    pub(crate) fn from_u32(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }

    const fn about_type(self) -> bool {
        matches!(
            self,
            Self::TypeIdLocal
                | Self::TypeIdTarget
                | Self::TypeExists
                | Self::TypeSize
                | Self::TypeMatches
        )
    }

    const fn about_enumerator(self) -> bool {
        matches!(self, Self::EnumvalExists | Self::EnumvalValue)
    }
}

/// Why a relocation cannot be done.
#[derive(Debug, Error)]
pub(crate) enum CoreError {
    #[error(transparent)]
    Btf(#[from] BtfError),
    #[error("{0}")]
    Invalid(String),
}

impl CoreError {
    fn new(message: impl Into<String>) -> Self {
        Self::Invalid(message.into())
    }

    pub(crate) fn no_target() -> Self {
        Self::new(
            "no type information of the target kernel (this machine has no \
             /sys/kernel/btf/vmlinux; give a BTF file)",
        )
    }
}

/// Bounds the work of matching: hostile types can be nested so that it explodes.
pub(crate) struct Fuel(u64);

impl Fuel {
    pub(crate) const fn new() -> Self {
        Self(limits::CORE_STEPS)
    }

    fn step(&mut self) -> Result<(), CoreError> {
        self.steps(1)
    }

    fn steps(&mut self, count: usize) -> Result<(), CoreError> {
        self.0 = self.0.checked_sub(count as u64).ok_or_else(|| {
            CoreError::new(format!(
                "matching types takes more than {} steps",
                limits::CORE_STEPS
            ))
        })?;
        Ok(())
    }
}

/// Relocates one instruction of `insns`, the slots of a section, for the target's types.
pub(crate) fn relocate(
    insns: &mut [Insn],
    record: &CoreRecord,
    local: &Btf,
    target: impl FnOnce() -> Result<std::sync::Arc<Btf>, CoreError>,
    fuel: &mut Fuel,
) -> Result<(), CoreError> {
    let kind = RelocationKind::from_u32(record.kind)
        .ok_or_else(|| CoreError::new(format!("unknown kind {} of relocation", record.kind)))?;
    if !(record.offset as usize).is_multiple_of(Insn::SIZE) {
        return Err(CoreError::new("not at the start of an instruction"));
    }
    let slot = record.offset as usize / Insn::SIZE;
    let local_spec = spec::Spec::parse(local, record, kind, fuel)?;
    if kind == RelocationKind::TypeIdLocal {
        let value = value::Value::number(u64::from(record.ty));
        return patch::write(insns, slot, &patch::Change::unchecked(value));
    }
    let ty = local.ty(record.ty)?;
    let name = essential_name(local.name(&ty)?);
    fuel.steps(name.len())?;
    if name.is_empty() {
        return Err(CoreError::new(format!(
            "type {} has no name to look for in the target",
            record.ty
        )));
    }
    let target = target()?;
    let mut found: Option<(spec::Spec<'_>, patch::Change)> = None;
    for id in target.candidates(name) {
        let candidate = target.ty(*id)?;
        let same_kind =
            candidate.kind == ty.kind || (candidate.kind.is_enum() && ty.kind.is_enum());
        if !same_kind {
            continue;
        }
        let Some(spec) = find::find(&local_spec, &target, *id, kind, fuel)? else {
            continue;
        };
        let change = value::change(kind, &local_spec, Some(&spec))?;
        match &found {
            None => found = Some((spec, change)),
            Some((first, same)) => {
                if first.bit_offset != spec.bit_offset || !same.same_value(&change) {
                    return Err(CoreError::new(format!(
                        "ambiguous: the target's types {} and {id} named `{name}` give different \
                         results",
                        first.root
                    )));
                }
            }
        }
    }
    let change = match found {
        Some((_, change)) => change,
        None => value::change(kind, &local_spec, None)?,
    };
    patch::write(insns, slot, &change)
}

/// Whether the kernel's types are needed for the relocation.
pub(crate) fn needs_target(record: &CoreRecord) -> bool {
    RelocationKind::from_u32(record.kind) != Some(RelocationKind::TypeIdLocal)
}

/// The number of the kernel's function or variable that an extern stands for: that of its name without
/// flavour, if its type is one that the extern's may stand for (`find_ksym_btf_id` in libbpf).
pub(crate) fn symbol_named(
    local: &Btf,
    ty: &Type<'_>,
    target: &Btf,
    fuel: &mut Fuel,
) -> Result<Option<u32>, CoreError> {
    let name = essential_name(local.name(ty)?);
    fuel.steps(name.len())?;
    // Names of kernel functions may look like ones with a flavour themselves.
    for id in target.candidates(essential_name(name)) {
        let found = target.ty(*id)?;
        if found.kind != ty.kind || target.name(&found)? != name {
            continue;
        }
        // `const` says what the program may do with a variable, not what it is.
        let ours = local.resolve(ty.size_or_type)?.id;
        let theirs = target.resolve(found.size_or_type)?.id;
        let fits = compat::types_compatible(local, ours, target, theirs, fuel)?;
        return Ok(fits.then_some(*id));
    }
    Ok(None)
}

/// The number of the type of that name and kind, or of that name without what follows `___`: some of
/// the kernel's own types have such names.
pub(crate) fn type_named(btf: &Btf, name: &str, kind: Kind) -> Option<u32> {
    let candidates = btf.candidates(essential_name(name));
    let called = |wanted: &str| {
        candidates.iter().copied().find(|id| {
            btf.ty(*id)
                .is_ok_and(|ty| ty.kind == kind && btf.name(&ty) == Ok(wanted))
        })
    };
    called(name).or_else(|| called(essential_name(name)))
}
