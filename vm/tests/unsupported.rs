//! What the verifier knows of a kernel's programs and the engines cannot run yet is refused, with a reason,
//! before any of it is run: each program would leave a mark in a map first.

use std::sync::Arc;

use bpftime_helpers::CAPABILITIES;
use bpftime_isa::kernel_types::{KernelSymbol, KernelTypes, Walked};
use bpftime_isa::{LocalStruct, MapDef, MapField, MapFieldKind, MapType, ProgType, Program, asm};
use bpftime_verifier::{Code, Options, verify};
use bpftime_vm::{CompileError, Executable, HostEnvironment, Input, RunError, jit};

/// Kernel functions by number, from 1.
const KFUNCS: [&str; 19] = [
    "bpf_iter_num_new",
    "bpf_iter_num_next",
    "bpf_iter_num_destroy",
    "bpf_rcu_read_lock",
    "bpf_rcu_read_unlock",
    "bpf_preempt_disable",
    "bpf_preempt_enable",
    "bpf_throw",
    "bpf_obj_new_impl",
    "bpf_obj_drop_impl",
    "bpf_dynptr_from_xdp",
    "bpf_local_irq_save",
    "bpf_local_irq_restore",
    "bpf_res_spin_lock",
    "bpf_res_spin_unlock",
    "bpf_wq_init",
    "bpf_percpu_obj_new_impl",
    "bpf_percpu_obj_drop_impl",
    "bpf_map_sum_elem_count",
];

#[derive(Debug)]
struct Types;

impl KernelTypes for Types {
    fn read(&self, _: u32, _: u32, _: u32) -> Option<Walked> {
        None
    }

    fn contains(&self, _: u32, _: u32, _: &str) -> bool {
        false
    }

    fn structure(&self, _: &str) -> Option<u32> {
        None
    }

    fn symbol(&self, id: u32) -> Option<KernelSymbol> {
        match id {
            201 => Some(KernelSymbol::PerCpuMemory(4)),
            202 => Some(KernelSymbol::Memory(4)),
            _ => None,
        }
    }

    fn name(&self, id: u32) -> Option<String> {
        let at = usize::try_from(id).ok()?.checked_sub(1)?;
        KFUNCS.get(at).map(|name| (*name).to_owned())
    }
}

/// What is used, and how, after the mark; `r6` is the context.
const FEATURES: &[(&str, &str)] = &[
    (
        "an iterator",
        "r1 = r10\nr1 += -8\nr2 = 0\nr3 = 3\ncall kfunc(0x1)\nr1 = r10\nr1 += -8\ncall kfunc(0x3)",
    ),
    ("an RCU section", "call kfunc(0x4)\ncall kfunc(0x5)"),
    ("preemption", "call kfunc(0x6)\ncall kfunc(0x7)"),
    ("an exception", "r1 = 0\ncall kfunc(0x8)"),
    (
        "an object",
        "r1 = 7\nr2 = 0\ncall kfunc(0x9)\nif r0 == 0 goto out\nr1 = r0\nr2 = 0\ncall kfunc(0xa)",
    ),
    (
        "a dynptr of the packet",
        "r1 = r6\nr2 = 0\nr3 = r10\nr3 += -16\ncall kfunc(0xb)",
    ),
    (
        "a dynptr of a map's value",
        "r1 = map_idx(0x0) + 0x0 ll\nr2 = 8\nr3 = 0\nr4 = r10\nr4 += -16\ncall 197",
    ),
    (
        "interrupts",
        "r1 = r10\nr1 += -8\ncall kfunc(0xc)\nr1 = r10\nr1 += -8\ncall kfunc(0xd)",
    ),
    (
        "a resilient lock",
        "r1 = map_idx(0x1) + 0x0 ll\ncall kfunc(0xe)\nif w0 != 0 goto out\n\
         r1 = map_idx(0x1) + 0x0 ll\ncall kfunc(0xf)",
    ),
    (
        "a work queue",
        "r1 = map_idx(0x2) + 0x0 ll\nr2 = map_idx(0x2) ll\nr3 = 0\ncall kfunc(0x10)",
    ),
    (
        "a timer",
        "r1 = map_idx(0x3) + 0x0 ll\nr2 = map_idx(0x3) ll\nr3 = 1\ncall 169",
    ),
    (
        "what each CPU has its own of",
        "r1 = 7\nr2 = 0\ncall kfunc(0x11)\nif r0 == 0 goto out\nr1 = r0\nr2 = 0\ncall kfunc(0x12)",
    ),
    (
        "a variable of each CPU's own",
        "r1 = btf_id(0xc9, 0x0) ll\ncall 154\nr1 = *(u32 *)(r0 + 0)",
    ),
    (
        "a kernel variable",
        "r1 = btf_id(0xca, 0x0) ll\nr1 = *(u32 *)(r1 + 0)",
    ),
    (
        "a kernel function",
        "r1 = map_idx(0x0) ll\ncall kfunc(0x13)",
    ),
    (
        "an arena",
        "r2 = *(u32 *)(r6 + 12)\nr2 = addr_space_cast(r2, 0, 1)\n*(u64 *)(r2 + 0) = 1",
    ),
    (
        "a callback",
        "r1 = map_idx(0x0) ll\nr2 = func(cb) ll\nr3 = 0\nr4 = 0\ncall 164",
    ),
];

