//! Maps, output rings and programs of the broker's, and where they are in the target.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;
use std::os::fd::{AsFd, OwnedFd};

use bpftime_abi::map_type::create_flags::BPF_F_RDONLY_PROG;
use bpftime_abi::target::{MappingKind, PROGRAM_STACK_BYTES};
use bpftime_abi::{EntryPoint, MapType};
use bpftime_attach::Stopped;
use bpftime_attach::inject::{Injection, ProgramSpec};
use bpftime_attach::target::Protection;
use bpftime_maps::{Geometry, PerfRing};

use super::inside::Sentence;
use super::protocol::{ProgramText, RingPlace};
use super::tables::{handle_bytes, values_base};

/// What the broker gave, and what of it is in the target.
#[derive(Debug)]
pub struct Objects {
    cpus: u32,
    maps: BTreeMap<u32, Map>,
    rings: BTreeMap<u32, Ring>,
    programs: BTreeMap<u32, Program>,
    /// Rings in tables of the target, by map and index.
    placed: BTreeMap<(u32, u32), u32>,
}

#[derive(Debug)]
struct Map {
    geometry: Geometry,
    control: OwnedFd,
    data: Option<OwnedFd>,
    inside: Option<MapInside>,
}

/// Addresses in the target.
#[derive(Clone, Debug)]
struct MapInside {
    handle: u64,
    values: u64,
    control: u64,
    data: Option<u64>,
    ring_table: Option<u64>,
}

#[derive(Debug)]
struct Ring {
    memory: OwnedFd,
    data_len: u64,
    inside: Option<u64>,
}

#[derive(Debug)]
struct Program {
    text: ProgramText,
    code: OwnedFd,
    inside: Option<ProgramInside>,
}

/// Addresses in the target.
#[derive(Clone, Copy, Debug)]
struct ProgramInside {
    code: u64,
    tables: u64,
}

/// Bytes of an output ring before its data.
const RING_CONTROL: u64 = 4096;

fn sentence(error: bpftime_attach::Error) -> Sentence {
    error.to_string()
}

impl Objects {
    /// None yet, for a target with this many virtual CPUs.
    pub fn new(cpus: u32) -> Self {
        Self {
            cpus,
            maps: BTreeMap::new(),
            rings: BTreeMap::new(),
            programs: BTreeMap::new(),
            placed: BTreeMap::new(),
        }
    }

    /// Takes a map in.
    pub fn add_map(
        &mut self,
        id: u32,
        geometry: Geometry,
        control: OwnedFd,
        data: Option<OwnedFd>,
    ) {
        self.maps.insert(
            id,
            Map {
                geometry,
                control,
                data,
                inside: None,
            },
        );
    }

    /// Takes an output ring in.
    pub fn add_ring(&mut self, number: u32, memory: OwnedFd, data_len: u64) {
        self.rings.insert(
            number,
            Ring {
                memory,
                data_len,
                inside: None,
            },
        );
    }

    /// Takes a program in.
    pub fn add_program(&mut self, text: ProgramText, code: OwnedFd) {
        self.programs.insert(
            text.id,
            Program {
                text,
                code,
                inside: None,
            },
        );
    }

    /// Forgets what is in the target: it is gone.
    pub fn forget_places(&mut self) {
        self.maps.values_mut().for_each(|map| map.inside = None);
        self.rings.values_mut().for_each(|ring| ring.inside = None);
        self.programs
            .values_mut()
            .for_each(|program| program.inside = None);
        self.placed.clear();
    }

    /// Brings a program and its maps into the target, if they are not there.
    pub fn place_program(
        &mut self,
        injection: &Injection,
        stopped: &mut Stopped<'_>,
        id: u32,
        cookie: u64,
        link_id: u32,
    ) -> Result<ProgramSpec, Sentence> {
        let unknown = || format!("the broker has not sent program {id}");
        let text = self.programs.get(&id).ok_or_else(unknown)?.text.clone();
        let inside = match self.programs.get(&id).and_then(|program| program.inside) {
            Some(inside) => inside,
            None => {
                let inside = self.map_program(injection, stopped, &text)?;
                let program = self.programs.get_mut(&id).ok_or_else(unknown)?;
                program.inside = Some(inside);
                inside
            }
        };
        Ok(ProgramSpec {
            entry: EntryPoint::new(inside.code + text.entry as u64),
            maps: inside.tables,
            map_values: inside.tables + size_of::<u64>() as u64 * text.maps.len() as u64,
            cookie,
            needs_cpu: text.needs_cpu,
            link_id,
        })
    }

