//! Sentences for the user, on a tool's standard error.
//!
//! A standard error may be a pipe that nobody reads, or a stopped terminal, and it is shared with
//! the tool, so that it cannot be made not to block. A thread writes to it, and sentences that it
//! does not get rid of are counted instead.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Sentences that wait to be written.
const WAITING: usize = 64;

/// How long a sentence is waited for, so that it comes before what the tool says of the same
/// failure.
const PATIENCE: Duration = Duration::from_millis(50);

/// A tool's standard error.
#[derive(Debug)]
pub struct Voice {
    writer: Mutex<Writer>,
    /// Sentences that were left out since the last one that was written.
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Writer {
    /// Nothing has been said yet.
    Silent(OwnedFd),
    /// The thread listens to this end. `stuck`: it was not done in time with the last sentence.
    Speaking {
        sentences: SyncSender<Sentence>,
        stuck: bool,
    },
    /// There is no thread, and none can be made.
    Dumb,
}

#[derive(Debug)]
struct Sentence {
    text: String,
    /// Told when it is written.
    written: SyncSender<()>,
}

impl Voice {
    /// Speaks to a file.
    pub fn new(stderr: OwnedFd) -> Self {
        Self {
            writer: Mutex::new(Writer::Silent(stderr)),
            lost: Arc::default(),
        }
    }

    /// Says a sentence, a line. Never waits long, whoever does not read it.
    pub fn say(&self, sentence: &str) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Writer::Silent(_) = *writer
            && let Writer::Silent(stderr) = std::mem::replace(&mut *writer, Writer::Dumb)
            && let Some(sentences) = speak(stderr, self.lost.clone())
        {
            *writer = Writer::Speaking {
                sentences,
                stuck: false,
            };
        }
        let Writer::Speaking { sentences, stuck } = &mut *writer else {
            return;
        };
        let (written, done) = sync_channel(1);
        let sentence = Sentence {
            text: format!("bpftime: {sentence}\n"),
            written,
        };
        if sentences.try_send(sentence).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        } else if *stuck {
            // Its time is up, but not for ever.
            *stuck = done.try_recv().is_err();
        } else {
            *stuck = done.recv_timeout(PATIENCE).is_err();
        }
    }
}

/// Starts the thread that writes; it ends when it is done and the sender is gone.
fn speak(stderr: OwnedFd, lost: Arc<AtomicU64>) -> Option<SyncSender<Sentence>> {
    let (sender, sentences) = sync_channel(WAITING);
    let spawned = std::thread::Builder::new()
        .name("voice".into())
        .spawn(move || write_all(File::from(stderr), &sentences, &lost));
    match spawned {
        Ok(_) => Some(sender),
        Err(error) => {
            tracing::warn!("no thread to speak to a tool's user: {error}");
            None
        }
    }
}

fn write_all(mut stderr: File, sentences: &Receiver<Sentence>, lost: &AtomicU64) {
    let mut next = sentences.recv();
    while let Ok(sentence) = next {
        // A closed standard error is the user's wish.
        let _ = stderr.write_all(sentence.text.as_bytes());
        // Nobody may wait for it any more.
        let _ = sentence.written.try_send(());
        next = sentences.try_recv().or_else(|_| {
            tell_lost(&mut stderr, lost);
            sentences.recv()
        });
    }
    tell_lost(&mut stderr, lost);
}

fn tell_lost(stderr: &mut File, lost: &AtomicU64) {
    let lost = lost.swap(0, Ordering::Relaxed);
    if lost > 0 {
        let _ = writeln!(stderr, "bpftime: {lost} more sentences were left out");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Instant;

    use super::*;

    #[test]
    fn what_is_read_is_there_before_say_returns() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let voice = Voice::new(writer.into());
        for number in 0..10 {
            voice.say(&format!("number {number}"));
            let mut line = [0; 18];
            reader.read_exact(&mut line).unwrap();
            assert_eq!(line, format!("bpftime: number {number}\n").as_bytes());
        }
        drop(voice);
        assert_eq!(reader.read_to_end(&mut Vec::new()).unwrap(), 0);
    }

    #[test]
    fn what_nobody_reads_costs_no_time_and_is_counted() {
        const MANY: usize = 5000;
        let (mut reader, writer) = std::io::pipe().unwrap();
        let voice = Voice::new(writer.into());
        let begun = Instant::now();
        for _ in 0..MANY {
            voice.say(&"x".repeat(90));
        }
        assert!(begun.elapsed() < Duration::from_secs(5));
        drop(voice);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let whole = text.lines().filter(|line| line.len() == 99).count();
        let lost: usize = text
            .lines()
            .filter_map(|line| line.strip_prefix("bpftime: ")?.split_once(" more "))
            .map(|(count, _)| count.parse::<usize>().unwrap())
            .sum();
        assert_eq!(whole + lost, MANY);
        assert!(lost > MANY / 2, "{lost}");
    }
}
