//! What aya-obj makes of an object, in our terms.

use std::collections::{BTreeMap, HashSet};
use std::error::Error;

use aya_obj::Object;
use aya_obj::btf::Btf;
use bpftime_isa::Insn;

/// An instruction; of one that refers to a map, the map's name in place of a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Slot {
    pub(crate) insn: Insn,
    pub(crate) map: Option<String>,
}

/// A map without what is filled in later.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MapKey {
    pub(crate) map_type: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: Option<u32>,
    pub(crate) flags: u32,
    pub(crate) inner: Option<Box<MapKey>>,
}

/// A program.
#[derive(Debug)]
pub(crate) struct Program {
    /// Name of the variant of `ProgramSection`.
    pub(crate) section: String,
    pub(crate) slots: Vec<Slot>,
}

/// An object.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) license: String,
    pub(crate) maps: BTreeMap<String, MapKey>,
    pub(crate) data: BTreeMap<String, Vec<u8>>,
    pub(crate) programs: BTreeMap<String, Program>,
}

/// Loads an object for a kernel with the given BTF, if it is not empty; errors with their causes.
pub(crate) fn load(bytes: &[u8], target: &[u8]) -> Result<Loaded, String> {
    let mut object = Object::parse(bytes).map_err(with_causes)?;
    if !target.is_empty() {
        let target = Btf::parse(target, object.endianness).map_err(with_causes)?;
        object.relocate_btf(&target).map_err(with_causes)?;
    }
    let code: HashSet<usize> = object.functions.keys().map(|key| key.0).collect();
    let maps = object.maps.clone();
    let names: Vec<&String> = maps.keys().collect();
    let numbered = names
        .iter()
        .zip(0..)
        .map(|(name, number)| (name.as_str(), number, &maps[*name]));
    object.relocate_maps(numbered, &code).map_err(with_causes)?;
    object.relocate_calls(&code).map_err(with_causes)?;

    let programs = object.programs.iter().map(|(name, program)| {
        let function = &object.functions[&program.function_key()];
        let slots = function.instructions.iter().map(|insn| {
            let mut slot = Slot {
                insn: Insn {
                    opcode: insn.code,
                    dst: insn.dst_reg(),
                    src: insn.src_reg(),
                    off: insn.off,
                    imm: insn.imm,
                },
                map: None,
            };
            // By descriptor (1, with a value 2), where we have an index (5 and 6).
            if insn.code == 0x18 && matches!(insn.src_reg(), 1 | 2) {
                slot.map = Some(names[insn.imm as usize].clone());
                slot.insn.src += 4;
                slot.insn.imm = 0;
            }
            slot
        });
        let section = format!("{:?}", program.section);
        let section = section.split(' ').next().unwrap_or_default().to_owned();
        let slots = slots.collect();
        (name.clone(), Program { section, slots })
    });
    Ok(Loaded {
        license: object.license.to_str().unwrap().to_owned(),
        data: maps
            .iter()
            .map(|(name, map)| (name.clone(), map.data().to_vec()))
            .collect(),
        programs: programs.collect(),
        maps: maps
            .iter()
            .map(|(name, map)| (name.clone(), key(map)))
            .collect(),
    })
}

fn key(map: &aya_obj::Map) -> MapKey {
    // The program's number of CPUs and whole pages are left to aya itself.
    let later = [4, 27].contains(&map.map_type());
    MapKey {
        map_type: map.map_type(),
        key_size: map.key_size(),
        value_size: map.value_size(),
        max_entries: (!later).then(|| map.max_entries()),
        flags: map.map_flags(),
        inner: map.inner().as_ref().map(|inner| Box::new(key(inner))),
    }
}

fn with_causes(error: impl Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
