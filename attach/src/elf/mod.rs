//! Symbols and segments of executables and libraries, as the kernel and the dynamic linker see
//! them. Any bytes give a result or an error that says where the file is wrong.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use object::elf::{
    EM_X86_64, ET_DYN, ET_EXEC, FileHeader64, PF_X, PT_INTERP, PT_LOAD, SHN_UNDEF, SHT_DYNSYM,
    SHT_SYMTAB, STB_GLOBAL, STB_WEAK, STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE,
};
use object::read::elf::{FileHeader, ProgramHeader, SectionTable, Sym};
use object::{LittleEndian, SymbolIndex};

/// Files larger than this are refused: they are read whole.
pub const MAX_FILE: u64 = 1 << 30;

mod error;
mod jumps;
mod unwind;
mod unwinder;

pub use error::ElfError;
pub use jumps::Jump;
pub use unwind::ReturnHazard;
pub(crate) use unwind::is_mangled;
pub(crate) use unwinder::{Place, Unwinder};

type Header = FileHeader64<LittleEndian>;
const LE: LittleEndian = LittleEndian;

/// A loadable segment (`PT_LOAD`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Offset in the file.
    pub offset: u64,
    /// Bytes in the file.
    pub file_len: u64,
    /// Virtual address, before relocation.
    pub address: u64,
    /// Bytes in memory.
    pub memory_len: u64,
    /// Is executed.
    pub execute: bool,
}

/// Program headers from the first bytes of a file or mapping.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ProgramHeaders {
    segments: Vec<Segment>,
    interpreter: Option<(u64, u64)>,
    /// Offset after the section headers.
    sections_end: u64,
}

impl ProgramHeaders {
    /// `None` unless the bytes start with an ELF header for x86-64 and hold all headers.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let header = Header::parse(bytes).ok()?;
        if header.e_machine(LE) != EM_X86_64 {
            return None;
        }
        let headers = header.program_headers(LE, bytes).ok()?;
        let sections_end = header
            .e_shoff(LE)
            .checked_add(u64::from(header.e_shnum(LE)) * u64::from(header.e_shentsize(LE)))?;
        Some(Self {
            segments: headers
                .iter()
                .filter(|h| h.p_type(LE) == PT_LOAD)
                .map(segment)
                .collect(),
            interpreter: headers
                .iter()
                .find(|h| h.p_type(LE) == PT_INTERP)
                .map(|h| (h.p_offset(LE), h.p_filesz(LE))),
            sections_end,
        })
    }

    /// File offset after the executable segment whose mapping starts at `offset`.
    pub(crate) fn executable_segment_at(&self, offset: u64) -> Option<u64> {
        self.segments
            .iter()
            .find(|s| s.execute && s.offset & !0xfff == offset && s.file_len == s.memory_len)
            .and_then(|s| s.offset.checked_add(s.file_len))
    }

    /// Offset after everything that the headers describe.
    pub(crate) fn file_end(&self) -> u64 {
        self.segments
            .iter()
            .map(|s| s.offset.saturating_add(s.file_len))
            .chain([self.sections_end])
            .max()
            .unwrap_or(u64::MAX / 2)
    }

    /// Whether a dynamic linker starts the program.
    pub(crate) fn has_interpreter(&self) -> bool {
        self.interpreter.is_some()
    }
}

fn segment(header: &object::elf::ProgramHeader64<LittleEndian>) -> Segment {
    Segment {
        offset: header.p_offset(LE),
        file_len: header.p_filesz(LE),
        address: header.p_vaddr(LE),
        memory_len: header.p_memsz(LE),
        execute: header.p_flags(LE) & PF_X != 0,
    }
}

/// A function symbol.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// Name without version.
    pub name: String,
    /// Symbol version (`GLIBC_2.2.5`) and whether it is the default one (`@@`).
    pub version: Option<(String, bool)>,
    /// Offset of the first instruction in the file, as a uprobe counts.
    pub offset: u64,
    /// Virtual address before relocation.
    pub address: u64,
    /// Bytes; 0 if the file does not say.
    pub size: u64,
    /// Visible to other files (global or weak).
    pub global: bool,
    /// Leads to code that chooses an implementation (`STT_GNU_IFUNC`).
    pub indirect: bool,
}

/// An executable or library.
#[derive(Debug)]
pub struct Elf {
    path: PathBuf,
    data: Vec<u8>,
    headers: ProgramHeaders,
    /// By offset.
    functions: Vec<Function>,
    return_hazard: Option<ReturnHazard>,
}

