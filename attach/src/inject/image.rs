//! The in-target image: a freestanding ELF, relocated for the address where it will be.

use std::fs::File;
use std::mem::offset_of;

use bpftime_abi::ABI_VERSION;
use bpftime_abi::target::{Config, IMAGE_HEADER_OFFSET, IMAGE_MAGIC, ImageHeader, State};
use object::LittleEndian;
use object::elf::{DT_RELA, DT_RELASZ, FileHeader64, PT_LOAD, R_X86_64_RELATIVE};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};

use super::bytes::{u32_at, u64_at};
use crate::memfd;

const LE: LittleEndian = LittleEndian;
const PAGE: u64 = 4096;
/// Larger images are taken for damaged.
const MAX_IMAGE: u64 = 1 << 32;

/// Why the image cannot be used. It comes with the program, so this is a mistake in its build.
#[derive(Debug, thiserror::Error)]
#[error("the in-target image is damaged: {0}")]
pub struct ImageError(String);

/// A parsed image.
#[derive(Clone, Debug)]
pub struct Image {
    header: ImageHeader,
    /// The first segment, `file_len` bytes.
    text: Vec<u8>,
    /// Offset and addend of each `R_X86_64_RELATIVE` relocation.
    relocations: Vec<(usize, u64)>,
}

impl Image {
    /// Parses the ELF.
    pub fn parse(elf: &[u8]) -> Result<Self, ImageError> {
        let bad = |what: &str| ImageError(what.to_owned());
        let header = parse_header(elf)?;
        let file_len = usize::try_from(header.file_len).map_err(|_| bad("too large"))?;
        let elf_header =
            FileHeader64::<LittleEndian>::parse(elf).map_err(|e| ImageError(e.to_string()))?;
        let segments = elf_header
            .program_headers(LE, elf)
            .map_err(|e| ImageError(e.to_string()))?;
        let first = segments
            .iter()
            .find(|s| s.p_type(LE) == PT_LOAD)
            .ok_or_else(|| bad("no loadable segment"))?;
        if first.p_offset(LE) != 0 || first.p_vaddr(LE) != 0 {
            return Err(bad("the first segment does not start at 0"));
        }
        let mut text = vec![0; file_len];
        let content = first
            .data(LE, elf)
            .map_err(|()| bad("first segment outside the file"))?;
        text.get_mut(..content.len())
            .ok_or_else(|| bad("the first segment is longer than the header says"))?
            .copy_from_slice(content);

        let (mut table, mut size) = (0, 0);
        for segment in segments {
            let Some(entries) = segment
                .dynamic(LE, elf)
                .map_err(|e| ImageError(e.to_string()))?
            else {
                continue;
            };
            for entry in entries {
                match u32::try_from(entry.d_tag(LE)) {
                    Ok(DT_RELA) => table = entry.d_val(LE),
                    Ok(DT_RELASZ) => size = entry.d_val(LE),
                    _ => {}
                }
            }
        }
        let relocations = relocations(&text, table, size)?;
        Ok(Self {
            header,
            text,
            relocations,
        })
    }

    /// What the image says about itself.
    pub fn header(&self) -> &ImageHeader {
        &self.header
    }

    /// Bytes from the base to the end of the state.
    pub fn len(&self) -> u64 {
        self.header.state + self.header.state_len
    }

    /// Never: an image has a header.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// The text for `base` in a sealed memory file.
    pub(super) fn relocated(&self, base: u64) -> crate::Result<File> {
        let mut text = self.text.clone();
        for (offset, addend) in &self.relocations {
            if let Some(place) = text.get_mut(*offset..*offset + 8) {
                place.copy_from_slice(&base.wrapping_add(*addend).to_le_bytes());
            }
        }
        memfd::create(c"bpftime-image", &text, self.header.file_len, true)
    }
}

