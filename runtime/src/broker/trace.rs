//! `trace_pipe`: what programs print, for tools to read.
//!
//! Every tool that opens the file gets a pipe of its own, with every line. The kernel's readers
//! share the lines among them, which nobody wants.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bpftime_abi::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

use crate::guardian::protocol::TraceLine;

/// Lines that are kept while nobody reads.
const MAX_KEPT: usize = 1000;
/// Most readers at once.
const MAX_READERS: usize = 64;
/// Bytes that a reader may be behind, if the user's limit for pipes allows as many: more than
/// [`MAX_KEPT`] lines have.
const PIPE_BYTES: libc::c_int = 1 << 20;

/// All readers.
#[derive(Debug, Default)]
pub struct TracePipe(Mutex<Readers>);

#[derive(Debug, Default)]
struct Readers {
    open: Vec<Reader>,
    /// Lines that nobody has read yet, when there is no reader.
    kept: VecDeque<Vec<u8>>,
    /// Lines that were lost before those.
    lost: u64,
}

/// The end of a pipe.
#[derive(Debug)]
struct Reader {
    pipe: File,
    /// Lines that did not fit since the last one that did.
    lost: u64,
}

/// The reader has closed its end.
struct Closed;

impl TracePipe {
    /// A new reader, which sees what is kept first. `EBUSY` if there are too many.
    pub fn open(&self, nonblocking: bool) -> Result<OwnedFd, Errno> {
        let mut readers = self.locked();
        readers.open.retain(|reader| !reader.is_closed());
        if readers.open.len() >= MAX_READERS {
            return Err(Errno(libc::EBUSY));
        }
        let (theirs, ours) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| Errno(errno as i32))?;
        let nonblock = |fd: &OwnedFd| {
            let flags = FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
            fcntl(fd, flags).map_err(|errno| Errno(errno as i32))
        };
        nonblock(&ours)?;
        if nonblocking {
            nonblock(&theirs)?;
        }
        // A smaller pipe only loses lines sooner.
        let _ = fcntl(&ours, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        let mut reader = Reader {
            pipe: ours.into(),
            lost: std::mem::take(&mut readers.lost),
        };
        for line in std::mem::take(&mut readers.kept) {
            // `theirs` is open.
            let _ = reader.write(&line);
        }
        readers.open.push(reader);
        Ok(theirs)
    }

    /// Gives lines to all readers, or keeps them if there is none.
    pub fn add(&self, lost: u64, lines: &[TraceLine]) {
        let mut readers = self.locked();
        readers.lose(lost);
        for line in lines {
            readers.add(format(line));
        }
    }

    fn locked(&self) -> MutexGuard<'_, Readers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Readers {
    fn lose(&mut self, lost: u64) {
        for reader in &mut self.open {
            reader.lost = reader.lost.saturating_add(lost);
        }
        if self.open.is_empty() {
            self.lost = self.lost.saturating_add(lost);
        }
    }

    fn add(&mut self, line: Vec<u8>) {
        self.open.retain_mut(|reader| reader.write(&line).is_ok());
        if !self.open.is_empty() {
            return;
        }
        if self.kept.len() >= MAX_KEPT {
            self.kept.pop_front();
            self.lost = self.lost.saturating_add(1);
        }
        self.kept.push_back(line);
    }
}

impl Reader {
    /// Writes a line, after a note of those that were lost; if the pipe is full, it is lost too.
    fn write(&mut self, line: &[u8]) -> Result<(), Closed> {
        let mut text = match self.lost {
            0 => Vec::new(),
            lost => format!("CPU:0 [LOST {lost} EVENTS]\n").into_bytes(),
        };
        text.extend_from_slice(line);
        // Fewer bytes than PIPE_BUF are written all or not at all.
        match self.pipe.write(&text) {
            Ok(_) => self.lost = 0,
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(Closed),
            Err(_) => self.lost = self.lost.saturating_add(1),
        }
        Ok(())
    }

