//! Facts about a process from procfs.

use std::io;

fn status_field(pid: i32, name: &str) -> io::Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .map(|value| value.trim().to_owned())
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))
}

fn first_number<T: std::str::FromStr>(text: &str) -> io::Result<T> {
    text.split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| io::Error::from_raw_os_error(libc::ESRCH))
}

/// The process that a thread belongs to.
pub fn tgid_of(tid: i32) -> io::Result<i32> {
    first_number(&status_field(tid, "Tgid")?)
}

/// Whether a thread and its process's parent have one memory, or may have.
pub fn shares_memory_with_parent(tid: i32) -> bool {
    /// `KCMP_VM`.
    const VM: libc::c_int = 1;
    let Ok(parent) = status_field(tid, "PPid").and_then(|field| first_number::<i32>(&field)) else {
        return true;
    };
    // SAFETY: takes integers. 1 and 2 are the order of two that differ.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, tid, parent, VM, 0, 0) };
    !matches!(order, 1 | 2)
}

/// The real user of a process.
pub fn uid_of(pid: i32) -> io::Result<u32> {
    first_number(&status_field(pid, "Uid")?)
}

/// The command name, at most 15 bytes.
pub fn comm_of(pid: i32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm"))
        .map(|name| name.trim_end().to_owned())
        .unwrap_or_default()
}

/// The command name of a thread of a process; nothing if it has no such thread.
pub fn comm_of_thread(pid: i32, tid: u32) -> Option<String> {
    let name = std::fs::read(format!("/proc/{pid}/task/{tid}/comm")).ok()?;
    Some(String::from_utf8_lossy(&name).trim_end().to_owned())
}

/// The command line, words separated by spaces; the command name where there is none.
pub fn command_of(pid: i32) -> String {
    match std::fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(bytes) if !bytes.is_empty() => {
            let words: Vec<_> = bytes
                .split(|byte| *byte == 0)
                .filter(|word| !word.is_empty())
                .map(String::from_utf8_lossy)
                .collect();
            words.join(" ")
        }
        _ => comm_of(pid),
    }
}

/// Whether the process exists and is no zombie. Its first thread may have ended before others.
pub fn is_running(pid: i32) -> bool {
    match status_field(pid, "State") {
        Ok(state) if state.starts_with(['Z', 'X']) => {
            let threads = status_field(pid, "Threads").unwrap_or_default();
            threads.parse().is_ok_and(|threads: u32| threads > 1)
        }
        Ok(_) => true,
        Err(_) => false,
    }
}

/// Whether the process runs as a guardian. The broker starts it with this word.
pub fn is_guardian(pid: i32) -> bool {
    let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    is_running(pid) && words.split(|byte| *byte == 0).nth(1) == Some(b"guardian")
}

/// Whether some process traces this one.
pub fn is_traced(pid: i32) -> bool {
    status_field(pid, "TracerPid").is_ok_and(|tracer| tracer != "0")
}
