//! Perf ring buffers, read as `perf_event_read_simple` of libbpf reads them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use bpftime_abi::{Errno, MapType};
use bpftime_maps::PerfRing;

use crate::common::{Random, SharedMap, geometry, share};

const LEN: usize = 8192;

/// A reader that sees nothing but the mapping.
struct Reader(*mut u8);

#[derive(Debug, PartialEq)]
enum Event {
    Sample(Vec<u8>),
    Lost(u64),
}

impl Reader {
    fn word(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: in the first page, which lives as long as the test.
        unsafe { &*self.0.add(offset).cast() }
    }

    fn read(&self, most: usize) -> Vec<Event> {
        let head = self.word(1024).load(Ordering::Acquire);
        let mut tail = self.word(1032).load(Ordering::Relaxed);
        // SAFETY: data_offset and data_size describe the mapping.
        let byte = |at: u64| unsafe {
            let offset = self.word(1040).load(Ordering::Relaxed) as usize;
            let size = self.word(1048).load(Ordering::Relaxed);
            self.0.add(offset + (at % size) as usize).read_volatile()
        };
        let mut events = vec![];
        while tail < head && events.len() < most {
            let header: Vec<u8> = (tail..tail + 8).map(byte).collect();
            let kind = u32::from_le_bytes(header[..4].try_into().unwrap());
            let size = u16::from_le_bytes(header[6..].try_into().unwrap()) as u64;
            assert!(
                size >= 8 && size.is_multiple_of(8) && tail + size <= head,
                "size {size}"
            );
            let body: Vec<u8> = (tail + 8..tail + size).map(byte).collect();
            match kind {
                9 => {
                    let raw = u32::from_le_bytes(body[..4].try_into().unwrap()) as usize;
                    assert_eq!(raw + 12, size as usize);
                    events.push(Event::Sample(body[4..].to_vec()));
                }
                2 => {
                    assert_eq!(body.len(), 16);
                    events.push(Event::Lost(u64::from_le_bytes(
                        body[8..].try_into().unwrap(),
                    )));
                }
                kind => panic!("record of type {kind}"),
            }
            tail += size;
        }
        self.word(1032).store(tail, Ordering::Release);
        events
    }
}

#[test]
fn samples_and_losses_arrive_in_order() {
    let mut shared = SharedMap::new(geometry(MapType::PerfEventArray, 4, 4, 2));
    let (base, _) = share(4096 + LEN);
    // SAFETY: the mapping has that many bytes.
    unsafe { PerfRing::format(base, LEN as u64) };
    let rings = [PerfRing::none(), PerfRing::none()];
    // SAFETY: the rings outlive the map.
    unsafe { shared.map.set_perf_rings(rings.as_ptr(), 2) };
    let output = |flags: u64, cpu: u32, data: &[u8]| {
        // SAFETY: the data has its length; the rings are mapped.
        unsafe {
            shared
                .map
                .perf_output(flags, cpu, data.as_ptr(), data.len() as u64)
        }
    };
    const CURRENT: u64 = 0xffff_ffff;
    assert_eq!(output(CURRENT, 1, b"x"), Err(Errno::ENOENT));
    rings[1].len.store(LEN as u64, Ordering::Relaxed);
    rings[1].base.store(base as u64, Ordering::Release);
    assert!(shared.map.has_perf_ring(1) && !shared.map.has_perf_ring(0));
    assert_eq!(output(1 << 32, 1, b"x"), Err(Errno::EINVAL));
    assert_eq!(output(2, 1, b"x"), Err(Errno::E2BIG));
    assert_eq!(output(0, 1, b"x"), Err(Errno::ENOENT));
    assert_eq!(output(1, 0, b"x"), Err(Errno::EOPNOTSUPP));
    assert_eq!(output(1, 1, &vec![0; 1 << 16]), Err(Errno::E2BIG));

    let (reader, mut random) = (Reader(base), Random(5));
    let (mut expected, mut unreported, mut losses) = (VecDeque::new(), 0, 0);
    let mut used = 0u64;
    let len_of = |event: &Event| match event {
        Event::Sample(bytes) => bytes.len() as u64 + 12,
        Event::Lost(_) => 24,
    };
    for step in 0..20_000u64 {
        if random.below(12) != 0 {
            let size = random.below(700) as usize;
            let data: Vec<u8> = (0..size).map(|at| (at as u64 + step) as u8).collect();
            let flags = if step % 2 == 0 { CURRENT } else { 1 };
            let len = (size as u64 + 12 + 7) & !7;
            let need = len + if unreported > 0 { 24 } else { 0 };
            let fits = LEN as u64 - 1 - used >= need;
            assert_eq!(
                output(flags, 1, &data).map(drop),
                if fits { Ok(()) } else { Err(Errno::ENOSPC) }
            );
            if !fits {
                unreported += 1;
                losses += 1;
                continue;
            }
            if unreported > 0 {
                expected.push_back(Event::Lost(unreported));
                unreported = 0;
            }
            let mut padded = data;
            padded.resize(len as usize - 12, 0);
            expected.push_back(Event::Sample(padded));
            used += need;
        } else {
            for event in reader.read(random.below(12) as usize) {
                used -= len_of(&event);
                assert_eq!(Some(event), expected.pop_front(), "step {step}");
            }
        }
    }
    assert!(losses > 100, "{losses} losses: no test");
}

#[test]
fn garbage_in_the_positions_stays_in_the_ring() {
    let mut shared = SharedMap::new(geometry(MapType::PerfEventArray, 4, 4, 1));
    let (base, _) = share(4096 + LEN);
    let ring = PerfRing::none();
    ring.len.store(LEN as u64, Ordering::Relaxed);
    ring.base.store(base as u64, Ordering::Release);
    // SAFETY: the ring outlives the map.
    unsafe { shared.map.set_perf_rings(&ring, 1) };
    let (reader, mut random) = (Reader(base), Random(6));
    let mut written = 0;
    for _ in 0..20_000 {
        let head = random.next();
        reader.word(1024).store(head, Ordering::Relaxed);
        reader.word(1032).store(
            head.wrapping_sub(random.below(LEN as u64 * 2)),
            Ordering::Relaxed,
        );
        reader.word(2048).store(random.below(2), Ordering::Relaxed);
        let data = [7; 500];
        // SAFETY: the data has its length; inaccessible pages surround the ring.
        written += unsafe { shared.map.perf_output(0, 0, data.as_ptr(), 500) }.is_ok() as u32;
    }
    assert!(written > 1000);
}
