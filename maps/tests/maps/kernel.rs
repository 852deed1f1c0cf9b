//! The same operations on a map of ours and on the kernel's give the same results and errors.

use std::collections::BTreeSet;

use crate::bpf::{self, KernelMap};
use crate::common::{SharedMap, geometry, me};
use bpftime_abi::{Errno, MapType};
use bpftime_maps::Geometry;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Lookup { key: u8, flags: u64 },
    Update { key: u8, value: u8, flags: u64 },
    Delete { key: u8 },
    Next { key: Option<u8> },
    LookupAndDelete { key: u8, flags: u64 },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = 0u8..9;
    let flags = prop_oneof![
        12 => Just(0u64),
        2 => Just(1),
        2 => Just(2),
        1 => Just(3),
        1 => 4u64..8,
        1 => any::<u64>(),
    ];
    let lookup_flags = prop_oneof![9 => Just(0u64), 1 => 1u64..9];
    let op = prop_oneof![
        2 => (key.clone(), lookup_flags.clone()).prop_map(|(key, flags)| Op::Lookup { key, flags }),
        5 => (key.clone(), any::<u8>(), flags)
            .prop_map(|(key, value, flags)| Op::Update { key, value, flags }),
        2 => key.clone().prop_map(|key| Op::Delete { key }),
        1 => proptest::option::of(key.clone()).prop_map(|key| Op::Next { key }),
        1 => (key, lookup_flags).prop_map(|(key, flags)| Op::LookupAndDelete { key, flags }),
    ];
    proptest::collection::vec(op, 1..80)
}

/// A key of the map's size, different for each number; arrays take it as the index.
fn key_bytes(g: &Geometry, number: u8) -> Vec<u8> {
    let mut key = vec![0xa5; g.key_size as usize];
    if matches!(g.map_type, MapType::Array | MapType::PerCpuArray) {
        // One index far outside.
        let index = if number == 8 { u32::MAX } else { number as u32 };
        return index.to_le_bytes().to_vec();
    }
    // The number at the end, so that tails of odd sizes count.
    *key.last_mut().unwrap() = number;
    key
}

fn value_bytes(g: &Geometry, seed: u8) -> Vec<u8> {
    (0..g.user_value_size())
        .map(|at| seed.wrapping_add(at as u8))
        .collect()
}

/// What an operation gives, in a form to compare.
type Outcome = (Result<(), Errno>, Vec<u8>);

fn keys(
    mut next: impl FnMut(Option<&[u8]>, &mut [u8]) -> Result<(), Errno>,
    size: usize,
) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let mut key: Option<Vec<u8>> = None;
    loop {
        let mut buffer = vec![0; size];
        match next(key.as_deref(), &mut buffer) {
            Ok(()) => keys.push(buffer.clone()),
            Err(errno) => {
                assert_eq!(errno, Errno::ENOENT);
                return keys;
            }
        }
        assert!(keys.len() < 1000, "iteration does not end");
        key = Some(buffer);
    }
}

fn compare(g: Geometry, ops: &[Op]) {
    let ours = SharedMap::new(g);
    let kernels = KernelMap::create(&g).unwrap();
    let me = me();
    let is_array = matches!(g.map_type, MapType::Array | MapType::PerCpuArray);
    let size = g.user_value_size();
    for (step, op) in ops.iter().enumerate() {
        let mut mine = vec![0xee; size];
        let mut theirs = mine.clone();
        let (a, b): (Outcome, Outcome) = match *op {
            Op::Lookup { key, flags } => {
                let key = key_bytes(&g, key);
                let a = ours.map.lookup_user(&key, &mut mine, flags);
                let b = kernels.lookup(&key, &mut theirs, flags);
                ((a, mine), (b, theirs))
            }
            Op::Update { key, value, flags } => {
                let (key, value) = (key_bytes(&g, key), value_bytes(&g, value));
                let a = ours.map.update_user(&me, &key, &value, flags);
                ((a, vec![]), (kernels.update(&key, &value, flags), vec![]))
            }
            Op::Delete { key } => {
                let key = key_bytes(&g, key);
                (
                    (ours.map.delete_user(&me, &key), vec![]),
                    (kernels.delete(&key), vec![]),
                )
            }
            Op::LookupAndDelete { key, flags } => {
                let key = key_bytes(&g, key);
                let a = ours.map.lookup_and_delete_user(&me, &key, &mut mine, flags);
                let b = kernels.lookup_and_delete(&key, &mut theirs, flags);
                ((a, mine), (b, theirs))
            }
            Op::Next { key } => {
                let key = key.map(|key| key_bytes(&g, key));
                let mut mine = vec![0xee; g.key_size as usize];
                let mut theirs = mine.clone();
                let a = ours.map.next_key(key.as_deref(), &mut mine);
                let b = kernels.next_key(key.as_deref(), &mut theirs);
                if is_array {
                    ((a, mine), (b, theirs))
                } else {
                    // The order of a hash map is its own: compare the whole iteration, and that
                    // an unknown key starts it.
                    let mine = keys(|key, next| ours.map.next_key(key, next), mine.len());
                    let theirs = keys(|key, next| kernels.next_key(key, next), theirs.len());
                    assert_eq!(mine.len(), mine.iter().collect::<BTreeSet<_>>().len());
                    let position = key.and_then(|key| mine.iter().position(|k| *k == key));
                    let expected = mine.get(position.map_or(0, |at| at + 1));
                    assert_eq!(a.is_ok(), expected.is_some(), "step {step}");
                    let sorted: BTreeSet<_> = theirs.iter().collect();
                    assert_eq!(mine.iter().collect::<BTreeSet<_>>(), sorted, "step {step}");
                    continue;
                }
            }
        };
        assert_eq!(
            a, b,
            "step {step} of {g:?}: {op:?}: ours, then the kernel's"
        );
    }
}

