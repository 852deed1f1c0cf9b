//! `trace_pipe`: what programs print, for tools to read.
//!
//! Every tool that opens the file gets a pipe of its own, with every line. The kernel's readers
//! share the lines among them, which nobody wants.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bpftime_abi::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::unistd::pipe2;

use crate::guardian::protocol::TraceLine;

/// Lines that are kept while nobody reads.
const MAX_KEPT: usize = 1000;
/// Most readers at once.
const MAX_READERS: usize = 64;
/// Bytes that the pipe of a reader takes, if the user's limit for pipes allows as many.
const PIPE_BYTES: libc::c_int = 1 << 20;
/// Lines that a reader may be behind beyond what its pipe takes.
const MAX_BEHIND: usize = 4096;

/// All readers.
#[derive(Debug, Default)]
pub struct TracePipe(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    readers: Mutex<Readers>,
}

#[derive(Debug, Default)]
struct Readers {
    open: Vec<Reader>,
    /// Lines that nobody has read yet, when there is no reader.
    kept: VecDeque<Vec<u8>>,
    /// Lines that were lost before those.
    lost: u64,
    /// Wakes the thread that fills pipes again, once there has been a full one.
    filler: Option<Arc<EventFd>>,
}

/// The end of a pipe.
#[derive(Debug)]
struct Reader {
    pipe: Arc<File>,
    /// Lines that wait for room in the pipe, at most [`MAX_BEHIND`].
    behind: VecDeque<Vec<u8>>,
    /// Lines that did not fit there since the last one that did.
    lost: u64,
}

/// The reader has closed its end.
struct Closed;

impl TracePipe {
    /// A new reader, which sees what is kept first. `EBUSY` if there are too many.
    pub fn open(&self, nonblocking: bool) -> Result<OwnedFd, Errno> {
        let mut readers = self.0.locked();
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
        // A smaller pipe only needs to be filled more often.
        let _ = fcntl(&ours, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        let mut reader = Reader {
            pipe: Arc::new(ours.into()),
            behind: VecDeque::new(),
            lost: std::mem::take(&mut readers.lost),
        };
        for line in std::mem::take(&mut readers.kept) {
            // `theirs` is open.
            let _ = reader.add(line);
        }
        readers.open.push(reader);
        self.0.fill_if_behind(&mut readers);
        Ok(theirs)
    }

    /// Gives lines to all readers, or keeps them if there is none.
    pub fn add(&self, lost: u64, lines: &[TraceLine]) {
        let mut readers = self.0.locked();
        readers.lose(lost);
        for line in lines {
            readers.add(&format(line));
        }
        self.0.fill_if_behind(&mut readers);
    }
}

impl Drop for TracePipe {
    fn drop(&mut self) {
        let mut readers = self.0.locked();
        readers.open.clear();
        if let Some(filler) = readers.filler.take() {
            // Only a full counter refuses, and then the thread is about to wake.
            let _ = filler.write(1);
        }
    }
}

impl Shared {
    fn locked(&self) -> MutexGuard<'_, Readers> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sees to it that what is behind is written when there is room.
    fn fill_if_behind(self: &Arc<Self>, readers: &mut Readers) {
        if readers.open.iter().all(|reader| reader.behind.is_empty()) {
            return;
        }
        match &readers.filler {
            // Only a full counter refuses, and then the thread is about to wake.
            Some(filler) => drop(filler.write(1)),
            None => match self.start_filler() {
                Ok(filler) => readers.filler = Some(filler),
                Err(error) => {
                    tracing::warn!("readers of trace_pipe may wait for lines: {error}");
                }
            },
        }
    }

    fn start_filler(self: &Arc<Self>) -> io::Result<Arc<EventFd>> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let event = Arc::new(EventFd::from_flags(flags)?);
        let (shared, waked) = (self.clone(), event.clone());
        std::thread::Builder::new()
            .name("trace_pipe".into())
            .spawn(move || shared.fill(&waked))?;
        Ok(event)
    }

