//! Executable sections: their slots, functions and what BTF says about them.

use bpftime_isa::{Contract, Insn};

use crate::btf::ext::BtfExt;
use crate::btf::{Btf, Kind};
use crate::contract::{Tags, contract};
use crate::core_relo::{self, CoreError, Fuel};
use crate::elf::{Elf, Section, Symbol, SymbolKind};
use crate::environment::Environment;
use crate::{LoadError, limits};

/// An executable section.
pub(crate) struct Code<'a> {
    /// Index in the file.
    pub(crate) index: usize,
    pub(crate) name: &'a str,
    pub(crate) insns: Vec<Insn>,
    /// By first slot, no two the same.
    pub(crate) functions: Vec<Function<'a>>,
    /// By offset.
    pub(crate) lines: Vec<Line>,
}

/// A function of a section.
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    /// First slot in the section.
    pub(crate) start: usize,
    /// Slots.
    pub(crate) len: usize,
    /// Bound locally (`static`).
    pub(crate) local: bool,
    /// Verified by its prototype alone: not static, not hidden.
    pub(crate) global: bool,
    /// What its type says of its arguments and its result.
    pub(crate) contract: Option<Contract>,
}

/// A record of `.BTF.ext`; names are offsets of strings.
pub(crate) struct Line {
    /// Slot in the section.
    pub(crate) slot: u32,
    pub(crate) file: u32,
    pub(crate) text: u32,
    pub(crate) line_col: u32,
}

/// Reads all executable sections that hold functions.
pub(crate) fn read<'a>(elf: &Elf<'a>) -> Result<Vec<Code<'a>>, LoadError> {
    let mut by_section: Vec<Vec<&Symbol<'a>>> = Vec::new();
    by_section.resize_with(elf.sections.len(), Vec::new);
    for symbol in &elf.symbols {
        let group = symbol.section.and_then(|index| by_section.get_mut(index));
        if let Some(group) = group
            && matches!(symbol.kind, SymbolKind::Function | SymbolKind::Untyped)
        {
            group.push(symbol);
        }
    }
    let mut all = Vec::new();
    let mut total = 0;
    for ((index, section), symbols) in elf.sections.iter().enumerate().zip(by_section) {
        if !section.code || section.data.is_empty() {
            continue;
        }
        total += (section.data.len() / Insn::SIZE) as u64;
        limits::check("number of instructions", total, limits::TOTAL_SLOTS)?;
        let functions = functions(section, &symbols)?;
        if functions.is_empty() {
            continue;
        }
        let (slots, []) = section.data.as_chunks::<{ Insn::SIZE }>() else {
            let message = format!(
                "{} bytes are not a whole number of {}-byte instructions",
                section.data.len(),
                Insn::SIZE
            );
            return Err(LoadError::section(section.name, message));
        };
        all.push(Code {
            index,
            name: section.name,
            insns: slots.iter().copied().map(Insn::from_le_bytes).collect(),
            functions,
            lines: Vec::new(),
        });
    }
    Ok(all)
}

fn functions<'a>(
    section: &Section<'a>,
    symbols: &[&Symbol<'a>],
) -> Result<Vec<Function<'a>>, LoadError> {
    // Clang before 8 gave functions no type, and bound them locally like its labels.
    let typed = symbols
        .iter()
        .any(|symbol| symbol.kind == SymbolKind::Function);
    let mut chosen: Vec<&Symbol<'a>> = symbols
        .iter()
        .copied()
        .filter(|symbol| match symbol.kind {
            SymbolKind::Function => true,
            _ => !typed && !symbol.name.starts_with("LBB") && !symbol.name.starts_with(".L"),
        })
        .filter(|symbol| !symbol.name.is_empty())
        .collect();
    // Where names share a place, a global one is the function's.
    chosen.sort_by_key(|symbol| (symbol.value, symbol.local));
    chosen.dedup_by_key(|symbol| symbol.value);
    let mut functions = Vec::with_capacity(chosen.len());
    for (position, symbol) in chosen.iter().enumerate() {
        let next = chosen.get(position + 1).map(|next| next.value);
        let size = match symbol.size {
            0 => next.unwrap_or(section.size).saturating_sub(symbol.value),
            size => size,
        };
        let fail = |message: String| LoadError::Symbol {
            symbol: symbol.name.to_owned(),
            section: section.name.to_owned(),
            message,
        };
        let end = symbol.value.saturating_add(size);
        if end > section.size {
            return Err(fail(format!(
                "ends at {end:#x}, the section at {:#x}",
                section.size
            )));
        }
        let unit = Insn::SIZE as u64;
        if !symbol.value.is_multiple_of(unit) || !size.is_multiple_of(unit) {
            return Err(fail(format!(
                "starts at {:#x} and has {size} bytes; both must be multiples of {unit}",
                symbol.value
            )));
        }
        if size == 0 {
            return Err(fail("a function without instructions".to_owned()));
        }
        functions.push(Function {
            name: symbol.name,
            start: (symbol.value / unit) as usize,
            len: (size / unit) as usize,
            local: symbol.local && typed,
            global: !symbol.local && symbol.visible,
            contract: None,
        });
    }
    Ok(functions)
}

impl Code<'_> {
    /// The index of the function that starts at the slot.
    pub(crate) fn function_at(&self, slot: usize) -> Option<usize> {
        self.functions
            .binary_search_by_key(&slot, |function| function.start)
            .ok()
    }
}

/// Relocates for the target's types and takes over source lines.
pub(crate) fn apply_btf_ext(
    code: &mut [Code<'_>],
    btf: &Btf,
    ext: BtfExt,
    environment: &Environment,
) -> Result<(), LoadError> {
    for group in ext.lines {
        let Some(code) = code.iter_mut().find(|code| code.name == group.section) else {
            continue;
        };
        let lines = group.records.into_iter().map(|record| Line {
            slot: record.offset / Insn::SIZE as u32,
            file: record.file,
            text: record.text,
            line_col: record.line_col,
        });
        code.lines.extend(lines);
    }
    for code in code.iter_mut() {
        code.lines.sort_by_key(|line| line.slot);
        code.lines.dedup_by_key(|line| line.slot);
    }
    let mut tags = None;
    for group in ext.functions {
        let Some(code) = code.iter_mut().find(|code| code.name == group.section) else {
            continue;
        };
        for record in group.records {
            let slot = record.offset as usize / Insn::SIZE;
            let Some(index) = code.function_at(slot) else {
                continue;
            };
            let ty = btf.ty(record.ty).map_err(LoadError::btf(".BTF"))?;
            if let Some(function) = code.functions.get_mut(index)
                && ty.kind == Kind::Func
            {
                // `vlen` of a function is its linkage: 0 static, 1 global.
                function.global &= ty.vlen == 1;
                let tags = tags.get_or_insert_with(|| Tags::of(btf));
                function.contract = contract(btf, tags, &ty);
            }
        }
    }
    let mut fuel = Fuel::new();
    for group in ext.core {
        let Some(code) = code.iter_mut().find(|code| code.name == group.section) else {
            return Err(LoadError::section(
                &group.section,
                "has CO-RE relocations but no function",
            ));
        };
        let target = match group.records.iter().any(core_relo::needs_target) {
            true => environment.target_btf()?,
            false => None,
        };
        for record in &group.records {
            let target = || target.clone().ok_or_else(CoreError::no_target);
            core_relo::relocate(&mut code.insns, record, btf, target, &mut fuel).map_err(
                |error| LoadError::Core {
                    section: group.section.clone(),
                    offset: u64::from(record.offset),
                    message: error.to_string(),
                },
            )?;
        }
    }
    Ok(())
}