macro_rules! compare_tests {
    ($($name:ident: $geometry:expr;)*) => {$(
        #[test]
        fn $name() {
            if !bpf::usable(stringify!($name)) {
                return;
            }
            let g = Geometry { cpus: bpf::possible_cpus(), ..$geometry };
            let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) };
            proptest!(config, |(ops in ops())| compare(g, &ops));
        }
    )*};
}

const NO_PREALLOC: u32 = 1;

compare_tests! {
    array_of_words: geometry(MapType::Array, 4, 8, 5);
    array_of_odd_bytes: geometry(MapType::Array, 4, 13, 7);
    array_mmapable: Geometry { flags: 1 << 10, ..geometry(MapType::Array, 4, 4, 1) };
    per_cpu_array: geometry(MapType::PerCpuArray, 4, 8, 5);
    per_cpu_array_of_odd_bytes: geometry(MapType::PerCpuArray, 4, 5, 3);
    hash_4_8: geometry(MapType::Hash, 4, 8, 4);
    hash_8_8: geometry(MapType::Hash, 8, 8, 1);
    hash_16_24: geometry(MapType::Hash, 16, 24, 5);
    hash_1_1: geometry(MapType::Hash, 1, 1, 6);
    hash_13_7: geometry(MapType::Hash, 13, 7, 3);
    hash_23_100_no_prealloc: Geometry { flags: NO_PREALLOC, ..geometry(MapType::Hash, 23, 100, 4) };
    hash_zero_seed: Geometry { flags: 1 << 6, seed: 0, ..geometry(MapType::Hash, 4, 4, 8) };
    per_cpu_hash: geometry(MapType::PerCpuHash, 4, 8, 4);
    per_cpu_hash_of_odd_bytes: geometry(MapType::PerCpuHash, 6, 3, 4);
    per_cpu_hash_no_prealloc: Geometry { flags: NO_PREALLOC, ..geometry(MapType::PerCpuHash, 8, 12, 3) };
}

/// Sizes around each limit, flags of each kind.
fn geometries() -> impl Strategy<Value = Geometry> {
    let types = prop::sample::select(vec![
        MapType::Array,
        MapType::PerCpuArray,
        MapType::Hash,
        MapType::PerCpuHash,
        MapType::RingBuf,
        MapType::PerfEventArray,
    ]);
    let limit = (4u32 << 20) - 48;
    let sizes = vec![
        0,
        1,
        3,
        4,
        5,
        8,
        64,
        511,
        512,
        513,
        4096,
        8192,
        12288,
        32760,
        32761,
        32768,
        32769,
        limit - 9,
        limit - 5,
        limit - 4,
        limit - 1,
        limit,
        limit + 1,
        i32::MAX as u32,
        1 << 31,
        u32::MAX,
    ];
    let key = prop_oneof![
        3 => Just(4u32),
        2 => Just(0u32),
        2 => prop::sample::select(sizes.clone())
    ];
    let value = prop_oneof![2 => Just(4u32), 2 => Just(0u32), 4 => prop::sample::select(sizes)];
    let entries = prop::sample::select(vec![
        0u32,
        1,
        2,
        3,
        1000,
        4096,
        4097,
        8192,
        12288,
        65536,
        1 << 27,
        (1 << 27) + 1,
        1 << 31,
        u32::MAX,
    ]);
    let flag = prop_oneof![4 => Just(0u32), 3 => (0u32..16).prop_map(|bit| 1 << bit)];
    (types, key, value, entries, flag.clone(), flag).prop_map(|(map_type, k, v, n, f, g)| {
        Geometry {
            flags: f | g,
            cpus: bpf::possible_cpus(),
            ..geometry(map_type, k, v, n)
        }
    })
}

#[test]
fn creation() {
    if !bpf::usable("creation") {
        return;
    }
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(3000)
    };
    proptest!(config, |(g in geometries())| {
        let ours = g.validate();
        // Large maps that pass every check would take the machine's memory: not asked for.
        let element = g.value_size as u64 + g.key_size as u64 + 64;
        let bytes = element.saturating_mul(g.max_entries as u64);
        if ours.is_ok() && bytes > 64 << 20 || ours == Err(Errno::ENOMEM) {
            return Ok(());
        }
        let kernels = KernelMap::create(&g).map(drop);
        // The kernel may lack memory where we only lay out a sparse file.
        if kernels != Err(Errno::ENOMEM) {
            prop_assert_eq!(ours, kernels, "{:?}: ours, then the kernel's", g);
        }
        prop_assert_eq!(g.control_len() != 0, ours.is_ok());
    });
}

#[test]
fn other_types_are_refused_with_a_reason() {
    for map_type in MapType::ALL {
        let g = geometry(*map_type, 4, 4, 4);
        if !Geometry::is_implemented(*map_type) {
            assert_eq!(g.validate(), Err(Errno::EINVAL));
            assert_eq!(g.refusal(), Some("maps of this type are not implemented"));
        }
    }
    assert_eq!(geometry(MapType::Hash, 4, 4, 4).refusal(), None);
}
