//! `bpftime verify --smt` and `--facts`, as users run them.

use std::process::Command;

use bpftime_tests::process::Stage;
use serde_json::Value;

/// Two programs that write to one of 48 bytes of stack, at a place that is the sum of two numbers; the
/// second lets the sum be 48.
const SUMS: &str = r#"
#define SEC(name) __attribute__((section(name), used))
#define PROGRAM(name, greatest) \
    SEC("xdp") __attribute__((naked)) int name(void *context) { \
        asm volatile("r7 = *(u32 *)(r1 + 12)\n" \
                     "r8 = *(u32 *)(r1 + 16)\n" \
                     "r2 = r7\n" \
                     "r2 += r8\n" \
                     "if r2 > " #greatest " goto 1f\n" \
                     "r6 = r10\n" \
                     "r6 += -48\n" \
                     "r6 += r7\n" \
                     "r6 += r8\n" \
                     "*(u8 *)(r6 + 0) = r2\n" \
                     "1: r0 = 2\n" \
                     "exit\n"); \
    }
PROGRAM(within, 47)
PROGRAM(beyond, 48)
char _license[] SEC("license") = "GPL";
"#;

/// Compiles the source to `NAME.bpf.o` on the stage. Whether there is a compiler; says so if not.
fn compiled(stage: &Stage, name: &str, source: &str) -> bool {
    std::fs::write(stage.path().join(format!("{name}.bpf.c")), source).expect("a file");
    for clang in ["clang-19", "clang"] {
        let status = Command::new(clang)
            .args(["-target", "bpf", "-O2", "-c", "-o"])
            .args([format!("{name}.bpf.o"), format!("{name}.bpf.c")])
            .current_dir(stage.path())
            .status();
        if let Ok(status) = status {
            assert!(status.success(), "{clang} does not compile {name}");
            return true;
        }
    }
    eprintln!("skipped: no clang");
    false
}

/// Returns 0, 2, 4 or 6.
const MASKED: &str = r#"
#define SEC(name) __attribute__((section(name), used))
SEC("xdp") __attribute__((naked)) int masked(void *context) {
    asm volatile("r0 = *(u32 *)(r1 + 12)\n r0 &= 6\n exit\n");
}
char _license[] SEC("license") = "GPL";
"#;

#[test]
fn a_solver_is_asked_only_if_that_is_wanted() {
    let stage = Stage::new();
    if !compiled(&stage, "sums", SUMS) {
        return;
    }
    let verify = |arguments: &[&str]| {
        let all = [&["verify", "--json", "sums.bpf.o"], arguments].concat();
        stage.bpftime(&all)
    };
    let programs = |text: &str| -> Vec<Value> {
        let report: Value = serde_json::from_str(text).expect("JSON");
        let programs = report["files"][0]["programs"].as_array();
        programs.expect("programs").clone()
    };

    let plain = programs(&verify(&[]).stdout);
    for program in &plain {
        assert_eq!(program["verdict"], "rejected", "{program}");
        assert_eq!(program["rejection"]["refuted"], Value::Null, "{program}");
    }

    let finished = verify(&["--smt"]);
    if finished.stderr.contains("was built with z3") {
        assert_eq!(finished.status.code(), Some(3));
        eprintln!("skipped: this bpftime is built without the feature `smt`");
        return;
    }
    assert_eq!(finished.status.code(), Some(1));
    let refined = programs(&finished.stdout);
    let refinement = &refined[0]["facts"]["refinement"];
    assert_eq!(refined[0]["verdict"], "accepted");
    assert_eq!(refinement["proved"][0]["slot"], 9);
    let solver = refinement["solver"].as_str().expect("a name");
    assert!(solver.starts_with("z3 4."), "{solver}");

    // The example leads to the byte behind the 48: it is the sum of what is read at slots 0 and 1.
    let refuted = &refined[1]["rejection"]["refuted"];
    assert_eq!(refined[1]["verdict"], "rejected");
    assert_eq!(refuted["answer"], "refuted");
    let inputs = refuted["inputs"].as_array().expect("inputs");
    let sum: u64 = inputs
        .iter()
        .filter_map(|input| input["value"].as_u64())
        .sum();
    assert_eq!((inputs.len(), sum), (2, 48), "{refuted}");
}

#[test]
fn facts_are_printed_if_that_is_wanted() {
    let stage = Stage::new();
    if !compiled(&stage, "masked", MASKED) {
        return;
    }
    let without = stage.bpftime(&["verify", "--json", "masked.bpf.o"]).stdout;
    let with = stage
        .bpftime(&["verify", "--json", "--facts", "masked.bpf.o"])
        .stdout;
    let facts = |text: &str| -> Value {
        let report: Value = serde_json::from_str(text).expect("JSON");
        report["files"][0]["programs"][0]["facts"].clone()
    };
    assert_eq!(facts(&without)["known"], Value::Null);
    let facts = facts(&with);
    let returns = "scalar(umin=0,umax=6,var_off=(0x0; 0x6))";
    assert_eq!(facts["returns"], returns);
    assert_eq!(facts["known"][2]["reads"]["r0"], returns);
    assert_eq!(facts["known"][0]["reads"]["r1"], "ctx()");
    let text = stage.bpftime(&["verify", "--facts", "masked.bpf.o"]).stdout;
    let line = text.lines().find(|line| line.trim().starts_with("2: exit"));
    assert!(line.is_some_and(|line| line.ends_with(returns)), "{text}");
}