fn maps(arena: bool) -> Vec<MapDef> {
    let map = |map_type, key_size, value_size, max_entries| MapDef {
        name: "map".to_owned(),
        ..MapDef::new(map_type, key_size, value_size, max_entries)
    };
    let with = |size, kind| MapDef {
        fields: vec![MapField {
            offset: 0,
            size,
            kind,
        }],
        ..map(MapType::Array, 4, 16, 1)
    };
    let mut maps = vec![
        map(MapType::Array, 4, 8, 1),
        with(4, MapFieldKind::ResSpinLock),
        with(16, MapFieldKind::Workqueue),
        with(16, MapFieldKind::Timer),
    ];
    if arena {
        maps.push(map(MapType::Arena, 0, 0, 1));
    }
    maps
}

#[test]
fn what_only_a_kernel_has_is_refused_before_anything_runs() {
    let kernel = Options {
        kernel_types: Some(Arc::new(Types)),
        ..Options::linux()
    };
    for (feature, text) in FEATURES {
        let called = match *feature {
            "a callback" => "cb:\nr0 = 0\nexit\n",
            _ => "",
        };
        let text = format!(
            "r6 = r1\nr1 = map_idx(0x0) + 0x0 ll\n*(u64 *)(r1 + 0) = 1\n{text}\n\
             out:\nr0 = 0\nexit\n{called}"
        );
        let program = Program {
            name: "test".to_owned(),
            license: "GPL".to_owned(),
            maps: maps(*feature == "an arena"),
            objects: [LocalStruct {
                type_id: 7,
                name: "numbers".to_owned(),
                size: 16,
                fields: Vec::new(),
                numbers: true,
            }]
            .into(),
            ..Program::new(
                ProgType::Xdp,
                asm::parse(&text).unwrap_or_else(|error| panic!("{feature}: {error}")),
            )
        };
        // A kernel would run it.
        let verified = verify(program.clone(), &kernel)
            .unwrap_or_else(|rejection| panic!("{feature}: {rejection}"));

        // What is loaded here is judged by what is here.
        let refused = verify(program.clone(), &Options::new(CAPABILITIES)).err();
        let code = refused.map(|rejection| rejection.code);
        assert!(
            matches!(
                code,
                Some(
                    Code::UnsupportedCall
                        | Code::UnsupportedInstruction
                        | Code::HelperUnavailable
                        | Code::UnknownHelper
                        | Code::MapType
                )
            ),
            "{feature}: {code:?}"
        );

        // And what was judged by a kernel's rules is not run here.
        let compiled = jit::compile(&verified);
        if let Err(error) = &compiled {
            assert!(
                matches!(error, CompileError::Unsupported { .. }),
                "{feature}: {error}"
            );
        }
        let mut environment = match HostEnvironment::new(&program.maps) {
            Ok(environment) => environment,
            // There is nothing that it could be run with.
            Err(error) => {
                assert_eq!(*feature, "an arena", "{error}");
                continue;
            }
        };
        let mut input = Input::new(ProgType::Xdp, None, &[0; 64]).expect("input");
        let refusal = |result: Result<u64, RunError>, engine: &str| match result {
            Err(RunError::Capabilities | RunError::Unsupported { .. }) => {}
            other => panic!("{feature}: {engine}: {other:?}"),
        };
        if let Ok(code) = compiled {
            let executable = Executable::load(code).expect("mapped");
            refusal(environment.run(&executable, &mut input), "JIT");
        }
        refusal(environment.interpret(&verified, &mut input), "interpreter");
        let mut mark = [0xff; 8];
        let map = environment.map(0).expect("the map");
        map.lookup_user(&[0; 4], &mut mark, 0).expect("the value");
        assert_eq!(mark, [0; 8], "{feature} was run");
    }
}
