//! Rules that depend on the type of the program: helpers, return values, contexts.

mod common;

use std::sync::Arc;

use bpftime_abi::Capabilities;
use bpftime_isa::hook::{HookArg, Signature};
use bpftime_isa::returns::HookResult;
use bpftime_isa::{AttachType, Hook, KernelTypes, MapType, ProgType, Program, Trust, Walked, asm};
use bpftime_verifier::{Code, Options, Target, verify};

fn program(prog_type: ProgType, attach_type: Option<AttachType>, text: &str) -> Program {
    Program {
        attach_type,
        ..common::program(prog_type, asm::parse(text).expect("a program"), Vec::new())
    }
}

fn judge(program: Program) -> Result<(), Code> {
    judge_with(program, &common::options())
}

fn judge_with(program: Program, options: &Options) -> Result<(), Code> {
    match verify(program, options) {
        Ok(_) => Ok(()),
        Err(rejection) => Err(rejection.code),
    }
}

#[test]
fn helpers_belong_to_types() {
    let coarse = "call 160\nr0 = 0\nexit";
    for (prog_type, offered) in [
        (ProgType::Xdp, true),
        (ProgType::SchedCls, true),
        (ProgType::Kprobe, false),
        (ProgType::PerfEvent, false),
        (ProgType::Netfilter, false),
    ] {
        let wanted = if offered {
            Ok(())
        } else {
            Err(Code::HelperUnavailable)
        };
        assert_eq!(
            judge(program(prog_type, None, coarse)),
            wanted,
            "{prog_type:?}"
        );
    }
    let bind = "r2 = r10\nr2 += -16\n*(u64 *)(r10 - 16) = 0\n*(u64 *)(r10 - 8) = 0\nr3 = 16\ncall 64\nr0 = 1\nexit";
    let sock_addr = |attach| judge(program(ProgType::CgroupSockAddr, Some(attach), bind));
    assert_eq!(sock_addr(AttachType::CGROUP_INET4_CONNECT), Ok(()));
    let refused = Err(Code::HelperUnavailable);
    assert_eq!(sock_addr(AttachType::CGROUP_INET4_BIND), refused);
}

#[test]
fn helpers_that_sleep_need_a_program_that_may() {
    let copy = "r1 = r10\nr1 += -8\nr2 = 8\nr3 = 0\ncall 148\nr0 = 0\nexit";
    let plain = program(ProgType::Kprobe, None, copy);
    let sleepable = Program {
        hook: Hook {
            sleepable: true,
            ..Hook::default()
        },
        ..plain.clone()
    };
    assert_eq!(judge(plain), Err(Code::HelperUnavailable));
    assert_eq!(judge(sleepable), Ok(()));
    assert_eq!(judge(program(ProgType::Syscall, None, copy)), Ok(()));
}

#[test]
fn programs_that_sleep_use_some_types_of_maps() {
    let load = |sleepable, map_type| {
        let insns = asm::parse("r1 = map_idx(0x0) ll\nr0 = 0\nexit").expect("a program");
        let map = common::map(map_type, 4, 4, 1);
        judge(Program {
            hook: Hook {
                sleepable,
                ..Hook::default()
            },
            ..common::program(ProgType::Kprobe, insns, vec![map])
        })
    };
    assert_eq!(load(false, MapType::PerfEventArray), Ok(()));
    assert_eq!(load(true, MapType::PerfEventArray), Err(Code::MapType));
    assert_eq!(load(true, MapType::Array), Ok(()));
}

#[test]
fn engines_offer_what_they_have() {
    let options = Options::new(Capabilities::NONE.with_helper(160).with_helper(26));
    assert_eq!(options.target, Target::Bpftime);
    let coarse = program(ProgType::Kprobe, None, "call 160\nr0 = 0\nexit");
    assert_eq!(judge_with(coarse, &options), Ok(()));
    // No engine has a kernel's structures.
    let typed = hook(HookResult::Number, "r0 = 0\nexit");
    assert_eq!(judge_with(typed, &options), Err(Code::ProgramType));
    // Not without an engine that has it, and not with a context that is another.
    let time = program(ProgType::Kprobe, None, "call 5\nr0 = 0\nexit");
    assert_eq!(judge_with(time, &options), Err(Code::HelperUnavailable));
    let load = "r2 = 0\nr3 = r10\nr3 += -8\nr4 = 8\ncall 26\nr0 = 0\nexit";
    let load = program(ProgType::Kprobe, None, load);
    assert_eq!(judge_with(load, &options), Err(Code::HelperUnavailable));
}

