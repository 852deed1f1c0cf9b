//! Hash maps under many threads, under SIGKILL, and under garbage.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::common::{Random, SharedMap, fork, geometry, me, share};
use bpftime_abi::{Errno, MapType};
use bpftime_maps::{Caller, Geometry};

/// A value that shows whether it belongs to its key and is whole.
fn value(key: u64, version: u64) -> [u8; 32] {
    let mut value = [0; 32];
    for (at, word) in [key, version, key ^ version, !version]
        .into_iter()
        .enumerate()
    {
        value[at * 8..at * 8 + 8].copy_from_slice(&word.to_le_bytes());
    }
    value
}

fn is_whole(key: u64, bytes: &[u8; 32]) -> bool {
    let word = |at: usize| u64::from_le_bytes(bytes[at * 8..at * 8 + 8].try_into().unwrap());
    word(0) == key && word(2) == key ^ word(1) && word(3) == !word(1)
}

/// All keys; asserts that none comes twice.
fn keys(shared: &SharedMap) -> BTreeSet<u64> {
    let mut keys = BTreeSet::new();
    let mut key: Option<[u8; 8]> = None;
    loop {
        let mut next = [0; 8];
        match shared
            .map
            .next_key(key.as_ref().map(|key| &key[..]), &mut next)
        {
            Ok(()) => assert!(keys.insert(u64::from_le_bytes(next)), "twice"),
            Err(errno) => {
                assert_eq!(errno, Errno::ENOENT);
                return keys;
            }
        }
        key = Some(next);
    }
}

/// Empties the map, then fills it: exactly `max_entries` new keys fit.
fn assert_capacity(shared: &SharedMap, me: &Caller) {
    for key in keys(shared) {
        shared.map.delete_user(me, &key.to_le_bytes()).unwrap();
    }
    assert_eq!(keys(shared).len(), 0);
    let entries = shared.map.geometry().max_entries as u64;
    for key in 0..entries {
        let result = shared
            .map
            .update_user(me, &(key << 32).to_le_bytes(), &value(key, 0), 1);
        assert_eq!(result, Ok(()), "key {key} of {entries}");
    }
    let result = shared
        .map
        .update_user(me, &1u64.to_le_bytes(), &value(1, 0), 0);
    assert_eq!(result, Err(Errno::E2BIG));
    // A full map still takes new values for its keys.
    for version in 1..200 {
        let key = 0u64.to_le_bytes();
        assert_eq!(
            shared.map.update_user(me, &key, &value(0, version), 2),
            Ok(())
        );
    }
    assert_eq!(keys(shared).len() as u64, entries);
}