    fn is_closed(&self) -> bool {
        let mut fds = [PollFd::new(self.pipe.as_fd(), PollFlags::empty())];
        // Only an error is told without being asked for.
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(1))
    }
}

/// A line as the kernel's `trace_pipe` has it. The CPU and the state of interrupts are made up.
fn format(line: &TraceLine) -> Vec<u8> {
    let (seconds, micros) = (line.time_us / 1_000_000, line.time_us % 1_000_000);
    let mut text = format!(
        "{:>16}-{:<7} [000] ...11 {seconds:5}.{micros:06}: bpf_trace_printk: ",
        line.comm, line.tid
    )
    .into_bytes();
    text.extend_from_slice(&line.text);
    text.push(b'\n');
    text
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn line(number: u64) -> TraceLine {
        TraceLine {
            tid: 42,
            comm: "cat".to_owned(),
            time_us: 12_345_000_678,
            text: format!("number {number}").into_bytes(),
        }
    }

    fn printed(number: u64) -> String {
        format!(
            "             cat-42      [000] ...11 12345.000678: bpf_trace_printk: number {number}\n"
        )
    }

    fn add(pipe: &TracePipe, numbers: std::ops::Range<u64>) {
        let lines: Vec<_> = numbers.map(line).collect();
        pipe.add(0, &lines);
    }

    /// All that is there now.
    fn drain(fd: &OwnedFd) -> String {
        let mut text = Vec::new();
        let error = File::from(fd.try_clone().unwrap())
            .read_to_end(&mut text)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        String::from_utf8(text).unwrap()
    }

    fn all(numbers: std::ops::Range<u64>) -> String {
        numbers.map(printed).collect()
    }

    #[test]
    fn the_first_reader_sees_what_was_kept_and_all_see_what_comes() {
        let pipe = TracePipe::default();
        add(&pipe, 0..3);
        let first = pipe.open(true).unwrap();
        let second = pipe.open(true).unwrap();
        add(&pipe, 3..5);
        assert_eq!(drain(&first), all(0..5));
        assert_eq!(drain(&second), all(3..5));
        drop(first);
        add(&pipe, 5..6);
        drop(second);
        add(&pipe, 6..8);
        assert_eq!(drain(&pipe.open(true).unwrap()), all(6..8));
    }

    #[test]
    fn the_oldest_lines_go_when_nobody_reads() {
        let pipe = TracePipe::default();
        pipe.add(5, &[]);
        add(&pipe, 0..1200);
        let text = drain(&pipe.open(true).unwrap());
        let expected = format!("CPU:0 [LOST 205 EVENTS]\n{}", all(200..1200));
        assert!(text == expected, "{text}");
    }

    #[test]
    fn a_slow_reader_is_told_what_it_lost() {
        let pipe = TracePipe::default();
        let reader = pipe.open(true).unwrap();
        const MANY: u64 = 20_000;
        add(&pipe, 0..MANY);
        let text = drain(&reader);
        let seen = text.lines().count() as u64;
        assert!(
            text == all(0..seen) && (100..MANY).contains(&seen),
            "{seen}"
        );
        add(&pipe, 0..2);
        let lost = MANY - seen;
        let expected = format!("CPU:0 [LOST {lost} EVENTS]\n{}", all(0..2));
        assert_eq!(drain(&reader), expected);
    }

    #[test]
    fn readers_are_bounded_and_closed_ones_forgotten() {
        let pipe = TracePipe::default();
        let mut open: Vec<_> = (0..MAX_READERS)
            .map(|_| pipe.open(false).unwrap())
            .collect();
        assert_eq!(pipe.open(false).unwrap_err(), Errno(libc::EBUSY));
        open.pop();
        pipe.open(false).unwrap();
    }

    #[test]
    fn only_who_asks_for_it_does_not_block() {
        let pipe = TracePipe::default();
        for nonblocking in [false, true] {
            let fd = pipe.open(nonblocking).unwrap();
            let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL).unwrap());
            assert_eq!(flags.contains(OFlag::O_NONBLOCK), nonblocking);
        }
    }
}
