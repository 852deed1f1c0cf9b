//! Output that cannot be written is one sentence and an exit code of its own; a reader that goes away
//! is neither.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The exit code for output that cannot be written.
const UNWRITABLE: i32 = 4;

/// Commands that print something whether a broker runs or not.
const PRINTING: [&[&str]; 7] = [
    &["--help"],
    &["help", "verify"],
    &["--version"],
    &["status"],
    &["status", "--json"],
    &["map", "list"],
    &["map", "list", "--json"],
];

/// Runs `bpftime` without a broker, with these as its standard output and error.
fn run(folder: &Path, arguments: &[&str], out: Stdio, errors: Stdio) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bpftime"))
        .args(arguments)
        .env("BPFTIME_RUNTIME_DIR", folder.join("run"))
        .env_remove("RUST_LOG")
        .stdout(out)
        .stderr(errors)
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .expect("it runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

fn full() -> Stdio {
    File::options()
        .write(true)
        .open("/dev/full")
        .expect("it is there")
        .into()
}

#[test]
fn a_full_disk_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    for arguments in PRINTING {
        let output = run(folder.path(), arguments, full(), Stdio::piped());
        assert_eq!(output.status.code(), Some(UNWRITABLE), "{output:?}");
        let said = stderr(&output);
        let wanted =
            "error: cannot write to standard output: No space left on device (os error 28)\n";
        assert_eq!(said, wanted);
    }
}

#[test]
fn nowhere_to_write_at_all_is_no_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    for arguments in PRINTING {
        let output = run(folder.path(), arguments, full(), full());
        assert_eq!(output.status.code(), Some(UNWRITABLE), "{output:?}");
    }
    for (arguments, code) in [
        (["detach", "1"], 1),
        (["attach", "-1"], 2),
        (["verify", "/no/such/file"], 2),
        (["run", "/no/such/file"], 2),
    ] {
        let output = run(folder.path(), &arguments, full(), full());
        assert_eq!(output.status.code(), Some(code), "{output:?}");
    }
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let folder = tempfile::tempdir().expect("a folder");
    for arguments in PRINTING {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = run(folder.path(), arguments, writer.into(), Stdio::piped());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert_eq!(stderr(&output), "");
    }
}
