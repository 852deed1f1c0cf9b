//! `bpftime verify` over folders and over vectors: what it prints, and its exit codes.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use bpftime_tests::process::Stage;
use serde_json::Value;

/// XDP programs in hexadecimal: `r0 = 2; exit`, and `r0 = *(u64 *)(r1 + 0); exit`, which reads
/// across two fields of the context.
const GOOD: &str = "b7000000020000009500000000000000";
const BAD: &str = "79100000000000009500000000000000";

fn vectors(tests: &[(&str, u32, &str, &str)]) -> String {
    let tests: Vec<Value> = tests
        .iter()
        .map(|(name, prog_type, insns, verdict)| {
            serde_json::json!({
                "file": "a.c", "name": name, "prog_type": prog_type, "insns": insns,
                "result": "UNDEF", "actual_6_18": {"verdict": verdict},
            })
        })
        .collect();
    serde_json::json!({"meta": {"maps": {}}, "tests": tests}).to_string()
}

#[test]
fn vectors_are_judged_line_by_line() {
    let stage = Stage::new();
    let file = stage.path().join("vectors.json");
    let run = |tests: &[(&str, u32, &str, &str)]| {
        fs::write(&file, vectors(tests)).expect("a file");
        let finished = stage.bpftime(&["verify", "--vectors", "vectors.json", "--format", "jsonl"]);
        let lines: Vec<Value> = finished
            .stdout
            .lines()
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .collect();
        (lines, finished.stderr, finished.status.code())
    };

    let (lines, summary, code) = run(&[("good", 6, GOOD, "ACCEPT"), ("bad", 6, BAD, "REJECT")]);
    assert_eq!(code, Some(0), "{summary}");
    assert!(
        summary.starts_with("2 tests: 1 accepted and 1 rejected as expected"),
        "{summary}"
    );
    assert_eq!(
        lines[0],
        serde_json::json!({
            "file": "a.c", "name": "good", "expected": "accepted", "verdict": "accepted",
            "code": null, "message": "",
        })
    );
    assert_eq!(lines[1]["verdict"], "rejected");
    assert_eq!(lines[1]["code"], "context-access");
    assert!(
        lines[1]["message"]
            .as_str()
            .is_some_and(|it| it.contains("instruction 0"))
    );

    // A verdict that differs, and programs that cannot be judged.
    let (lines, _, code) = run(&[("bad", 6, BAD, "ACCEPT")]);
    assert_eq!(
        (&lines[0]["expected"], code),
        (&Value::from("accepted"), Some(1))
    );
    let (lines, _, code) = run(&[
        ("unknown type", 4711, GOOD, "REJECT"),
        ("none", 6, "zz", "skip"),
    ]);
    assert_eq!(code, Some(0));
    assert_eq!(lines[0]["verdict"], "unsupported");
    assert_eq!(lines[1]["verdict"], "unsupported");
    assert_eq!(lines[1]["expected"], Value::Null);

    fs::write(&file, "[]").expect("a file");
    let finished = stage.bpftime(&["verify", "--vectors", "vectors.json"]);
    assert_eq!(finished.status.code(), Some(2), "{}", finished.stderr);
    let finished = stage.bpftime(&["verify", "--vectors", "nowhere.json"]);
    assert_eq!(finished.status.code(), Some(2), "{}", finished.stderr);
}

#[test]
fn folders_are_judged_whatever_is_in_them() {
    let stage = Stage::new();
    let folder = stage.path().join("objects");
    fs::create_dir_all(folder.join("deep/er")).expect("a folder");
    let object = fs::read(stage.path().join("drop.bpf.o")).expect("an example");
    fs::write(folder.join("deep/er/drop.o"), &object).expect("a file");
    fs::write(folder.join("a.o"), &object).expect("a file");
    // Hostile ones: nothing, nonsense, half an object, one with broken offsets.
    fs::write(folder.join("empty.o"), b"").expect("a file");
    fs::write(folder.join("nonsense.o"), [0x41; 4096]).expect("a file");
    fs::write(folder.join("half.o"), &object[..object.len() / 2]).expect("a file");
    let mut broken = object.clone();
    broken[40..48].fill(0xff);
    fs::write(folder.join("broken.o"), &broken).expect("a file");
    fs::write(folder.join("notes.txt"), b"no object").expect("a file");
    symlink(&folder, folder.join("loop")).expect("a link");
    let fifo = Command::new("mkfifo").arg(folder.join("pipe.o")).status();
    assert!(fifo.is_ok_and(|status| status.success()), "mkfifo runs");

    let finished = stage.bpftime(&["verify", "objects", "--format", "csv"]);
    assert_eq!(finished.status.code(), Some(2), "{}", finished.stderr);
    let mut lines = finished.stdout.lines();
    let header = lines.next().expect("a header");
    assert!(
        header.starts_with(
            "file_name,prog_name,verdict,duration,total_insns,total_states,peak_states,\
             max_states_per_insn,"
        ),
        "{header}"
    );
    let rows: Vec<Vec<&str>> = lines.map(|line| line.split(',').collect()).collect();
    let columns = header.split(',').count();
    assert!(
        rows.iter().all(|row| row.len() == columns),
        "{}",
        finished.stdout
    );
    let short: Vec<(&str, &str)> = rows.iter().map(|row| (row[0], row[2])).collect();
    assert_eq!(
        short,
        [
            ("objects/a.o", "success"),
            ("objects/broken.o", "failure"),
            ("objects/deep/er/drop.o", "success"),
            ("objects/empty.o", "failure"),
            ("objects/half.o", "failure"),
            ("objects/nonsense.o", "failure"),
        ]
    );
    assert!(
        finished.stderr.contains("4 files unreadable"),
        "{}",
        finished.stderr
    );

    let json = stage.bpftime(&["verify", "objects", "--format", "jsonl"]);
    let first: Value =
        serde_json::from_str(json.stdout.lines().next().expect("a line")).expect("a line of JSON");
    assert_eq!(first["verdict"], "accepted");
    assert!(
        first["memory_bytes"]
            .as_u64()
            .is_some_and(|bytes| bytes > 0),
        "{first}"
    );

    fs::remove_file(folder.join("pipe.o")).expect("it is there");
    for file in ["broken.o", "empty.o", "half.o", "nonsense.o"] {
        fs::remove_file(folder.join(file)).expect("it is there");
    }
    let good = stage.bpftime(&["verify", "objects", "--format", "table"]);
    assert_eq!(good.status.code(), Some(0), "{}", good.stderr);
    assert_eq!(good.stdout.lines().count(), 3, "{}", good.stdout);
}