#[test]
fn readers_never_see_half_a_value_or_miss_a_key() {
    const KEYS: u64 = 24;
    // Few buckets, so that chains are long and elements are used again at once.
    let shared = SharedMap::new(geometry(MapType::Hash, 8, 32, KEYS as u32));
    let (map, stop) = (&shared.map, AtomicBool::new(false));
    // Keys below 8 are never deleted, but get new values all the time.
    for key in 0..8u64 {
        map.update_user(&me(), &key.to_le_bytes(), &value(key, 0), 0)
            .unwrap();
    }
    let (reads, changes) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for seed in 1..4 {
            let (stop, changes) = (&stop, &changes);
            scope.spawn(move || {
                let (me, mut random) = (me().with_rounds(100), Random(seed));
                while !stop.load(Ordering::Relaxed) {
                    let key = random.below(KEYS + 8);
                    let bytes = key.to_le_bytes();
                    let result = if key >= 8 && random.below(2) == 0 {
                        map.delete_user(&me, &bytes)
                    } else {
                        map.update_user(&me, &bytes, &value(key, random.next()), 0)
                    };
                    let expected = [
                        Ok(()),
                        Err(Errno::ENOENT),
                        Err(Errno::E2BIG),
                        Err(Errno::EBUSY),
                    ];
                    assert!(expected.contains(&result), "{result:?}");
                    changes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for seed in 11..13 {
            let (stop, reads) = (&stop, &reads);
            scope.spawn(move || {
                let mut random = Random(seed);
                while !stop.load(Ordering::Relaxed) {
                    let key = random.below(KEYS + 8);
                    let mut bytes = [0; 32];
                    match map.lookup_user(&key.to_le_bytes(), &mut bytes, 0) {
                        Ok(()) => assert!(is_whole(key, &bytes), "key {key}: {bytes:?}"),
                        Err(errno) => {
                            assert_eq!(errno, Errno::ENOENT);
                            assert!(key >= 8, "key {key} missed");
                        }
                    }
                    let key = random.below(8);
                    // SAFETY: the key has eight bytes.
                    let found = unsafe { map.lookup(key.to_le_bytes().as_ptr(), 0) };
                    assert!(!found.is_null(), "key {key} missed");
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(Duration::from_millis(1500));
        stop.store(true, Ordering::Relaxed);
    });
    let (reads, changes) = (reads.into_inner(), changes.into_inner());
    assert!(
        reads > 10_000 && changes > 10_000,
        "{reads} reads, {changes} changes: no test"
    );
    assert!(keys(&shared).is_superset(&(0..8).collect()));
    assert_capacity(&shared, &me());
}

/// Number of buckets whose lock is taken.
fn taken(shared: &SharedMap) -> usize {
    let buckets = 2 * shared.map.geometry().max_entries.next_power_of_two() as usize;
    let lock = |bucket: usize| {
        // SAFETY: the buckets, of 16 bytes, begin at 512 in the control memory.
        unsafe {
            &*shared
                .control()
                .0
                .wrapping_add(512 + bucket * 16)
                .cast::<AtomicU64>()
        }
    };
    (0..buckets)
        .filter(|bucket| lock(*bucket).load(Ordering::Relaxed) != 0)
        .count()
}

fn killed_writers(g: Geometry) {
    let shared = SharedMap::new(g);
    let size = g.user_value_size();
    let mut random = Random(3);
    let mut rescues = 0;
    // SAFETY: shared memory of a page, never unmapped.
    let progress = unsafe { &*share(4096).0.cast::<AtomicU64>() };
    for round in 0..250u64 {
        // SAFETY: the child only uses the map until it is killed.
        let child = unsafe { fork() };
        if child == 0 {
            let (me, mut random) = (me(), Random(round + 1));
            let (value, mut sink) = (vec![1; size], vec![0; size]);
            loop {
                let key = random.below(40).to_le_bytes();
                let result = match random.below(3) {
                    0 => shared.map.delete_user(&me, &key),
                    1 => shared.map.lookup_and_delete_user(&me, &key, &mut sink, 0),
                    _ => shared.map.update_user(&me, &key, &value, 0),
                };
                assert_ne!(result, Err(Errno::EINVAL));
                progress.fetch_add(1, Ordering::Relaxed);
            }
        }
        let before = progress.load(Ordering::Relaxed);
        while progress.load(Ordering::Relaxed) < before + 100 {
            std::thread::yield_now();
        }
        let until = Instant::now() + Duration::from_micros(random.below(300));
        while Instant::now() < until {}
        // SAFETY: our child.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, core::ptr::null_mut(), 0);
        }
        let me = me();
        rescues += taken(&shared);
        if round % 2 == 0 {
            // Whoever comes next finds the dead owner's lock.
            for key in 0..40u64 {
                let result = shared
                    .map
                    .update_user(&me, &key.to_le_bytes(), &vec![2; size], 0);
                assert!(matches!(result, Ok(()) | Err(Errno::E2BIG)), "{result:?}");
            }
        } else {
            shared.map.recover(&me).unwrap();
            assert_eq!(taken(&shared), 0);
        }
        for key in keys(&shared) {
            shared.map.delete_user(&me, &key.to_le_bytes()).unwrap();
        }
    }
    eprintln!("{rescues} locks of dead owners");
    let me = me();
    for key in 0..g.max_entries as u64 {
        let result = shared
            .map
            .update_user(&me, &key.to_le_bytes(), &vec![3; size], 0);
        assert_eq!(result, Ok(()), "an element is lost");
    }
    let key = u64::MAX.to_le_bytes();
    assert_eq!(
        shared.map.update_user(&me, &key, &vec![3; size], 0),
        Err(Errno::E2BIG)
    );
    assert!(rescues > 0, "no writer was killed with a lock: no test");
}

#[test]
fn killed_writers_lose_no_element() {
    killed_writers(geometry(MapType::Hash, 8, 64, 16));
}

#[test]
fn killed_writers_lose_no_per_cpu_element() {
    killed_writers(geometry(MapType::PerCpuHash, 8, 40, 16));
}

#[test]
fn a_nested_writer_gets_ebusy() {
    let shared = SharedMap::new(geometry(MapType::Hash, 8, 8, 1));
    let me = me();
    // The locks of both buckets, as a signal handler in the middle of an update would find one.
    let lock_all = |owner: u64| {
        for bucket in 0..2 {
            let lock = shared.control().0.wrapping_add(512 + bucket * 16);
            // SAFETY: the buckets, of 16 bytes, begin at 512 in the control memory.
            unsafe { &*lock.cast::<AtomicU64>() }.store(owner, Ordering::Relaxed);
        }
    };
    lock_all(me.owner);
    let (key, value) = ([1; 8], [2; 8]);
    assert_eq!(
        shared.map.update_user(&me, &key, &value, 0),
        Err(Errno::EBUSY)
    );
    assert_eq!(shared.map.delete_user(&me, &key), Err(Errno::EBUSY));
    // Another living thread's lock (that of the process's parent) is waited for in vain.
    // SAFETY: no arguments.
    lock_all(unsafe { libc::getppid() } as u64);
    let start = Instant::now();
    assert_eq!(
        shared.map.update_user(&me, &key, &value, 0),
        Err(Errno::EBUSY)
    );
    assert!(start.elapsed() < Duration::from_secs(1));
    lock_all(0);
    assert_eq!(shared.map.update_user(&me, &key, &value, 0), Ok(()));
    // Nobody may not lock.
    let nobody = Caller::new(0, None);
    assert_eq!(
        shared.map.update_user(&nobody, &key, &value, 0),
        Err(Errno::EINVAL)
    );
}

#[test]
fn garbage_neither_crashes_nor_hangs() {
    let types = [
        MapType::Hash,
        MapType::PerCpuHash,
        MapType::RingBuf,
        MapType::Array,
    ];
    let me = me();
    let mut random = Random(99);
    for round in 0..120 {
        let map_type = types[round % types.len()];
        let g = match map_type {
            MapType::RingBuf => geometry(map_type, 0, 0, 4096),
            MapType::Array => geometry(map_type, 4, 12, 9),
            _ => geometry(map_type, 8, 12, 50),
        };
        let shared = SharedMap::new(g);
        for (address, len) in [shared.control(), shared.data()] {
            // All kinds of words: any, small (links that exist), large, and zero (free locks).
            for at in (0..len).step_by(4) {
                let word = match (random.below(4), round % 3) {
                    (0, _) => random.next() as u32,
                    (1, _) => random.below(130) as u32,
                    (2, 0) => u32::MAX - random.below(3) as u32,
                    _ => 0,
                };
                // SAFETY: inside the memory of the map.
                unsafe { address.add(at).cast::<u32>().write_volatile(word) };
            }
        }
        let map = &shared.map;
        let start = Instant::now();
        let mut value = vec![0; g.user_value_size()];
        for _ in 0..100 {
            let key = random.below(100).to_le_bytes();
            let key = &key[..g.key_size as usize];
            let _ = map.lookup_user(key, &mut value, 0);
            let _ = map.update_user(&me, key, &value, 0);
            let _ = map.lookup_and_delete_user(&me, key, &mut value, 0);
            let _ = map.next_key(Some(key), &mut key.to_vec());
            if map_type == MapType::RingBuf {
                if let Some(record) = map.reserve(&me, random.below(4096)) {
                    // SAFETY: just reserved, of that size.
                    unsafe {
                        record.data.write_bytes(0xff, record.size as usize);
                        map.submit(record, 0);
                    }
                }
                map.query(random.below(4));
            }
        }
        let _ = map.recover(&me);
        assert!(
            start.elapsed() < Duration::from_secs(20),
            "{g:?} took {:?}",
            start.elapsed()
        );
    }
}