#[test]
fn return_values_belong_to_attach_types() {
    let refused = Err(Code::ReturnValue);
    let returns = |prog_type, attach: u32, number: i32| {
        let text = format!("r0 = {number}\nexit");
        judge(program(prog_type, Some(AttachType(attach)), &text))
    };
    use ProgType as T;
    for (prog_type, attach, least, most) in [
        (T::CgroupSockAddr, 8, 0, 3),
        (T::CgroupSockAddr, 10, 0, 1),
        (T::CgroupSockAddr, 53, 1, 1),
        (T::CgroupSkb, 0, 0, 1),
        (T::CgroupSkb, 1, 0, 3),
        (T::Kprobe, 57, 0, 1),
        (T::SkLookup, 36, 0, 1),
        (T::Netfilter, 45, 0, 1),
    ] {
        let what = format!("{prog_type:?} {attach}");
        assert_eq!(returns(prog_type, attach, least), Ok(()), "{what}");
        assert_eq!(returns(prog_type, attach, most), Ok(()), "{what}");
        assert_eq!(returns(prog_type, attach, least - 1), refused, "{what}");
        assert_eq!(returns(prog_type, attach, most + 1), refused, "{what}");
    }
    for (prog_type, attach) in [(T::Kprobe, 0), (T::Xdp, 37), (T::FlowDissector, 17)] {
        assert_eq!(returns(prog_type, attach, i32::MIN), Ok(()));
    }
}

/// A security hook with a number and a pointer to a structure.
fn hook(result: HookResult, text: &str) -> Program {
    let signature = Signature {
        name: "bpf_lsm_hook".into(),
        args: vec![
            HookArg::Number,
            HookArg::Object {
                type_id: 7,
                trust: Trust::Trusted,
                nullable: false,
            },
            HookArg::Hidden,
        ],
        result,
        sees_result: true,
    };
    Program {
        hook: Hook {
            signature: Some(signature),
            ..Hook::default()
        },
        ..program(ProgType::Lsm, Some(AttachType::LSM_MAC), text)
    }
}

#[test]
fn hooks_are_called_with_what_their_signature_says() {
    for (text, wanted) in [
        ("r2 = *(u64 *)(r1 + 0)\nr0 = 0\nexit", Ok(())),
        ("r2 = *(u32 *)(r1 + 0)\nr0 = 0\nexit", Ok(())),
        (
            "r2 = *(u32 *)(r1 + 4)\nr0 = 0\nexit",
            Err(Code::ContextAccess),
        ),
        ("r2 = *(u64 *)(r1 + 8)\nr0 = 0\nexit", Ok(())),
        (
            "r2 = *(u32 *)(r1 + 8)\nr0 = 0\nexit",
            Err(Code::ContextAccess),
        ),
        (
            "r2 = *(u64 *)(r1 + 16)\nr0 = 0\nexit",
            Err(Code::ContextAccess),
        ),
        // What the hook returned so far.
        ("r0 = *(u64 *)(r1 + 24)\nr0 = 0\nexit", Ok(())),
        ("r0 = *(u64 *)(r1 + 24)\nexit", Err(Code::ReturnValue)),
        (
            "r2 = *(u64 *)(r1 + 32)\nr0 = 0\nexit",
            Err(Code::ContextAccess),
        ),
        (
            "*(u64 *)(r1 + 0) = 0\nr0 = 0\nexit",
            Err(Code::ContextAccess),
        ),
        ("r0 = -4095\nexit", Ok(())),
        ("w0 = -1\nexit", Ok(())),
        ("r0 = -4096\nexit", Err(Code::ReturnValue)),
        ("r0 = 1\nexit", Err(Code::ReturnValue)),
    ] {
        assert_eq!(judge(hook(HookResult::Number, text)), wanted, "{text}");
    }
    assert_eq!(judge(hook(HookResult::Bool, "r0 = 1\nexit")), Ok(()));
    assert_eq!(judge(hook(HookResult::Void, "r0 = 77\nexit")), Ok(()));
    let untyped = program(ProgType::Lsm, Some(AttachType::LSM_MAC), "r0 = 0\nexit");
    assert_eq!(judge(untyped), Err(Code::ProgramType));
    let proprietary = Program {
        license: "Proprietary".into(),
        ..hook(HookResult::Number, "r0 = 0\nexit")
    };
    assert_eq!(judge(proprietary), Err(Code::HelperLicense));
}

