//! The in-target image as a file: what is in it, and its bytes for a given address.

use bpftime_abi::target::{IMAGE_HEADER_OFFSET, IMAGE_MAGIC, ImageHeader, State};
use bpftime_abi::{ABI_VERSION, Capabilities};
use object::elf::{PT_DYNAMIC, PT_LOAD, R_X86_64_RELATIVE};
use object::read::elf::{ElfFile64, ProgramHeader, Rela};
use object::{LittleEndian, Object, ObjectSection};
use thiserror::Error;

use super::build::Dispatchers;

/// A parsed image, to be mapped at any page-aligned address.
#[derive(Clone, Debug)]
pub struct Image {
    header: ImageHeader,
    /// The read-execute segment, not relocated, a multiple of the page size.
    bytes: Vec<u8>,
    /// Offset and value, both from the base.
    relocations: Vec<(u64, u64)>,
}

/// A file is not an image that this crate can use.
#[derive(Debug, Error)]
pub enum ImageError {
    /// Not an ELF file of the expected shape.
    #[error("the in-target image is not an ELF file: {0}")]
    Elf(#[from] object::Error),
    /// Something in it is not as [`ImageHeader`] says.
    #[error("the in-target image is broken: {0}")]
    Shape(&'static str),
    /// Built from other sources than this crate.
    #[error("the in-target image has ABI version {found}, {ABI_VERSION} is needed; rebuild it")]
    Version {
        /// Its version.
        found: u32,
    },
}

impl Image {
    /// Reads an image file and checks that mapping it as [`ImageHeader`] says is all it needs.
    pub fn parse(file: &[u8]) -> Result<Self, ImageError> {
        let elf = ElfFile64::<LittleEndian>::parse(file)?;
        let endian = LittleEndian;
        let mut segments = Vec::new();
        for segment in elf.elf_program_headers() {
            match segment.p_type(endian) {
                PT_LOAD => segments.push(segment),
                PT_DYNAMIC => {}
                _ => return Err(ImageError::Shape("it has an unknown segment")),
            }
        }
        let [text, state] = segments[..] else {
            return Err(ImageError::Shape("it has not two segments to load"));
        };
        let loaded = text
            .data(endian, file)
            .map_err(|()| ImageError::Shape("its segment is cut off"))?;
        let header = read_header(loaded)?;

        let file_len = usize::try_from(header.file_len)
            .ok()
            .filter(|len| len.is_multiple_of(4096) && loaded.len() <= *len && *len <= MAX_IMAGE)
            .ok_or(ImageError::Shape("its length is not what its header says"))?;
        if text.p_vaddr(endian) != 0
            || text.p_memsz(endian) != loaded.len() as u64
            || state.p_vaddr(endian) != header.state
            || state.p_filesz(endian) != 0
            || state.p_memsz(endian) != header.state_len
            || header.state != header.file_len
            || header.state_len != size_of::<State>() as u64
        {
            return Err(ImageError::Shape(
                "its segments are not what its header says",
            ));
        }

        let mut bytes = loaded.to_vec();
        bytes.resize(file_len, 0);
        let relocations = relocations(&elf, file_len as u64)?;
        Ok(Self {
            header,
            bytes,
            relocations,
        })
    }

    /// What the image says of itself.
    pub fn header(&self) -> &ImageHeader {
        &self.header
    }

    /// Helpers and map types that programs can use.
    pub fn capabilities(&self) -> Capabilities {
        Capabilities::from_words(self.header.capabilities)
    }

    /// Bytes of address space: code, then [`State`].
    pub fn memory_len(&self) -> u64 {
        self.header.state + self.header.state_len
    }

    /// Entry points, for an image at `base`.
    pub fn dispatchers(&self, base: u64) -> Dispatchers {
        Dispatchers::new(&self.header, base)
    }

    /// The bytes to be mapped read-execute at `base`.
    pub fn relocated(&self, base: u64) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        for &(offset, value) in &self.relocations {
            // `relocations` has checked the offset.
            if let Some(word) = bytes.get_mut(offset as usize..offset as usize + 8) {
                word.copy_from_slice(&base.wrapping_add(value).to_le_bytes());
            }
        }
        bytes
    }
}

/// More than any image has.
const MAX_IMAGE: usize = 16 << 20;

fn read_header(segment: &[u8]) -> Result<ImageHeader, ImageError> {
    let mut words = segment
        .get(IMAGE_HEADER_OFFSET..IMAGE_HEADER_OFFSET + size_of::<ImageHeader>())
        .ok_or(ImageError::Shape("it has no header"))?
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
    let mut next = || words.next().unwrap_or_default();
    let magic = next();
    let version_and_len = next();
    let header = ImageHeader {
        magic,
        abi_version: version_and_len as u32,
        header_len: (version_and_len >> 32) as u32,
        file_len: next(),
        state: next(),
        state_len: next(),
        entry_dispatch: next(),
        return_entry_dispatch: next(),
        return_dispatch: next(),
        helpers: next(),
        capabilities: std::array::from_fn(|_| next()),
    };
    if header.magic != IMAGE_MAGIC {
        return Err(ImageError::Shape("its header is not one"));
    }
    if header.abi_version != ABI_VERSION {
        return Err(ImageError::Version {
            found: header.abi_version,
        });
    }
    if header.header_len as usize != size_of::<ImageHeader>() {
        return Err(ImageError::Shape("its header has another length"));
    }
    Ok(header)
}

fn relocations(elf: &ElfFile64<'_, LittleEndian>, len: u64) -> Result<Vec<(u64, u64)>, ImageError> {
    let Some(section) = elf.section_by_name(".rela.dyn") else {
        return Ok(Vec::new());
    };
    let data = section.data()?;
    let (relas, rest) =
        object::pod::slice_from_bytes::<object::elf::Rela64<LittleEndian>>(data, data.len() / 24)
            .map_err(|()| ImageError::Shape("its relocations are cut off"))?;
    if !rest.is_empty() {
        return Err(ImageError::Shape("its relocations are cut off"));
    }
    relas
        .iter()
        .map(|rela| {
            let offset = rela.r_offset(LittleEndian);
            if rela.r_type(LittleEndian, false) != R_X86_64_RELATIVE {
                return Err(ImageError::Shape("a relocation is not relative"));
            }
            if offset.checked_add(8).is_none_or(|end| end > len) {
                return Err(ImageError::Shape("a relocation is outside its code"));
            }
            Ok((offset, rela.r_addend(LittleEndian) as u64))
        })
        .collect()
}
