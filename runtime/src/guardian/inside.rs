//! Brings the target in line with what is wanted.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use bpftime_abi::target::{CONTROL_MAGIC, CONTROL_NAME};
use bpftime_attach::inject::{
    Image, InjectOptions, Injection, Link, LinkSpec, Module, Unwinders, When,
};
use bpftime_attach::{Error, FileId, Maps, Stopped, Target};

use super::objects::Objects;
use super::protocol::{RingPlace, Wanted};
use super::trace::Follower;
use super::voice::Voice;

/// One sentence about what went wrong.
pub type Sentence = String;

/// What the broker gave, and what of it is in the target.
#[derive(Debug)]
pub struct Inside {
    image: Image,
    target_id: u32,
    cpus: u32,
    leases: OwnedFd,
    objects: Objects,
    modules: HashMap<PathBuf, Module>,
    unwinders: Unwinders,
    /// Of what is to be attached; none before the broker has said anything.
    generation: Option<u64>,
    /// What is to be attached.
    wanted: Vec<Wanted>,
    places: Vec<RingPlace>,
    injection: Option<Injection>,
    voice: Voice,
    /// Passes on what the programs of the injection print.
    trace: Option<Follower>,
    /// By key of the attachment.
    links: BTreeMap<u64, Link>,
    failures: BTreeMap<u64, Sentence>,
    /// Those that may pass when the target loads more files: its unwinder may be in one of them.
    waiting: BTreeSet<u64>,
    /// Device and inode of the files with code that were loaded when that was last tried.
    tried_with: BTreeSet<(u64, u64)>,
    /// The target is past its start.
    started: bool,
    /// How often was looked for thread ids, with nothing found.
    looks_for_thread_ids: u32,
}

/// As [`Inside::looks_for_thread_ids`], at most: a static program's C library starts later.
const LOOKS_FOR_THREAD_IDS: u32 = 3;

impl Inside {
    /// Nothing yet.
    pub fn new(image: Image, target_id: u32, cpus: u32, leases: OwnedFd, voice: Voice) -> Self {
        Self {
            image,
            target_id,
            cpus,
            leases,
            objects: Objects::new(cpus),
            modules: HashMap::new(),
            unwinders: Unwinders::default(),
            generation: None,
            wanted: Vec::new(),
            places: Vec::new(),
            injection: None,
            voice,
            trace: None,
            links: BTreeMap::new(),
            failures: BTreeMap::new(),
            waiting: BTreeSet::new(),
            tried_with: BTreeSet::new(),
            started: false,
            looks_for_thread_ids: 0,
        }
    }

    /// Notes that the target is past its start, and runs.
    pub fn set_started(&mut self) {
        self.started = true;
    }

    /// Sets what is to be attached.
    pub fn want(&mut self, generation: u64, wanted: Vec<Wanted>, places: Vec<RingPlace>) {
        self.generation = Some(generation);
        self.wanted = wanted;
        self.places = places;
        self.failures.clear();
        self.waiting.clear();
    }