#[test]
fn buffers_are_accessed_at_known_offsets() {
    let refused = Err(Code::ObjectAccess);
    for (text, wanted) in [
        ("r3 = *(u64 *)(r2 + 0)", Ok(())),
        ("*(u32 *)(r2 + 4001) = 1", Ok(())),
        ("r2 += 8\nr3 = *(u64 *)(r2 + 0)", Ok(())),
        ("r3 = *(u8 *)(r2 - 1)", refused),
        (
            "r3 = *(u64 *)(r1 + 8)\nr3 &= 7\nr2 += r3\nr3 = *(u8 *)(r2 + 0)",
            Err(Code::PointerArithmetic),
        ),
    ] {
        let text = format!("r2 = *(u64 *)(r1 + 0)\n{text}\nr0 = 0\nexit");
        let program = program(ProgType::RawTracepointWritable, None, &text);
        assert_eq!(judge(program), wanted, "{text}");
    }
}

/// Structure 7: a number, a pointer to structure 8, a pointer to memory without type; structure 8: a
/// number.
#[derive(Debug)]
struct Types;

impl KernelTypes for Types {
    fn read(&self, type_id: u32, offset: u32, size: u32) -> Option<Walked> {
        match (type_id, offset, size) {
            (7 | 8, 0, 1 | 2 | 4 | 8) => Some(Walked::Number),
            (7, 8, 8) => Some(Walked::Object(8)),
            (7, 16, 8) => Some(Walked::Object(0)),
            (7, 24 | 32, 8) => Some(Walked::Kept {
                type_id: 7,
                nullable: offset == 32,
                rcu: true,
            }),
            (0, _, _) => Some(Walked::Number),
            _ => None,
        }
    }

    fn contains(&self, type_id: u32, offset: u32, name: &str) -> bool {
        (type_id, offset, name) == (7, 0, "task_struct")
    }

    fn structure(&self, name: &str) -> Option<u32> {
        (name == "sk_buff").then_some(7)
    }

    fn name(&self, _: u32) -> Option<String> {
        None
    }
}

/// The same types, with the signature of a tracepoint: a pointer, one that may be null.
fn traced(text: &str) -> Program {
    let pointer = |trust, nullable| HookArg::Object {
        type_id: 7,
        trust,
        nullable,
    };
    let signature = Signature {
        name: "btf_trace_event".into(),
        args: vec![
            pointer(Trust::Trusted, false),
            pointer(Trust::Trusted, true),
            pointer(Trust::Argument, false),
        ],
        result: HookResult::Void,
        sees_result: false,
    };
    Program {
        hook: Hook {
            signature: Some(signature),
            ..Hook::default()
        },
        ..program(ProgType::Tracing, Some(AttachType::TRACE_RAW_TP), text)
    }
}

