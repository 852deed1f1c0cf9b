//! The ring buffer: against the kernel's, byte by byte; with many producers; with producers that
//! are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::bpf::{self, EXIT, KernelMap, Program, call, insn, load_imm, load_map, load_value};
use crate::common::{Random, SharedMap, fork, geometry, me};
use bpftime_abi::MapType;
use bpftime_maps::MapRef;

const BUSY: u32 = 1 << 31;
const DISCARD: u32 = 1 << 30;

/// A consumer as `ring_buffer__consume` of libbpf is one: it sees nothing but the pages that
/// the kernel maps for it.
struct Consumer {
    consumer_page: *mut u8,
    producer_page: *const u8,
    size: u64,
}

// SAFETY: used by one thread at a time.
unsafe impl Send for Consumer {}

impl Consumer {
    fn of(shared: &SharedMap) -> Self {
        let (data, _) = shared.data();
        let size = shared.map.geometry().max_entries as u64;
        Self {
            consumer_page: data,
            producer_page: data.wrapping_add(4096),
            size,
        }
    }

    fn position(&self) -> &AtomicU64 {
        // SAFETY: the page is mapped as long as the tests use it.
        unsafe { &*self.consumer_page.cast() }
    }

    fn producer(&self) -> u64 {
        // SAFETY: as above.
        unsafe { (*self.producer_page.cast::<AtomicU64>()).load(Ordering::Acquire) }
    }

    /// At most `most` records; stops at a busy one.
    fn consume(&self, most: usize, mut each: impl FnMut(&[u8])) -> usize {
        let mut consumed = 0;
        let mut at = self.position().load(Ordering::Acquire);
        while consumed < most && at < self.producer() {
            let record = self
                .producer_page
                .wrapping_add(4096 + (at & (self.size - 1)) as usize);
            // SAFETY: the record's header lies in the first half of the data.
            let len = unsafe { (*record.cast::<AtomicU32>()).load(Ordering::Acquire) };
            if len & BUSY != 0 {
                break;
            }
            let size = (len & !DISCARD) as usize;
            assert!(size as u64 + 8 <= self.size, "record of {size} bytes");
            at += (size as u64 + 8 + 7) & !7;
            if len & DISCARD == 0 {
                // SAFETY: the data area has twice its size: the record is inside.
                each(unsafe { core::slice::from_raw_parts(record.add(8), size) });
                consumed += 1;
            }
            self.position().store(at, Ordering::SeqCst);
        }
        consumed
    }
}

const SIZES: [u32; 12] = [0, 1, 7, 8, 9, 24, 100, 513, 1000, 2001, 4088, 4089];

/// `bpf_ringbuf_output(ring, value of source, size, flags)`.
fn output_program(ring: &KernelMap, source: &KernelMap, size: u32, flags: u64) -> Program {
    let mut code = vec![];
    code.extend(load_map(1, ring));
    code.extend(load_value(2, source));
    code.extend(load_imm(3, size as u64));
    code.extend(load_imm(4, flags));
    code.extend([call(130), EXIT]);
    Program::load(&code)
}

/// `bpf_ringbuf_reserve(ring, size, 0)`, then discards or submits; 1 if it got the record.
fn reserve_program(ring: &KernelMap, size: u32, discard: bool) -> Program {
    let mut code = vec![];
    code.extend(load_map(1, ring));
    code.extend(load_imm(2, size as u64));
    code.extend([insn(0xb7, 3, 0, 0, 0), call(131)]);
    code.push(insn(0x15, 0, 0, 4, 0)); // if r0 == 0 goto exit
    code.push(insn(0xbf, 1, 0, 0, 0)); // r1 = r0
    code.push(insn(0xb7, 2, 0, 0, 0)); // r2 = 0
    code.push(call(if discard { 133 } else { 132 }));
    code.push(insn(0xb7, 0, 0, 0, 1)); // r0 = 1
    code.push(EXIT);
    Program::load(&code)
}

fn query_program(ring: &KernelMap, what: u64) -> Program {
    let mut code = vec![];
    code.extend(load_map(1, ring));
    code.extend(load_imm(2, what));
    code.extend([call(134), EXIT]);
    Program::load(&code)
}

