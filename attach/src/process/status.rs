//! `/proc/PID/status` and `/proc/PID/stat`.

use super::read_proc;
use crate::error::{Error, Result};

/// The seccomp mode of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Seccomp {
    /// None.
    Disabled,
    /// Only read, write, exit and sigreturn are allowed; anything else kills.
    Strict,
    /// Filters decide.
    Filter,
}

/// What `/proc/PID/status` says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Thread group, the id of the process.
    pub tgid: i32,
    /// The tracing process, 0 without one.
    pub tracer: i32,
    /// Effective uid.
    pub uid: u32,
    /// Number of threads.
    pub threads: u32,
    /// Seccomp mode (of the thread asked for).
    pub seccomp: Seccomp,
    /// Process ids from our pid namespace (first) to the process's own (last).
    pub namespace_pids: Vec<i32>,
    /// The same for the thread asked for.
    pub namespace_tids: Vec<i32>,
    /// User-mode shadow stacks are on, so a return address may not be replaced.
    pub shadow_stack: bool,
    /// A signal waits that the thread does not block.
    pub signal_pending: bool,
}

impl Status {
    /// Reads `/proc/PID/status`; `pid` may be a thread.
    pub fn read(pid: i32) -> Result<Self> {
        Self::parse(pid, &String::from_utf8_lossy(&read_proc(pid, "status")?))
    }

    /// Parses the text of `/proc/PID/status`.
    pub fn parse(pid: i32, text: &str) -> Result<Self> {
        let field = |key: &str| {
            text.lines()
                .enumerate()
                .filter_map(|(index, line)| {
                    let value = line.strip_prefix(key)?.strip_prefix(':')?;
                    Some((index, line, value.trim()))
                })
                .next()
        };
        let number = |key: &str, column: usize, default: Option<i64>| -> Result<i64> {
            let Some((index, line, value)) = field(key) else {
                return default.ok_or_else(|| Error::ProcFormat {
                    path: format!("/proc/{pid}/status"),
                    line: 0,
                    text: format!("{key} is missing"),
                });
            };
            value
                .split_whitespace()
                .nth(column)
                .and_then(|v| v.parse().ok())
                .ok_or_else(|| Error::ProcFormat {
                    path: format!("/proc/{pid}/status"),
                    line: index + 1,
                    text: line.to_owned(),
                })
        };
        let ids = |key| {
            field(key).map_or_else(Vec::new, |(_, _, value)| {
                value
                    .split_whitespace()
                    .filter_map(|v| v.parse().ok())
                    .collect()
            })
        };
        let signals = |key| {
            field(key).map_or(0, |(_, _, value)| {
                u64::from_str_radix(value, 16).unwrap_or(u64::MAX)
            })
        };
        Ok(Self {
            tgid: number("Tgid", 0, None)? as i32,
            tracer: number("TracerPid", 0, None)? as i32,
            uid: number("Uid", 1, None)? as u32,
            threads: number("Threads", 0, None)? as u32,
            seccomp: match number("Seccomp", 0, Some(0))? {
                0 => Seccomp::Disabled,
                1 => Seccomp::Strict,
                _ => Seccomp::Filter,
            },
            namespace_pids: ids("NStgid"),
            namespace_tids: ids("NSpid"),
            shadow_stack: field("x86_Thread_features")
                .is_some_and(|(_, _, value)| value.split_whitespace().any(|f| f == "shstk")),
            signal_pending: (signals("SigPnd") | signals("ShdPnd")) & !signals("SigBlk") != 0,
        })
    }
}

/// What `/proc/PID/stat` (or that of a thread) says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Task {
    /// The name (`comm`), at most 15 bytes.
    pub comm: String,
    /// State letter: `R`, `S`, `D`, `T`, `t`, `Z`, `X`.
    pub state: char,
    /// Threads of the process, those included that have ended and are not collected.
    pub threads: usize,
    /// Clock ticks after boot at which it started; tells a reused pid from the old one.
    pub start_time: u64,
}

impl Task {
    /// Reads `/proc/PID/stat`.
    pub fn read(pid: i32) -> Result<Self> {
        Self::parse(pid, &read_proc(pid, "stat")?)
    }

    /// Reads `/proc/PID/task/TID/stat`.
    pub fn read_thread(pid: i32, tid: i32) -> Result<Self> {
        Self::parse(pid, &read_proc(pid, &format!("task/{tid}/stat"))?)
    }

    /// Parses the text of `/proc/PID/stat`; the name may hold spaces and parentheses.
    pub fn parse(pid: i32, text: &[u8]) -> Result<Self> {
        let text = String::from_utf8_lossy(text);
        let parse = || {
            let (head, tail) = text.rsplit_once(')')?;
            let (_, comm) = head.split_once('(')?;
            let mut fields = tail.split_whitespace();
            let state = fields.next()?.chars().next()?;
            // Fields 20 and 22 of the line; the state is field 3.
            let threads = fields.nth(16)?.parse().ok()?;
            let start_time = fields.nth(1)?.parse().ok()?;
            Some(Self {
                comm: comm.to_owned(),
                state,
                threads,
                start_time,
            })
        };
        parse().ok_or_else(|| Error::ProcFormat {
            path: format!("/proc/{pid}/stat"),
            line: 1,
            text: text.clone().into_owned(),
        })
    }

    /// Whether the thread has ended (it may still be listed).
    pub fn is_dead(&self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses() {
        let text = b"12 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20 21";
        let task = Task::parse(12, text).expect("well formed");
        assert_eq!(
            (
                task.comm.as_str(),
                task.state,
                task.threads,
                task.start_time
            ),
            ("a) b (c)", 'S', 17, 4242)
        );
        assert!(Task::parse(12, b"12 (a) S 1 2").is_err());
        assert!(Task::parse(12, b"").is_err());
    }

    #[test]
    fn status_of_this_process() {
        let pid = std::process::id() as i32;
        let status = Status::read(pid).expect("own status");
        assert_eq!(status.tgid, pid);
        // SAFETY: geteuid has no preconditions.
        assert_eq!(status.uid, unsafe { libc::geteuid() });
        assert_eq!(status.namespace_pids.last(), Some(&pid));
        assert!(Task::read(pid).expect("own stat").start_time > 0);
    }

    #[test]
    fn status_fields() {
        let text = "Tgid:\t7\nTracerPid:\t3\nUid:\t1\t2\t3\t4\nThreads:\t9\nSeccomp:\t2\n\
                    NStgid:\t70\t7\nSigPnd:\t0000000000000001\nShdPnd:\t0000000000004000\n\
                    SigBlk:\t0000000000000001\nx86_Thread_features:\tshstk wrss \n";
        let status = Status::parse(7, text).expect("well formed");
        assert_eq!((status.tracer, status.uid, status.threads), (3, 2, 9));
        assert_eq!(status.seccomp, Seccomp::Filter);
        assert_eq!(status.namespace_pids, [70, 7]);
        assert!(status.shadow_stack && status.signal_pending);
        assert!(Status::parse(7, "Tgid:\t7\n").is_err());
    }
}
