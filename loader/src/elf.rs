//! The ELF container: sections, symbols and relocations with every bound checked.

use object::LittleEndian as Le;
use object::elf;
use object::read::elf::{ElfFile64, Rela as _, SectionHeader as _, Sym as _};

use crate::{LoadError, limits};

const MAGIC: &[u8] = b"\x7fELF";

/// The parts of an ELF file that loading needs.
pub(crate) struct Elf<'a> {
    pub(crate) sections: Vec<Section<'a>>,
    pub(crate) symbols: Vec<Symbol<'a>>,
}

/// A section; its index in [`Elf::sections`] is that of the file.
pub(crate) struct Section<'a> {
    pub(crate) name: &'a str,
    /// Executable and with contents.
    pub(crate) code: bool,
    /// Without contents in the file (`SHT_NOBITS`).
    pub(crate) nobits: bool,
    /// Bytes in memory.
    pub(crate) size: u64,
    /// Bytes in the file; empty for `nobits`.
    pub(crate) data: &'a [u8],
    /// In ascending order of offset.
    pub(crate) relocations: Vec<Relocation>,
}

/// A symbol; its index in [`Elf::symbols`] is that of the file.
pub(crate) struct Symbol<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: SymbolKind,
    pub(crate) local: bool,
    pub(crate) weak: bool,
    /// Visible outside the object (neither hidden nor internal).
    pub(crate) visible: bool,
    /// The section that defines it.
    pub(crate) section: Option<usize>,
    /// Defined in no section, to be found elsewhere.
    pub(crate) undefined: bool,
    /// Offset in the section.
    pub(crate) value: u64,
    pub(crate) size: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum SymbolKind {
    Function,
    Untyped,
    Section,
    Other,
}

#[derive(Clone, Copy)]
pub(crate) struct Relocation {
    /// Offset in the section, in bytes.
    pub(crate) offset: u64,
    /// Index of the symbol; checked to exist.
    pub(crate) symbol: usize,
    /// Added to what the instruction holds, in old files.
    pub(crate) addend: i64,
}

impl<'a> Elf<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, LoadError> {
        check_header(bytes)?;
        let broken = |what: &str| {
            let what = what.to_owned();
            move |error: object::read::Error| LoadError::Elf {
                what,
                message: error.to_string(),
            }
        };
        let file = ElfFile64::<Le>::parse(bytes).map_err(broken("section table"))?;
        let table = file.elf_section_table();
        limits::check("number of sections", table.len() as u64, limits::SECTIONS)?;

        let mut sections = Vec::with_capacity(table.len());
        for (index, header) in table.iter().enumerate() {
            let name = table
                .section_name(Le, header)
                .map_err(broken(&format!("name of section {index}")))?;
            let name = std::str::from_utf8(name).map_err(|error| LoadError::Elf {
                what: format!("name of section {index}"),
                message: error.to_string(),
            })?;
            let data = header
                .data(Le, bytes)
                .map_err(broken(&format!("contents of section {index} `{name}`")))?;
            let kind = header.sh_type(Le);
            let flags = header.sh_flags(Le);
            sections.push(Section {
                name,
                code: kind == elf::SHT_PROGBITS && flags & u64::from(elf::SHF_EXECINSTR) != 0,
                nobits: kind == elf::SHT_NOBITS,
                size: header.sh_size(Le),
                data,
                relocations: Vec::new(),
            });
        }

        let symbols = read_symbols(&file, &sections)?;
        let mut total = 0;
        for (index, header) in table.iter().enumerate() {
            let what = format!("relocation section {index} `{}`", sections[index].name);
            let entries: Vec<(u64, u32, i64)> =
                if let Some((rel, _)) = header.rel(Le, bytes).map_err(broken(&what))? {
                    total += rel.len() as u64;
                    limits::check("number of relocations", total, limits::RELOCATIONS)?;
                    rel.iter()
                        .map(|rel| (rel.r_offset.get(Le), rel.r_sym(Le), 0))
                        .collect()
                } else if let Some((rela, _)) = header.rela(Le, bytes).map_err(broken(&what))? {
                    total += rela.len() as u64;
                    limits::check("number of relocations", total, limits::RELOCATIONS)?;
                    rela.iter()
                        .map(|rela| (rela.r_offset(Le), rela.r_sym(Le, false), rela.r_addend(Le)))
                        .collect()
                } else {
                    continue;
                };
            let target = header.sh_info(Le) as usize;
            let Some(section) = sections.get_mut(target) else {
                return Err(LoadError::Elf {
                    what,
                    message: format!("applies to section {target}, which does not exist"),
                });
            };
            for (offset, symbol, addend) in entries {
                let symbol = symbol as usize;
                if symbol >= symbols.len() {
                    return Err(LoadError::Relocation {
                        section: section.name.to_owned(),
                        offset,
                        symbol: format!("#{symbol}"),
                        message: format!("there are only {} symbols", symbols.len()),
                    });
                }
                section.relocations.push(Relocation {
                    offset,
                    symbol,
                    addend,
                });
            }
            section
                .relocations
                .sort_by_key(|relocation| relocation.offset);
        }
        Ok(Self { sections, symbols })
    }

    /// The first section of that name.
    pub(crate) fn section(&self, name: &str) -> Option<(usize, &Section<'a>)> {
        self.sections
            .iter()
            .enumerate()
            .find(|(_, section)| section.name == name)
    }

    /// The name of a symbol, or of its section if it stands for that, or its number.
    pub(crate) fn describe(&self, symbol: usize) -> String {
        match self.symbols.get(symbol) {
            Some(Symbol { name, .. }) if !name.is_empty() => (*name).to_owned(),
            Some(Symbol {
                section: Some(section),
                ..
            }) => self
                .sections
                .get(*section)
                .map_or_else(|| format!("#{symbol}"), |section| section.name.to_owned()),
            _ => format!("#{symbol}"),
        }
    }
}