fn map_pages(map: &KernelMap, len: usize, prot: i32, offset: i64) -> *mut u8 {
    // SAFETY: a new mapping.
    let at = unsafe {
        libc::mmap(
            core::ptr::null_mut(),
            len,
            prot,
            libc::MAP_SHARED,
            map.0.0,
            offset,
        )
    };
    assert_ne!(at, libc::MAP_FAILED);
    at.cast()
}

#[test]
fn every_byte_is_as_in_the_kernels_ring_buffer() {
    if !bpf::usable("every_byte_is_as_in_the_kernels_ring_buffer") {
        return;
    }
    const SIZE: usize = 8192;
    let g = geometry(MapType::RingBuf, 0, 0, SIZE as u32);
    let ours = SharedMap::new(g);
    let theirs = KernelMap::create(&g).unwrap();
    let source = KernelMap::create(&geometry(MapType::Array, 4, 8192, 1)).unwrap();
    let rw = libc::PROT_READ | libc::PROT_WRITE;
    let my_consumer = Consumer::of(&ours);
    let their_consumer = Consumer {
        consumer_page: map_pages(&theirs, 4096, rw, 0),
        producer_page: map_pages(&theirs, 4096 + 2 * SIZE, libc::PROT_READ, 4096),
        size: SIZE as u64,
    };
    let outputs: Vec<_> = [0u64, 1, 2, 4]
        .iter()
        .flat_map(|flags| SIZES.map(|size| (size, *flags)))
        .map(|(size, flags)| (size, flags, output_program(&theirs, &source, size, flags)))
        .collect();
    let reserves: Vec<_> = [false, true]
        .iter()
        .flat_map(|discard| SIZES.map(|size| (size, *discard)))
        .map(|(size, discard)| (size, discard, reserve_program(&theirs, size, discard)))
        .collect();
    let queries: Vec<_> = (0..5)
        .map(|what| (what, query_program(&theirs, what)))
        .collect();
    let mut random = Random(42);
    let (me, mut full, mut wrapped) = (me(), 0, 0);
    for step in 0..20_000 {
        match random.below(10) {
            0..=4 => {
                let value: Vec<u8> = (0..SIZE).map(|at| (at + step) as u8).collect();
                source.update(&0u32.to_le_bytes(), &value, 0).unwrap();
                let (size, flags, program) = &outputs[random.below(outputs.len() as u64) as usize];
                // SAFETY: the value is larger than all records.
                let mine = unsafe { ours.map.output(&me, value.as_ptr(), *size as u64, *flags) };
                let mine = mine.map_or_else(|errno| errno.to_r0() as u32, |_| 0);
                assert_eq!(
                    mine as i32,
                    program.run() as i32,
                    "step {step}: output {size} {flags}"
                );
                full += (mine != 0) as u32;
            }
            5..=6 => {
                let (size, discard, program) =
                    &reserves[random.below(reserves.len() as u64) as usize];
                let record = ours.map.reserve(&me, *size as u64);
                assert_eq!(
                    record.is_some() as u32,
                    program.run(),
                    "step {step}: reserve {size}"
                );
                if let Some(record) = record {
                    // SAFETY: just reserved.
                    unsafe {
                        if *discard {
                            ours.map.discard(record, 0)
                        } else {
                            ours.map.submit(record, 0)
                        }
                    };
                }
            }
            _ => {
                let most = random.below(6) as usize;
                let (mut mine, mut others) = (vec![], vec![]);
                my_consumer.consume(most, |record| mine.push(record.to_vec()));
                their_consumer.consume(most, |record| others.push(record.to_vec()));
                // Data that was reserved and never written is whatever was there, which the
                // double mapping makes differ at the wrap.
                let lens = |records: &[Vec<u8>]| records.iter().map(Vec::len).collect::<Vec<_>>();
                assert_eq!(lens(&mine), lens(&others), "step {step}");
            }
        }
        // Positions, and the headers of all records that are not consumed.
        let mut at = my_consumer.position().load(Ordering::Relaxed);
        assert_eq!(
            at,
            their_consumer.position().load(Ordering::Relaxed),
            "step {step}"
        );
        assert_eq!(
            my_consumer.producer(),
            their_consumer.producer(),
            "step {step}"
        );
        while at < my_consumer.producer() {
            let offset = 4096 + at as usize % SIZE;
            let headers = [&my_consumer, &their_consumer].map(|consumer| {
                // SAFETY: a header lies in the first half of the data.
                unsafe {
                    consumer
                        .producer_page
                        .add(offset)
                        .cast::<u64>()
                        .read_volatile()
                }
            });
            assert_eq!(headers[0], headers[1], "step {step}: header at {at}");
            let len = headers[0] as u32;
            if len & DISCARD == 0 {
                wrapped += (at as usize % SIZE + len as usize + 8 > SIZE) as u32;
            }
            at += ((len & !DISCARD) as u64 + 15) & !7;
        }
        for (what, program) in &queries {
            assert_eq!(
                ours.map.query(*what) as u32,
                program.run(),
                "step {step}: query {what}"
            );
        }
    }
    assert!(
        full > 100 && wrapped > 100,
        "{full} refused, {wrapped} wrapped: no test"
    );
}