#[test]
fn structures_are_read_by_the_kernels_types() {
    let options = Options {
        kernel_types: Some(Arc::new(Types)),
        ..common::options()
    };
    let refused = Err(Code::ObjectAccess);
    for (text, wanted) in [
        (
            "r2 = *(u64 *)(r1 + 0)\nr3 = *(u32 *)(r2 + 0)\nr0 = 0\nexit",
            Ok(()),
        ),
        (
            "r2 = *(u64 *)(r1 + 0)\nr3 = *(u32 *)(r2 + 4)\nr0 = 0\nexit",
            refused,
        ),
        (
            "r2 = *(u64 *)(r1 + 0)\nr3 = *(u64 *)(r2 - 8)\nr0 = 0\nexit",
            refused,
        ),
        (
            "r2 = *(u64 *)(r1 + 0)\n*(u64 *)(r2 + 0) = 1\nr0 = 0\nexit",
            refused,
        ),
        // From pointer to pointer, and through memory without type.
        (
            "r2 = *(u64 *)(r1 + 0)\nr3 = *(u64 *)(r2 + 8)\nr4 = *(u64 *)(r3 + 0)\nr0 = 0\nexit",
            Ok(()),
        ),
        (
            "r2 = *(u64 *)(r1 + 0)\nr3 = *(u64 *)(r2 + 8)\nr4 = *(u64 *)(r3 + 8)\nr0 = 0\nexit",
            refused,
        ),
        (
            "r2 = *(u64 *)(r1 + 0)\nr3 = *(u64 *)(r2 + 16)\nr4 = *(u8 *)(r3 + 77)\nr0 = 0\nexit",
            Ok(()),
        ),
        // At a known offset.
        (
            "r2 = *(u64 *)(r1 + 0)\nr2 += 8\nr3 = *(u64 *)(r2 + 0)\nr4 = *(u64 *)(r3 + 0)\nr0 = 0\nexit",
            Ok(()),
        ),
        (
            "r2 = *(u64 *)(r1 + 0)\nr2 += 8\nr3 = *(u64 *)(r2 + 8)\nr4 = *(u64 *)(r3 + 8)\nr0 = 0\nexit",
            Ok(()),
        ),
        // What may be null has to be compared, but not what is read with care anyway.
        (
            "r2 = *(u64 *)(r1 + 8)\nr3 = *(u32 *)(r2 + 0)\nr0 = 0\nexit",
            Err(Code::PossibleNull),
        ),
        (
            "r2 = *(u64 *)(r1 + 8)\nif r2 == 0 goto +1\nr3 = *(u32 *)(r2 + 0)\nr0 = 0\nexit",
            Ok(()),
        ),
        (
            "r2 = *(u64 *)(r1 + 16)\nr3 = *(u32 *)(r2 + 0)\nr0 = 0\nexit",
            Ok(()),
        ),
        // Neither what is walked to nor what is not trusted is known not to be null.
        (
            "r2 = *(u64 *)(r1 + 16)\nr0 = 0\nif r2 != 0 goto +1\nr0 = *(u64 *)(r10 + 8)\nexit",
            Err(Code::StackBounds),
        ),
        (
            "r2 = *(u64 *)(r1 + 0)\nr2 = *(u64 *)(r2 + 8)\nr0 = 0\nif r2 != 0 goto +1\nr0 = *(u64 *)(r10 + 8)\nexit",
            Err(Code::StackBounds),
        ),
        (
            "r2 = *(u64 *)(r1 + 0)\nr0 = 0\nif r2 != 0 goto +1\nr0 = *(u64 *)(r10 + 8)\nexit",
            Ok(()),
        ),
    ] {
        assert_eq!(judge_with(traced(text), &options), wanted, "{text}");
    }
    // Whose stack is asked for: an argument, not what was walked to.
    let stack = "r2 = r10\nr2 += -8\nr3 = 8\nr4 = 0\ncall 141\nr0 = 0\nexit";
    for (task, wanted) in [
        ("r1 = *(u64 *)(r1 + 0)", Ok(())),
        ("r1 = *(u64 *)(r1 + 16)", Ok(())),
        ("r1 = *(u64 *)(r1 + 8)", Err(Code::HelperArgument)),
        ("r1 = *(u64 *)(r1 + 0)\nr1 += 8", Err(Code::HelperArgument)),
        (
            "r1 = *(u64 *)(r1 + 0)\nr1 = *(u64 *)(r1 + 8)",
            Err(Code::HelperArgument),
        ),
        ("call 158\nr1 = r0", Ok(())),
        // What stays valid with an argument, unless it may be null.
        ("r1 = *(u64 *)(r1 + 0)\nr1 = *(u64 *)(r1 + 24)", Ok(())),
        (
            "r1 = *(u64 *)(r1 + 0)\nr1 = *(u64 *)(r1 + 32)",
            Err(Code::HelperArgument),
        ),
        (
            "r1 = *(u64 *)(r1 + 0)\nr1 = *(u64 *)(r1 + 32)\nif r1 != 0 goto +2\nr0 = 0\nexit",
            Ok(()),
        ),
        ("r1 = 0", Err(Code::HelperArgument)),
    ] {
        let text = format!("{task}\n{stack}");
        assert_eq!(judge_with(traced(&text), &options), wanted, "{text}");
    }
    // A program that may sleep is in no RCU section.
    let kept = format!("r1 = *(u64 *)(r1 + 0)\nr1 = *(u64 *)(r1 + 24)\n{stack}");
    let mut sleepable = traced(&kept);
    sleepable.hook.sleepable = true;
    let verdict = judge_with(sleepable, &options);
    assert_eq!(verdict, Err(Code::HelperArgument));
    let read = "r2 = *(u64 *)(r1 + 0)\nr3 = *(u32 *)(r2 + 0)\nr0 = 0\nexit";
    assert_eq!(judge(traced(read)), refused);
    let proprietary = Program {
        license: "Proprietary".into(),
        ..traced(read)
    };
    assert_eq!(judge_with(proprietary, &options), refused);
    // Contexts that name the structure.
    let skb = "r2 = *(u64 *)(r1 + 8)\nr3 = *(u64 *)(r2 + 8)\nr4 = *(u64 *)(r3 + 0)\nr0 = 1\nexit";
    let skb = program(ProgType::Netfilter, Some(AttachType::NETFILTER), skb);
    assert_eq!(judge_with(skb.clone(), &options), Ok(()));
    assert_eq!(judge(skb), refused);
}
