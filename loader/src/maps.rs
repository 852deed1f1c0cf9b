//! Map definitions: `.maps` by BTF, the legacy `maps` section, and global data.

use std::collections::HashMap;
use std::sync::Arc;

use bpftime_abi::map_type::create_flags::{BPF_F_MMAPABLE, BPF_F_RDONLY_PROG};
use bpftime_isa::{MapDef, MapType};

use crate::btf::{Btf, BtfError, Kind, Type};
use crate::elf::{Elf, Section, SymbolKind};
use crate::map_fields::{fields_of, fields_of_section};
use crate::{LoadError, limits};

/// Fields of a definition; `bpf_helpers.h` knows a dozen.
const MAX_FIELDS: u16 = 64;
/// Bytes of a page; ring buffers are whole pages.
const PAGE: u32 = 4096;
/// Global variables in an arena (`__arena`), which is address space 1.
const ARENA_SECTION: &str = ".addr_space.1";
/// Bytes of a map's name that the kernel keeps, its zero byte included.
#[doc(alias = "BPF_OBJ_NAME_LEN")]
const NAME_LEN: usize = 16;

/// The maps of an object and where relocations find them.
#[derive(Default)]
pub(crate) struct Maps {
    pub(crate) defs: Vec<MapDef>,
    /// Map by section and offset of its definition.
    definitions: HashMap<(usize, u64), usize>,
    /// Map of global data by section.
    data: HashMap<usize, usize>,
}

impl Maps {
    /// Reads all maps but that of `.kconfig`, in the order of libbpf.
    pub(crate) fn read(
        elf: &Elf<'_>,
        btf: Option<&Btf>,
        object_name: &str,
        cpus: u32,
    ) -> Result<Self, LoadError> {
        let mut maps = Self::default();
        for (index, section) in elf.sections.iter().enumerate() {
            if section.name == ".maps" {
                maps.read_btf_maps(elf, btf, index, section)?;
            } else if section.name == "maps" || section.name.starts_with("maps/") {
                maps.read_legacy_maps(elf, index, section)?;
            }
        }
        for def in &mut maps.defs {
            adjust(def, cpus);
        }
        let mut total = 0u64;
        for (index, section) in elf.sections.iter().enumerate() {
            if !is_global_data(section) || section.size == 0 {
                continue;
            }
            let what = format!("bytes of global data, section `{}`", section.name);
            // What holds nothing but zeros takes no memory here if it is large.
            let zeros = section.nobits && section.size > limits::ZERO_BYTES;
            if zeros {
                limits::check(what, section.size, u32::MAX.into())?;
            } else {
                total = total.saturating_add(section.size);
                limits::check(what, total, limits::DATA_BYTES)?;
            }
            let mut def = data_map(section, object_name, zeros);
            if let Some(btf) = btf {
                let offsets = symbols_of(elf, index);
                def.fields = fields_of_section(btf, section.name, &offsets);
            }
            let map = maps.add(def)?;
            maps.data.insert(index, map);
        }
        if let Some((index, section)) = elf.section(ARENA_SECTION).filter(|(_, s)| s.size > 0) {
            let map = maps.arena_for(section)?;
            maps.data.insert(index, map);
        }
        Ok(maps)
    }

    /// The arena that global variables in it are in. An object has one at most.
    fn arena_for(&self, section: &Section<'_>) -> Result<usize, LoadError> {
        let mut maps = self.defs.iter().enumerate();
        let Some((map, arena)) = maps.find(|(_, def)| def.map_type == MapType::Arena) else {
            return Err(LoadError::section(
                section.name,
                "variables in an arena, but no map of type `BPF_MAP_TYPE_ARENA`",
            ));
        };
        let size = u64::from(arena.max_entries) * u64::from(PAGE);
        if section.size > size {
            return Err(LoadError::section(
                section.name,
                format!(
                    "{} bytes of variables, and the arena `{}` has {size}",
                    section.size, arena.name
                ),
            ));
        }
        Ok(map)
    }

    /// Adds a map; gives its index.
    pub(crate) fn add(&mut self, def: MapDef) -> Result<usize, LoadError> {
        limits::check("number of maps", self.defs.len() as u64 + 1, limits::MAPS)?;
        self.defs.push(def);
        Ok(self.defs.len() - 1)
    }

    /// The map defined at that place.
    pub(crate) fn defined_at(&self, section: usize, offset: u64) -> Option<usize> {
        self.definitions.get(&(section, offset)).copied()
    }

    /// The map that holds the global data of that section.
    pub(crate) fn of_data(&self, section: usize) -> Option<usize> {
        self.data.get(&section).copied()
    }

