//! The thread that makes system calls for us.

use libc::{c_int, user_regs_struct};

use super::stop::Backoff;
use super::stub::{self, Place};
use super::{Stopped, memory, rseq};
use crate::error::{Error, Result};
use crate::process::{Maps, Task};
use crate::ptrace::{self, Errno, SyscallStop, Wait};

/// A stop that is neither what we wait for nor an end is answered at most this often.
const PATIENCE: u32 = 10_000;

/// A thread of the process whose registers we borrow between [`Executor::begin`] and
/// [`Executor::finish`]. If we die in between, it puts itself back (see [`stub`]).
#[derive(Debug)]
pub(super) struct Executor {
    tid: i32,
    /// With which it goes on.
    regs: user_regs_struct,
    mask: u64,
    masked: bool,
    place: Place,
    /// `SIGSTOP`s that came meanwhile, to be sent again.
    held_stops: u32,
    /// Something else than a system call came out, so no further one may be made.
    broken: bool,
    /// What belongs to the conversation, see [`super::fds`].
    pub(super) session: super::fds::Session,
}

impl Executor {
    pub(super) fn begin(stopped: &Stopped<'_>) -> Result<Self> {
        let pid = stopped.target().pid();
        let maps = stopped.maps()?;
        // A thread that runs user code needs no restart of a system call afterwards.
        let thread = stopped
            .threads()
            .iter()
            .min_by_key(|thread| {
                let regs = thread.registers();
                (stub::is_restart(regs.rax), in_vsyscall(&maps, regs.rip))
            })
            .ok_or(Error::Gone { pid })?;
        let tid = thread.tid();
        stopped.target().check_seccomp_of(tid)?;
        let place = choose_place(stopped, &maps)?;
        let mask = ptrace::signal_mask(tid).map_err(|errno| died_or(pid, errno))?;
        let mut regs = *thread.registers();
        regs.rip = rseq::resume_address(pid, tid, regs.rip);
        memory::poke(pid, tid, place.address, &stub::assemble(&regs, mask))?;
        Ok(Self {
            tid,
            regs,
            mask,
            masked: false,
            place,
            held_stops: 0,
            broken: false,
            session: super::fds::Session::default(),
        })
    }

    /// Makes one system call; its result or error number.
    pub(super) fn call(&mut self, pid: i32, nr: i64, args: [u64; 6]) -> Result<Result<u64, i32>> {
        if self.broken {
            return Err(Error::RemoteInterrupted {
                pid,
                what: "an earlier failure".into(),
            });
        }
        // Until the result is seen, nothing is known about the thread.
        self.broken = true;
        let mut regs = self.regs;
        regs.rip = self.place.address;
        regs.rax = nr as u64;
        regs.orig_rax = u64::MAX;
        [regs.rdi, regs.rsi, regs.rdx, regs.r10, regs.r8, regs.r9] = args;
        ptrace::set_registers(self.tid, &regs).map_err(|errno| died_or(pid, errno))?;
        // After the registers, not before: if we die now, the stub unblocks them again. Signals
        // stay pending in the kernel meanwhile.
        if !self.masked {
            ptrace::set_signal_mask(self.tid, ptrace::ALL_SIGNALS)
                .map_err(|errno| died_or(pid, errno))?;
            self.masked = true;
        }
        for _ in 0..PATIENCE {
            ptrace::cont_to_syscall(self.tid, 0).map_err(|errno| died_or(pid, errno))?;
            match self.wait(pid)? {
                Wait::Syscall => {}
                _ => continue,
            }
            if ptrace::syscall_stop(self.tid).map_err(|errno| died_or(pid, errno))?
                != SyscallStop::Exit
            {
                continue;
            }
            let rax = self.current(pid)?.rax;
            if stub::is_restart(rax) {
                continue;
            }
            self.broken = false;
            let result = rax as i64;
            return Ok(if (-4095..0).contains(&result) {
                Err(-result as i32)
            } else {
                Ok(rax)
            });
        }
        Err(Error::RemoteInterrupted {
            pid,
            what: "endless other stops".into(),
        })
    }

    /// Puts the thread back exactly where it was.
    pub(super) fn finish(mut self, pid: i32) -> Result<()> {
        if self.masked {
            // An interrupted system call is restarted by the kernel only on its way out of a
            // stop like this one, not after a syscall stop.
            self.stop_again(pid)?;
            let rip = self.current(pid)?.rip;
            if rip == self.place.address || rip == self.place.address + stub::AFTER_SYSCALL {
                // The mask first: a thread that got its registers back no longer runs the stub.
                ptrace::set_signal_mask(self.tid, self.mask).map_err(|e| died_or(pid, e))?;
                ptrace::set_registers(self.tid, &self.regs).map_err(|e| died_or(pid, e))?;
            } else if (self.place.address..self.place.address + stub::LEN as u64).contains(&rip) {
                // It has begun to put itself back, and will go on.
                return Ok(());
            }
        }
        stub::remove(pid, self.tid, &self.place)?;
        for _ in 0..self.held_stops {
            // SAFETY: three integers.
            unsafe { libc::syscall(libc::SYS_tgkill, pid, self.tid, libc::SIGSTOP) };
        }
        Ok(())
    }