#[test]
fn records_of_many_producers_arrive_whole_and_in_order() {
    const PRODUCERS: u64 = 4;
    const RECORDS: u64 = 20_000;
    let shared = SharedMap::new(geometry(MapType::RingBuf, 0, 0, 16384));
    let map = &shared.map;
    let dropped = AtomicU64::new(0);
    let mut seen: BTreeMap<u64, u64> = BTreeMap::new();
    let mut received = 0u64;
    std::thread::scope(|scope| {
        let mut producers = vec![];
        for producer in 0..PRODUCERS {
            let dropped = &dropped;
            producers.push(scope.spawn(move || {
                let (me, mut random) = (me(), Random(producer + 1));
                for sequence in 0..RECORDS {
                    let words = 2 + random.below(40);
                    let wake = match map.reserve(&me, words * 8) {
                        None => {
                            dropped.fetch_add(1, Ordering::Relaxed);
                            std::thread::yield_now();
                            continue;
                        }
                        Some(record) => {
                            let data = record.data.cast::<u64>();
                            for word in 0..words as usize {
                                let value = match word {
                                    0 => producer,
                                    1 => sequence,
                                    _ => producer ^ sequence << 8,
                                };
                                // SAFETY: the record has that many words.
                                unsafe { data.add(word).write_volatile(value) };
                            }
                            // SAFETY: just reserved.
                            unsafe { map.submit(record, 0) }
                        }
                    };
                    if wake {
                        wake_all(map);
                    }
                }
            }));
        }
        let consumer = Consumer::of(&shared);
        let (seen, received) = (&mut seen, &mut received);
        scope.spawn(move || {
            // An empty record is the last one.
            let mut is_last = false;
            while !is_last {
                wait(map, &consumer);
                *received += consumer.consume(usize::MAX, |record| {
                    is_last |= record.is_empty();
                    check(record, seen);
                }) as u64;
            }
        });
        for producer in producers {
            producer.join().unwrap();
        }
        let wake = loop {
            // SAFETY: no data.
            if let Ok(wake) = unsafe { map.output(&me(), core::ptr::null(), 0, 0) } {
                break wake;
            }
        };
        if wake {
            wake_all(map);
        }
    });
    assert_eq!(received, PRODUCERS * RECORDS - dropped.into_inner() + 1);
}

fn check(record: &[u8], seen: &mut BTreeMap<u64, u64>) {
    let words: Vec<_> = record
        .chunks(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
        .collect();
    let [producer, sequence, rest @ ..] = &words[..] else {
        return;
    };
    assert!(
        rest.iter().all(|word| *word == producer ^ sequence << 8),
        "torn record"
    );
    let before = seen.insert(*producer, *sequence);
    assert!(
        before.is_none_or(|before| before < *sequence),
        "out of order"
    );
}

fn wake_all(map: &MapRef) {
    // SAFETY: the word lives as long as the map.
    unsafe { libc::syscall(libc::SYS_futex, map.wake_word(), libc::FUTEX_WAKE, i32::MAX) };
}

/// Sleeps until woken. A wake-up that does not come is a failure: with data to read, nobody
/// may sleep for long.
fn wait(map: &MapRef, consumer: &Consumer) {
    map.begin_wait();
    // SAFETY: the word lives as long as the map.
    let word = unsafe { &*map.wake_word() };
    let value = word.load(Ordering::SeqCst);
    let position = consumer.position().load(Ordering::SeqCst);
    let record = consumer
        .producer_page
        .wrapping_add(4096 + (position % consumer.size) as usize);
    // SAFETY: a header in the data.
    let ready = consumer.producer() > position
        && unsafe { (*record.cast::<AtomicU32>()).load(Ordering::SeqCst) } & BUSY == 0;
    if !ready {
        let limit = libc::timespec {
            tv_sec: 5,
            tv_nsec: 0,
        };
        // SAFETY: the word lives as long as the map.
        let result =
            unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, value, &limit) };
        let error = std::io::Error::last_os_error().raw_os_error();
        assert!(result == 0 || error != Some(libc::ETIMEDOUT), "never woken");
    }
    map.end_wait();
}