fn check_header(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.is_empty() {
        return Err(LoadError::Empty);
    }
    limits::check(
        "size of the file in bytes",
        bytes.len() as u64,
        limits::FILE_BYTES,
    )?;
    if !bytes.starts_with(MAGIC) {
        let start = bytes.iter().take(4).map(|byte| format!("{byte:02x}"));
        return Err(LoadError::NotElf {
            start: start.collect::<Vec<_>>().join(" "),
        });
    }
    let Some(header) = bytes.get(..64) else {
        return Err(LoadError::Elf {
            what: "file header".to_owned(),
            message: format!("the file has {} bytes, the header 64", bytes.len()),
        });
    };
    if header[4] != elf::ELFCLASS64 {
        return Err(LoadError::Not64Bit);
    }
    if header[5] != elf::ELFDATA2LSB {
        return Err(LoadError::BigEndian);
    }
    let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    if half(18) != elf::EM_BPF && half(18) != elf::EM_NONE {
        return Err(LoadError::WrongMachine { machine: half(18) });
    }
    if half(16) != elf::ET_REL {
        return Err(LoadError::NotRelocatable {
            file_type: half(16),
        });
    }
    Ok(())
}

fn read_symbols<'a>(
    file: &ElfFile64<'a, Le>,
    sections: &[Section<'a>],
) -> Result<Vec<Symbol<'a>>, LoadError> {
    let table = file.elf_symbol_table();
    limits::check("number of symbols", table.len() as u64, limits::SYMBOLS)?;
    let mut symbols = Vec::with_capacity(table.len());
    for (index, symbol) in table.enumerate() {
        let broken = |message: String| LoadError::Elf {
            what: format!("symbol {}", index.0),
            message,
        };
        let name = symbol
            .name(Le, table.strings())
            .map_err(|error| broken(error.to_string()))?;
        let name = std::str::from_utf8(name).map_err(|error| broken(error.to_string()))?;
        let section = table
            .symbol_section(Le, symbol, index)
            .map_err(|error| broken(error.to_string()))?
            .map(|section| section.0);
        if let Some(section) = section.filter(|section| *section >= sections.len()) {
            return Err(broken(format!(
                "`{name}` is in section {section}, which does not exist"
            )));
        }
        let kind = match symbol.st_type() {
            elf::STT_FUNC => SymbolKind::Function,
            elf::STT_NOTYPE => SymbolKind::Untyped,
            elf::STT_SECTION => SymbolKind::Section,
            _ => SymbolKind::Other,
        };
        let visibility = symbol.st_visibility();
        symbols.push(Symbol {
            name,
            kind,
            local: symbol.st_bind() == elf::STB_LOCAL,
            weak: symbol.st_bind() == elf::STB_WEAK,
            visible: visibility != elf::STV_HIDDEN && visibility != elf::STV_INTERNAL,
            section,
            undefined: symbol.is_undefined(Le),
            value: symbol.st_value(Le),
            size: symbol.st_size(Le),
        });
    }
    Ok(symbols)
}
