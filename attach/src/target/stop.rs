//! Stopping every thread of a process, and letting it go.

use std::marker::PhantomData;
use std::thread;
use std::time::{Duration, Instant};

use libc::user_regs_struct;

use super::executor::Executor;
use super::{Target, interrupted, memory};
use crate::error::{Error, Result};
use crate::process::{self, Maps, Status, Task, not_permitted_reason};
use crate::ptrace::{self, Wait};

/// A stopped thread.
#[derive(Clone, Debug)]
pub struct Thread {
    tid: i32,
    regs: user_regs_struct,
    /// With which it goes on if a signal comes while it is stopped.
    interrupted: Option<user_regs_struct>,
}

impl Thread {
    /// Thread id in our pid namespace.
    pub fn tid(&self) -> i32 {
        self.tid
    }

    /// The registers with which it goes on.
    pub fn registers(&self) -> &user_regs_struct {
        &self.regs
    }
}

/// A process whose threads are all stopped by this OS thread (`ptrace` belongs to the thread,
/// so this is not `Send`). Dropping it lets the process go on exactly where it was. So does
/// the death of this process at any moment, `SIGKILL` included.
#[derive(Debug)]
pub struct Stopped<'t> {
    target: &'t Target,
    threads: Vec<Thread>,
    pub(super) executor: Option<Executor>,
    /// The tracer keeps the process when this is dropped.
    borrowed: bool,
    _thread_bound: PhantomData<*const ()>,
}

impl<'t> Stopped<'t> {
    pub(super) fn seize(target: &'t Target) -> Result<Self> {
        let pid = target.pid();
        target.check_alive()?;
        let deadline = Instant::now() + target.options().stop_timeout;
        let mut seizing = Seizing {
            target,
            deadline,
            running: Vec::new(),
            stopped: Vec::new(),
        };
        // A thread can only be made by one that runs: when as many are stopped as the kernel counts,
        // these are all. That a look at the list finds nobody new does not tell: the kernel cuts the
        // list short where a thread ends while it is read.
        let mut backoff = Backoff::new();
        loop {
            let mut news = false;
            for tid in process::tasks(pid)? {
                if !seizing.knows(tid) {
                    news |= seizing.add(tid)?;
                }
            }
            seizing.settle()?;
            if news {
                continue;
            }
            if seizing.has_all()? {
                break;
            }
            // Somebody who is about to end, or whom the list left out.
            seizing.check_deadline(pid)?;
            backoff.pause();
        }
        target.check_alive()?;
        if seizing.stopped.is_empty() {
            return Err(Error::Gone { pid });
        }
        let mut threads = Vec::new();
        for tid in &seizing.stopped {
            threads.extend(thread_state(pid, *tid)?);
        }
        seizing.stopped.clear();
        Ok(Self {
            target,
            threads,
            executor: None,
            borrowed: false,
            _thread_bound: PhantomData,
        })
    }

    /// For a tracee that the caller holds in a ptrace stop and goes on tracing.
    pub(crate) fn borrow(target: &'t Target, tid: i32) -> Result<Self> {
        let threads = thread_state(target.pid(), tid)?.into_iter().collect();
        Ok(Self {
            target,
            threads,
            executor: None,
            borrowed: true,
            _thread_bound: PhantomData,
        })
    }

