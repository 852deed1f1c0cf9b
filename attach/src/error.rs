//! What can go wrong with a process, and what the user can do about it.

use std::io;
use std::path::PathBuf;

/// Result of the operations of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation on a process. The process itself is unharmed in every case.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The process has ended or never existed.
    #[error("process {pid} does not exist: it has ended, or the pid is wrong")]
    Gone {
        /// The pid asked for.
        pid: i32,
    },
    /// The pid names a thread that does not lead its process.
    #[error("{pid} is a thread of process {leader}; use the process id {leader}")]
    NotALeader {
        /// The thread asked for.
        pid: i32,
        /// Its process.
        leader: i32,
    },
    /// The kernel forbids tracing.
    #[error("not allowed to trace process {pid}: {reason}")]
    NotPermitted {
        /// The process.
        pid: i32,
        /// Why, and what would help.
        reason: String,
    },
    /// Another tracer (a debugger, strace) has the process.
    #[error(
        "process {pid} is already traced by process {tracer}{name}; a process has one tracer \
         at a time, so end that one first"
    )]
    AlreadyTraced {
        /// The process.
        pid: i32,
        /// Its tracer.
        tracer: i32,
        /// The tracer's name in parentheses with a leading space, or nothing.
        name: String,
    },
    /// A thread did not stop in time.
    #[error(
        "thread {tid} of process {pid} did not stop within {waited_ms} ms (state {state}): it is \
         in an uninterruptible system call, such as a vfork whose child has not run exec yet; \
         try again"
    )]
    Unresponsive {
        /// The process.
        pid: i32,
        /// The thread.
        tid: i32,
        /// Its state letter in `/proc/PID/stat`.
        state: char,
        /// How long was waited.
        waited_ms: u64,
    },
    /// Not a 64-bit x86 process.
    #[error("process {pid} is not a 64-bit x86 process, and no other kind is supported")]
    NotX8664 {
        /// The process.
        pid: i32,
    },
    /// A system call filter may forbid (or kill for) what must be done inside.
    #[error(
        "process {pid} runs under seccomp ({mode}), which may kill it for the system calls that \
         attaching makes in it; {advice}"
    )]
    Seccomp {
        /// The process.
        pid: i32,
        /// `strict mode` or `a filter`.
        mode: &'static str,
        /// What the user can do.
        advice: &'static str,
    },
    /// A system call made inside the process failed.
    #[error("{call} inside process {pid} failed: {}", io::Error::from_raw_os_error(*errno))]
    RemoteCall {
        /// The process.
        pid: i32,
        /// What the call was for.
        call: &'static str,
        /// Its error number.
        errno: i32,
    },
    /// The thread that makes system calls for us did something else.
    #[error("a system call inside process {pid} was interrupted by {what}")]
    RemoteInterrupted {
        /// The process.
        pid: i32,
        /// What came instead.
        what: String,
    },
    /// No thread or no place for the code that makes system calls.
    #[error("cannot make system calls inside process {pid}: {reason}")]
    NoRemoteCalls {
        /// The process.
        pid: i32,
        /// What is missing.
        reason: String,
    },
    /// Memory of the process cannot be read or written.
    #[error(
        "cannot {action} {len} bytes at {address:#x} in process {pid}: {}",
        io::Error::from_raw_os_error(*errno)
    )]
    Memory {
        /// The process.
        pid: i32,
        /// `read` or `write`.
        action: &'static str,
        /// Where.
        address: u64,
        /// How much.
        len: usize,
        /// Why.
        errno: i32,
    },
    /// No free addresses near a place.
    #[error("no {len} free bytes of address space within reach of {near:#x} in process {pid}")]
    NoRoom {
        /// The process.
        pid: i32,
        /// The place.
        near: u64,
        /// The length wanted.
        len: u64,
    },
    /// A system call of this process failed.
    #[error("{what}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file under `/proc` does not have the form that the kernel documents.
    #[error("{path}: line {line} is not understood: {text:?}")]
    ProcFormat {
        /// The file.
        path: String,
        /// Line number from 1.
        line: usize,
        /// The line.
        text: String,
    },
    /// What was asked cannot be done here.
    #[error("{0}")]
    Unsupported(String),
    /// The file is not mapped for execution.
    #[error("process {pid} has not loaded {}", path.display())]
    NotLoaded {
        /// The process.
        pid: i32,
        /// The file.
        path: PathBuf,
    },
    /// A site cannot be patched.
    #[error("cannot hook {address:#x} in process {pid}: {reason}")]
    Site {
        /// The process.
        pid: i32,
        /// The site.
        address: u64,
        /// Why.
        reason: String,
    },
    /// The return of a function of a Go program was to be probed.
    #[error(
        "cannot probe the return of the function at {address:#x} in process {pid}: {} is a Go \
         program, whose runtime moves stacks and understands no return address but its own on \
         them; probe the function's entry",
        path.display()
    )]
    GoFunction {
        /// The process.
        pid: i32,
        /// The function.
        address: u64,
        /// Its file.
        path: PathBuf,
    },
    /// The return of a function was to be probed that an exception may pass through, and the
    /// unwinder cannot be told of return points. May pass when the process loads more files.
    #[error(
        "cannot probe the return of the function at {address:#x} in process {pid}: {} {sign}, so a \
         C++ exception or Rust panic may pass through the function, and would end the process at a \
         probed return, because {unwinder}; probe the function's entry, or a function that calls no \
         other",
        path.display()
    )]
    MayUnwind {
        /// The process.
        pid: i32,
        /// The function.
        address: u64,
        /// Its file.
        path: PathBuf,
        /// By what that is known, as a verb phrase about the file.
        sign: String,
        /// Why the unwinder cannot be told, as a clause.
        unwinder: String,
    },
    /// The in-target image or the control memory is not what it must be.
    #[error("{what} of process {pid} is damaged or of another version: {reason}")]
    Control {
        /// The process.
        pid: i32,
        /// Which part.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    /// `errno` of the last system call of this process, as an [`Error::Os`].
    pub(crate) fn os(what: &'static str) -> Self {
        Self::Os {
            what,
            source: io::Error::last_os_error(),
        }
    }

    /// Whether the process has ended, so that nothing is left to do or undo.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Gone { .. })
    }
}