fn parse_header(elf: &[u8]) -> Result<ImageHeader, ImageError> {
    let bad = |what: &str| ImageError(what.to_owned());
    let word =
        |offset: usize| u64_at(elf, IMAGE_HEADER_OFFSET + offset).ok_or_else(|| bad("no header"));
    let half =
        |offset: usize| u32_at(elf, IMAGE_HEADER_OFFSET + offset).ok_or_else(|| bad("no header"));
    let mut capabilities = [0; 5];
    for (index, place) in capabilities.iter_mut().enumerate() {
        *place = word(offset_of!(ImageHeader, capabilities) + index * 8)?;
    }
    let header = ImageHeader {
        magic: word(offset_of!(ImageHeader, magic))?,
        abi_version: half(offset_of!(ImageHeader, abi_version))?,
        header_len: half(offset_of!(ImageHeader, header_len))?,
        file_len: word(offset_of!(ImageHeader, file_len))?,
        state: word(offset_of!(ImageHeader, state))?,
        state_len: word(offset_of!(ImageHeader, state_len))?,
        entry_dispatch: word(offset_of!(ImageHeader, entry_dispatch))?,
        return_entry_dispatch: word(offset_of!(ImageHeader, return_entry_dispatch))?,
        return_dispatch: word(offset_of!(ImageHeader, return_dispatch))?,
        find_fde: word(offset_of!(ImageHeader, find_fde))?,
        find_object: word(offset_of!(ImageHeader, find_object))?,
        helpers: word(offset_of!(ImageHeader, helpers))?,
        capabilities,
    };
    if header.magic != IMAGE_MAGIC || header.header_len as usize != size_of::<ImageHeader>() {
        return Err(bad("no header"));
    }
    if header.abi_version != ABI_VERSION {
        return Err(ImageError(format!(
            "it has ABI version {} and this program {ABI_VERSION}",
            header.abi_version
        )));
    }
    let pages = [header.file_len, header.state, header.state_len];
    if pages
        .iter()
        .any(|len| *len == 0 || *len > MAX_IMAGE || len % PAGE != 0)
        || header.state != header.file_len
        || header.state_len < (size_of::<State>() as u64).max(size_of::<Config>() as u64)
    {
        return Err(bad("its segments are not laid out as agreed"));
    }
    let entries = [
        header.entry_dispatch,
        header.return_entry_dispatch,
        header.return_dispatch,
        header.find_fde,
        header.find_object,
    ];
    if entries
        .iter()
        .chain([&header.helpers])
        .any(|entry| *entry >= header.file_len)
    {
        return Err(bad("an entry point lies outside"));
    }
    Ok(header)
}

fn relocations(text: &[u8], table: u64, size: u64) -> Result<Vec<(usize, u64)>, ImageError> {
    const ENTRY: usize = 24;
    let bad = |what: &str| ImageError(what.to_owned());
    let start = usize::try_from(table).map_err(|_| bad("relocations outside"))?;
    let len = usize::try_from(size).map_err(|_| bad("relocations outside"))?;
    let end = start
        .checked_add(len)
        .ok_or_else(|| bad("relocations outside"))?;
    let entries = text
        .get(start..end)
        .ok_or_else(|| bad("relocations outside"))?;
    let mut found = Vec::new();
    for entry in entries.chunks_exact(ENTRY) {
        let (offset, info, addend) = match (u64_at(entry, 0), u64_at(entry, 8), u64_at(entry, 16)) {
            (Some(offset), Some(info), Some(addend)) => (offset, info, addend),
            _ => return Err(bad("relocations outside")),
        };
        if info != u64::from(R_X86_64_RELATIVE) {
            return Err(ImageError(format!(
                "relocation {info:#x} is not R_X86_64_RELATIVE"
            )));
        }
        let offset = usize::try_from(offset)
            .ok()
            .filter(|offset| offset.checked_add(8).is_some_and(|end| end <= text.len()))
            .ok_or_else(|| bad("a relocation outside its text"))?;
        found.push((offset, addend));
    }
    Ok(found)
}
