//! What programs may return.

use bpftime_isa::returns::{HookResult, returns};
use bpftime_isa::{Instruction, ProgType, encode};

use super::callers::subjects;
use super::load::{Question, available, mov};

/// Numbers around the ends of all ranges.
const NUMBERS: &[i32] = &[
    i32::MIN,
    -4096,
    -4095,
    -4094,
    -2,
    -1,
    0,
    1,
    2,
    3,
    4,
    5,
    i32::MAX,
];

#[test]
fn ranges_are_the_kernels() {
    if !available() {
        return;
    }
    let mut refused = 0;
    for subject in subjects() {
        let caller = subject.caller;
        let result = (caller.prog_type == ProgType::Lsm).then_some(HookResult::Number);
        let range = returns(caller.prog_type, caller.attach_type, result);
        for &number in NUMBERS {
            let question = Question {
                kind: subject.kind,
                license: "GPL",
                insns: &encode(&[mov(bpftime_isa::Reg::R0, number), Instruction::Exit]),
            };
            let verdict = question.ask_briefly();
            let fits = range.is_none_or(|range| (range.least..=range.most).contains(&number));
            let text = format!("{number} from {caller:?}: {verdict:?}");
            assert_eq!(fits, verdict.errno == 0, "{text}");
            if !fits {
                assert!(verdict.log.contains("should have been in ["), "{text}");
                refused += 1;
            }
        }
    }
    assert!(refused > 200, "only {refused} numbers are refused");
}
