//! What `/proc` says about a process.

mod auxv;
mod maps;
mod status;

use std::io;
use std::path::PathBuf;

pub use auxv::Auxv;
pub use maps::{FileId, Mapping, Maps};
pub use status::{Seccomp, Status, Task};

use crate::error::{Error, Result};

/// Reads `/proc/PID/NAME` whole.
pub(crate) fn read_proc(pid: i32, name: &str) -> Result<Vec<u8>> {
    let path = PathBuf::from(format!("/proc/{pid}/{name}"));
    std::fs::read(&path).map_err(|source| match source.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => Error::Gone { pid },
        Some(libc::EACCES | libc::EPERM) => Error::NotPermitted {
            pid,
            reason: not_permitted_reason(pid),
        },
        _ => Error::File { path, source },
    })
}

/// A thread that has the process's memory: the first one, unless it has ended before others.
pub(crate) fn living_thread(pid: i32) -> i32 {
    let is_dead = |tid: i32| Task::read_thread(pid, tid).map_or(true, |task| task.is_dead());
    if !is_dead(pid) {
        return pid;
    }
    let tids = tasks(pid).unwrap_or_default();
    tids.into_iter().find(|tid| !is_dead(*tid)).unwrap_or(pid)
}

/// Reads `/proc/PID/NAME` whole, about the process's memory, and tells of which thread it is.
fn read_of_living(pid: i32, name: &str) -> Result<(Vec<u8>, i32)> {
    match read_proc(pid, name) {
        Ok(text) if !text.is_empty() => return Ok((text, pid)),
        Ok(_) | Err(Error::Gone { .. } | Error::NotPermitted { .. }) => {}
        Err(error) => return Err(error),
    }
    let tid = living_thread(pid);
    read_proc(pid, &format!("task/{tid}/{name}")).map(|text| (text, tid))
}

/// Why the kernel says no, as far as it can be found out, and what would help.
pub(crate) fn not_permitted_reason(pid: i32) -> String {
    // SAFETY: geteuid has no preconditions.
    let euid = unsafe { libc::geteuid() };
    let owner = Status::read(pid).map(|s| s.uid).ok();
    if let Some(owner) = owner
        && owner != euid
        && euid != 0
    {
        return format!(
            "it belongs to uid {owner} and you are uid {euid}; run as its owner or as root"
        );
    }
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    match scope.as_deref().map(str::trim) {
        Ok("1") if euid != 0 => "kernel.yama.ptrace_scope is 1, so only its ancestors may; start \
             it with `bpftime start`, or run as root, or set the sysctl to 0"
            .into(),
        Ok("2") if euid != 0 => {
            "kernel.yama.ptrace_scope is 2, so only root may; run as root or lower the sysctl"
                .into()
        }
        Ok("3") => "kernel.yama.ptrace_scope is 3, so nobody may until a reboot".into(),
        _ => "it is not dumpable (setuid, capabilities, or PR_SET_DUMPABLE), in another user \
              namespace, or a kernel thread; run as root"
            .into(),
    }
}

/// Ids of the threads that `/proc/PID/task` lists now.
pub fn tasks(pid: i32) -> Result<Vec<i32>> {
    let path = PathBuf::from(format!("/proc/{pid}/task"));
    let failed = |source: io::Error| match source.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => Error::Gone { pid },
        _ => Error::File {
            path: path.clone(),
            source,
        },
    };
    let mut tids = Vec::new();
    for entry in std::fs::read_dir(&path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Some(tid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        {
            tids.push(tid);
        }
    }
    Ok(tids)
}
