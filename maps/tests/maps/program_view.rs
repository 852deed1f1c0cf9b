//! A program's operations on a map of ours give what the same eBPF program gets from the kernel.

use crate::bpf::{self, EXIT, KernelMap, Program, call, insn, load_imm, load_map};
use crate::common::{SharedMap, geometry, me};
use bpftime_abi::MapType;
use bpftime_maps::Geometry;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Lookup(u8),
    Update(u8, u64, u64),
    Delete(u8),
    /// By the system call, to mix both views.
    UserUpdate(u8, u64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = 0u8..7;
    let flags =
        prop_oneof![8 => Just(0u64), 2 => Just(1), 2 => Just(2), 2 => 3u64..9, 1 => any::<u64>()];
    let op = prop_oneof![
        2 => key.clone().prop_map(Op::Lookup),
        4 => (key.clone(), any::<u64>(), flags).prop_map(|(k, v, f)| Op::Update(k, v, f)),
        2 => key.clone().prop_map(Op::Delete),
        1 => (key, any::<u64>()).prop_map(|(k, v)| Op::UserUpdate(k, v)),
    ];
    proptest::collection::vec(op, 1..40)
}

/// Keys and values have eight bytes on the stack; the map takes as many as it has.
fn program(map: &KernelMap, key: u64, op: &Op) -> Program {
    let mut code = vec![];
    code.extend(load_imm(1, key));
    code.push(insn(0x7b, 10, 1, -8, 0)); // *(u64 *)(r10 - 8) = r1
    if let Op::Update(_, value, flags) = op {
        code.extend(load_imm(1, *value));
        code.push(insn(0x7b, 10, 1, -16, 0)); // *(u64 *)(r10 - 16) = r1
        code.extend(load_imm(4, *flags));
        code.push(insn(0xbf, 3, 10, 0, 0)); // r3 = r10
        code.push(insn(0x07, 3, 0, 0, -16)); // r3 += -16
    }
    code.push(insn(0xbf, 2, 10, 0, 0)); // r2 = r10
    code.push(insn(0x07, 2, 0, 0, -8)); // r2 += -8
    code.extend(load_map(1, map));
    match op {
        Op::Update(..) => code.push(call(2)),
        Op::Delete(_) => code.push(call(3)),
        _ => {
            code.push(call(1));
            code.push(insn(0x15, 0, 0, 2, 0)); // if r0 == 0 goto +2
            code.push(insn(0x71, 0, 0, 0, 0)); // r0 = *(u8 *)(r0 + 0)
            code.push(insn(0x07, 0, 0, 0, 0x100)); // r0 += 0x100
        }
    }
    code.push(EXIT);
    Program::load(&code)
}

fn compare(g: Geometry, ops: &[Op]) {
    let ours = SharedMap::new(g);
    let kernels = KernelMap::create(&g).unwrap();
    let me = me();
    let (key_size, size) = (g.key_size as usize, g.user_value_size());
    // Test runs happen on the CPU that asks for them.
    let cpu = 0;
    for (step, op) in ops.iter().enumerate() {
        let (Op::Lookup(key) | Op::Update(key, ..) | Op::Delete(key) | Op::UserUpdate(key, _)) = op;
        let key = *key as u64 | 0xabcd_0000_0000;
        let key = if key_size == 4 {
            key & 0xffff_ffff
        } else {
            key
        };
        let bytes = key.to_le_bytes();
        let at = bytes.as_ptr();
        let result = |result: Result<(), bpftime_abi::Errno>| match result {
            Ok(()) => 0,
            Err(errno) => errno.to_r0() as u32,
        };
        // SAFETY: the key has eight bytes, at least as many as the map's; likewise the value.
        let mine = unsafe {
            match op {
                Op::Lookup(_) => {
                    let value = ours.map.lookup(at, cpu);
                    if value.is_null() {
                        0
                    } else {
                        0x100 + *value as u32
                    }
                }
                Op::Update(_, value, flags) => {
                    let value = value.to_le_bytes();
                    result(ours.map.update(&me, at, value.as_ptr(), *flags, cpu))
                }
                Op::Delete(_) => result(ours.map.delete(&me, at)),
                Op::UserUpdate(_, value) => {
                    let value: Vec<u8> =
                        value.to_le_bytes().into_iter().cycle().take(size).collect();
                    let a = ours.map.update_user(&me, &bytes[..key_size], &value, 0);
                    let b = kernels.update(&bytes[..key_size], &value, 0);
                    assert_eq!(a, b, "step {step}: {op:?}");
                    continue;
                }
            }
        };
        let theirs = program(&kernels, key, op).run();
        assert_eq!(
            mine as i32, theirs as i32,
            "step {step} of {g:?}: {op:?}: ours, the kernel's"
        );
        // The state afterwards, all CPUs'.
        let (mut mine, mut theirs) = (vec![0xee; size], vec![0xee; size]);
        let a = ours.map.lookup_user(&bytes[..key_size], &mut mine, 0);
        let b = kernels.lookup(&bytes[..key_size], &mut theirs, 0);
        if g.is_per_cpu() {
            // The kernel leaves what was there in the padding of a new element.
            let padding = |at: &usize| at % 8 >= g.value_size as usize;
            for at in (0..size).filter(padding) {
                (mine[at], theirs[at]) = (0, 0);
            }
        }
        assert_eq!(
            (a, mine),
            (b, theirs),
            "state after step {step} of {g:?}: {op:?}"
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
            bpf::stay_on_first_cpu();
            let g = Geometry { cpus: bpf::possible_cpus(), ..$geometry };
            let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(25) };
            proptest!(config, |(ops in ops())| compare(g, &ops));
        }
    )*};
}

compare_tests! {
    array: geometry(MapType::Array, 4, 8, 5);
    array_of_odd_bytes: geometry(MapType::Array, 4, 5, 5);
    per_cpu_array: geometry(MapType::PerCpuArray, 4, 8, 5);
    hash_4_8: geometry(MapType::Hash, 4, 8, 4);
    hash_8_3: geometry(MapType::Hash, 8, 3, 3);
    hash_no_prealloc: Geometry { flags: 1, ..geometry(MapType::Hash, 7, 8, 4) };
    per_cpu_hash: geometry(MapType::PerCpuHash, 8, 8, 4);
    per_cpu_hash_no_prealloc: Geometry { flags: 1, ..geometry(MapType::PerCpuHash, 4, 6, 4) };
}