    fn map_program(
        &mut self,
        injection: &Injection,
        stopped: &mut Stopped<'_>,
        text: &ProgramText,
    ) -> Result<ProgramInside, Sentence> {
        if text.stack_bytes > PROGRAM_STACK_BYTES {
            return Err(format!(
                "program {} needs {} bytes of stack, more than the {PROGRAM_STACK_BYTES} that \
                 there are",
                text.name, text.stack_bytes
            ));
        }
        let mut tables = Vec::new();
        let mut values = Vec::new();
        for map in &text.maps {
            let inside = self.map_map(injection, stopped, *map)?;
            tables.extend(inside.handle.to_le_bytes());
            values.extend(inside.values.to_le_bytes());
        }
        tables.extend(values);
        let unknown = || format!("the broker has not sent program {}", text.id);
        let program = self.programs.get(&text.id).ok_or_else(unknown)?;
        let tables = injection.map_tables(stopped, &tables).map_err(sentence)?;
        let len = (text.len as u64).next_multiple_of(4096);
        let (rx, kind) = (Protection::ReadExecute, MappingKind::Program);
        let code = injection
            .map_file(stopped, program.code.as_fd(), len, rx, false, kind, text.id)
            .map_err(sentence)?;
        Ok(ProgramInside { code, tables })
    }

    fn map_map(
        &mut self,
        injection: &Injection,
        stopped: &mut Stopped<'_>,
        id: u32,
    ) -> Result<MapInside, Sentence> {
        let unknown = || format!("the broker has not sent map {id}");
        let cpus = self.cpus;
        let map = self.maps.get_mut(&id).ok_or_else(unknown)?;
        if let Some(inside) = &map.inside {
            return Ok(inside.clone());
        }
        let geometry = map.geometry;
        let mut share = |fd: &OwnedFd, len: usize, protection| {
            let kind = MappingKind::Map;
            injection
                .map_file(stopped, fd.as_fd(), len as u64, protection, true, kind, id)
                .map_err(sentence)
        };
        let control = share(&map.control, geometry.control_len(), Protection::ReadWrite)?;
        // Sealed against writing once it is frozen; programs only read it anyway.
        let read_only = geometry.flags & BPF_F_RDONLY_PROG != 0;
        let protection = if read_only {
            Protection::Read
        } else {
            Protection::ReadWrite
        };
        let data = match &map.data {
            Some(fd) => Some(share(fd, geometry.data_len(), protection)?),
            None => None,
        };
        let ring_table = if geometry.map_type == MapType::PerfEventArray {
            let empty = vec![0; cpus as usize * size_of::<PerfRing>()];
            Some(injection.map_tables(stopped, &empty).map_err(sentence)?)
        } else {
            None
        };
        let rings = ring_table.map(|address| (address, cpus));
        let bytes =
            handle_bytes(geometry, control, data.unwrap_or(0), rings).ok_or_else(unknown)?;
        let handle = injection.map_tables(stopped, &bytes).map_err(sentence)?;
        let values = values_base(&geometry, data.unwrap_or(0));
        let inside = MapInside {
            handle,
            values,
            control,
            data,
            ring_table,
        };
        map.inside = Some(inside.clone());
        Ok(inside)
    }

    /// What the tables of the maps in the target should hold.
    fn wanted_rings(&self, places: &[RingPlace]) -> BTreeMap<(u32, u32), u32> {
        let known = |place: &&RingPlace| {
            let table = self
                .maps
                .get(&place.map)
                .and_then(|map| map.inside.as_ref()?.ring_table);
            table.is_some() && place.index < self.cpus && self.rings.contains_key(&place.ring)
        };
        places
            .iter()
            .filter(known)
            .map(|place| ((place.map, place.index), place.ring))
            .collect()
    }

    /// Whether the rings in the target's tables are not those that are wanted.
    pub fn rings_differ(&self, places: &[RingPlace]) -> bool {
        self.placed != self.wanted_rings(places)
    }

