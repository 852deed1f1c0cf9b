//! Maps, ring buffers and wake-ups through helpers.

use bpftime_abi::MapType;
use bpftime_helpers::env::OPEN_RECORDS;
use bpftime_maps::Geometry;

use crate::environment::{Host, map};

fn geometry(map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> Geometry {
    Geometry {
        map_type,
        key_size,
        value_size,
        max_entries,
        flags: 0,
        cpus: 4,
        seed: 1,
    }
}

#[test]
fn maps_by_handle() {
    let mut host = Host::new();
    let hash = map(geometry(MapType::Hash, 4, 8, 1));
    let handle = &raw const hash as u64;
    let (key, other, value) = (5u32, 6u32, 77u64);
    let at = |key: &u32| key as *const u32 as u64;
    let value_at = &raw const value as u64;
    assert_eq!(host.call(1, [handle, at(&key), 0, 0, 0]), 0);
    assert_eq!(host.call(2, [handle, at(&key), value_at, 2, 0]) as i64, -2);
    assert_eq!(host.call(2, [handle, at(&key), value_at, 0, 0]), 0);
    assert_eq!(host.call(2, [handle, at(&key), value_at, 1, 0]) as i64, -17);
    assert_eq!(
        host.call(2, [handle, at(&other), value_at, 0, 0]) as i64,
        -7
    );
    let found = host.call(1, [handle, at(&key), 0, 0, 0]) as *const u64;
    // SAFETY: the address of a value.
    assert_eq!(unsafe { *found }, 77);
    assert_eq!(host.call(195, [handle, at(&key), 0, 0, 0]), 0);
    assert_eq!(host.call(3, [handle, at(&key), 0, 0, 0]), 0);
    assert_eq!(host.call(3, [handle, at(&key), 0, 0, 0]) as i64, -2);
}

#[test]
fn per_cpu_values_by_virtual_cpu() {
    let mut host = Host::new();
    for map_type in [MapType::PerCpuArray, MapType::PerCpuHash] {
        let map = map(geometry(map_type, 4, 8, 2));
        let (handle, key) = (&raw const map as u64, 1u32);
        let key = &raw const key as u64;
        for cpu in [3u32, 1] {
            host.vm.cpu = cpu;
            let value = 100 + cpu as u64;
            assert_eq!(
                host.call(2, [handle, key, &raw const value as u64, 0, 0]),
                0
            );
        }
        for (cpu, expected) in [(0u64, 0u64), (1, 101), (2, 0), (3, 103)] {
            let found = host.call(195, [handle, key, cpu, 0, 0]) as *const u64;
            // SAFETY: the address of a value.
            assert_eq!(unsafe { *found }, expected, "{map_type:?} cpu {cpu}");
        }
        assert_eq!(host.call(195, [handle, key, 4, 0, 0]), 0);
        host.vm.cpu = 3;
        let found = host.call(1, [handle, key, 0, 0, 0]);
        assert_eq!(found, host.call(195, [handle, key, 3, 0, 0]));
    }
}

#[test]
fn the_consumer_is_woken_when_it_waits_and_has_caught_up() {
    let mut host = Host::new();
    let ring = map(geometry(MapType::RingBuf, 0, 0, 4096));
    let handle = &raw const ring as u64;
    let data = [1u8; 40];
    let output = |host: &mut Host, flags: u64| {
        let result = host.call(130, [handle, data.as_ptr() as u64, 40, flags, 0]);
        (result as i64, core::mem::take(&mut host.notes.wakes))
    };
    const NO_WAKEUP: u64 = 1;
    const FORCE_WAKEUP: u64 = 2;
    // Nobody waits: no system call, whatever is asked.
    assert_eq!(output(&mut host, FORCE_WAKEUP), (0, 0));
    ring.begin_wait();
    // The consumer waits, but is behind.
    assert_eq!(output(&mut host, 0), (0, 0));
    assert_eq!(output(&mut host, FORCE_WAKEUP), (0, 1));
    assert_eq!(output(&mut host, 8), (-22, 0));
    // It consumes everything (48 bytes each).
    assert_eq!(
        [0, 1, 2, 3, 9].map(|what| host.call(134, [handle, what, 0, 0, 0])),
        [144, 4096, 0, 144, 0]
    );
    let record = host.call(131, [handle, 8, 0, 0, 0]);
    assert_ne!(record, 0);
    // SAFETY: the consumer position, at the start of the page before the producer's; the
    // record is the fourth of the data.
    unsafe { ((record - 8 - 144 - 8192) as *mut u64).write(144) };
    host.call(132, [record, NO_WAKEUP, 0, 0, 0]);
    assert_eq!(host.notes.wakes, 0);
    let record = host.call(131, [handle, 8, 0, 0, 0]);
    // SAFETY: as above; the record is the fifth.
    unsafe { ((record - 8 - 160 - 8192) as *mut u64).write(160) };
    host.call(133, [record, 0, 0, 0, 0]);
    assert_eq!(host.notes.wakes, 1);
    ring.end_wait();
}

#[test]
fn records_are_given_back_once_and_to_their_ring() {
    let mut host = Host::new();
    let rings = [1, 2].map(|_| map(geometry(MapType::RingBuf, 0, 0, 4096)));
    let handles = [&raw const rings[0] as u64, &raw const rings[1] as u64];
    assert_eq!(host.call(131, [handles[0], 8, 1, 0, 0]), 0, "flags");
    assert_eq!(
        host.call(131, [handles[0], 4089, 0, 0, 0]),
        0,
        "larger than the ring"
    );
    let records: Vec<_> = (0..OPEN_RECORDS)
        .map(|at| host.call(131, [handles[at % 2], 8, 0, 0, 0]))
        .collect();
    assert!(records.iter().all(|record| *record != 0));
    assert_eq!(
        host.call(131, [handles[0], 8, 0, 0, 0]),
        0,
        "too many open records"
    );
    for record in records {
        // SAFETY: the header before a record.
        let len = |record: u64| unsafe { ((record - 8) as *const u32).read_volatile() };
        assert_eq!(len(record), 8 | 1 << 31);
        host.call(132, [record, 0, 0, 0, 0]);
        assert_eq!(len(record), 8);
        // Not open any more: nothing happens.
        host.call(133, [record, 0, 0, 0, 0]);
        assert_eq!(len(record), 8);
    }
    assert!(host.env.open_records.iter().all(|open| open.map.is_null()));
}
