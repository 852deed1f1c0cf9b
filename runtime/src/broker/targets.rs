//! Processes that programs run in, each with its guardian.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bpftime_abi::target::LeaseTable;

use super::event::EventKind;
use super::objects::Counter;
use super::state::{Attachment, Broker};
use crate::guardian::protocol::{
    FromGuardian, HookReport, ProgramText, RingPlace, ToGuardian, Wanted,
};
use crate::sys::file::fixed_memfd;
use crate::sys::mapping::Mapping;
use crate::sys::{process, wire};

/// How long a guardian may take to attach to a process or to change its hooks.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many guardians of a process may be lost, one after the other, before the process is left
/// alone.
const MAX_LOSSES: u32 = 3;

/// All targets of the broker.
#[derive(Debug)]
pub struct Targets {
    numbers: Counter,
    cpus: u32,
    leases: OwnedFd,
    lease_view: Mapping,
    by_pid: Mutex<BTreeMap<i32, Arc<Target>>>,
}

/// Why a process becomes a target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// `bpftime start`: it waits before its `exec`.
    Start,
    /// `bpftime attach`.
    Attach,
    /// A tool's probe names it.
    Probe,
}

/// A process with its guardian.
#[derive(Debug)]
pub struct Target {
    /// Process id.
    pub pid: i32,
    /// The broker's number.
    pub number: u32,
    /// Command line when it became a target.
    pub command: String,
    /// Nobody asked for the process but tools whose probes name it; it is given back when they
    /// are gone.
    only_for_tools: AtomicBool,
    /// How often a guardian of the process was lost before this one.
    losses: u32,
    stream: UnixStream,
    /// What the guardian has been told; held while it is told more.
    told: Mutex<Told>,
    heard: Mutex<Heard>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Told {
    maps: BTreeSet<u32>,
    programs: BTreeSet<u32>,
    rings: BTreeSet<u32>,
    generation: u64,
    /// Whether the guardian knows what is to be attached, were it nothing.
    wished: bool,
    attachments: Vec<Wanted>,
    places: Vec<RingPlace>,
}

#[derive(Debug, Default)]
struct Heard {
    ready: bool,
    /// The guardian has ended, with its last sentence if it had one.
    ended: Option<Option<String>>,
    /// Answered generation of the last `Reconcile`, and what failed.
    reconciled: (u64, BTreeMap<u64, String>),
    report: (u64, Vec<HookReport>),
    detached: bool,
}

impl Targets {
    /// No targets.
    pub fn new(cpus: u32) -> io::Result<Self> {
        let len = size_of::<LeaseTable>();
        let leases = fixed_memfd("bpftime-leases", len as u64)?;
        let lease_view = Mapping::new(&leases, len, true)?;
        Ok(Self {
            numbers: Counter::default(),
            cpus,
            leases,
            lease_view,
            by_pid: Mutex::default(),
        })
    }

    fn locked(&self) -> MutexGuard<'_, BTreeMap<i32, Arc<Target>>> {
        self.by_pid.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.locked().is_empty()
    }

    /// All targets whose guardian lives, by pid.
    pub fn all(&self) -> Vec<Arc<Target>> {
        self.locked()
            .values()
            .filter(|target| !target.has_ended())
            .cloned()
            .collect()
    }

    /// The target with a pid.
    pub fn get(&self, pid: i32) -> Option<Arc<Target>> {
        self.locked()
            .get(&pid)
            .filter(|target| !target.has_ended())
            .cloned()
    }

    /// Makes a process that a probe names a target unless it is one.
    pub fn ensure(&self, broker: &Arc<Broker>, pid: i32) -> Result<Arc<Target>, String> {
        match self.get(pid) {
            Some(target) => Ok(target),
            None => self.add(broker, pid, Reason::Probe),
        }
    }

    /// Makes a process a target: starts its guardian and waits until that has hold of it. A
    /// guardian that is killed meanwhile is replaced.
    pub fn add(
        &self,
        broker: &Arc<Broker>,
        pid: i32,
        reason: Reason,
    ) -> Result<Arc<Target>, String> {
        for losses in 0..MAX_LOSSES {
            match self.add_once(broker, pid, reason, losses) {
                Err(None) => {}
                other => return other.map_err(Option::unwrap_or_default),
            }
        }
        Err(format!(
            "the guardian of process {pid} dies again and again"
        ))
    }

