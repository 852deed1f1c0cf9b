//! Reads the target's [`TraceRing`].
//!
//! The ring is the target's memory: whatever stands there is taken as bytes only, and what the
//! target can do by writing something else is to lose lines or to print others.

use std::io;
use std::mem::offset_of;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

use bpftime_abi::target::{Control, TRACE_RECORDS, TRACE_TEXT, TraceRecord, TraceRing};

use crate::sys::mapping::Mapping;

/// How long a record may be incomplete before it is given up: its writer was killed.
const WRITER_PATIENCE: Duration = Duration::from_millis(100);

/// The ring of one injection.
#[derive(Debug)]
pub struct Ring {
    control: Mapping,
}

/// A record as it stands in the ring.
#[derive(PartialEq, Eq, Debug)]
pub struct Record {
    /// Thread id as the target sees it.
    pub tid: u32,
    /// Process id as the target sees it.
    pub tgid: u32,
    /// Text, at most [`TRACE_TEXT`] bytes, without NUL.
    pub text: Vec<u8>,
}

/// What stands in the place of a ticket's record.
enum Place {
    Complete(Record),
    /// A record that is being written, or an older one.
    Incomplete,
    /// A newer record.
    Overwritten,
}

impl Ring {
    /// Maps a file that holds a [`Control`].
    pub fn new(control: impl AsFd) -> io::Result<Self> {
        let control = Mapping::new(control, size_of::<Control>(), true)?;
        Ok(Self { control })
    }

    /// The word that is raised after each record.
    pub fn futex(&self) -> &AtomicU32 {
        const OFFSET: usize = offset_of!(Control, trace) + offset_of!(TraceRing, futex);
        const { assert!(OFFSET.is_multiple_of(4) && OFFSET + 4 <= size_of::<Control>()) };
        // SAFETY: aligned and within the mapping, which `new` made as long as Control and which
        // lives as long as `self`; every access is atomic, the target's too.
        unsafe { AtomicU32::from_ptr(self.control.as_ptr().add(OFFSET).cast()) }
    }

    /// An aligned word at an offset in the ring.
    fn quad(&self, offset: usize) -> &AtomicU64 {
        assert!(offset.is_multiple_of(8) && offset + 8 <= size_of::<TraceRing>());
        let offset = offset_of!(Control, trace) + offset;
        // SAFETY: aligned (the ring is) and within the ring (just checked), which is within the
        // mapping, which lives as long as `self`; every access is atomic, the target's too.
        unsafe { AtomicU64::from_ptr(self.control.as_ptr().add(offset).cast()) }
    }

    fn tickets(&self) -> u64 {
        self.quad(offset_of!(TraceRing, tickets))
            .load(Ordering::Acquire)
    }

    fn record(&self, ticket: u64) -> Place {
        let index = (ticket % TRACE_RECORDS as u64) as usize;
        let offset = offset_of!(TraceRing, records) + index * size_of::<TraceRecord>();
        let sequence = self.quad(offset + offset_of!(TraceRecord, sequence));
        let before = sequence.load(Ordering::Acquire);
        if before <= ticket {
            return Place::Incomplete;
        }
        let bytes = self
            .control
            .read(
                offset_of!(Control, trace) + offset,
                size_of::<TraceRecord>(),
            )
            .unwrap_or_default();
        fence(Ordering::Acquire);
        if before - 1 != ticket || sequence.load(Ordering::Relaxed) != before {
            return Place::Overwritten;
        }
        let word = |at: usize| {
            let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
            word.map_or(0, |word| u32::from_le_bytes(*word))
        };
        let len = (word(offset_of!(TraceRecord, len)) as usize).min(TRACE_TEXT);
        // To the first NUL, as the kernel's `%s`.
        let text = bytes
            .iter()
            .copied()
            .skip(offset_of!(TraceRecord, text))
            .take(len);
        Place::Complete(Record {
            tid: word(offset_of!(TraceRecord, tid)),
            tgid: word(offset_of!(TraceRecord, tgid)),
            text: text.take_while(|byte| *byte != 0).collect(),
        })
    }
}

