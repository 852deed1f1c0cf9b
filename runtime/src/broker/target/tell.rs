//! What a guardian is told, and what it owes an answer to.
//!
//! A guardian that has not answered is told nothing more until it does: however long it hangs, what
//! is on the way to it stays small, and nobody waits for it longer than they want to.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Target;
use crate::broker::event::EventKind;
use crate::broker::map::Map;
use crate::broker::state::{Attachment, Broker};
use crate::guardian::protocol::{HookReport, ProgramText, RingPlace, ToGuardian, Wanted};

/// What the guardian has been told.
#[derive(Debug, Default)]
pub(super) struct Told {
    maps: BTreeSet<u32>,
    programs: BTreeSet<u32>,
    rings: BTreeSet<u32>,
    generation: u64,
    /// Whether the guardian knows what is to be attached, were it nothing.
    pub(super) wished: bool,
    pub(super) attachments: Vec<Wanted>,
    places: Vec<RingPlace>,
    /// The last wishes, and when they were told.
    asked: Option<(u64, Instant)>,
    /// What is wanted has changed since.
    behind: bool,
    /// When the first of the questions was asked that are not answered.
    questioned: Option<(u64, Instant)>,
}

/// Where a guardian is with what is wanted of it.
enum Progress {
    /// It has nothing to do.
    Settled,
    /// It has not answered yet.
    Asked {
        generation: u64,
        since: Instant,
        /// It knows all that is wanted.
        all: bool,
    },
}

impl Target {
    /// Tells the guardian what is to be attached, if that has changed and it has answered before.
    pub(in crate::broker) fn tell(&self, broker: &Broker) {
        // The answer is waited for by who wants to know.
        let _ = self.progress(broker);
    }

    /// Whether the guardian has to be told again.
    pub(in crate::broker) fn is_behind(&self) -> bool {
        self.told().behind
    }

    fn progress(&self, broker: &Broker) -> Progress {
        let mut told = self.told();
        // Under the lock, so that what is told last is what was found last.
        let ours: Vec<_> = broker
            .attachments()
            .into_iter()
            .filter(|a| a.concerns(self.pid))
            .collect();
        let wanted: Vec<_> = ours.iter().filter_map(Attachment::wanted).collect();
        let places = places(&ours);
        let known = told.wished && told.attachments == wanted && told.places == places;
        if let Some((generation, since)) = told.asked
            && self.heard().reconciled.0 < generation
        {
            told.behind = !known;
            return Progress::Asked {
                generation,
                since,
                all: known,
            };
        }
        told.behind = false;
        if known {
            return Progress::Settled;
        }
        match self.tell_wishes(&mut told, &ours, &wanted, &places) {
            Ok(generation) => {
                let since = Instant::now();
                told.wished = true;
                told.attachments = wanted;
                told.places = places;
                told.asked = Some((generation, since));
                Progress::Asked {
                    generation,
                    since,
                    all: true,
                }
            }
            Err(error) => {
                tracing::warn!("process {}: cannot reach the guardian: {error}", self.pid);
                Progress::Settled
            }
        }
    }

    /// Tells the guardian what is to be attached unless it knows, and waits until it has done so:
    /// for `patience` from `start` on, or from when it was asked if that was earlier. Gives what
    /// failed, by key of the attachment. Errors as with [`Self::wait_for`].
    pub(in crate::broker) fn settle(
        &self,
        broker: &Broker,
        start: Instant,
        patience: Duration,
    ) -> Result<BTreeMap<u64, String>, Option<String>> {
        loop {
            let Progress::Asked {
                generation,
                since,
                all,
            } = self.progress(broker)
            else {
                return Ok(self.failures());
            };
            let failures = self.wait_for(since, since.min(start) + patience, |heard| {
                (heard.reconciled.0 >= generation).then(|| heard.reconciled.1.clone())
            })?;
            if all {
                return Ok(failures);
            }
        }
    }