    /// What the broker gave.
    pub fn objects(&mut self) -> &mut Objects {
        &mut self.objects
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

    /// Whether everything that is wanted is attached, and still there: a glance that costs little.
    pub fn is_settled(&self, target: &Target) -> bool {
        if !self
            .wanted
            .iter()
            .all(|wanted| self.links.contains_key(&wanted.key))
        {
            return false;
        }
        // Another program has other memory there, or none.
        self.injection.as_ref().is_none_or(|injection| {
            let mut magic = [0; 8];
            target.read(injection.control_address(), &mut magic).is_ok()
                && u64::from_le_bytes(magic) == CONTROL_MAGIC
                && self
                    .links
                    .values()
                    .all(|link| injection.is_in_place(target, *link))
        }) && !self.misses_thread_ids()
    }

    /// Whether another look for thread ids may find some.
    fn misses_thread_ids(&self) -> bool {
        self.started
            && self.looks_for_thread_ids < LOOKS_FOR_THREAD_IDS
            && self
                .injection
                .as_ref()
                .is_some_and(Injection::misses_thread_ids)
    }

    /// Attachments whose file is mapped elsewhere too now. (Where it no longer is mapped, the jumps
    /// are gone; the mappings of a file that was replaced on disk cannot always be told.)
    fn misplaced(&self, maps: &Maps) -> Vec<u64> {
        let Some(injection) = &self.injection else {
            return Vec::new();
        };
        let is_misplaced = |wanted: &&Wanted| {
            let (Some(link), Some(module)) =
                (self.links.get(&wanted.key), self.modules.get(&wanted.path))
            else {
                return false;
            };
            let sites = injection.sites_of(*link);
            let addresses = maps.code_addresses(module.id(), wanted.offset);
            addresses.iter().any(|address| !sites.contains(address))
        };
        let misplaced = self.wanted.iter().filter(is_misplaced);
        misplaced.map(|wanted| wanted.key).collect()
    }

    /// Attachments whose jumps the target has done away with: with a file that it unloaded, perhaps
    /// to load it again.
    fn undone(&self, target: &Target) -> Vec<u64> {
        let Some(injection) = &self.injection else {
            return Vec::new();
        };
        let undone = |(_, link): &(&u64, &Link)| !injection.is_in_place(target, **link);
        let links = self.links.iter().filter(undone);
        links.map(|(key, _)| *key).collect()
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

    /// Notices that the target has confined itself by a seccomp filter, which might kill it for a
    /// helper's system call.
    pub fn notice_seccomp(&mut self, target: &Target) {
        if let Some(injection) = &mut self.injection
            && let Err(error) = injection.notice_seccomp(target)
            && !error.is_gone()
        {
            tracing::warn!("{error}");
        }
    }

    /// Forgets what is in the target.
    fn forget(&mut self) {
        self.end_trace();
        self.injection = None;
        self.links.clear();
        self.failures.clear();
        self.waiting.clear();
        self.objects.forget_places();
        self.looks_for_thread_ids = 0;
    }

    /// Tells the broker the rest of what the programs have printed.
    pub fn end_trace(&mut self) {
        self.trace = None;
    }

    /// Whether something is to be done for which the target must be stopped: something is to be
    /// removed, or to be attached to a file that is mapped.
    pub fn has_work(&mut self, target: &Target, maps: &Maps) -> bool {
        let keys: BTreeSet<u64> = self.wanted.iter().map(|wanted| wanted.key).collect();
        if self.links.keys().any(|key| !keys.contains(key)) {
            return true;
        }
        if self.wanted.iter().any(|wanted| wanted.at_return) {
            self.unwinders.look(maps);
        }
        let mut work = self.misses_thread_ids()
            || !self.undone(target).is_empty()
            || !self.misplaced(maps).is_empty()
            || self.has_new_unwinder(target, maps)
            || !self.waiting.is_empty() && files(maps) != self.tried_with;
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
        work || (self.injection.is_some() && self.objects.rings_differ(&self.places))
    }

    /// Whether the target has loaded an unwinder that must be told of probed returns.
    fn has_new_unwinder(&mut self, target: &Target, maps: &Maps) -> bool {
        self.injection.as_ref().is_some_and(|injection| {
            injection.probes_returns()
                && injection.has_unguarded_unwinder(target, maps, &mut self.unwinders)
        })
    }

    fn open_module(&mut self, wanted: &Wanted) -> Result<(), Sentence> {
        // A file that was replaced since is another one.
        let current = FileId::of(&wanted.path).ok();
        if self.modules.get(&wanted.path).map(Module::id) != current || current.is_none() {
            let module = Module::open(&wanted.path).map_err(|error| error.to_string())?;
            self.modules.insert(wanted.path.clone(), module);
        }
        if let Some(module) = self.modules.get(&wanted.path) {
            module.prepare(wanted.offset);
        }
        Ok(())
    }

    /// Removes what is not wanted and attaches what is. Failures of single attachments are kept;
    /// an error means that nothing at all can be attached.
    pub fn reconcile(&mut self, stopped: &mut Stopped<'_>) -> Result<(), Sentence> {
        if self.misses_thread_ids()
            && let Some(injection) = &mut self.injection
        {
            self.looks_for_thread_ids += 1;
            injection
                .find_thread_ids(stopped)
                .map_err(|error| error.to_string())?;
        }
        let keys: BTreeSet<u64> = self.wanted.iter().map(|wanted| wanted.key).collect();
        let maps = stopped.maps().map_err(|error| error.to_string())?;
        let mut gone: BTreeSet<u64> = self.misplaced(&maps).into_iter().collect();
        gone.extend(self.undone(stopped.target()));
        gone.extend(self.links.keys().filter(|key| !keys.contains(key)));
        for key in gone {
            if let (Some(link), Some(injection)) = (self.links.remove(&key), &mut self.injection) {
                injection
                    .unlink(stopped, link)
                    .map_err(|error| error.to_string())?;
            }
        }
        if let Some(injection) = &self.injection {
            let used = self.wanted.iter().map(|wanted| wanted.program).collect();
            self.objects.unmap_unused(injection, stopped, &used);
        }
        if let Some(injection) = &mut self.injection
            && injection.probes_returns()
        {
            injection
                .guard_unwinders(stopped, &mut self.unwinders)
                .map_err(|error| error.to_string())?;
        }
        for key in std::mem::take(&mut self.waiting) {
            self.failures.remove(&key);
        }
        self.tried_with = files(&maps);
        for wanted in self.wanted.clone() {
            if self.links.contains_key(&wanted.key) || self.failures.contains_key(&wanted.key) {
                continue;
            }
            match self.attach(stopped, &wanted) {
                Ok(link) => {
                    self.links.insert(wanted.key, link);
                }
                Err(failure) => {
                    tracing::warn!("{}", failure.sentence);
                    self.failures.insert(wanted.key, failure.sentence);
                    if failure.may_pass {
                        self.waiting.insert(wanted.key);
                    }
                }
            }
        }
        match &self.injection {
            Some(injection) => self.objects.place_rings(injection, stopped, &self.places),
            None => Ok(()),
        }
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
            let follower = Follower::start(
                stopped.target().pid(),
                injection.control(),
                self.voice.clone(),
            );
            self.trace = follower
                .inspect_err(|error| tracing::warn!("text of programs is lost: {error}"))
                .ok();
            self.injection = Some(injection);
        }
        Ok(())
    }

    fn attach(&mut self, stopped: &mut Stopped<'_>, wanted: &Wanted) -> Result<Link, Failure> {
        self.open_module(wanted)?;
        let maps = stopped.maps().map_err(|error| error.to_string())?;
        let mapped = |module: &Module| !maps.code_addresses(module.id(), wanted.offset).is_empty();
        if !self.modules.get(&wanted.path).is_some_and(mapped) {
            return Err(not_mapped(wanted).into());
        }
        self.inject(stopped)?;
        let (Some(module), Some(injection)) = (self.modules.get(&wanted.path), &mut self.injection)
        else {
            return Err(not_mapped(wanted).into());
        };
        let (cookie, link_id) = (wanted.cookie, wanted.link_id);
        let program =
            self.objects
                .place_program(injection, stopped, wanted.program, cookie, link_id)?;
        let spec = LinkSpec {
            module,
            offset: wanted.offset,
            when: if wanted.at_return {
                When::Return
            } else {
                When::Entry
            },
            program,
        };
        let linked = injection.link(stopped, &spec, &mut self.unwinders);
        linked.map_err(|error| Failure {
            sentence: error.to_string(),
            may_pass: matches!(error, Error::MayUnwind { .. }),
        })
    }
}

/// Device and inode of the files of which code is loaded.
fn files(maps: &Maps) -> BTreeSet<(u64, u64)> {
    maps.code_of_files()
        .map(|mapping| (mapping.device, mapping.inode))
        .collect()
}

/// Why something could not be attached.
struct Failure {
    sentence: Sentence,
    /// Files that the target loads may change that.
    may_pass: bool,
}

impl From<Sentence> for Failure {
    fn from(sentence: Sentence) -> Self {
        Self {
            sentence,
            may_pass: false,
        }
    }
}

fn not_mapped(wanted: &Wanted) -> Sentence {
    format!("the process has not loaded {}", wanted.path.display())
}
