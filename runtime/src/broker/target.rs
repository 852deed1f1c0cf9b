//! A process with its guardian.

mod tell;

use std::collections::BTreeMap;
use std::io;
use std::net::Shutdown;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::trace::TracePipe;
use crate::guardian::protocol::{FromGuardian, HookReport, ToGuardian, Wanted};
use crate::sys::wire;
use tell::Told;

/// How long a guardian may take to attach to a process or to change its hooks.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// How long a guardian may not read what it is told.
const DEAF: Duration = Duration::from_secs(2);

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
    /// The guardian is to be killed.
    given_up: bool,
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
    ) -> io::Result<Self> {
        stream.set_write_timeout(Some(DEAF))?;
        Ok(Self {
            pid,
            number,
            only_for_tools: AtomicBool::new(only_for_tools),
            losses,
            stream,
            told: Mutex::default(),
            heard: Mutex::default(),
            news: Condvar::new(),
        })
    }

    /// Ends the guardian: it finds the broker gone and gives the process back.
    pub(super) fn end(&self) {
        // It may have ended by itself.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Tells the guardian something. One that does not listen is given up.
    pub(super) fn send(&self, message: &ToGuardian, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let sent = wire::send(&self.stream, message, fds);
        if sent
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        {
            // It may have got a part of the message, so there can be no other one.
            self.give_up();
        }
        sent
    }

    /// Ends a guardian that hangs.
    pub(super) fn give_up(&self) {
        self.heard().given_up = true;
        self.end();
    }

    /// Waits until the guardian has hold of the process. Errors as with [`Self::wait_for`].
    pub(super) fn wait_until_ready(&self) -> Result<(), Option<String>> {
        let now = Instant::now();
        self.wait_for(now, now + PATIENCE, |heard| heard.ready.then_some(()))
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
        self.told().attachments.clone()
    }

    /// Waits until the guardian has said something. `Err` if it ends first (with its last
    /// sentence), or has not by the deadline; `since` is when it was asked.
    fn wait_for<T>(
        &self,
        since: Instant,
        deadline: Instant,
        wanted: impl Fn(&Heard) -> Option<T>,
    ) -> Result<T, Option<String>> {
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
                return Err(Some(self.silent(since)));
            }
            let waited = self.news.wait_timeout(heard, left);
            heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// That the guardian has not answered.
    fn silent(&self, since: Instant) -> String {
        let (pid, seconds) = (self.pid, since.elapsed().as_secs());
        format!("the guardian of process {pid} has not answered for {seconds} seconds")
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
        if self.heard().given_up {
            // What it has put into the process is removed by who comes next.
            let _ = child.kill();
        }
        let _ = child.wait();
        self.heard().ended = Some(last);
        self.news.notify_all();
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
        let now = Instant::now();
        let _ = self.wait_for(now, now + PATIENCE, |heard| (!heard.leaving).then_some(()));
    }

    /// Removes everything from the process.
    pub fn detach(&self) -> Result<Detached, String> {
        let first = self.leave();
        if first {
            // A guardian that is dead already shows in the wait.
            let _ = self.send(&ToGuardian::Detach, &[]);
        }
        let now = Instant::now();
        match self.wait_for(now, now + PATIENCE, |heard| {
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

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_guardian_that_does_not_read_is_ended() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let guardian = Command::new("sleep").arg("600").spawn().unwrap();
        let target = Arc::new(Target::new(1, 1, false, 0, ours).unwrap());
        let listening = target.clone();
        let listener =
            std::thread::spawn(move || listening.listen(guardian, &TracePipe::default()));
        let begun = Instant::now();
        let question = ToGuardian::Query { generation: 1 };
        let told = (0..1_000_000).take_while(|_| target.send(&question, &[]).is_ok());
        assert!(told.count() > 100);
        listener.join().unwrap();
        assert!(begun.elapsed() < 5 * DEAF, "{:?}", begun.elapsed());
        assert!(target.has_ended() && target.was_lost());
        drop(theirs);
    }
}