    /// As [`Self::settle`], but waits only for the first answer. The guardian of a process that
    /// waits before its `exec` gives no second one until the process runs; then it hears first of
    /// all that has changed meanwhile.
    pub(in crate::broker) fn introduce(
        &self,
        broker: &Broker,
        patience: Duration,
    ) -> Result<(), Option<String>> {
        self.tell(broker);
        let now = Instant::now();
        self.wait_for(now, now + patience, |heard| {
            (heard.reconciled.0 > 0).then_some(())
        })
    }

    fn tell_wishes(
        &self,
        told: &mut Told,
        ours: &[Attachment],
        wanted: &[Wanted],
        places: &[RingPlace],
    ) -> io::Result<u64> {
        for attachment in ours {
            for map in &attachment.program.maps {
                self.tell_map(told, map)?;
            }
            self.tell_program(told, attachment)?;
        }
        told.generation += 1;
        let message = ToGuardian::Reconcile {
            generation: told.generation,
            attachments: wanted.to_vec(),
            rings: places.to_vec(),
        };
        self.send(&message, &[])?;
        Ok(told.generation)
    }

    /// Sends a map and its output rings, if the guardian does not have them.
    fn tell_map(&self, told: &mut Told, map: &Map) -> io::Result<()> {
        if told.maps.insert(map.id) {
            let (control, data) = map.memory();
            let fds: Vec<BorrowedFd<'_>> = [Some(control), data].into_iter().flatten().collect();
            let message = ToGuardian::Map {
                id: map.id,
                geometry: map.geometry().into(),
            };
            self.send(&message, &fds)?;
        }
        for event in map.rings().values() {
            if let EventKind::Output(ring) = &event.kind
                && told.rings.insert(event.number)
            {
                let message = ToGuardian::Ring {
                    number: event.number,
                    data_len: ring.data_len.load(Ordering::Acquire),
                };
                self.send(&message, &[ring.memory.as_fd()])?;
            }
        }
        Ok(())
    }

    /// Sends the program of an attachment, if the guardian does not have it.
    fn tell_program(&self, told: &mut Told, attachment: &Attachment) -> io::Result<()> {
        let program = &attachment.program;
        if let Some(code) = &program.code
            && told.programs.insert(program.id)
        {
            let message = ToGuardian::Program(ProgramText {
                id: program.id,
                name: program.name.clone(),
                len: code.len,
                entry: code.entry,
                stack_bytes: code.stack_bytes,
                needs_cpu: code.needs_cpu,
                maps: program.maps.iter().map(|map| map.id).collect(),
            });
            self.send(&message, &[code.file.as_fd()])?;
        }
        Ok(())
    }

    /// Asks the guardian how its hooks are; the question's number. A guardian that has left a
    /// question unanswered for `patience` is not asked again: one sentence.
    pub(in crate::broker) fn question(&self, patience: Duration) -> Result<u64, String> {
        let mut told = self.told();
        match told.questioned {
            Some((generation, _)) if self.heard().report.0 >= generation => told.questioned = None,
            Some((_, since)) if since.elapsed() > patience => return Err(self.silent(since)),
            _ => {}
        }
        told.generation += 1;
        let generation = told.generation;
        self.send(&ToGuardian::Query { generation }, &[])
            .map_err(|_| self.ended())?;
        told.questioned.get_or_insert((generation, Instant::now()));
        Ok(generation)
    }

    /// Waits for the answer to a question that was asked at `since`.
    pub(in crate::broker) fn answer(
        &self,
        question: u64,
        since: Instant,
        patience: Duration,
    ) -> Result<Vec<HookReport>, String> {
        self.wait_for(since, since + patience, |heard| {
            (heard.report.0 >= question).then(|| heard.report.1.clone())
        })
        .map_err(|sentence| sentence.unwrap_or_else(|| self.ended()))
    }
}

/// Where the output rings of the attachments' maps are.
fn places(attachments: &[Attachment]) -> Vec<RingPlace> {
    let mut places = Vec::new();
    for map in attachments.iter().flat_map(|a| &a.program.maps) {
        for (index, event) in map.rings() {
            let place = RingPlace {
                map: map.id,
                index,
                ring: event.number,
            };
            if matches!(event.kind, EventKind::Output(_)) && !places.contains(&place) {
                places.push(place);
            }
        }
    }
    places
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