    fn stop_again(&mut self, pid: i32) -> Result<()> {
        for _ in 0..PATIENCE {
            ptrace::interrupt(self.tid).map_err(|errno| died_or(pid, errno))?;
            ptrace::cont(self.tid, 0).map_err(|errno| died_or(pid, errno))?;
            if matches!(self.wait(pid)?, Wait::EventStop | Wait::GroupStop(_)) {
                return Ok(());
            }
        }
        Err(Error::RemoteInterrupted {
            pid,
            what: "endless other stops".into(),
        })
    }

    /// The next stop.
    fn wait(&mut self, pid: i32) -> Result<Wait> {
        match self.news(pid) {
            Ok(Some(Wait::Signal(libc::SIGSTOP))) => {
                self.held_stops += 1;
                Ok(Wait::Signal(libc::SIGSTOP))
            }
            Ok(Some(Wait::Signal(signal))) => Err(Error::RemoteInterrupted {
                pid,
                what: signal_name(signal),
            }),
            Ok(Some(Wait::Ended(_)) | None) => Err(Error::Gone { pid }),
            Ok(Some(wait)) => Ok(wait),
            Err(errno) => Err(died_or(pid, errno)),
        }
    }

    /// News of the thread, waited for. Not by a call that blocks: the end of a process's leader
    /// is not told until the ends of all other threads have been collected, which is for this
    /// tracer to do when it lets them go.
    fn news(&self, pid: i32) -> std::result::Result<Option<Wait>, Errno> {
        let mut backoff = Backoff::new();
        loop {
            let news = ptrace::wait(self.tid, false)?;
            if news.is_some() {
                return Ok(news);
            }
            if backoff.is_long()
                && Task::read_thread(pid, self.tid).map_or(true, |task| task.is_dead())
            {
                // What it said last, if it said it just before it died.
                return ptrace::wait(self.tid, false);
            }
            backoff.pause();
        }
    }

    fn current(&self, pid: i32) -> Result<user_regs_struct> {
        ptrace::registers(self.tid)
            .map_err(|errno| died_or(pid, errno))?
            .ok_or(Error::NotX8664 { pid })
    }
}

fn signal_name(signal: c_int) -> String {
    match signal {
        libc::SIGSYS => "SIGSYS from its seccomp filter".into(),
        _ => format!("signal {signal}"),
    }
}

fn died_or(pid: i32, errno: Errno) -> Error {
    match errno.0 {
        libc::ESRCH | libc::ECHILD => Error::Gone { pid },
        errno => Error::Os {
            what: "ptrace",
            source: std::io::Error::from_raw_os_error(errno),
        },
    }
}

fn in_vsyscall(maps: &Maps, rip: u64) -> bool {
    maps.at(rip)
        .is_some_and(|m| m.name.as_os_str() == "[vsyscall]")
}

/// A place that is not in use.
fn choose_place(stopped: &Stopped<'_>, maps: &Maps) -> Result<Place> {
    let pid = stopped.target().pid();
    remove_leftovers(stopped, maps)?;
    let free = stub::places(pid, maps)
        .into_iter()
        .find(|place| !place.leftover);
    if free.is_none() {
        // One that has just been killed has no mappings left.
        stopped.target().check_alive()?;
    }
    free.ok_or_else(|| stub::no_place(pid))
}

/// Whether a tracer that died left a stub behind.
pub(crate) fn has_leftovers(pid: i32, maps: &Maps) -> bool {
    stub::places(pid, maps).iter().any(|place| place.leftover)
}

/// Removes stubs that dead tracers left, if no thread is in them or will come back to them; true
/// if none is left.
pub(crate) fn remove_leftovers(stopped: &Stopped<'_>, maps: &Maps) -> Result<bool> {
    let mut all = true;
    for place in stub::places(stopped.target().pid(), maps)
        .iter()
        .filter(|p| p.leftover)
    {
        let range = place.address..place.address + stub::LEN as u64;
        if stopped.references_in(maps, &[range])?.is_empty() {
            stub::remove(stopped.target().pid(), stopped.any_tid()?, place)?;
        } else {
            all = false;
        }
    }
    Ok(all)
}