impl Elf {
    /// Reads a file.
    pub fn open(path: &Path) -> Result<Self, ElfError> {
        let io = |source| ElfError::Io {
            path: path.to_owned(),
            source,
        };
        // Not to wait for a writer of a named pipe.
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
            .open(path)
            .map_err(io)?;
        let meta = file.metadata().map_err(io)?;
        if !meta.is_file() {
            return Err(ElfError::NotElf {
                path: path.to_owned(),
                reason: "it is not a regular file".into(),
            });
        }
        if meta.len() > MAX_FILE {
            return Err(ElfError::TooLarge {
                path: path.to_owned(),
                len: meta.len(),
            });
        }
        let mut data = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut data).map_err(io)?;
        Self::parse(path, data)
    }

    /// Parses the content of a file; `path` is for messages.
    pub fn parse(path: &Path, data: Vec<u8>) -> Result<Self, ElfError> {
        let not_elf = |reason: String| ElfError::NotElf {
            path: path.to_owned(),
            reason,
        };
        let damaged = |what, error: object::Error| ElfError::Damaged {
            path: path.to_owned(),
            what,
            reason: error.to_string(),
        };
        let header = Header::parse(&*data).map_err(|error| not_elf(error.to_string()))?;
        if !header.is_little_endian() || header.e_machine(LE) != EM_X86_64 {
            return Err(not_elf("it is for another machine".into()));
        }
        if !matches!(header.e_type(LE), ET_EXEC | ET_DYN) {
            return Err(not_elf("it is not linked".into()));
        }
        let headers = ProgramHeaders::parse(&data)
            .ok_or_else(|| not_elf("its program headers lie outside the file".into()))?;
        let sections = header
            .sections(LE, &*data)
            .map_err(|error| damaged("section headers", error))?;
        let mut functions = Vec::new();
        for (table, what) in [(SHT_SYMTAB, ".symtab"), (SHT_DYNSYM, ".dynsym")] {
            read_functions(&data, &sections, table, &headers, &mut functions)
                .map_err(|error| damaged(what, error))?;
        }
        functions.sort_by(|a, b| {
            (a.offset, &a.name, &b.version, a.size).cmp(&(b.offset, &b.name, &a.version, b.size))
        });
        functions.dedup();
        let return_hazard = unwind::hazard(&data, &sections);
        Ok(Self {
            path: path.to_owned(),
            data,
            headers,
            functions,
            return_hazard,
        })
    }

    /// Why the return addresses of its functions may be needed by somebody else than `ret`.
    pub fn return_hazard(&self) -> Option<&ReturnHazard> {
        self.return_hazard.as_ref()
    }

    /// The path it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All functions that the file defines, by offset; aliases included.
    pub fn functions(&self) -> &[Function] {
        &self.functions
    }

    /// The loadable segments.
    pub fn segments(&self) -> &[Segment] {
        &self.headers.segments
    }

    /// Whether a dynamic linker starts it.
    pub fn has_interpreter(&self) -> bool {
        self.headers.has_interpreter()
    }

    /// Bytes of the file.
    pub fn bytes(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let start = usize::try_from(offset).ok()?;
        self.data.get(start..start.checked_add(len)?)
    }

    /// The executable segment that holds the byte at `offset` of the file.
    pub fn executable_segment(&self, offset: u64) -> Option<&Segment> {
        self.headers
            .segments
            .iter()
            .find(|s| s.execute && offset >= s.offset && offset - s.offset < s.file_len)
    }

    /// Virtual address, before relocation, of the byte at `offset` of the file.
    pub fn address_of(&self, offset: u64) -> Option<u64> {
        address_of(&self.headers, offset)
    }

    /// Offset in the file of a virtual address.
    pub fn offset_of(&self, address: u64) -> Option<u64> {
        offset_of(&self.headers, address)
    }

    /// The function that the byte at `offset` belongs to, if a symbol says so.
    pub fn function_at(&self, offset: u64) -> Option<&Function> {
        let end = self.functions.partition_point(|f| f.offset <= offset);
        let starts = self.functions.get(..end)?;
        let nearest = starts.last()?.offset;
        starts
            .iter()
            .rev()
            .take_while(|f| f.offset == nearest)
            .find(|f| offset == f.offset || offset - f.offset < f.size)
    }

    /// Offset of the next function, or of the end of the segment, after `offset`.
    pub fn next_function(&self, offset: u64) -> Option<u64> {
        let segment = self.executable_segment(offset)?;
        let end = segment.offset.saturating_add(segment.file_len);
        let next = self.functions.partition_point(|f| f.offset <= offset);
        Some(self.functions.get(next).map_or(end, |f| f.offset.min(end)))
    }

    /// Bytes between the end of the function before and `offset`; 0 if the end is not known.
    pub fn gap_before(&self, offset: u64) -> u64 {
        let before = self.functions.partition_point(|f| f.offset < offset);
        let Some(nearest) = before.checked_sub(1).and_then(|i| self.functions.get(i)) else {
            return 0;
        };
        // Aliases of the nearest one, one of which may know its size.
        let ends = self.functions.get(..before).unwrap_or_default();
        let end = ends
            .iter()
            .rev()
            .take_while(|f| f.offset == nearest.offset)
            .filter(|f| f.size > 0)
            .map(|f| f.offset.saturating_add(f.size))
            .max();
        end.map_or(0, |end| offset.saturating_sub(end))
    }

    /// Finds a function by name: `malloc`, `malloc@GLIBC_2.2.5` or `malloc@@GLIBC_2.2.5`.
    /// Without a version, the default version and global symbols go first.
    pub fn function(&self, name: &str) -> Result<&Function, ElfError> {
        let (plain, version) = match name.split_once('@') {
            Some((plain, version)) => (plain, Some(version.trim_start_matches('@'))),
            None => (name, None),
        };
        let rank = |f: &Function| (f.global, !matches!(f.version, Some((_, false))));
        let matching = |f: &&Function| {
            f.name == plain
                && version.is_none_or(|v| f.version.as_ref().is_some_and(|(have, _)| have == v))
        };
        let best = self.functions.iter().filter(matching).map(rank).max();
        let mut found: Vec<&Function> = self
            .functions
            .iter()
            .filter(matching)
            .filter(|f| Some(rank(f)) == best)
            .collect();
        // A symbol that knows its size first; then one per place.
        found.sort_by_key(|f| (f.offset, std::cmp::Reverse(f.size)));
        found.dedup_by_key(|f| f.offset);
        match *found.as_slice() {
            [] => Err(ElfError::NotFound {
                path: self.path.clone(),
                name: name.to_owned(),
                hint: self.similar(plain),
            }),
            [one] if one.indirect => Err(ElfError::Indirect {
                path: self.path.clone(),
                name: name.to_owned(),
                hint: self.similar(plain),
            }),
            [one] => Ok(one),
            [first, second, ..] => Err(ElfError::Ambiguous {
                path: self.path.clone(),
                name: name.to_owned(),
                count: found.len(),
                first: first.offset,
                second: second.offset,
            }),
        }
    }

    /// Up to three names that contain `name` or differ from it in case only.
    fn similar(&self, name: &str) -> String {
        let lower = name.to_lowercase();
        if lower.len() < 3 {
            return String::new();
        }
        let mut names: Vec<&str> = self
            .functions
            .iter()
            .filter(|f| !f.indirect && f.name != name && f.name.to_lowercase().contains(&lower))
            .map(|f| f.name.as_str())
            .collect();
        names.sort_unstable_by_key(|n| (n.len(), *n));
        names.dedup();
        names.truncate(3);
        if names.is_empty() {
            String::new()
        } else {
            format!(" (there is {})", names.join(", "))
        }
    }
}

