//! Which programs may call which helpers.

use bpftime_isa::helper::{self, Unavailable, available as offered};
use bpftime_isa::{CallTarget, Instruction, encode};

use super::callers::{Subject, subjects};
use super::load::{Question, available};

/// What depends on how the kernel was configured and is locked down, and is left out of the comparison.
const DEPENDS: &[&str] = &["override_return", "probe_write_user"];

/// Under a licence that is not compatible with the GPL, or one that is.
fn log(subject: &Subject, id: u32, license: &str) -> String {
    let call = Instruction::Call(CallTarget::Helper(id));
    let question = Question {
        kind: subject.kind,
        license,
        insns: &encode(&[call, Instruction::Exit]),
    };
    question.ask_briefly().log
}

#[test]
fn offers_are_the_kernels() {
    if !available() {
        return;
    }
    let subjects = subjects();
    assert!(subjects.len() > 60, "only {}", subjects.len());
    let mut wrong = Vec::new();
    for subject in &subjects {
        for proto in helper::PROTOS {
            if DEPENDS.contains(&proto.name) {
                continue;
            }
            let said = log(subject, proto.id, "GPL");
            let never = said.contains("program of this type cannot use helper");
            // One that looks at the type late.
            let late = said.contains("not supported for program type")
                || said.contains("supported only for fentry/fexit/fmod_ret programs");
            let kernel = if never || late {
                Err(Unavailable::ProgramType)
            } else if said.contains("helper call might sleep in a non-sleepable prog") {
                Err(Unavailable::Sleeps)
            } else {
                Ok(())
            };
            let ours = offered(&subject.caller, proto.id);
            let name = proto.name;
            if ours.map(|_| ()) != kernel {
                wrong.push(format!("{name} {subject:?}: {kernel:?}"));
            }
            let Ok(ours) = ours else { continue };
            let said = log(subject, proto.id, "Proprietary");
            // Programs of this type are refused as such.
            let all = said.contains("programs must have a GPL compatible license");
            let restricted = said.contains("cannot call GPL-restricted function");
            if !all && ours.gpl_only != restricted {
                wrong.push(format!(
                    "{name} {subject:?}: for the GPL only: {restricted}"
                ));
            }
        }
        let beyond = helper::PROTOS.len() as u32 + 1;
        assert_eq!(offered(&subject.caller, beyond), Err(Unavailable::Unknown));
        assert!(log(subject, beyond, "GPL").contains("invalid func"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_are_the_kernels() {
    if !available() {
        return;
    }
    let mut named = 0;
    for subject in subjects() {
        for proto in helper::PROTOS {
            let said = log(&subject, proto.id, "GPL");
            let expected = format!("call bpf_{}#{}", proto.name, proto.id);
            if said.contains("call bpf_") {
                assert!(said.contains(&expected), "{expected}: {said}");
                named += 1;
            }
        }
    }
    assert!(named > 1000, "only {named}");
}
