//! `bpftime verify`: exit codes, and what is said in text and JSON.

mod support;

use serde_json::Value;
use support::{bpftime, compile, stderr, stdout};

const HEADERS: &str = "#include <linux/bpf.h>\n#include <bpf/bpf_helpers.h>\n";
const GOOD: &str = "SEC(\"xdp\") int good(struct xdp_md *ctx) { return XDP_PASS; }\n";
/// Reads a packet without a look at its end, in line 4.
const BAD: &str = "SEC(\"xdp\") int bad(struct xdp_md *ctx)\n{\n\
                   return *(char *)(long)ctx->data;\n}\n";

#[test]
fn exit_codes_tell_the_worst() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("{HEADERS}{GOOD}");
    let Some(good) = compile(directory.path(), "good", &text) else {
        return;
    };
    let bad = compile(directory.path(), "bad", &format!("{HEADERS}{BAD}")).unwrap();
    let text = directory.path().join("good.c");
    let empty = directory.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let [good, bad, text, empty] = [&good, &bad, &text, &empty].map(|path| path.to_str().unwrap());
    for (files, code) in [
        (&[good][..], 0),
        (&[bad], 1),
        (&[good, bad], 1),
        (&[text], 2),
        (&["/no/such/file"], 2),
        (&[empty], 2),
        (&[good, empty], 2),
        (&[bad, text, good], 2),
        (&[good, "--program", "nobody"], 2),
        (&[good, "--program", "good"], 0),
        (&[], 2),
    ] {
        let output = bpftime(&[&["verify"], files].concat());
        assert_eq!(output.status.code(), Some(code), "{files:?}: {output:?}");
        let output = bpftime(&[&["verify", "--json"], files].concat());
        assert_eq!(output.status.code(), Some(code), "{files:?}: {output:?}");
    }
}

#[test]
fn a_rejection_names_instruction_and_line() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("{HEADERS}{BAD}{GOOD}");
    let Some(object) = compile(directory.path(), "both", &text) else {
        return;
    };
    let object = object.to_str().unwrap();
    let output = bpftime(&["verify", object, "--log"]);
    let text = stdout(&output);
    assert!(
        text.contains("accepted") && text.contains("xdp/good"),
        "{text}"
    );
    assert!(
        text.contains("rejected") && text.contains("xdp/bad"),
        "{text}"
    );
    assert!(text.contains("both.c:5:"), "{text}");
    assert!(text.contains("*(char *)(long)ctx->data"), "{text}");
    assert!(
        text.contains("needed:") && text.contains("known:"),
        "{text}"
    );
    assert!(text.contains("processed"), "{text}");
    assert!(!text.contains('\x1b'), "colours without a terminal: {text}");

    let output = bpftime(&["verify", "--json", object]);
    assert_eq!(stderr(&output), "");
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    let programs = json["files"][0]["programs"].as_array().unwrap();
    let find = |name: &str| programs.iter().find(|p| p["name"] == name).unwrap();
    assert_eq!(find("good")["verdict"], "accepted");
    assert_eq!(find("good")["facts"]["max_executed_instructions"], 2);
    let bad = find("bad");
    assert_eq!(bad["verdict"], "rejected");
    assert_eq!(bad["rejection"]["code"], "packet-bounds");
    assert_eq!(bad["rejection"]["source"]["line"], 5);
    assert_eq!(bad["rejection"]["errno"], "EACCES");
}

#[test]
fn a_type_can_be_given() {
    let directory = tempfile::tempdir().unwrap();
    let text = "int f(void *ctx) { return 0; }";
    let Some(object) = compile(directory.path(), "untyped", text) else {
        return;
    };
    let object = object.to_str().unwrap();
    let output = bpftime(&["verify", object]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(stdout(&output).contains("--type"), "{output:?}");
    let output = bpftime(&["verify", object, "--type", "socket-filter"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn kernel_types_can_be_given() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "{HEADERS}struct pid {{ int level; }} __attribute__((preserve_access_index));\n\
         SEC(\"kprobe/x\") long size(void *ctx)\n\
         {{ return __builtin_preserve_type_info(*(struct pid *)0, 1); }}\n"
    );
    let Some(object) = compile(directory.path(), "core", &text) else {
        return;
    };
    let object = object.to_str().unwrap();
    let text = directory.path().join("core.c");
    let output = bpftime(&["verify", object, "--btf", text.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(stderr(&output).contains("magic number"), "{output:?}");
    let host = "/sys/kernel/btf/vmlinux";
    if std::fs::exists(host).unwrap() {
        let output = bpftime(&["verify", object, "--btf", host]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
}

#[test]
fn help_teaches_by_example() {
    for arguments in [&["--help"][..], &["verify", "--help"], &["run", "--help"]] {
        let output = bpftime(arguments);
        assert_eq!(output.status.code(), Some(0));
        let text = stdout(&output);
        assert!(text.contains("Examples:"), "{text}");
        assert!(text.contains("Exit codes"), "{text}");
    }
}
