//! The broker's state, shared by its threads.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bpftime_abi::Capabilities;

use super::event::Event;
use super::objects::{Counter, Object};
use super::program::Program;
use super::reaper::Reaper;
use super::registry::Registry;
use super::session::Session;
use super::targets::{Reason, Targets};
use super::trace::TracePipe;

/// Virtual CPUs, unless `BPFTIME_CPUS` says otherwise.
const DEFAULT_CPUS: u32 = 16;

/// Everything that the broker holds.
#[derive(Debug)]
pub struct Broker {
    /// Objects and descriptors.
    pub registry: Registry,
    /// Processes that programs run in.
    pub targets: Targets,
    /// What programs print.
    pub trace: Arc<TracePipe>,
    /// What programs may use in a target.
    pub capabilities: Capabilities,
    /// Number of virtual CPUs.
    pub cpus: u32,
    sessions: Mutex<BTreeMap<u32, Arc<Session>>>,
    session_ids: Counter,
    reaper: Arc<Reaper>,
    last_use: Mutex<Instant>,
}

/// A program at a place, which targets should run.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// Unique among all attachments, of the broker's whole life.
    pub key: u64,
    /// Id of the link, 0 for a program that an `ioctl` put on its event.
    pub link_id: u32,
    /// What runs.
    pub program: Arc<Program>,
    /// Where.
    pub event: Arc<Event>,
    /// What `bpf_get_attach_cookie` gives.
    pub cookie: u64,
}

impl Broker {
    /// A broker without sessions.
    pub fn new() -> io::Result<Self> {
        let reaper = Arc::new(Reaper::new()?);
        let cpus = std::env::var("BPFTIME_CPUS")
            .ok()
            .and_then(|text| text.parse().ok());
        let cpus = cpus
            .unwrap_or(DEFAULT_CPUS)
            .clamp(1, bpftime_abi::target::MAX_LEASES as u32);
        Ok(Self {
            registry: Registry::new(reaper.clone()),
            targets: Targets::new(cpus)?,
            trace: Arc::default(),
            capabilities: bpftime_helpers::CAPABILITIES,
            cpus,
            sessions: Mutex::default(),
            session_ids: Counter::default(),
            reaper,
            last_use: Mutex::new(Instant::now()),
        })
    }

    /// A random number.
    pub fn random(&self) -> u64 {
        use std::hash::{BuildHasher, RandomState};
        RandomState::new().hash_one(0)
    }

    /// Makes a session.
    pub fn add_session(self: &Arc<Self>, make: impl FnOnce(u32) -> Session) -> Arc<Session> {
        let id = self.session_ids.next();
        let session = Arc::new(make(id));
        self.sessions_locked().insert(id, session.clone());
        session
    }

    /// Ends a session.
    pub fn remove_session(&self, id: u32) {
        self.sessions_locked().remove(&id);
        self.touch();
    }

    /// The sessions in order.
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.sessions_locked().values().cloned().collect()
    }

    fn sessions_locked(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the broker is in use.
    pub fn touch(&self) {
        *self.last_use.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// How long the broker has had neither sessions nor targets, in milliseconds; 0 if it has.
    pub fn idle_ms(&self) -> u128 {
        if !self.sessions_locked().is_empty() || !self.targets.is_empty() {
            self.touch();
            return 0;
        }
        self.last_use
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
            .as_millis()
    }

    /// All programs at places that are enabled.
    pub fn attachments(&self) -> Vec<Attachment> {
        let links = self
            .registry
            .links
            .all()
            .into_iter()
            .map(|link| Attachment {
                key: u64::from(link.id),
                link_id: link.id,
                program: link.program.clone(),
                event: link.event.clone(),
                cookie: link.cookie,
            });
        let events = self.registry.events.all().into_iter().filter_map(|event| {
            let program = event.program()?;
            let key = 1 << 32 | u64::from(event.number);
            Some(Attachment {
                key,
                link_id: 0,
                program,
                event,
                cookie: 0,
            })
        });
        let place = |a: &Attachment| a.event.is_enabled() && a.event.uprobe().is_some();
        links.chain(events).filter(place).collect()
    }

    /// Whether an attachment names a process.
    pub(super) fn names_process(&self, pid: i32) -> bool {
        self.attachments()
            .iter()
            .any(|a| a.event.uprobe().is_some_and(|at| at.pid == Some(pid)))
    }

    /// Brings the targets in line after an event was changed. If the event names a process, that
    /// one becomes a target and its failure is reported as a sentence.
    pub fn apply(self: &Arc<Self>, event: &Arc<Event>) -> Result<(), String> {
        let Some(uprobe) = event.uprobe() else {
            return Ok(());
        };
        let Some(pid) = uprobe.pid else {
            self.targets.reconcile(self);
            return Ok(());
        };
        let keys: Vec<u64> = self
            .attachments()
            .iter()
            .filter(|a| Arc::ptr_eq(&a.event, event))
            .map(|a| a.key)
            .collect();
        if keys.is_empty() {
            // Nothing to attach, perhaps something to detach.
            if let Some(target) = self.targets.get(pid)
                && let Err(sentence) = self.targets.reconcile_one(self, &target)
            {
                tracing::warn!("{sentence}");
            }
            return Ok(());
        }
        let target = self.targets.add(self, pid, Reason::Probe)?;
        let mut failures = self.targets.reconcile_one(self, &target)?;
        match keys.iter().find_map(|key| failures.remove(key)) {
            Some(sentence) => Err(sentence),
            None => Ok(()),
        }
    }

    /// Tells the targets that output rings have come or gone.
    pub fn maps_changed(self: &Arc<Self>) {
        self.targets.reconcile(self);
    }

    /// Waits for closed descriptors, and cleans up after them.
    pub fn housekeeping(self: &Arc<Self>) {
        let gone = self.reaper.wait(500);
        let before = self.attachments().len();
        for id in &gone {
            self.registry.forget(*id);
        }
        self.registry.sweep();
        self.targets.sweep(self);
        let changed = self.attachments().len() != before;
        self.targets.tell(self, changed);
    }

    /// Names of the sessions that hold an object.
    pub fn holders(&self, wanted: impl Fn(&Object) -> bool) -> Vec<u32> {
        self.sessions()
            .iter()
            .filter(|session| self.registry.objects_of(session.id).iter().any(&wanted))
            .map(|session| session.id)
            .collect()
    }
}