    /// The process.
    pub fn target(&self) -> &'t Target {
        self.target
    }

    /// All threads.
    pub fn threads(&self) -> &[Thread] {
        &self.threads
    }

    /// Its mappings now.
    pub fn maps(&self) -> Result<Maps> {
        self.target.maps()
    }

    /// Reads memory; all of `buffer` or an error.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> Result<()> {
        self.target.read(address, buffer)
    }

    /// Writes memory that the process itself may write; all of `bytes` or an error.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<()> {
        self.target.write(address, bytes)
    }

    /// Writes memory that the process itself may not write: private mappings get their own copy
    /// of the page. Not at once: for bytes that no thread runs.
    pub fn poke(&self, address: u64, bytes: &[u8]) -> Result<()> {
        memory::poke(self.target.pid(), self.any_tid()?, address, bytes)
    }

    /// As [`Stopped::poke`] for at most 8 bytes, which are written at once: if this process is
    /// killed, either all or none are changed.
    pub fn poke_at_once(&self, address: u64, bytes: &[u8]) -> Result<()> {
        memory::poke_at_once(self.target.pid(), self.any_tid()?, address, bytes)
    }

    pub(super) fn any_tid(&self) -> Result<i32> {
        self.threads.first().map(Thread::tid).ok_or(Error::Gone {
            pid: self.target.pid(),
        })
    }

    /// Lets the process run for `pause` and stops it again; for waiting until threads have left
    /// some place.
    pub fn run_for(&mut self, pause: Duration) -> Result<()> {
        if self.borrowed {
            return Err(Error::Unsupported(format!(
                "process {} is starting up and cannot run on its own yet",
                self.target.pid()
            )));
        }
        self.release();
        thread::sleep(pause);
        *self = Self::seize(self.target)?;
        Ok(())
    }

    /// A thread is borrowed for system calls; stubs of dead tracers were looked for before that.
    pub(crate) fn makes_remote_calls(&self) -> bool {
        self.executor.is_some()
    }

    /// Puts the borrowed thread back where it was.
    pub(super) fn finish_remote_calls(&mut self) -> Result<()> {
        match self.executor.take() {
            Some(executor) => executor.finish(self.target.pid()),
            None => Ok(()),
        }
    }

    fn release(&mut self) {
        if let Err(error) = self.close_remote_session() {
            tracing::debug!(pid = self.target.pid(), %error, "remote clean-up was not possible");
        }
        if let Err(error) = self.finish_remote_calls()
            && !error.is_gone()
        {
            tracing::warn!(pid = self.target.pid(), %error, "thread goes on by itself");
        }
        if !self.borrowed {
            for thread in self.threads.drain(..) {
                if let Some(before) = &thread.interrupted {
                    interrupted::end(thread.tid, before);
                }
                let_go(thread.tid);
            }
        }
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.release();
    }
}

/// Registers of a stopped thread; `None` if it has been killed.
fn thread_state(pid: i32, tid: i32) -> Result<Option<Thread>> {
    match ptrace::registers(tid) {
        Ok(Some(mut regs)) => {
            let interrupted = interrupted::restart(pid, tid, &mut regs);
            Ok(Some(Thread {
                tid,
                regs,
                interrupted,
            }))
        }
        Ok(None) => Err(Error::NotX8664 { pid }),
        Err(_) => Ok(None),
    }
}

/// Detaches a stopped thread, or collects it if it has died.
fn let_go(tid: i32) {
    if ptrace::detach(tid, 0).is_err() {
        // Killed while it was stopped. Its end must be collected, or it stays as a zombie.
        for _ in 0..100 {
            match ptrace::wait(tid, false) {
                Ok(Some(Wait::Ended(_))) | Err(_) => break,
                Ok(Some(_)) => {
                    if ptrace::detach(tid, 0).is_ok() {
                        break;
                    }
                }
                Ok(None) => thread::sleep(Duration::from_millis(1)),
            }
        }
    }
}

/// Threads on their way to a stop; what is in it is let go when it is dropped.
struct Seizing<'t> {
    target: &'t Target,
    deadline: Instant,
    running: Vec<i32>,
    stopped: Vec<i32>,
}