    fn read_btf_maps(
        &mut self,
        elf: &Elf<'_>,
        btf: Option<&Btf>,
        index: usize,
        section: &Section<'_>,
    ) -> Result<(), LoadError> {
        if section.size == 0 {
            return Ok(());
        }
        let btf = btf.ok_or_else(|| {
            LoadError::section(
                section.name,
                "map definitions need the `.BTF` section; compile with `-g`",
            )
        })?;
        let wrong = LoadError::btf(".BTF");
        let datasec = btf
            .types()
            .find(|ty| ty.kind == Kind::DataSec && btf.name(ty) == Ok(section.name));
        let Some(datasec) = datasec else {
            return Err(LoadError::section(
                section.name,
                "`.BTF` describes no variable of this section",
            ));
        };
        let mut variables = Vec::new();
        for variable in datasec.variables() {
            limits::check("number of maps", variables.len() as u64 + 1, limits::MAPS)?;
            let var = match btf.ty(variable.ty) {
                Ok(var) => var,
                Err(error) => return Err(wrong(error)),
            };
            let name = btf.name(&var).map_err(LoadError::btf(".BTF"))?;
            variables.push((variable, var, name));
        }
        // Offsets in BTF are those of before static linking; symbols tell the truth.
        let by_name = symbols_of(elf, index);
        for (variable, var, name) in variables {
            let offset = by_name
                .get(name)
                .copied()
                .unwrap_or(u64::from(variable.offset));
            if var.kind != Kind::Var {
                return Err(LoadError::map(name, "not a variable"));
            }
            let end = offset.saturating_add(u64::from(variable.size));
            if end > section.size {
                return Err(LoadError::map(
                    name,
                    format!("ends at {end:#x}, beyond section `{}`", section.name),
                ));
            }
            let def = btf_map(btf, name, var.size_or_type)?;
            let map = self.add(def)?;
            self.definitions.insert((index, offset), map);
        }
        Ok(())
    }

    /// `struct bpf_map_def` of old libbpf, and `struct bpf_elf_map` of iproute2: words for type,
    /// key size, value size, entries and flags, with more after them.
    fn read_legacy_maps(
        &mut self,
        elf: &Elf<'_>,
        index: usize,
        section: &Section<'_>,
    ) -> Result<(), LoadError> {
        let mut symbols: Vec<(u64, &str)> = elf
            .symbols
            .iter()
            .filter(|symbol| symbol.section == Some(index))
            .filter(|symbol| matches!(symbol.kind, SymbolKind::Other | SymbolKind::Untyped))
            .filter(|symbol| !symbol.name.is_empty())
            .map(|symbol| (symbol.value, symbol.name))
            .collect();
        symbols.sort_unstable();
        symbols.dedup_by_key(|(offset, _)| *offset);
        let ends = symbols.iter().skip(1).map(|(offset, _)| *offset);
        let ends: Vec<u64> = ends.chain([section.size]).collect();
        let first = self.defs.len();
        let mut inner = Vec::new();
        for ((offset, name), end) in symbols.iter().zip(ends) {
            let bytes = usize::try_from(*offset)
                .ok()
                .zip(usize::try_from(end).ok())
                .and_then(|(start, end)| section.data.get(start..end))
                .ok_or_else(|| LoadError::map(name, "beyond its section"))?;
            let words: Vec<u32> = bytes
                .chunks_exact(4)
                .take(9)
                .filter_map(|word| word.try_into().ok().map(u32::from_le_bytes))
                .collect();
            let [number, key_size, value_size, max_entries, rest @ ..] = words.as_slice() else {
                return Err(LoadError::map(
                    name,
                    format!("a definition of {} bytes; 16 are needed", bytes.len()),
                ));
            };
            // iproute2: flags, id, pinning, inner id, inner index. Old bpf_load: flags, inner
            // index, NUMA node.
            let (id, inner_id, inner_index) = match rest {
                [_, id, _, inner_id, inner_index, ..] => (*id, *inner_id, *inner_index),
                [_, inner_index, ..] => (0, 0, *inner_index),
                _ => (0, 0, 0),
            };
            inner.push((id, inner_id, inner_index));
            let def = MapDef {
                name: (*name).to_owned(),
                flags: rest.first().copied().unwrap_or(0),
                ..MapDef::new(
                    map_type(name, *number)?,
                    *key_size,
                    *value_size,
                    *max_entries,
                )
            };
            let map = self.add(def)?;
            self.definitions.insert((index, *offset), map);
        }
        for (at, (_, inner_id, inner_index)) in inner.iter().enumerate() {
            let holds_maps =
                |def: &MapDef| matches!(def.map_type, MapType::ArrayOfMaps | MapType::HashOfMaps);
            if !self.defs.get(first + at).is_some_and(holds_maps) {
                continue;
            }
            let by_id = inner
                .iter()
                .position(|(id, ..)| *inner_id != 0 && id == inner_id);
            let place = by_id.unwrap_or(*inner_index as usize);
            let held = self.defs.get(first.saturating_add(place));
            let held = held.filter(|def| !holds_maps(def)).cloned();
            if let Some(def) = self.defs.get_mut(first + at) {
                def.inner = held.map(Box::new);
            }
        }
        Ok(())
    }
}