/// What [`Reader::take`] found.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Taken {
    /// In order, at most [`TRACE_RECORDS`].
    pub records: Vec<Record>,
    /// Records that were written over, or never completed.
    pub lost: u64,
}

/// How far a ring has been read.
#[derive(Debug)]
pub struct Reader {
    ring: Arc<Ring>,
    /// Ticket of the record that is read next.
    next: u64,
    /// Since when that record is known to be incomplete.
    incomplete: Option<Instant>,
}

impl Reader {
    /// Reads a ring from its first ticket on.
    pub fn new(ring: Arc<Ring>) -> Self {
        Self {
            ring,
            next: 0,
            incomplete: None,
        }
    }

    /// Whether [`Self::take`] should be called again soon, for a record that was incomplete.
    pub fn is_waiting(&self) -> bool {
        self.incomplete.is_some()
    }

    /// What was written since the last call. An incomplete record ends it for a while, or counts
    /// as lost if this is the `last` call.
    pub fn take(&mut self, last: bool) -> Taken {
        let mut taken = Taken::default();
        let tickets = self.ring.tickets();
        // Only a target that writes what it likes goes back.
        self.next = self.next.min(tickets);
        let oldest = tickets.saturating_sub(TRACE_RECORDS as u64);
        if self.next < oldest {
            taken.lost = oldest - self.next;
            self.next = oldest;
            self.incomplete = None;
        }
        while self.next < tickets {
            match self.ring.record(self.next) {
                Place::Complete(record) => taken.records.push(record),
                Place::Incomplete if !last && self.is_patient() => break,
                Place::Incomplete | Place::Overwritten => {
                    taken.lost = taken.lost.saturating_add(1);
                }
            }
            self.next += 1;
            self.incomplete = None;
        }
        taken
    }

    /// Whether the next record has not been incomplete for long.
    fn is_patient(&mut self) -> bool {
        let since = *self.incomplete.get_or_insert_with(Instant::now);
        since.elapsed() < WRITER_PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::file::fixed_memfd;

    /// The target's side.
    struct Victim(Mapping);

    impl Victim {
        fn put(&self, offset: usize, bytes: &[u8]) {
            self.0
                .write(offset_of!(Control, trace) + offset, bytes)
                .unwrap();
        }

        fn set_tickets(&self, tickets: u64) {
            self.put(offset_of!(TraceRing, tickets), &tickets.to_le_bytes());
        }

        fn set_record(&self, ticket: u64, sequence: u64, len: u32, text: &[u8]) {
            let index = (ticket % TRACE_RECORDS as u64) as usize;
            let at = offset_of!(TraceRing, records) + index * size_of::<TraceRecord>();
            self.put(
                at + offset_of!(TraceRecord, sequence),
                &sequence.to_le_bytes(),
            );
            self.put(at + offset_of!(TraceRecord, tid), &7u32.to_le_bytes());
            self.put(at + offset_of!(TraceRecord, tgid), &5u32.to_le_bytes());
            self.put(at + offset_of!(TraceRecord, len), &len.to_le_bytes());
            self.put(at + offset_of!(TraceRecord, text), text);
        }

        /// As a well-behaved writer does.
        fn print(&self, ticket: u64) {
            let text = ticket.to_string();
            self.set_record(ticket, ticket + 1, text.len() as u32, text.as_bytes());
            self.set_tickets(ticket + 1);
        }
    }

    fn ring() -> (Victim, Reader) {
        let file = fixed_memfd("test", size_of::<Control>() as u64).unwrap();
        let victim = Victim(Mapping::new(&file, size_of::<Control>(), true).unwrap());
        (victim, Reader::new(Arc::new(Ring::new(&file).unwrap())))
    }

    fn texts(taken: &Taken) -> Vec<String> {
        let text = |record: &Record| String::from_utf8(record.text.clone()).unwrap();
        taken.records.iter().map(text).collect()
    }

    fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
        range.map(|number| number.to_string()).collect()
    }