    /// Puts output rings into the tables of the maps that they belong to, and takes others away.
    pub fn place_rings(
        &mut self,
        injection: &Injection,
        stopped: &mut Stopped<'_>,
        places: &[RingPlace],
    ) -> Result<(), Sentence> {
        let wanted = self.wanted_rings(places);
        let gone: Vec<_> = self
            .placed
            .keys()
            .copied()
            .filter(|key| !wanted.contains_key(key))
            .collect();
        for key in gone {
            self.write_ring(stopped, key, 0, 0)?;
            self.placed.remove(&key);
        }
        for (key, number) in wanted {
            if self.placed.get(&key) == Some(&number) {
                continue;
            }
            let Some(ring) = self.rings.get_mut(&number) else {
                continue;
            };
            let base = match ring.inside {
                Some(base) => base,
                None => {
                    let (fd, len) = (ring.memory.as_fd(), RING_CONTROL + ring.data_len);
                    let (rw, kind) = (Protection::ReadWrite, MappingKind::Map);
                    let base = injection
                        .map_file(stopped, fd, len, rw, true, kind, key.0)
                        .map_err(sentence)?;
                    ring.inside = Some(base);
                    base
                }
            };
            let len = ring.data_len;
            self.write_ring(stopped, key, base, len)?;
            self.placed.insert(key, number);
        }
        self.unmap_rings(injection, stopped);
        Ok(())
    }

    /// Writes an entry of a ring table: when it appears, its length first; when it goes, its
    /// address first (see [`PerfRing`]).
    fn write_ring(
        &self,
        stopped: &Stopped<'_>,
        (map, index): (u32, u32),
        base: u64,
        len: u64,
    ) -> Result<(), Sentence> {
        let table = self
            .maps
            .get(&map)
            .and_then(|map| map.inside.as_ref()?.ring_table);
        let Some(table) = table else { return Ok(()) };
        let entry = table + u64::from(index) * size_of::<PerfRing>() as u64;
        let mut words = [
            (offset_of!(PerfRing, len), len),
            (offset_of!(PerfRing, base), base),
        ];
        if base == 0 {
            words.reverse();
        }
        for (offset, word) in words {
            stopped
                .write(entry + offset as u64, &word.to_le_bytes())
                .map_err(sentence)?;
        }
        Ok(())
    }

    /// Unmaps rings that no table holds.
    fn unmap_rings(&mut self, injection: &Injection, stopped: &mut Stopped<'_>) {
        let used: BTreeSet<u32> = self.placed.values().copied().collect();
        for (number, ring) in &mut self.rings {
            if let (false, Some(base)) = (used.contains(number), ring.inside)
                && matches!(injection.unmap_file(stopped, base), Ok(true))
            {
                ring.inside = None;
            }
        }
    }

    /// Unmaps programs other than `used`, and maps that no program uses. What threads may still
    /// be using stays until the next time.
    pub fn unmap_unused(
        &mut self,
        injection: &Injection,
        stopped: &mut Stopped<'_>,
        used: &BTreeSet<u32>,
    ) {
        let mut maps_in_use = BTreeSet::<u32>::new();
        for (id, program) in &mut self.programs {
            if let (false, Some(inside)) = (used.contains(id), program.inside)
                && matches!(injection.unmap_file(stopped, inside.code), Ok(true))
            {
                program.inside = None;
                unmap_quiet(injection, stopped, inside.tables);
            }
            if program.inside.is_some() || used.contains(id) {
                maps_in_use.extend(&program.text.maps);
            }
        }
        for (id, map) in &mut self.maps {
            if maps_in_use.contains(id) {
                continue;
            }
            let Some(inside) = map.inside.take() else {
                continue;
            };
            self.placed.retain(|(map, _), _| map != id);
            let parts = [
                Some(inside.handle),
                Some(inside.control),
                inside.data,
                inside.ring_table,
            ];
            for address in parts.into_iter().flatten() {
                unmap_quiet(injection, stopped, address);
            }
        }
        self.unmap_rings(injection, stopped);
    }
}

/// Unmaps what no program refers to any more. If that fails the mapping stays, noted down in the
/// control memory, until the process is detached.
fn unmap_quiet(injection: &Injection, stopped: &mut Stopped<'_>, address: u64) {
    match injection.unmap_file(stopped, address) {
        Ok(true) => {}
        Ok(false) => tracing::debug!("memory at {address:#x} is in use and stays"),
        Err(error) => tracing::warn!("memory at {address:#x} stays in the process: {error}"),
    }
}
