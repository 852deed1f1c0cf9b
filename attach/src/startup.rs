//! Following a program from before its `exec` to its first own instruction.
//!
//! The process that will become the program waits (on a pipe, say) while [`Startup::seize`] starts
//! tracing it. [`Startup::follow`] then sees every file that the dynamic linker maps before any of
//! its code has run. No breakpoint is used, so the death of the tracer at any moment leaves the
//! program to start as if nothing had been there.
//!
//! The kernel runs a set-user-ID program without its privileges while it is traced by an
//! unprivileged process, as under a debugger.

use std::collections::HashSet;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::process::{Auxv, FileId, Mapping, Maps, not_permitted_reason};
use crate::ptrace::{self, Errno, SyscallStop, Wait};
use crate::target::{Stopped, Target};

/// System calls that dynamic linkers make before the program starts. musl's is also its C library,
/// so where a call comes from is not enough to tell.
const LINKER_CALLS: [i64; 24] = [
    libc::SYS_access,
    libc::SYS_arch_prctl,
    libc::SYS_brk,
    libc::SYS_close,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_getcwd,
    libc::SYS_getrandom,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_munmap,
    libc::SYS_newfstatat,
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readlink,
    libc::SYS_set_robust_list,
    libc::SYS_set_tid_address,
    libc::SYS_stat,
];

/// A process that is going to call `exec`.
#[derive(Debug)]
pub struct Startup {
    target: Target,
}

/// What came next in a process that starts.
enum Next {
    /// `exec` is done: the new program is mapped and has not run.
    Executed,
    /// A system call begins.
    Enters,
    /// A system call has ended.
    Leaves,
}

impl Startup {
    /// Starts tracing a process, which goes on running. It must have one thread.
    pub fn seize(target: Target) -> Result<Self> {
        let pid = target.pid();
        ptrace::seize(pid, libc::PTRACE_O_TRACEEXEC).map_err(|errno| match errno.0 {
            libc::EPERM => Error::NotPermitted {
                pid,
                reason: not_permitted_reason(pid),
            },
            _ => failed(pid, errno),
        })?;
        Ok(Self { target })
    }

    /// The process.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Waits for `exec` and runs the dynamic linker. `on_mapped` is called with the process
    /// stopped whenever executable files were mapped, the program itself first. Returns when the
    /// program's own code begins; it then runs freely. An error of `on_mapped` ends it earlier.
    pub fn follow(
        self,
        mut on_mapped: impl FnMut(&mut Stopped<'_>, &[Mapping]) -> Result<()>,
    ) -> Result<Target> {
        let result = self.follow_until_started(&mut on_mapped);
        let detached = ptrace::detach(self.target.pid(), 0);
        result?;
        detached.map_err(|errno| failed(self.target.pid(), errno))?;
        Ok(self.target)
    }

    fn follow_until_started(
        &self,
        on_mapped: &mut impl FnMut(&mut Stopped<'_>, &[Mapping]) -> Result<()>,
    ) -> Result<()> {
        let pid = self.target.pid();
        let mut seen = HashSet::new();
        // `None` until `exec` is done.
        let mut interpreter: Option<Range<u64>> = None;
        let mut executed = false;
        loop {
            match self.next(executed)? {
                Next::Executed => {
                    executed = true;
                    seen.clear();
                    interpreter = None;
                }
                Next::Enters => {
                    let regs = self.registers()?;
                    let Some(linker) = &interpreter else { continue };
                    let own = linker.contains(&regs.rip);
                    if !own || !LINKER_CALLS.contains(&(regs.orig_rax as i64)) {
                        return Ok(());
                    }
                }
                Next::Leaves => {
                    let regs = self.registers()?;
                    let maps_code = matches!(
                        regs.orig_rax as i64,
                        libc::SYS_mmap | libc::SYS_mprotect | libc::SYS_pkey_mprotect
                    ) && regs.rdx & libc::PROT_EXEC as u64 != 0;
                    if !maps_code && interpreter.is_some() {
                        continue;
                    }
                    let maps = self.target.maps()?;
                    let new: Vec<Mapping> = maps
                        .iter()
                        .filter(|m| m.execute && m.is_file() && m.memfd_name().is_none())
                        .filter(|m| seen.insert((m.start, m.device, m.inode)))
                        .cloned()
                        .collect();
                    if !new.is_empty() {
                        on_mapped(&mut Stopped::borrow(&self.target, pid)?, &new)?;
                    }
                    if interpreter.is_none() {
                        match interpreter_code(pid, &maps)? {
                            Some(code) => interpreter = Some(code),
                            // A static program starts at once.
                            None => return Ok(()),
                        }
                    }
                }
            }
        }
    }

    /// Goes on to the next stop that matters.
    fn next(&self, executed: bool) -> Result<Next> {
        let pid = self.target.pid();
        let mut signal = 0;
        let mut listen = false;
        // Before `exec` the process is left alone; it is not even stopped at first.
        let mut running = !executed;
        loop {
            if !running {
                let resumed = if listen {
                    ptrace::listen(pid)
                } else {
                    ptrace::cont_to_syscall(pid, signal)
                };
                resumed.map_err(|errno| failed(pid, errno))?;
            }
            running = false;
            (signal, listen) = (0, false);
            match ptrace::wait(pid, true).map_err(|errno| failed(pid, errno))? {
                Some(Wait::Signal(number)) => signal = number,
                Some(Wait::GroupStop(_)) => listen = true,
                Some(Wait::Event(libc::PTRACE_EVENT_EXEC)) => return Ok(Next::Executed),
                Some(Wait::Syscall) => {
                    match ptrace::syscall_stop(pid).map_err(|errno| failed(pid, errno))? {
                        SyscallStop::Entry if executed => return Ok(Next::Enters),
                        SyscallStop::Exit if executed => return Ok(Next::Leaves),
                        _ => {}
                    }
                }
                Some(Wait::EventStop | Wait::Event(_)) => {}
                Some(Wait::Ended(_)) | None => return Err(Error::Gone { pid }),
            }
        }
    }

    fn registers(&self) -> Result<libc::user_regs_struct> {
        let pid = self.target.pid();
        ptrace::registers(pid)
            .map_err(|errno| failed(pid, errno))?
            .ok_or(Error::NotX8664 { pid })
    }
}

fn failed(pid: i32, errno: Errno) -> Error {
    match errno.0 {
        libc::ESRCH | libc::ECHILD => Error::Gone { pid },
        errno => Error::Os {
            what: "ptrace",
            source: std::io::Error::from_raw_os_error(errno),
        },
    }
}

/// Where the dynamic linker's code is; `None` for a static program.
fn interpreter_code(pid: i32, maps: &Maps) -> Result<Option<Range<u64>>> {
    let Some(base) = Auxv::read(pid)?.interpreter_base() else {
        return Ok(None);
    };
    let Some(first) = maps.at(base) else {
        return Ok(None);
    };
    let file = FileId {
        device: first.device,
        inode: first.inode,
    };
    Ok(maps
        .iter()
        .find(|m| m.execute && m.device == file.device && m.inode == file.inode)
        .map(|m| m.start..m.end))
}