    /// Fills pipes as they are read, until the [`TracePipe`] is gone.
    fn fill(&self, waked: &Arc<EventFd>) {
        loop {
            let full: Vec<Arc<File>> = {
                let mut readers = self.locked();
                // Whoever started this thread sets the field before it lets the lock go.
                if readers.filler.is_none() {
                    return;
                }
                readers
                    .open
                    .retain_mut(|reader| reader.write_behind().is_ok());
                let behind = |reader: &&Reader| !reader.behind.is_empty();
                let pipe = |reader: &Reader| reader.pipe.clone();
                readers.open.iter().filter(behind).map(pipe).collect()
            };
            let mut fds = vec![PollFd::new(waked.as_fd(), PollFlags::POLLIN)];
            fds.extend(
                full.iter()
                    .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)),
            );
            // A signal only makes it look again.
            let _ = poll(&mut fds, PollTimeout::NONE);
            // Nothing to read if it was a pipe.
            let _ = waked.read();
        }
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

    fn add(&mut self, line: &[u8]) {
        self.open
            .retain_mut(|reader| reader.add(line.to_vec()).is_ok());
        if !self.open.is_empty() {
            return;
        }
        if self.kept.len() >= MAX_KEPT {
            self.kept.pop_front();
            self.lost = self.lost.saturating_add(1);
        }
        self.kept.push_back(line.to_vec());
    }
}

impl Reader {
    /// Writes a line, after a note of those that were lost, or puts it behind; if there are too
    /// many, it is lost too.
    fn add(&mut self, line: Vec<u8>) -> Result<(), Closed> {
        if self.behind.len() >= MAX_BEHIND {
            self.lost = self.lost.saturating_add(1);
            return Ok(());
        }
        let text = match std::mem::take(&mut self.lost) {
            0 => line,
            lost => [format!("CPU:0 [LOST {lost} EVENTS]\n").into_bytes(), line].concat(),
        };
        self.behind.push_back(text);
        self.write_behind()
    }

    /// Writes as many lines as there is room for.
    fn write_behind(&mut self) -> Result<(), Closed> {
        while let Some(text) = self.behind.front() {
            // Fewer bytes than PIPE_BUF are written all or not at all.
            match (&*self.pipe).write(text) {
                Ok(_) => drop(self.behind.pop_front()),
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(Closed),
                Err(_) => return Ok(()),
            }
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
    use std::io::{BufRead, BufReader, Read};

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

    /// The next lines, waiting for them.
    fn read(reader: &mut impl BufRead, count: u64) -> String {
        let mut text = String::new();
        for _ in 0..count {
            reader.read_line(&mut text).unwrap();
        }
        text
    }

    /// The user's limit for pipes may leave a pipe of one page.
    fn small(fd: OwnedFd) -> BufReader<File> {
        fcntl(&fd, FcntlArg::F_SETPIPE_SZ(4096)).unwrap();
        BufReader::new(fd.into())
    }

    #[test]
    fn a_small_pipe_loses_nothing() {
        let pipe = TracePipe::default();
        let mut readers = [(); 2].map(|()| small(pipe.open(false).unwrap()));
        add(&pipe, 0..1000);
        for reader in &mut readers {
            assert!(read(reader, 1000) == all(0..1000));
        }
        add(&pipe, 1000..2000);
        let [first, second] = readers;
        drop(first);
        assert!(read(&mut { second }, 1000) == all(1000..2000));
    }

    #[test]
    fn a_slow_reader_is_told_what_it_lost() {
        let pipe = TracePipe::default();
        let mut reader = small(pipe.open(false).unwrap());
        const MANY: u64 = 20_000;
        add(&pipe, 0..MANY);
        let mut seen = 0;
        let mut line = read(&mut reader, 1);
        while !line.contains("LOST") {
            assert_eq!(line, printed(seen));
            seen += 1;
            if seen == 1000 {
                add(&pipe, MANY..MANY + 2);
            }
            line = read(&mut reader, 1);
        }
        assert!((MAX_BEHIND as u64..MANY).contains(&seen), "{seen}");
        assert_eq!(line, format!("CPU:0 [LOST {} EVENTS]\n", MANY - seen));
        assert_eq!(read(&mut reader, 2), all(MANY..MANY + 2));
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