fn address_of(headers: &ProgramHeaders, offset: u64) -> Option<u64> {
    headers
        .segments
        .iter()
        .find(|s| offset >= s.offset && offset - s.offset < s.file_len)
        .and_then(|s| s.address.checked_add(offset - s.offset))
}

fn offset_of(headers: &ProgramHeaders, address: u64) -> Option<u64> {
    headers
        .segments
        .iter()
        .find(|s| address >= s.address && address - s.address < s.file_len)
        .and_then(|s| s.offset.checked_add(address - s.address))
}

/// Adds the functions that one symbol table defines.
fn read_functions(
    data: &[u8],
    sections: &SectionTable<'_, Header>,
    table: u32,
    headers: &ProgramHeaders,
    functions: &mut Vec<Function>,
) -> Result<(), object::Error> {
    let symbols = sections.symbols(LE, data, table)?;
    // Versions belong to .dynsym; a damaged version table only loses them.
    let versions = match table {
        SHT_DYNSYM => sections.versions(LE, data).ok().flatten(),
        _ => None,
    };
    for (index, symbol) in symbols.iter().enumerate() {
        let kind = symbol.st_type();
        let defined = symbol.st_shndx(LE) != SHN_UNDEF && symbol.st_value(LE) != 0;
        let size = symbol.st_size(LE);
        // Hand-written assembler often leaves the type out.
        let code = matches!(kind, STT_FUNC | STT_GNU_IFUNC) || (kind == STT_NOTYPE && size > 0);
        if !defined || !code {
            continue;
        }
        let address = symbol.st_value(LE);
        let Some(offset) = offset_of(headers, address) else {
            continue;
        };
        let executable = headers
            .segments
            .iter()
            .any(|s| s.execute && offset >= s.offset && offset - s.offset < s.file_len);
        if !executable {
            continue;
        }
        let name = String::from_utf8_lossy(symbols.symbol_name(LE, symbol)?).into_owned();
        // A linker's .symtab spells the version out.
        let (name, spelled) = match name.split_once('@') {
            Some((plain, version)) if !plain.is_empty() => {
                let default = version.starts_with('@');
                let version = version.trim_start_matches('@').to_owned();
                (plain.to_owned(), Some((version, default)))
            }
            _ => (name, None),
        };
        let version = versions.as_ref().and_then(|versions| {
            let index = versions.version_index(LE, SymbolIndex(index));
            let version = versions.version(index).ok()??;
            let name = String::from_utf8_lossy(version.name()).into_owned();
            Some((name, !index.is_hidden()))
        });
        functions.push(Function {
            name,
            version: version.or(spelled),
            offset,
            address,
            size,
            global: matches!(symbol.st_bind(), STB_GLOBAL | STB_WEAK),
            indirect: kind == STT_GNU_IFUNC,
        });
    }
    Ok(())
}