impl Seizing<'_> {
    fn knows(&self, tid: i32) -> bool {
        self.running.contains(&tid) || self.stopped.contains(&tid)
    }

    /// Whether no thread is left that is not stopped. A leader that has ended is counted as long as
    /// other threads live.
    fn has_all(&self) -> Result<bool> {
        let pid = self.target.pid();
        let leader = Task::read(pid)?;
        let ended = usize::from(leader.is_dead() && !self.stopped.contains(&pid));
        Ok(leader.threads <= self.stopped.len() + ended)
    }

    /// Starts tracing a thread; false if it has ended.
    fn add(&mut self, tid: i32) -> Result<bool> {
        self.wait_until_interruptible(tid)?;
        match ptrace::seize(tid, 0) {
            Ok(()) => {}
            Err(_) if self.is_dead(tid) => {
                // If it is left over from an earlier stop of ours, it counts until it is collected.
                // The leader is its parent's.
                if tid != self.target.pid() {
                    let _ = ptrace::wait(tid, false);
                }
                return Ok(false);
            }
            Err(errno) if errno.0 == libc::ESRCH => return Ok(false),
            Err(errno) if errno.0 == libc::EPERM => {
                let tracer = Status::read(tid).map_or(0, |status| status.tracer);
                // SAFETY: gettid has no preconditions.
                if tracer != unsafe { libc::gettid() } {
                    return Err(self.not_permitted(tracer));
                }
                // A thread that we hold took over the id of the leader by calling exec.
            }
            Err(errno) => {
                return Err(Error::Os {
                    what: "ptrace(PTRACE_SEIZE)",
                    source: std::io::Error::from_raw_os_error(errno.0),
                });
            }
        }
        self.running.push(tid);
        // Fails only if the thread has died, which waiting will tell.
        let _ = ptrace::interrupt(tid);
        Ok(true)
    }

    fn not_permitted(&self, tracer: i32) -> Error {
        let pid = self.target.pid();
        if tracer == 0 {
            return Error::NotPermitted {
                pid,
                reason: not_permitted_reason(pid),
            };
        }
        let name = Task::read(tracer).map_or(String::new(), |task| format!(" ({})", task.comm));
        Error::AlreadyTraced { pid, tracer, name }
    }

    /// A thread in an uninterruptible call is better not traced: it would stop when the call
    /// returns, and perhaps nobody would be there to let it go.
    fn wait_until_interruptible(&self, tid: i32) -> Result<()> {
        let mut backoff = Backoff::new();
        loop {
            match Task::read_thread(self.target.pid(), tid) {
                Ok(task) if task.state == 'D' => self.check_deadline(tid)?,
                _ => return Ok(()),
            }
            backoff.pause();
        }
    }

    fn check_deadline(&self, tid: i32) -> Result<()> {
        if Instant::now() < self.deadline {
            return Ok(());
        }
        let pid = self.target.pid();
        let state = Task::read_thread(pid, tid).map_or('?', |task| task.state);
        let waited_ms = self.target.options().stop_timeout.as_millis() as u64;
        Err(Error::Unresponsive {
            pid,
            tid,
            state,
            waited_ms,
        })
    }

    fn is_dead(&self, tid: i32) -> bool {
        Task::read_thread(self.target.pid(), tid).map_or(true, |task| task.is_dead())
    }

    /// Waits until every thread is in a stop from which it can be sent anywhere.
    fn settle(&mut self) -> Result<()> {
        let mut backoff = Backoff::new();
        while !self.running.is_empty() {
            let before = self.running.len();
            let mut running = std::mem::take(&mut self.running);
            running.retain(|tid| match settle_step(*tid) {
                Settled::Stopped => {
                    self.stopped.push(*tid);
                    false
                }
                Settled::Ended => false,
                // The end of a leader of other living threads is not reported until they have
                // ended too; the end of any other thread is, and must be collected.
                Settled::NotYet => !(*tid == self.target.pid() && self.is_dead(*tid)),
            });
            self.running = running;
            if self.running.len() == before
                && let Some(tid) = self.running.first()
            {
                self.check_deadline(*tid)?;
                backoff.pause();
            }
        }
        Ok(())
    }
}

impl Drop for Seizing<'_> {
    fn drop(&mut self) {
        for tid in self.stopped.drain(..) {
            let_go(tid);
        }
        let deadline = Instant::now() + Duration::from_millis(200);
        let mut backoff = Backoff::new();
        while let Some(tid) = self.running.last().copied() {
            match settle_step(tid) {
                Settled::NotYet if tid == self.target.pid() && self.is_dead(tid) => {}
                Settled::NotYet if Instant::now() < deadline => {
                    backoff.pause();
                    continue;
                }
                Settled::NotYet => {
                    tracing::error!(tid, "thread could not be let go; it goes on when we end");
                }
                Settled::Stopped => let_go(tid),
                Settled::Ended => {}
            }
            self.running.pop();
        }
    }
}

enum Settled {
    Stopped,
    NotYet,
    Ended,
}

/// Takes one piece of news of a thread that was told to stop.
fn settle_step(tid: i32) -> Settled {
    // Any stop uses up the request to stop, so it is made again. A signal is delivered at
    // once: the thread stops again at the first instruction of its handler.
    let go_on = |signal| {
        let _ = ptrace::interrupt(tid);
        let _ = ptrace::cont(tid, signal);
        Settled::NotYet
    };
    match ptrace::wait(tid, false) {
        Ok(None) => Settled::NotYet,
        Ok(Some(Wait::EventStop | Wait::GroupStop(_))) => Settled::Stopped,
        Ok(Some(Wait::Signal(signal))) => go_on(signal),
        Ok(Some(Wait::Syscall | Wait::Event(_))) => go_on(0),
        Ok(Some(Wait::Ended(_))) | Err(_) => Settled::Ended,
    }
}

/// Waiting that starts short, because most threads stop within microseconds.
pub(super) struct Backoff(u32);

impl Backoff {
    pub(super) fn new() -> Self {
        Self(0)
    }

    /// Whether pauses have become long enough for a look at the process.
    pub(super) fn is_long(&self) -> bool {
        self.0 >= 14
    }

    pub(super) fn pause(&mut self) {
        if self.0 < 8 {
            thread::yield_now();
        } else {
            thread::sleep(Duration::from_micros((20 << (self.0 - 8).min(6)).min(1000)));
        }
        self.0 += 1;
    }
}
