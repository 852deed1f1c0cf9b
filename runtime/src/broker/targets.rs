//! Processes that programs run in, each with its guardian.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bpftime_abi::target::LeaseTable;

use super::objects::Counter;
use super::state::Broker;
use super::target::{PATIENCE, Target};
use crate::guardian::protocol::ToGuardian;
use crate::sys::file::fixed_memfd;
use crate::sys::mapping::Mapping;
use crate::sys::process;

/// How many guardians of a process may be lost, one after the other, before the process is left
/// alone.
const MAX_LOSSES: u32 = 3;

/// How long all targets together are waited for.
const GROUP_PATIENCE: Duration = Duration::from_secs(3);

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
    /// The same, after its guardian was killed: it may have got a new one already.
    StartAgain,
    /// `bpftime attach`.
    Attach,
    /// A tool's probe names it.
    Probe,
}

/// Why a process does not become a target.
#[derive(Debug)]
enum Refusal {
    /// It is one.
    Known(Arc<Target>),
    /// The guardian was killed.
    Lost,
    /// For the reason that the sentence gives.
    Failed(String),
}

/// That a process is left alone.
fn dies_again(pid: i32) -> String {
    format!("the guardian of process {pid} dies again and again")
}

/// What becomes of a wish for a process that is a target already.
fn known(target: Arc<Target>, reason: Reason) -> Result<Arc<Target>, String> {
    let pid = target.pid;
    let wanted = match reason {
        Reason::Probe | Reason::StartAgain => true,
        // Attached so far only because a tool's probe names it.
        Reason::Attach => target.claim(),
        Reason::Start => false,
    };
    if !wanted {
        return Err(format!("process {pid} is attached already"));
    }
    target
        .wait_until_ready()
        .map_err(|sentence| sentence.unwrap_or_else(|| target.ended()))?;
    Ok(target)
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

    /// Makes a process a target: starts its guardian and waits until that has hold of it. A
    /// guardian that is killed meanwhile is replaced.
    ///
    /// A process that is a target already is no error where a probe names it, nor where the user
    /// asks for it first.
    pub fn add(
        &self,
        broker: &Arc<Broker>,
        pid: i32,
        mut reason: Reason,
    ) -> Result<Arc<Target>, String> {
        for losses in 0..MAX_LOSSES {
            match self.add_once(broker, pid, reason, losses) {
                Ok(target) => return Ok(target),
                // Who noticed the loss may have given the process another guardian before us.
                Err(Refusal::Lost) if reason == Reason::Start => reason = Reason::StartAgain,
                Err(Refusal::Lost) => {}
                Err(Refusal::Known(target)) if target.is_leaving() => target.wait_until_left(),
                Err(Refusal::Known(target)) => return known(target, reason),
                Err(Refusal::Failed(sentence)) => return Err(sentence),
            }
        }
        Err(dies_again(pid))
    }

    /// As [`Self::add`], once.
    fn add_once(
        &self,
        broker: &Arc<Broker>,
        pid: i32,
        reason: Reason,
        losses: u32,
    ) -> Result<Arc<Target>, Refusal> {
        let number = self.numbers.next();
        let cannot = |error: io::Error| {
            Refusal::Failed(format!(
                "cannot start a guardian for process {pid}: {error}"
            ))
        };
        let (ours, theirs) = UnixStream::pair().map_err(cannot)?;
        let only_for_tools = reason == Reason::Probe;
        let target = Target::new(pid, number, only_for_tools, losses, ours).map_err(cannot)?;
        let target = Arc::new(target);
        let begin = ToGuardian::Begin {
            pid,
            target_id: number,
            cpus: self.cpus,
            starting: matches!(reason, Reason::Start | Reason::StartAgain),
        };
        // Before anybody else can find the target, so that it is the first message.
        target
            .send(&begin, &[self.leases.as_fd()])
            .map_err(cannot)?;
        // Whoever is in the table first has the process: it never has two guardians.
        let former = {
            let mut targets = self.locked();
            if let Some(known) = targets.get(&pid).filter(|known| !known.has_ended()) {
                return Err(Refusal::Known(known.clone()));
            }
            targets.insert(pid, target.clone())
        };
        if let Some(former) = former {
            self.free_leases(former.number);
        }
        broker.touch();
        let spawned = Command::new("/proc/self/exe")
            .arg("guardian")
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()
            .and_then(|child| {
                let (listening, trace) = (target.clone(), broker.trace.clone());
                std::thread::Builder::new()
                    .name(format!("target {pid}"))
                    .spawn(move || listening.listen(child, &trace))
            });
        if let Err(error) = spawned {
            target.end();
            self.forget(&target);
            return Err(cannot(error));
        }
        match target.wait_until_ready() {
            Ok(()) => Ok(target),
            Err(sentence) => {
                target.give_up();
                self.forget(&target);
                Err(sentence.map_or(Refusal::Lost, Refusal::Failed))
            }
        }
    }

    /// Takes a target from the table, unless another one has its place there.
    fn forget(&self, target: &Arc<Target>) {
        let mut targets = self.locked();
        if targets
            .get(&target.pid)
            .is_some_and(|known| Arc::ptr_eq(known, target))
        {
            targets.remove(&target.pid);
        }
        drop(targets);
        self.free_leases(target.number);
    }

    /// Brings all targets in line with what is attached. Of those that take long about it, only
    /// the beginning is waited for.
    pub fn reconcile(&self, broker: &Broker) {
        let targets = self.all();
        for target in &targets {
            target.tell(broker);
        }
        let start = Instant::now();
        for target in &targets {
            if let Err(Some(sentence)) = target.settle(broker, start, GROUP_PATIENCE) {
                tracing::warn!("{sentence}");
            }
        }
    }

    /// Makes a process that waits before its `exec` a target, and lets its guardian know what is
    /// attached. A guardian that is killed meanwhile is replaced.
    pub fn start(&self, broker: &Arc<Broker>, pid: i32) -> Result<(), String> {
        let mut reason = Reason::Start;
        for _ in 0..MAX_LOSSES {
            let target = self.add(broker, pid, reason)?;
            match target.introduce(broker, PATIENCE) {
                Ok(()) => return Ok(()),
                Err(Some(sentence)) => return Err(sentence),
                Err(None) => reason = Reason::StartAgain,
            }
        }
        Err(dies_again(pid))
    }

    /// Brings one target in line with what is attached, and gives what failed there, by key of
    /// the attachment.
    pub fn reconcile_one(
        &self,
        broker: &Broker,
        target: &Target,
    ) -> Result<BTreeMap<u64, String>, String> {
        target
            .settle(broker, Instant::now(), PATIENCE)
            .map_err(|sentence| sentence.unwrap_or_else(|| target.ended()))
    }

    /// Tells all targets what is attached, and waits for none; if `all` is false, only those that
    /// took so long that they could not be told before.
    pub fn tell(&self, broker: &Broker, all: bool) {
        for target in self.all() {
            if all || target.is_behind() {
                target.tell(broker);
            }
        }
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
            if target.was_lost() && target.losses() < MAX_LOSSES && process::is_running(target.pid)
            {
                self.replace(broker, target);
            }
        }
        if !gone.is_empty() {
            for map in broker.registry.maps.all() {
                map.recover();
            }
            broker.touch();
        }
        let unwanted = |target: &Target| {
            target.is_only_for_tools() && target.knows_wishes() && !broker.names_process(target.pid)
        };
        for target in self.all() {
            if !unwanted(&target) || !target.leave() {
                continue;
            }
            // Looked at again: a tool may have named the process meanwhile. From here on it waits.
            if unwanted(&target) {
                // The guardian ends, and the next sweep forgets the target.
                let _ = target.send(&ToGuardian::Detach, &[]);
            } else {
                target.stay();
            }
        }
    }

    /// Starts a new guardian for a process whose guardian was killed. What that one left in the
    /// process is removed by the new one. In a thread, as it takes time.
    fn replace(&self, broker: &Arc<Broker>, lost: &Target) {
        let (pid, losses) = (lost.pid, lost.losses() + 1);
        tracing::warn!("the guardian of process {pid} was killed; it gets a new one");
        let reason = if lost.is_only_for_tools() {
            Reason::Probe
        } else {
            Reason::Attach
        };
        let broker = broker.clone();
        let spawned = std::thread::Builder::new()
            .name("replace".into())
            .spawn(move || {
                match broker.targets.add_once(&broker, pid, reason, losses) {
                    Ok(target) => target.tell(&broker),
                    Err(Refusal::Failed(sentence)) => tracing::warn!("{sentence}"),
                    // Another one has it; or it was killed again.
                    Err(Refusal::Known(_) | Refusal::Lost) => {}
                }
            });
        if let Err(error) = spawned {
            tracing::warn!("no thread to guard process {pid} again: {error}");
        }
    }

    /// Frees the virtual CPUs that a target held when it ended.
    fn free_leases(&self, number: u32) {
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