    /// As [`Self::add`], once. An error without a sentence: the guardian was killed.
    fn add_once(
        &self,
        broker: &Arc<Broker>,
        pid: i32,
        reason: Reason,
        losses: u32,
    ) -> Result<Arc<Target>, Option<String>> {
        let number = self.numbers.next();
        let cannot = |error: io::Error| {
            Some(format!(
                "cannot start a guardian for process {pid}: {error}"
            ))
        };
        let (ours, theirs) = UnixStream::pair().map_err(cannot)?;
        let child = Command::new("/proc/self/exe")
            .arg("guardian")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .map_err(cannot)?;
        let target = Arc::new(Target {
            pid,
            number,
            command: process::command_of(pid),
            only_for_tools: AtomicBool::new(reason == Reason::Probe),
            losses,
            stream: ours,
            told: Mutex::default(),
            heard: Mutex::default(),
            news: Condvar::new(),
        });
        self.locked().insert(pid, target.clone());
        broker.touch();
        let listening = target.clone();
        std::thread::Builder::new()
            .name(format!("target {pid}"))
            .spawn(move || listening.listen(child))
            .map_err(cannot)?;
        let begin = ToGuardian::Begin {
            pid,
            target_id: number,
            cpus: self.cpus,
            starting: reason == Reason::Start,
        };
        // A guardian that is dead already shows in the wait.
        let _ = wire::send(&target.stream, &begin, &[self.leases.as_fd()]);
        let result = target.wait_for(|heard| heard.ready.then_some(()));
        if result.is_err() {
            let mut targets = self.locked();
            if targets
                .get(&pid)
                .is_some_and(|known| Arc::ptr_eq(known, &target))
            {
                targets.remove(&pid);
            }
        }
        result.map(|()| target)
    }

    /// Brings the targets in line with what is attached. If `pid` is given, the first failure in
    /// that process is returned as a sentence.
    pub fn reconcile(&self, broker: &Broker, pid: Option<i32>) -> Result<(), String> {
        let attachments = broker.attachments();
        let waiting: Vec<_> = self
            .all()
            .into_iter()
            .filter_map(|target| {
                let generation = target.tell(&attachments);
                generation.map(|generation| (target, generation))
            })
            .collect();
        let mut result = Ok(());
        for (target, generation) in waiting {
            let failures = target.wait_for(|heard| {
                (heard.reconciled.0 >= generation).then(|| heard.reconciled.1.clone())
            });
            if Some(target.pid) == pid {
                match failures {
                    Ok(failures) => {
                        if let Some(sentence) = failures.into_values().next() {
                            result = Err(sentence);
                        }
                    }
                    Err(sentence) => result = Err(sentence.unwrap_or_else(|| target.ended())),
                }
            }
        }
        result
    }

    /// Forgets targets that have ended, frees what they held, gives processes back that no tool
    /// wants any more, and replaces guardians that were killed.
    pub fn sweep(&self, broker: &Arc<Broker>) {
        let gone: Vec<_> = {
            let mut targets = self.locked();
            let gone = targets
                .values()
                .filter(|target| target.has_ended())
                .cloned()
                .collect();
            targets.retain(|_, target| !target.has_ended());
            gone
        };
        for target in &gone {
            self.free_leases(target.number);
            if target.was_lost() && target.losses < MAX_LOSSES && process::is_running(target.pid) {
                self.replace(broker, target);
            }
        }
        if !gone.is_empty() {
            for map in broker.registry.maps.all() {
                map.recover();
            }
            broker.touch();
        }
        let attachments = broker.attachments();
        let named = |pid| {
            attachments
                .iter()
                .any(|a| a.event.uprobe().is_some_and(|at| at.pid == Some(pid)))
        };
        for target in self.all() {
            if target.only_for_tools.load(Ordering::Relaxed)
                && target.told().wished
                && !named(target.pid)
            {
                // The guardian ends, and the next sweep forgets the target.
                let _ = wire::send(&target.stream, &ToGuardian::Detach, &[]);
            }
        }
    }

