//! What of the broker's is in the target.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use bpftime_abi::map_type::create_flags::BPF_F_RDONLY_PROG;
use bpftime_abi::target::{CONTROL_NAME, MappingKind};
use bpftime_abi::{EntryPoint, MapType};
use bpftime_attach::inject::{
    Image, InjectOptions, Injection, Link, LinkSpec, Module, ProgramSpec, When,
};
use bpftime_attach::target::Protection;
use bpftime_attach::{Maps, Stopped};
use bpftime_maps::{Geometry, PerfRing};

use super::protocol::{ProgramText, RingPlace, Wanted};
use super::tables::{handle_bytes, values_base};

/// One sentence about what went wrong.
pub type Sentence = String;

/// What the broker gave, and what of it is in the target.
#[derive(Debug)]
pub struct Inside {
    image: Image,
    target_id: u32,
    cpus: u32,
    leases: OwnedFd,
    maps: BTreeMap<u32, Map>,
    rings: BTreeMap<u32, Ring>,
    programs: BTreeMap<u32, Program>,
    modules: HashMap<PathBuf, Module>,
    /// Of what is to be attached; none before the broker has said anything.
    generation: Option<u64>,
    /// What is to be attached.
    wanted: Vec<Wanted>,
    places: Vec<RingPlace>,
    injection: Option<Injection>,
    /// By key of the attachment.
    links: BTreeMap<u64, Link>,
    failures: BTreeMap<u64, Sentence>,
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

impl Inside {
    /// Nothing yet.
    pub fn new(image: Image, target_id: u32, cpus: u32, leases: OwnedFd) -> Self {
        Self {
            image,
            target_id,
            cpus,
            leases,
            maps: BTreeMap::new(),
            rings: BTreeMap::new(),
            programs: BTreeMap::new(),
            modules: HashMap::new(),
            generation: None,
            wanted: Vec::new(),
            places: Vec::new(),
            injection: None,
            links: BTreeMap::new(),
            failures: BTreeMap::new(),
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

    /// Sets what is to be attached.
    pub fn want(&mut self, generation: u64, wanted: Vec<Wanted>, places: Vec<RingPlace>) {
        self.generation = Some(generation);
        self.wanted = wanted;
        self.places = places;
        self.failures.clear();
    }

    /// What is to be attached.
    pub fn wanted(&self) -> &[Wanted] {
        &self.wanted
    }

    /// Which of the broker's wishes is the last one known.
    pub fn generation(&self) -> Option<u64> {
        self.generation
    }

    /// Notes that nothing more could be attached.
    pub fn fail_all(&mut self, sentence: &str) {
        for wanted in &self.wanted {
            if !self.links.contains_key(&wanted.key) {
                self.failures
                    .entry(wanted.key)
                    .or_insert_with(|| sentence.to_owned());
            }
        }
    }

    /// What could not be attached, with the reasons.
    pub fn failures(&self) -> &BTreeMap<u64, Sentence> {
        &self.failures
    }

    /// The image in the target, if it is there.
    pub fn injection(&self) -> Option<&Injection> {
        self.injection.as_ref()
    }

    /// Whether an attachment is made.
    pub fn is_linked(&self, key: u64) -> bool {
        self.links.contains_key(&key)
    }

    /// The file of an attachment.
    pub fn module(&self, wanted: &Wanted) -> Option<&Module> {
        self.modules.get(&wanted.path)
    }

    /// Notices that the target has executed another program, with whose memory everything went.
    pub fn notice_exec(&mut self, maps: &Maps) {
        let Some(injection) = &self.injection else {
            return;
        };
        let address = injection.control_address();
        if !maps
            .memfd(CONTROL_NAME.as_bytes())
            .any(|mapping| mapping.start == address)
        {
            tracing::info!("the process has executed another program");
            self.forget();
        }
    }

    /// Forgets what is in the target.
    fn forget(&mut self) {
        self.injection = None;
        self.links.clear();
        self.failures.clear();
        for map in self.maps.values_mut() {
            map.inside = None;
        }
        for ring in self.rings.values_mut() {
            ring.inside = None;
        }
        for program in self.programs.values_mut() {
            program.inside = None;
        }
    }

    /// Whether something is to be done for which the target must be stopped: something is to be
    /// removed, or to be attached to a file that is mapped.
    pub fn has_work(&mut self, maps: &Maps) -> bool {
        let keys: BTreeSet<u64> = self.wanted.iter().map(|wanted| wanted.key).collect();
        if self.links.keys().any(|key| !keys.contains(key)) {
            return true;
        }
        let mut work = false;
        for wanted in self.wanted.clone() {
            if self.links.contains_key(&wanted.key) {
                continue;
            }
            match self.open_module(&wanted) {
                Ok(()) => {
                    let module = self.modules.get(&wanted.path);
                    let mapped = module
                        .is_some_and(|m| !maps.code_addresses(m.id(), wanted.offset).is_empty());
                    // What failed when it was mapped fails again.
                    work |= mapped && !self.failures.contains_key(&wanted.key);
                    if !mapped {
                        self.failures.insert(wanted.key, not_mapped(&wanted));
                    } else if self.failures.get(&wanted.key) == Some(&not_mapped(&wanted)) {
                        self.failures.remove(&wanted.key);
                        work = true;
                    }
                }
                Err(sentence) => {
                    self.failures.insert(wanted.key, sentence);
                }
            }
        }
        work || self.rings_differ()
    }

    fn open_module(&mut self, wanted: &Wanted) -> Result<(), Sentence> {
        if !self.modules.contains_key(&wanted.path) {
            let module = Module::open(&wanted.path).map_err(|error| error.to_string())?;
            self.modules.insert(wanted.path.clone(), module);
        }
        Ok(())
    }

    /// Whether an output ring is wanted in a map of the target that is not there.
    fn rings_differ(&self) -> bool {
        self.places.iter().any(|place| {
            self.maps
                .get(&place.map)
                .is_some_and(|map| map.inside.is_some())
                && self
                    .rings
                    .get(&place.ring)
                    .is_some_and(|ring| ring.inside.is_none())
        })
    }

    /// Removes what is not wanted and attaches what is. Failures of single attachments are kept;
    /// an error means that nothing at all can be attached.
    pub fn reconcile(&mut self, stopped: &mut Stopped<'_>) -> Result<(), Sentence> {
        let keys: BTreeSet<u64> = self.wanted.iter().map(|wanted| wanted.key).collect();
        let gone: Vec<u64> = self
            .links
            .keys()
            .copied()
            .filter(|k| !keys.contains(k))
            .collect();
        for key in gone {
            if let (Some(link), Some(injection)) = (self.links.remove(&key), &mut self.injection) {
                injection
                    .unlink(stopped, link)
                    .map_err(|error| error.to_string())?;
            }
        }
        self.remove_unused(stopped);
        for wanted in self.wanted.clone() {
            if self.links.contains_key(&wanted.key) || self.failures.contains_key(&wanted.key) {
                continue;
            }
            match self.attach(stopped, &wanted) {
                Ok(link) => {
                    self.links.insert(wanted.key, link);
                }
                Err(sentence) => {
                    tracing::warn!("{sentence}");
                    self.failures.insert(wanted.key, sentence);
                }
            }
        }
        self.place_rings(stopped)
    }

    fn inject(&mut self, stopped: &mut Stopped<'_>) -> Result<(), Sentence> {
        if self.injection.is_none() {
            let options = InjectOptions {
                image: &self.image,
                target_id: self.target_id,
                leases: Some((self.leases.as_fd(), self.cpus)),
            };
            let injection =
                Injection::attach(stopped, &options).map_err(|error| error.to_string())?;
            self.injection = Some(injection);
        }
        Ok(())
    }

    fn attach(&mut self, stopped: &mut Stopped<'_>, wanted: &Wanted) -> Result<Link, Sentence> {
        self.open_module(wanted)?;
        let maps = stopped.maps().map_err(|error| error.to_string())?;
        let mapped = |module: &Module| !maps.code_addresses(module.id(), wanted.offset).is_empty();
        if !self.modules.get(&wanted.path).is_some_and(mapped) {
            return Err(not_mapped(wanted));
        }
        self.inject(stopped)?;
        let (program, needs_cpu) = self.ensure_program(stopped, wanted.program)?;
        let (Some(module), Some(injection)) = (self.modules.get(&wanted.path), &mut self.injection)
        else {
            return Err(not_mapped(wanted));
        };
        let entry = self
            .programs
            .get(&wanted.program)
            .map_or(0, |p| p.text.entry as u64);
        let count = self
            .programs
            .get(&wanted.program)
            .map_or(0, |p| p.text.maps.len() as u64);
        let spec = LinkSpec {
            module,
            offset: wanted.offset,
            when: if wanted.at_return {
                When::Return
            } else {
                When::Entry
            },
            program: ProgramSpec {
                entry: EntryPoint::new(program.code + entry),
                maps: program.tables,
                map_values: program.tables + 8 * count,
                cookie: wanted.cookie,
                needs_cpu,
                link_id: wanted.link_id,
            },
        };
        injection
            .link(stopped, &spec)
            .map_err(|error| error.to_string())
    }

    fn ensure_program(
        &mut self,
        stopped: &mut Stopped<'_>,
        id: u32,
    ) -> Result<(ProgramInside, bool), Sentence> {
        let unknown = || format!("the broker has not sent program {id}");
        let program = self.programs.get(&id).ok_or_else(unknown)?;
        let needs_cpu = program.text.needs_cpu;
        if let Some(inside) = program.inside {
            return Ok((inside, needs_cpu));
        }
        let most = bpftime_abi::target::PROGRAM_STACK_BYTES;
        if program.text.stack_bytes > most {
            return Err(format!(
                "program {} needs {} bytes of stack, more than the {most} that there are",
                program.text.name, program.text.stack_bytes
            ));
        }
        let (len, ids) = (program.text.len as u64, program.text.maps.clone());
        let mut handles = Vec::new();
        let mut values = Vec::new();
        for map in ids {
            let inside = self.ensure_map(stopped, map)?;
            handles.extend(inside.handle.to_le_bytes());
            values.extend(inside.values.to_le_bytes());
        }
        handles.extend(values);
        let text = |error: bpftime_attach::Error| error.to_string();
        let (Some(injection), Some(program)) = (&self.injection, self.programs.get_mut(&id)) else {
            return Err(unknown());
        };
        let tables = injection.map_tables(stopped, &handles).map_err(text)?;
        let code = injection
            .map_file(
                stopped,
                program.code.as_fd(),
                len.next_multiple_of(4096),
                Protection::ReadExecute,
                false,
                MappingKind::Program,
                id,
            )
            .map_err(text)?;
        let inside = ProgramInside { code, tables };
        program.inside = Some(inside);
        Ok((inside, needs_cpu))
    }

    fn ensure_map(&mut self, stopped: &mut Stopped<'_>, id: u32) -> Result<MapInside, Sentence> {
        let unknown = || format!("the broker has not sent map {id}");
        let text = |error: bpftime_attach::Error| error.to_string();
        let cpus = self.cpus;
        let (Some(injection), Some(map)) = (&self.injection, self.maps.get_mut(&id)) else {
            return Err(unknown());
        };
        if let Some(inside) = &map.inside {
            return Ok(inside.clone());
        }
        let geometry = map.geometry;
        let mut share = |fd: &OwnedFd, len: usize, protection| {
            let kind = MappingKind::Map;
            injection
                .map_file(stopped, fd.as_fd(), len as u64, protection, true, kind, id)
                .map_err(text)
        };
        let control = share(&map.control, geometry.control_len(), Protection::ReadWrite)?;
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
            Some(injection.map_tables(stopped, &empty).map_err(text)?)
        } else {
            None
        };
        let rings = ring_table.map(|address| (address, cpus));
        let bytes =
            handle_bytes(geometry, control, data.unwrap_or(0), rings).ok_or_else(unknown)?;
        let handle = injection.map_tables(stopped, &bytes).map_err(text)?;
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

    /// Maps output rings and puts them into the tables of the maps that they belong to.
    fn place_rings(&mut self, stopped: &mut Stopped<'_>) -> Result<(), Sentence> {
        let text = |error: bpftime_attach::Error| error.to_string();
        let Some(injection) = &self.injection else {
            return Ok(());
        };
        for place in &self.places {
            let table = self
                .maps
                .get(&place.map)
                .and_then(|map| map.inside.as_ref()?.ring_table);
            let (Some(table), Some(ring)) = (table, self.rings.get_mut(&place.ring)) else {
                continue;
            };
            if place.index >= self.cpus {
                continue;
            }
            let base = match ring.inside {
                Some(base) => base,
                None => {
                    let len = RING_CONTROL + ring.data_len;
                    let rw = Protection::ReadWrite;
                    let kind = MappingKind::Map;
                    let base = injection
                        .map_file(stopped, ring.memory.as_fd(), len, rw, true, kind, place.map)
                        .map_err(text)?;
                    ring.inside = Some(base);
                    base
                }
            };
            // `PerfRing`: the length first, the address last.
            let entry = table + u64::from(place.index) * size_of::<PerfRing>() as u64;
            let len_at = entry + std::mem::offset_of!(PerfRing, len) as u64;
            let base_at = entry + std::mem::offset_of!(PerfRing, base) as u64;
            stopped
                .write(len_at, &ring.data_len.to_le_bytes())
                .map_err(text)?;
            stopped.write(base_at, &base.to_le_bytes()).map_err(text)?;
        }
        Ok(())
    }

    /// Unmaps programs and maps that no attachment uses. What threads may still be using stays
    /// until the next time.
    fn remove_unused(&mut self, stopped: &mut Stopped<'_>) {
        let Some(injection) = &self.injection else {
            return;
        };
        let used: BTreeSet<u32> = self.wanted.iter().map(|wanted| wanted.program).collect();
        let mut maps_in_use = BTreeSet::<u32>::new();
        for (id, program) in &mut self.programs {
            if let (false, Some(inside)) = (used.contains(id), program.inside)
                && matches!(injection.unmap_file(stopped, inside.code), Ok(true))
                && matches!(injection.unmap_file(stopped, inside.tables), Ok(true))
            {
                program.inside = None;
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
            let parts = [
                Some(inside.handle),
                Some(inside.control),
                inside.data,
                inside.ring_table,
            ];
            for address in parts.into_iter().flatten() {
                if let Err(error) = injection.unmap_file(stopped, address) {
                    tracing::warn!("a map stays in the process: {error}");
                }
            }
        }
    }
}

fn not_mapped(wanted: &Wanted) -> Sentence {
    format!("the process has not loaded {}", wanted.path.display())
}
