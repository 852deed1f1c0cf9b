//! A process with its guardian.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::event::EventKind;
use super::state::Attachment;
use super::trace::TracePipe;
use crate::guardian::protocol::{
    FromGuardian, HookReport, ProgramText, RingPlace, ToGuardian, Wanted,
};
use crate::sys::wire;

/// How long a guardian may take to attach to a process or to change its hooks.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process with its guardian.
#[derive(Debug)]
pub struct Target {
    /// Process id.
    pub pid: i32,
    /// The broker's number.
    pub number: u32,
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
    /// The guardian is told, or about to be, to give the process back.
    leaving: bool,
}

/// What came of giving a process back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detached {
    /// It is as it was.
    Now,
    /// It is as it was, which somebody else asked for.
    BySomebodyElse,
    /// The guardian was killed; what it has put into the process is still there.
    NotByItsGuardian,
}

impl Target {
    /// A process whose guardian listens at the other end of `stream`. For the fields see
    /// [`Target`].
    pub(super) fn new(
        pid: i32,
        number: u32,
        only_for_tools: bool,
        losses: u32,
        stream: UnixStream,
    ) -> Self {
        Self {
            pid,
            number,
            only_for_tools: AtomicBool::new(only_for_tools),
            losses,
            stream,
            told: Mutex::default(),
            heard: Mutex::default(),
            news: Condvar::new(),
        }
    }

    /// Ends the guardian: it finds the broker gone and gives the process back.
    pub(super) fn end(&self) {
        // It may have ended by itself.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Tells the guardian something.
    pub(super) fn send(&self, message: &ToGuardian, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        wire::send(&self.stream, message, fds)
    }

    /// Waits until the guardian has hold of the process. Errors as with [`Self::wait_for`].
    pub(super) fn wait_until_ready(&self) -> Result<(), Option<String>> {
        self.wait_for(|heard| heard.ready.then_some(()))
    }

    /// Waits until the guardian has done what it was told, and gives what failed, by key of the
    /// attachment. Errors as with [`Self::wait_for`].
    pub(super) fn wait_for_failures(
        &self,
        generation: u64,
    ) -> Result<BTreeMap<u64, String>, Option<String>> {
        self.wait_for(|heard| {
            (heard.reconciled.0 >= generation).then(|| heard.reconciled.1.clone())
        })
    }

    /// Whether only tools that name the process want it.
    pub(super) fn is_only_for_tools(&self) -> bool {
        self.only_for_tools.load(Ordering::Relaxed)
    }

    /// How many guardians the process has lost.
    pub(super) fn losses(&self) -> u32 {
        self.losses
    }

    /// Whether the guardian has been told what is to be attached.
    pub(super) fn knows_wishes(&self) -> bool {
        self.told().wished
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the guardian has ended.
    pub fn has_ended(&self) -> bool {
        self.heard().ended.is_some()
    }

    /// Whether the guardian ended without a word, though the process was not to be given back: it
    /// was killed.
    pub(super) fn was_lost(&self) -> bool {
        let heard = self.heard();
        matches!(heard.ended, Some(None)) && !heard.detached && !heard.leaving
    }

    /// Notes that the user asked for the process. `false` if that was known.
    pub fn claim(&self) -> bool {
        self.only_for_tools.swap(false, Ordering::Relaxed)
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ended(&self) -> String {
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

    /// Takes in what the guardian says until it ends; what programs print goes to `trace`.
    pub(super) fn listen(&self, mut child: Child, trace: &TracePipe) {
        let mut last = None;
        while let Ok(Some((message, _))) = wire::receive::<FromGuardian>(&self.stream) {
            let mut heard = self.heard();
            match message {
                FromGuardian::Trace { lost, lines } => trace.add(lost, &lines),
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
    pub(super) fn tell(&self, attachments: &[Attachment]) -> Option<u64> {
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

    /// Says that the guardian will be told to give the process back. `false` if somebody else has
    /// said so, who answers for it.
    pub(super) fn leave(&self) -> bool {
        !std::mem::replace(&mut self.heard().leaving, true)
    }

    /// Takes [`Self::leave`] back.
    pub(super) fn stay(&self) {
        self.heard().leaving = false;
        self.news.notify_all();
    }

    /// Whether the process is being given back.
    pub(super) fn is_leaving(&self) -> bool {
        self.heard().leaving
    }

    /// Waits until the process has been given back, or is not to be any more.
    pub(super) fn wait_until_left(&self) {
        // What there is to know is known to who gives it back.
        let _ = self.wait_for(|heard| (!heard.leaving).then_some(()));
    }

    /// Removes everything from the process.
    pub fn detach(&self) -> Result<Detached, String> {
        let first = self.leave();
        if first {
            // A guardian that is dead already shows in the wait.
            let _ = self.send(&ToGuardian::Detach, &[]);
        }
        match self.wait_for(|heard| {
            heard
                .ended
                .clone()
                .map(|sentence| (heard.detached, sentence))
        }) {
            Ok((true, None)) if first => Ok(Detached::Now),
            Ok((true, None)) => Ok(Detached::BySomebodyElse),
            Ok((_, Some(sentence))) | Err(Some(sentence)) => Err(sentence),
            Ok((false, None)) | Err(None) => Ok(Detached::NotByItsGuardian),
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
