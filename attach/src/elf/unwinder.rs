//! Which part a file has in unwinding: found in its symbol tables, without reading the rest.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use object::elf::{SHN_UNDEF, SHT_DYNSYM, SHT_SYMTAB, SectionHeader64, Sym64};
use object::pod::slice_from_all_bytes;
use object::read::elf::{FileHeader, SectionHeader, Sym};

use super::{Header, LE, MAX_FILE, ProgramHeaders, offset_of};

type Section = SectionHeader64<object::LittleEndian>;
type Symbol = Sym64<object::LittleEndian>;

/// The function of libgcc's unwinder that finds what is known of an address.
pub(crate) const FIND_FDE: &str = "_Unwind_Find_FDE";

/// The function of glibc, since version 2.35, that finds the file of an address for unwinders.
pub(crate) const FIND_OBJECT: &str = "_dl_find_object";

/// Names by which an unwinder is known.
const UNWINDS: [&str; 2] = ["_Unwind_RaiseException", "_Unwind_ForcedUnwind"];

/// Names that only other unwinders than libgcc's have: LLVM's libunwind, and the libunwind that
/// nongnu.org hosts.
const FOREIGN: [&str; 4] = ["__unw_step", "unw_step", "_ULx86_64_step", "_Ux86_64_step"];

/// By which older unwinders find the tables of all files.
const ALL_OBJECTS: &str = "dl_iterate_phdr";

/// By which a file has its stacks walked by libgcc, and needs the tables only for names: Rust's
/// standard library does.
const BACKTRACE: &str = "_Unwind_Backtrace";

/// Where a function is in a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Place {
    /// Nowhere.
    #[default]
    Absent,
    /// At an offset, with this many bytes.
    At(u64, u64),
    /// In several places, or not in the file.
    Unclear,
}

impl Place {
    /// Notes a symbol.
    fn add(&mut self, offset: Option<u64>, size: u64) {
        let here = offset.map_or(Self::Unclear, |offset| Self::At(offset, size));
        *self = if matches!(*self, Self::Absent) || *self == here {
            here
        } else {
            Self::Unclear
        };
    }
}

/// Which part a file has in unwinding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Unwinder {
    /// Unwinds: has `_Unwind_RaiseException` or `_Unwind_ForcedUnwind`.
    pub(crate) unwinds: bool,
    /// Its [`FIND_FDE`].
    pub(crate) find_fde: Place,
    /// Has an unwinder other than libgcc's.
    pub(crate) foreign: bool,
    /// Its [`FIND_OBJECT`].
    pub(crate) find_object: Place,
    /// Calls another file's [`FIND_OBJECT`], as only unwinders do.
    pub(crate) asks_for_objects: bool,
    /// Calls another file's `dl_iterate_phdr`.
    asks_for_all_objects: bool,
    /// Calls another file's `_Unwind_Backtrace`.
    has_backtraces: bool,
}

impl Unwinder {
    /// Reads the symbol tables of a file. What is damaged counts as absent.
    pub(crate) fn of(file: &File) -> io::Result<Self> {
        let mut found = Self::default();
        let mut header = [0; size_of::<Header>()];
        file.read_exact_at(&mut header, 0)?;
        let Ok(header) = Header::parse(&header[..]) else {
            return Ok(found);
        };
        let segments_len = u64::from(header.e_phnum(LE)) * u64::from(header.e_phentsize(LE));
        let segments = header.e_phoff(LE).saturating_add(segments_len);
        let Some(segments) = ProgramHeaders::parse(&read(file, 0, segments)?) else {
            return Ok(found);
        };
        let sections_len = u64::from(header.e_shnum(LE)) * size_of::<Section>() as u64;
        let sections = read(file, header.e_shoff(LE), sections_len)?;
        let Ok(sections) = slice_from_all_bytes::<Section>(&sections) else {
            return Ok(found);
        };
        for table in sections
            .iter()
            .filter(|s| matches!(s.sh_type(LE), SHT_SYMTAB | SHT_DYNSYM))
        {
            let Some(strings) = sections.get(table.sh_link(LE) as usize) else {
                continue;
            };
            let symbols = read(file, table.sh_offset(LE), table.sh_size(LE))?;
            let strings = read(file, strings.sh_offset(LE), strings.sh_size(LE))?;
            for symbol in slice_from_all_bytes::<Symbol>(&symbols).unwrap_or_default() {
                found.add(symbol, &strings, &segments);
            }
        }
        Ok(found)
    }

    /// Whether it reads the tables of all files for what can only be guessed: perhaps it has an
    /// unwinder without symbols.
    pub(crate) fn may_unwind_by_itself(&self) -> bool {
        let known = self.unwinds || self.find_fde != Place::Absent || self.asks_for_objects;
        self.asks_for_all_objects && !known && !self.has_backtraces
    }

    fn add(&mut self, symbol: &Symbol, strings: &[u8], segments: &ProgramHeaders) {
        let Some(rest) = strings.get(symbol.st_name(LE) as usize..) else {
            return;
        };
        // Most symbols are not ours; none of the names is longer.
        let rest = rest.get(..32).unwrap_or(rest);
        if ![&b"_"[..], b"unw_", b"dl_"]
            .iter()
            .any(|start| rest.starts_with(start))
        {
            return;
        }
        let end = rest.iter().position(|b| matches!(b, 0 | b'@'));
        let name = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let is = |known: &&str| known.as_bytes() == name;
        if symbol.st_shndx(LE) == SHN_UNDEF {
            self.asks_for_objects |= is(&FIND_OBJECT);
            self.asks_for_all_objects |= is(&ALL_OBJECTS);
            self.has_backtraces |= is(&BACKTRACE);
            return;
        }
        self.unwinds |= UNWINDS.iter().any(is);
        let place = offset_of(segments, symbol.st_value(LE));
        for (name, known) in [
            (FIND_FDE, &mut self.find_fde),
            (FIND_OBJECT, &mut self.find_object),
        ] {
            if is(&name) {
                known.add(place, symbol.st_size(LE));
            }
        }
        self.foreign |= FOREIGN.iter().any(is);
    }
}

/// Part of a file; nothing where the file ends before.
fn read(file: &File, offset: u64, len: u64) -> io::Result<Vec<u8>> {
    let size = file.metadata()?.len();
    if len > MAX_FILE || offset.checked_add(len).is_none_or(|end| end > size) {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}