/// Offsets of the named things in a section.
pub(crate) fn symbols_of<'a>(elf: &Elf<'a>, section: usize) -> HashMap<&'a str, u64> {
    elf.symbols
        .iter()
        .filter(|symbol| symbol.section == Some(section) && symbol.kind != SymbolKind::Section)
        .map(|symbol| (symbol.name, symbol.value))
        .collect()
}

fn map_type(name: &str, number: u32) -> Result<MapType, LoadError> {
    MapType::from_u32(number)
        .filter(|map_type| *map_type != MapType::Unspec)
        .ok_or_else(|| LoadError::map(name, format!("there is no map type {number}")))
}

/// What libbpf changes in a definition before it creates the map.
fn adjust(def: &mut MapDef, cpus: u32) {
    match def.map_type {
        MapType::PerfEventArray if def.max_entries == 0 => def.max_entries = cpus,
        MapType::RingBuf | MapType::UserRingBuf if def.max_entries != 0 => {
            let pages = def.max_entries.div_ceil(PAGE);
            def.max_entries = pages
                .checked_next_power_of_two()
                .and_then(|pages| pages.checked_mul(PAGE))
                .unwrap_or(def.max_entries);
        }
        _ => {}
    }
    if let Some(inner) = &mut def.inner {
        adjust(inner, cpus);
    }
}