    #[test]
    fn every_line_is_taken_once_and_in_order_round_the_ring() {
        let (victim, mut reader) = ring();
        let mut printed = 0;
        for count in [1, 0, 200, 256, 3] {
            for ticket in printed..printed + count {
                victim.print(ticket);
            }
            let taken = reader.take(false);
            assert_eq!(texts(&taken), numbers(printed..printed + count));
            assert_eq!(taken.lost, 0);
            assert!(taken.records.iter().all(|r| (r.tid, r.tgid) == (7, 5)));
            printed += count;
        }
    }

    #[test]
    fn lines_that_were_written_over_are_counted() {
        let (victim, mut reader) = ring();
        for ticket in 0..1000 {
            victim.print(ticket);
        }
        let taken = reader.take(false);
        assert_eq!(
            (texts(&taken), taken.lost),
            (numbers(1000 - 256..1000), 1000 - 256)
        );
        // Written over between the look at the tickets and the look at the record.
        victim.print(1000);
        victim.set_record(1000, 1000 + 256 + 1, 1, b"x");
        let taken = reader.take(false);
        assert_eq!((taken.records.len(), taken.lost), (0, 1));
    }

    #[test]
    fn an_incomplete_line_is_waited_for_but_not_for_ever() {
        let (victim, mut reader) = ring();
        victim.print(0);
        victim.print(1);
        victim.set_record(0, 0, 1, b"0");
        assert_eq!(reader.take(false), Taken::default());
        assert!(reader.is_waiting());
        victim.print(0);
        victim.set_tickets(2);
        assert_eq!(texts(&reader.take(false)), numbers(0..2));
        assert!(!reader.is_waiting());

        victim.print(3);
        assert_eq!(reader.take(false), Taken::default());
        std::thread::sleep(WRITER_PATIENCE);
        let taken = reader.take(false);
        assert_eq!((texts(&taken), taken.lost), (numbers(3..4), 1));
        victim.set_tickets(6);
        let taken = reader.take(true);
        assert_eq!((taken.records.len(), taken.lost), (0, 2));
    }

    #[test]
    fn lengths_are_cut_and_text_ends_at_a_nul() {
        let (victim, mut reader) = ring();
        victim.set_record(0, 1, u32::MAX, &[b'a'; TRACE_TEXT]);
        victim.set_record(1, 2, 6, b"ab\0cd\0");
        victim.set_record(255, 256, u32::MAX, &[b'z'; TRACE_TEXT]);
        victim.set_tickets(2);
        assert_eq!(
            texts(&reader.take(false)),
            ["a".repeat(TRACE_TEXT), "ab".into()]
        );
        reader.next = 255;
        victim.set_tickets(256);
        assert_eq!(texts(&reader.take(false)), ["z".repeat(TRACE_TEXT)]);
    }

    #[test]
    fn any_content_takes_bounded_time_and_memory() {
        let (victim, mut reader) = ring();
        for tickets in [u64::MAX, 0, u64::MAX - 1, 1 << 63, 5, u64::MAX] {
            for sequence in [0, 1, tickets, tickets.wrapping_add(1), u64::MAX] {
                for index in 0..TRACE_RECORDS as u64 {
                    victim.set_record(index, sequence, sequence as u32, &[0xff; TRACE_TEXT]);
                }
                victim.set_tickets(tickets);
                for last in [false, true] {
                    let taken = reader.take(last);
                    assert!(taken.records.len() <= TRACE_RECORDS);
                    assert!(taken.records.iter().all(|r| r.text.len() <= TRACE_TEXT));
                }
                assert_eq!(reader.next, tickets);
            }
        }
    }
}
