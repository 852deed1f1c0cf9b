//! Who else than `ret` needs the return addresses of a file's functions. A return probe puts its
//! own address in their place.

use object::elf::{DT_NEEDED, SHT_DYNSYM, SHT_SYMTAB};
use object::read::elf::{Dyn, SectionHeader, SectionTable, Sym};

use super::{Header, LE};

/// Who else than `ret` needs the return addresses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReturnHazard {
    /// Go's runtime: it reads whole stacks, to move them and to collect garbage.
    MovingStacks,
    /// The unwinder: exceptions or panics may pass through functions. By what that is known, as a
    /// verb phrase about the file.
    Exceptions(String),
}

/// Sections of Go programs; the second is the first in a position-independent one.
const GO_SECTIONS: [&str; 4] = [
    ".gopclntab",
    ".data.rel.ro.gopclntab",
    ".go.buildinfo",
    ".note.go.buildid",
];

/// Libraries that throw, by the start of their names. A C program needs none of them; the last
/// one is needed by Rust.
const LIBRARIES: [&str; 3] = ["libstdc++.so", "libc++", "libgcc_s.so"];

/// Names that only a file with code for exceptions has, defined or not.
const THROWING: [&str; 4] = [
    "__cxa_throw",
    "__cxa_rethrow",
    "__gxx_personality_v0",
    "rust_eh_personality",
];

/// The same, but also in the static part of a C library, for `pthread_cancel`. What counts is
/// therefore only whether a file shares them.
const UNWINDING: [&str; 3] = [
    "_Unwind_RaiseException",
    "_Unwind_ForcedUnwind",
    "_Unwind_Resume",
];

/// The hazard of a file; a damaged table counts as absent.
pub(super) fn hazard(data: &[u8], sections: &SectionTable<'_, Header>) -> Option<ReturnHazard> {
    let mut names = sections
        .iter()
        .filter_map(|section| sections.section_name(LE, section).ok());
    if names.any(|name| GO_SECTIONS.iter().any(|go| go.as_bytes() == name)) {
        return Some(ReturnHazard::MovingStacks);
    }
    library(data, sections)
        .map(|name| format!("needs the library {name}"))
        .or_else(|| symbol(data, sections).map(|name| format!("has the symbol {name}")))
        .or_else(|| tables(data, sections))
        .map(ReturnHazard::Exceptions)
}

/// A throwing library that the file needs.
fn library(data: &[u8], sections: &SectionTable<'_, Header>) -> Option<String> {
    let (entries, strings) = sections.dynamic(LE, data).ok()??;
    let strings = sections.strings(LE, data, strings).ok()?;
    let mut needed = entries
        .iter()
        .filter(|entry| entry.d_tag(LE) == u64::from(DT_NEEDED))
        .filter_map(|entry| entry.string(LE, strings).ok());
    let found = needed.find(|name| {
        LIBRARIES
            .iter()
            .any(|library| name.starts_with(library.as_bytes()))
    });
    found.map(|name| String::from_utf8_lossy(name).into_owned())
}

/// A program that is linked statically and has no symbols: what remains is the table of places that
/// catch or clean up, which static C programs have too.
fn tables(data: &[u8], sections: &SectionTable<'_, Header>) -> Option<String> {
    let has = |table: u32| sections.iter().any(|s| s.sh_type(LE) == table);
    let needs_others = sections.dynamic(LE, data).is_ok_and(|dynamic| {
        dynamic.is_some_and(|(entries, _)| {
            let mut tags = entries.iter().map(|entry| entry.d_tag(LE));
            tags.any(|tag| tag == u64::from(DT_NEEDED))
        })
    });
    let mut names = sections.iter().map(|s| sections.section_name(LE, s));
    let cleans = names.any(|name| name == Ok(b".gcc_except_table"));
    (cleans && !has(SHT_SYMTAB) && !needs_others)
        .then(|| "has exception tables and no symbols that would tell its language".to_owned())
}

/// A symbol that only throwing files have.
fn symbol(data: &[u8], sections: &SectionTable<'_, Header>) -> Option<&'static str> {
    let find = |table: u32, known: &[&'static str]| {
        let symbols = sections.symbols(LE, data, table).ok()?;
        symbols.iter().find_map(|symbol| {
            let name = symbol.name(LE, symbols.strings()).ok()?;
            known.iter().find(|known| known.as_bytes() == name).copied()
        })
    };
    find(SHT_DYNSYM, &THROWING)
        .or_else(|| find(SHT_DYNSYM, &UNWINDING))
        .or_else(|| find(SHT_SYMTAB, &THROWING))
}

/// Whether a compiler for C++ or Rust made the name.
pub(crate) fn is_mangled(name: &str) -> bool {
    name.starts_with("_Z") || name.starts_with("_R")
}