    /// Starts a new guardian for a process whose guardian was killed. What that one left in the
    /// process is removed by the new one. In a thread, as it takes time.
    fn replace(&self, broker: &Arc<Broker>, lost: &Target) {
        let (pid, losses) = (lost.pid, lost.losses + 1);
        tracing::warn!("the guardian of process {pid} was killed; it gets a new one");
        let reason = if lost.only_for_tools.load(Ordering::Relaxed) {
            Reason::Probe
        } else {
            Reason::Attach
        };
        let broker = broker.clone();
        let spawned = std::thread::Builder::new()
            .name("replace".into())
            .spawn(move || {
                let result = broker
                    .targets
                    .add_once(&broker, pid, reason, losses)
                    .and_then(|_| broker.targets.reconcile(&broker, None).map_err(Some));
                if let Err(sentence) = result {
                    tracing::warn!("{}", sentence.unwrap_or_default());
                }
            });
        if let Err(error) = spawned {
            tracing::warn!("no thread to guard process {pid} again: {error}");
        }
    }

    /// Frees the virtual CPUs that a target held when it ended.
    fn free_leases(&self, number: u32) {
        use std::sync::atomic::AtomicU64;
        let lease = size_of::<bpftime_abi::target::Lease>();
        for index in 0..self.lease_view.len() / lease {
            let address = self
                .lease_view
                .as_ptr()
                .wrapping_add(index * lease)
                .cast::<u64>();
            // SAFETY: in the mapping, which lives as long as `self`; aligned, as leases are;
            // all others access the word atomically too.
            let owner = unsafe { AtomicU64::from_ptr(address) };
            let held = owner.load(Ordering::Acquire);
            if held >> 32 == u64::from(number) {
                // Lost to somebody else meanwhile: then there is nothing to free.
                let _ = owner.compare_exchange(held, 0, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
    }
}

impl Target {
    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the guardian has ended.
    pub fn has_ended(&self) -> bool {
        self.heard().ended.is_some()
    }

    /// Whether the guardian ended without a word: it was killed.
    fn was_lost(&self) -> bool {
        let heard = self.heard();
        matches!(heard.ended, Some(None)) && !heard.detached
    }

    /// Notes that the user asked for the process. `false` if that was known.
    pub fn claim(&self) -> bool {
        self.only_for_tools.swap(false, Ordering::Relaxed)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ended(&self) -> String {
        format!("the guardian of process {} has ended", self.pid)
    }

    /// Keys of the attachments that failed, with the reasons.
    pub fn failures(&self) -> BTreeMap<u64, String> {
        self.heard().reconciled.1.clone()
    }

    /// What the guardian has been told to attach.
    pub fn wanted(&self) -> Vec<Wanted> {
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .attachments
            .clone()
    }

    /// Waits until the guardian has said something. `Err` if it ends first (with its last
    /// sentence) or takes too long.
    fn wait_for<T>(&self, wanted: impl Fn(&Heard) -> Option<T>) -> Result<T, Option<String>> {
        let deadline = Instant::now() + PATIENCE;
        let mut heard = self.heard();
        loop {
            if let Some(value) = wanted(&heard) {
                return Ok(value);
            }
            if let Some(sentence) = &heard.ended {
                return Err(sentence.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let seconds = PATIENCE.as_secs();
                let pid = self.pid;
                return Err(Some(format!(
                    "the guardian of process {pid} has not answered for {seconds} seconds"
                )));
            }
            let waited = self.news.wait_timeout(heard, left);
            heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes in what the guardian says until it ends.
    fn listen(&self, mut child: Child) {
        let mut last = None;
        while let Ok(Some((message, _))) = wire::receive::<FromGuardian>(&self.stream) {
            let mut heard = self.heard();
            match message {
                FromGuardian::Ready => heard.ready = true,
                FromGuardian::Failed { sentence } => last = Some(sentence),
                FromGuardian::Reconciled {
                    generation,
                    failures,
                } => {
                    heard.reconciled = (generation, failures.into_iter().collect());
                }
                FromGuardian::Report { generation, hooks } => heard.report = (generation, hooks),
                FromGuardian::Detached { sentence } => {
                    heard.detached = true;
                    last = sentence;
                }
                FromGuardian::Exited => last = Some(format!("process {} has ended", self.pid)),
            }
            drop(heard);
            self.news.notify_all();
        }
        let _ = child.wait();
        self.heard().ended = Some(last);
        self.news.notify_all();
    }

    /// Tells the guardian what is to be attached, if that has changed. Gives the generation to
    /// wait for.
    fn tell(&self, attachments: &[Attachment]) -> Option<u64> {
        let mut told = self.told();
        let ours: Vec<_> = attachments
            .iter()
            .filter(|a| a.concerns(self.pid))
            .collect();
        let wanted: Vec<_> = ours.iter().filter_map(|a| a.wanted()).collect();
        let mut places = Vec::new();
        let sent = (|| {
            for attachment in &ours {
                self.tell_objects(&mut told, attachment, &mut places)?;
            }
            if told.wished && told.attachments == wanted && told.places == places {
                return Ok(None);
            }
            told.wished = true;
            told.generation += 1;
            let generation = told.generation;
            let message = ToGuardian::Reconcile {
                generation,
                attachments: wanted.clone(),
                rings: places.clone(),
            };
            wire::send(&self.stream, &message, &[])?;
            Ok::<_, io::Error>(Some(generation))
        })();
        match sent {
            Ok(Some(generation)) => {
                told.attachments = wanted;
                told.places = places;
                Some(generation)
            }
            Ok(None) => None,
            Err(error) => {
                tracing::warn!("process {}: cannot reach the guardian: {error}", self.pid);
                None
            }
        }
    }

    /// Sends the program of an attachment and its maps, if the guardian does not have them.
    fn tell_objects(
        &self,
        told: &mut Told,
        attachment: &Attachment,
        places: &mut Vec<RingPlace>,
    ) -> io::Result<()> {
        let program = &attachment.program;
        for map in &program.maps {
            if told.maps.insert(map.id) {
                let (control, data) = map.memory();
                let fds: Vec<BorrowedFd<'_>> =
                    [Some(control), data].into_iter().flatten().collect();
                let message = ToGuardian::Map {
                    id: map.id,
                    geometry: map.geometry().into(),
                };
                wire::send(&self.stream, &message, &fds)?;
            }
            for (index, event) in map.rings() {
                let EventKind::Output(ring) = &event.kind else {
                    continue;
                };
                let data_len = ring.data_len.load(Ordering::Acquire);
                if told.rings.insert(event.number) {
                    let message = ToGuardian::Ring {
                        number: event.number,
                        data_len,
                    };
                    wire::send(&self.stream, &message, &[ring.memory.as_fd()])?;
                }
                let place = RingPlace {
                    map: map.id,
                    index,
                    ring: event.number,
                };
                if !places.contains(&place) {
                    places.push(place);
                }
            }
        }
        let Some(code) = &program.code else {
            return Ok(());
        };
        if told.programs.insert(program.id) {
            let message = ToGuardian::Program(ProgramText {
                id: program.id,
                name: program.name.clone(),
                len: code.len,
                entry: code.entry,
                stack_bytes: code.stack_bytes,
                needs_cpu: code.needs_cpu,
                maps: program.maps.iter().map(|map| map.id).collect(),
            });
            wire::send(&self.stream, &message, &[code.file.as_fd()])?;
        }
        Ok(())
    }

    /// Asks the guardian how its hooks are.
    pub fn report(&self) -> Result<Vec<HookReport>, String> {
        let generation = {
            let mut told = self.told();
            told.generation += 1;
            let message = ToGuardian::Query {
                generation: told.generation,
            };
            wire::send(&self.stream, &message, &[]).map_err(|_| self.ended())?;
            told.generation
        };
        self.wait_for(|heard| (heard.report.0 >= generation).then(|| heard.report.1.clone()))
            .map_err(|sentence| sentence.unwrap_or_else(|| self.ended()))
    }

    /// Removes everything from the process.
    pub fn detach(&self) -> Result<(), String> {
        wire::send(&self.stream, &ToGuardian::Detach, &[]).map_err(|_| self.ended())?;
        match self.wait_for(|heard| {
            heard
                .ended
                .clone()
                .map(|sentence| (heard.detached, sentence))
        }) {
            Ok((true, None)) => Ok(()),
            Ok((_, Some(sentence))) | Err(Some(sentence)) => Err(sentence),
            Ok((false, None)) | Err(None) => Err(self.ended()),
        }
    }
}

impl Attachment {
    /// Whether the attachment is for a process.
    fn concerns(&self, pid: i32) -> bool {
        self.program.code.is_some()
            && self
                .event
                .uprobe()
                .is_some_and(|uprobe| uprobe.pid.is_none_or(|only| only == pid))
    }

    fn wanted(&self) -> Option<Wanted> {
        let uprobe = self.event.uprobe()?;
        Some(Wanted {
            key: self.key,
            link_id: self.link_id,
            program: self.program.id,
            path: uprobe.path.clone(),
            offset: uprobe.offset,
            at_return: uprobe.at_return,
            cookie: self.cookie,
        })
    }
}