fn is_global_data(section: &Section<'_>) -> bool {
    [".data", ".rodata", ".bss"].iter().any(|prefix| {
        section
            .name
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

fn data_map(section: &Section<'_>, object_name: &str, zeros: bool) -> MapDef {
    let read_only = section.name.starts_with(".rodata");
    let initial: Arc<[u8]> = if zeros {
        [].into()
    } else if section.nobits {
        // Within `DATA_BYTES`, as the caller checked.
        vec![0; section.size as usize].into()
    } else {
        section.data.into()
    };
    let read_only = if read_only { BPF_F_RDONLY_PROG } else { 0 };
    let name = data_map_name(object_name, section.name);
    let map = global_data_map(name, BPF_F_MMAPABLE | read_only, initial);
    if !zeros {
        return map;
    }
    MapDef {
        // Within 32 bits, as the caller checked.
        value_size: section.size as u32,
        initial: None,
        ..map
    }
}

/// An array map of one value that holds global variables.
pub(crate) fn global_data_map(name: String, flags: u32, initial: Arc<[u8]>) -> MapDef {
    let value_size = initial.len() as u32;
    MapDef {
        name,
        flags,
        frozen: flags & BPF_F_RDONLY_PROG != 0,
        initial: Some(initial),
        ..MapDef::new(MapType::Array, 4, value_size, 1)
    }
}

/// The name that libbpf gives: at most 15 bytes, from the object's name and the section's.
#[doc(alias = "internal_map_name")]
pub(crate) fn data_map_name(object_name: &str, section: &str) -> String {
    let suffix_len = section.len().clamp(7, NAME_LEN - 1);
    let custom = section.get(1..).is_some_and(|rest| rest.contains('.'));
    let prefix_len = if custom {
        0
    } else {
        (NAME_LEN - 1).saturating_sub(suffix_len)
    };
    let bytes = object_name.bytes().take(prefix_len);
    bytes
        .chain(section.bytes().take(suffix_len))
        .map(|byte| match byte {
            b'_' | b'.' => char::from(byte),
            byte if byte.is_ascii_alphanumeric() => char::from(byte),
            _ => '_',
        })
        .collect()
}

fn btf_map(btf: &Btf, name: &str, ty: u32) -> Result<MapDef, LoadError> {
    let mut def = MapDef {
        name: name.to_owned(),
        ..MapDef::new(MapType::Unspec, 0, 0, 0)
    };
    read_definition(btf, &mut def, ty, true)?;
    Ok(def)
}

/// Reads the members of a definition (the `__uint` and `__type` of `bpf_helpers.h`).
fn read_definition(btf: &Btf, def: &mut MapDef, ty: u32, outer: bool) -> Result<(), LoadError> {
    let name = def.name.clone();
    let fail = |message: String| LoadError::map(&name, message);
    let from_btf = |error: BtfError| LoadError::map(&name, error.to_string());
    let definition = btf.resolve(ty).map_err(from_btf)?;
    if definition.kind != Kind::Struct {
        return Err(fail(format!(
            "its definition is a {:?}, not a struct",
            definition.kind
        )));
    }
    if definition.vlen > MAX_FIELDS {
        return Err(fail(format!("a definition of {} fields", definition.vlen)));
    }
    for member in definition.members() {
        let field = btf.string(member.name).map_err(from_btf)?;
        let number = || number(btf, member.ty).map_err(|why| fail(format!("`{field}`: {why}")));
        let pointee_size = || -> Result<u32, LoadError> {
            let pointer = btf.resolve(member.ty).map_err(from_btf)?;
            if pointer.kind != Kind::Ptr {
                return Err(fail(format!("`{field}` is not a pointer to a type")));
            }
            let size = btf.size(pointer.size_or_type).map_err(from_btf)?;
            u32::try_from(size).map_err(|_| fail(format!("`{field}` is larger than 4 GiB")))
        };
        let same = |old: u32, new: u32| {
            if old != 0 && old != new {
                return Err(fail(format!(
                    "`{field}` says {new} bytes, before it was {old}"
                )));
            }
            Ok(new)
        };
        match field {
            "type" => def.map_type = map_type(&name, number()?)?,
            "max_entries" => def.max_entries = number()?,
            "map_flags" => def.flags = number()?,
            "key_size" => def.key_size = same(def.key_size, number()?)?,
            "value_size" => def.value_size = same(def.value_size, number()?)?,
            "key" => def.key_size = same(def.key_size, pointee_size()?)?,
            "value" => {
                def.value_size = same(def.value_size, pointee_size()?)?;
                let pointer = btf.resolve(member.ty).map_err(from_btf)?;
                def.fields = fields_of(btf, pointer.size_or_type);
            }
            "values" if outer => {
                def.value_size = same(def.value_size, 4)?;
                let array = btf.resolve(member.ty).map_err(from_btf)?;
                let element = match array.kind {
                    Kind::Array => btf.resolve(array.array().element).map_err(from_btf)?,
                    _ => return Err(fail("`values` is not an array".to_owned())),
                };
                if element.kind != Kind::Ptr {
                    return Err(fail("`values` is not an array of pointers".to_owned()));
                }
                let held = btf.resolve(element.size_or_type).map_err(from_btf)?;
                if held.kind == Kind::Struct {
                    let mut inner = MapDef {
                        name: format!("{name}.inner"),
                        ..MapDef::new(MapType::Unspec, 0, 0, 0)
                    };
                    read_definition(btf, &mut inner, held.id, false)?;
                    def.inner = Some(Box::new(inner));
                } else if held.kind != Kind::FuncProto {
                    return Err(fail("`values` are neither maps nor programs".to_owned()));
                }
            }
            // Neither changes what programs may do with the map.
            "numa_node" | "map_extra" => {}
            "pinning" if outer => {}
            _ => return Err(fail(format!("unknown field `{field}`"))),
        }
    }
    if def.map_type == MapType::Unspec {
        return Err(fail("`type` is missing".to_owned()));
    }
    Ok(())
}

/// A number as `__uint` (length of an array pointed to) or `__ulong` (enumerator) encodes it.
fn number(btf: &Btf, ty: u32) -> Result<u32, String> {
    let text = |error: BtfError| error.to_string();
    let field: Type<'_> = btf.resolve(ty).map_err(text)?;
    match field.kind {
        Kind::Ptr => {
            let array = btf.resolve(field.size_or_type).map_err(text)?;
            if array.kind != Kind::Array {
                return Err("not a pointer to an array".to_owned());
            }
            Ok(array.array().len)
        }
        Kind::Enum | Kind::Enum64 => field
            .enumerators()
            .next()
            .and_then(|enumerator| u32::try_from(enumerator.value).ok())
            .ok_or_else(|| "no 32-bit number".to_owned()),
        kind => Err(format!("a {kind:?} where a number is encoded")),
    }
}

#[cfg(test)]
mod tests {
    use super::data_map_name;

    #[test]
    fn names_are_libbpfs() {
        assert_eq!(data_map_name("malloc", ".bss"), "malloc.bss");
        assert_eq!(data_map_name("a_long_object", ".rodata"), "a_long_o.rodata");
        assert_eq!(data_map_name("a_long_object", ".bss"), "a_long_o.bss");
        assert_eq!(data_map_name("x", ".rodata.str1.1"), ".rodata.str1.1");
        assert_eq!(
            data_map_name("x", ".rodata.cst16.and.more"),
            ".rodata.cst16.a"
        );
        assert_eq!(data_map_name("a-b", ".data"), "a_b.data");
        assert_eq!(
            data_map_name("long-name-here", ".kconfig"),
            "long_na.kconfig"
        );
    }
}