#[test]
fn killed_producers_block_nobody() {
    let shared = SharedMap::new(geometry(MapType::RingBuf, 0, 0, 8192));
    let (map, consumer) = (&shared.map, Consumer::of(&shared));
    let (mut random, mut rescued) = (Random(7), 0);
    let mut producers = BTreeSet::new();
    for _ in 0..300 {
        // SAFETY: the child only uses the map until it is killed.
        let child = unsafe { fork() };
        if child == 0 {
            let me = me();
            loop {
                if let Some(record) = map.reserve(&me, 16) {
                    // SAFETY: the record has 16 bytes, and was just reserved.
                    unsafe {
                        record.data.cast::<u64>().write_volatile(me.owner);
                        // Most kills are to come here, also where the producer rarely runs.
                        (0..200).for_each(|_| std::hint::spin_loop());
                        record.data.cast::<u64>().add(1).write_volatile(!me.owner);
                        map.submit(record, 0);
                    }
                }
            }
        }
        let mut each = |record: &[u8]| {
            let word = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().unwrap());
            assert_eq!(word(0), !word(8), "torn record");
            producers.insert(word(0));
        };
        // Killed soon after its first record.
        while consumer.consume(10, &mut each) == 0 {
            std::thread::yield_now();
        }
        let until = Instant::now() + Duration::from_micros(random.below(500));
        while Instant::now() < until {
            consumer.consume(10, &mut each);
        }
        // SAFETY: our child.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, core::ptr::null_mut(), 0);
        }
        consumer.consume(usize::MAX, &mut each);
        rescued += (consumer.position().load(Ordering::Relaxed) < consumer.producer()) as u32;
        map.recover(&me()).unwrap();
        consumer.consume(usize::MAX, &mut each);
        assert_eq!(
            consumer.position().load(Ordering::Relaxed),
            consumer.producer()
        );
    }
    assert!(
        rescued > 0,
        "no producer was killed with an open record: no test"
    );
    assert_eq!(producers.len(), 300);
}

#[test]
fn a_record_of_a_dead_producer_is_discarded_when_room_is_needed() {
    let shared = SharedMap::new(geometry(MapType::RingBuf, 0, 0, 4096));
    let (map, consumer) = (&shared.map, Consumer::of(&shared));
    // SAFETY: the child only uses the map.
    let child = unsafe { fork() };
    if child == 0 {
        let reserved = map.reserve(&me(), 2000).is_some();
        // SAFETY: ends the child.
        unsafe { libc::_exit(!reserved as i32) };
    }
    let mut status = 0;
    // SAFETY: our child.
    unsafe { libc::waitpid(child, &mut status, 0) };
    assert_eq!(status, 0);
    let me = me();
    let data = [1u8; 1000];
    // SAFETY: the data has 1000 bytes.
    unsafe {
        assert!(map.output(&me, data.as_ptr(), 1000, 0).is_ok());
        assert_eq!(consumer.consume(9, |_| ()), 0, "behind the open record");
        // Not consumed: no room yet, but the dead producer's record is discarded.
        assert!(map.output(&me, data.as_ptr(), 1000, 0).is_ok());
        assert!(map.output(&me, data.as_ptr(), 1000, 0).is_err());
    }
    assert_eq!(consumer.consume(9, |record| assert_eq!(record, data)), 2);
    // SAFETY: the data has 1000 bytes.
    assert!(unsafe { map.output(&me, data.as_ptr(), 1000, 0) }.is_ok());
}
