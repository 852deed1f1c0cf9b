//! What bad input gets: one clear sentence, a non-zero exit code, and an unharmed victim.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use bpftime_tests::paths;
use bpftime_tests::process::{Finished, Running, Stage, eventually};

const SOON: Duration = Duration::from_secs(20);

/// Compiles a C program of `tests/c` into the stage.
fn compile(stage: &Stage, name: &str) {
    let to = stage.path().join(name);
    let source = paths::workspace().join("tests/c").join(format!("{name}.c"));
    let status = Command::new("gcc")
        .args(["-O2", "-Wall", "-Wextra", "-o"])
        .arg(&to)
        .arg(&source)
        .args(["-lbpf", "-pthread"])
        .status()
        .expect("gcc runs");
    assert!(status.success(), "{} does not compile", source.display());
}

/// Cases by name: errno and last line of the log.
fn verdicts(output: &str) -> BTreeMap<String, (i32, String)> {
    output
        .lines()
        .filter_map(|line| {
            let mut words = line.splitn(3, ' ');
            let name = words.next()?.to_owned();
            let errno = words.next()?.parse().ok()?;
            Some((name, (errno, words.next().unwrap_or("").to_owned())))
        })
        .collect()
}

/// One clear sentence on standard error and a failure; nothing on standard output.
fn assert_one_sentence(finished: &Finished, wanted: &[&str]) {
    assert!(!finished.status.success(), "{finished:?}");
    assert_eq!(finished.stdout, "", "{finished:?}");
    let lines: Vec<&str> = finished.stderr.lines().collect();
    assert_eq!(lines.len(), 1, "{finished:?}");
    for word in wanted {
        assert!(
            finished.stderr.contains(word),
            "no {word:?} in {finished:?}"
        );
    }
    assert!(!finished.stderr.contains("panicked"), "{finished:?}");
}

#[test]
fn unsafe_programs_get_the_kernels_errno_and_log() {
    /// Cases whose message names what is wrong in words that tools know; for the others the
    /// errno is compared, as the kernel's own last line is a dump of its states.
    const SAME_LOG: [&str; 9] = [
        "uninitialised-result",
        "uninitialised-register",
        "number-dereferenced",
        "frame-pointer-written",
        "context-out-of-bounds",
        "null-not-checked",
        "jump-out-of-range",
        "unknown-helper",
        "licence",
    ];
    let stage = Stage::new();
    compile(&stage, "reject");
    let ours = stage.bpftime(&["load", "./reject"]);
    assert!(ours.status.success(), "{ours:?}");
    let ours = verdicts(&ours.stdout);
    assert_eq!(ours["accepted"].0, 0, "{ours:?}");
    assert!(ours.len() >= 15, "{ours:?}");
    for (name, (errno, log)) in &ours {
        if name != "accepted" {
            assert_ne!(*errno, 0, "{name} was accepted");
            assert!(!log.is_empty(), "{name} has no log");
        }
    }
    let kernel = Finished::of(&mut Command::new(stage.path().join("reject")));
    if !kernel.status.success() {
        eprintln!(
            "skipped: comparison with the kernel, which this user may not load programs into"
        );
        return;
    }
    let kernel = verdicts(&kernel.stdout);
    for (name, (errno, log)) in &kernel {
        assert_eq!(
            ours[name].0, *errno,
            "{name}: ours says {:?}, the kernel {log:?}",
            ours[name]
        );
        if SAME_LOG.contains(&name.as_str()) {
            assert_eq!(&ours[name].1, log, "{name}");
        }
    }
}

#[test]
fn a_process_that_is_gone_or_not_ours() {
    let stage = Stage::new();
    let gone = {
        let mut victim = stage.start("victim", &["0"]);
        let pid = victim.pid();
        victim.wait(SOON);
        pid.to_string()
    };
    assert_one_sentence(&stage.bpftime(&["attach", &gone]), &[&gone]);
    assert_one_sentence(&stage.bpftime(&["detach", &gone]), &[&gone]);
    assert_one_sentence(&stage.bpftime(&["attach", "1"]), &["1"]);
}

#[test]
fn a_process_that_is_attached_already() {
    let stage = Stage::new();
    let victim = stage.start("victim", &["2", "2", "1000"]);
    let pid = victim.pid().to_string();
    assert!(stage.bpftime(&["attach", &pid]).status.success());
    assert_one_sentence(&stage.bpftime(&["attach", &pid]), &[&pid, "already"]);
    let (lines, status) = victim.finish(SOON);
    assert!(status.success());
    assert!(
        lines.last().is_some_and(|line| line.ends_with(" 0 wrong")),
        "{lines:?}"
    );
}

#[test]
fn commands_that_do_not_exist() {
    let stage = Stage::new();
    assert_one_sentence(
        &stage.bpftime(&["load", "./no-such-tool"]),
        &["no-such-tool"],
    );
    assert_one_sentence(
        &stage.bpftime(&["start", "./no-such-victim"]),
        &["no-such-victim"],
    );
    assert_one_sentence(
        &stage.bpftime(&["map", "dump", "no_such_map"]),
        &["no_such_map"],
    );
    assert_one_sentence(
        &stage.bpftime(&["run", "no-such-object.o"]),
        &["no-such-object.o"],
    );
}

#[test]
fn a_probe_on_a_path_or_symbol_that_does_not_exist() {
    let stage = Stage::new();
    stage.copy(&paths::workspace().join("benches/prober"));
    stage.copy(&paths::workspace().join("benches/probe.bpf.o"));
    for (binary, function) in [
        ("./victim", "no_such_function"),
        ("./no-such-binary", "main"),
    ] {
        let arguments = [
            "load",
            "./prober",
            "probe.bpf.o",
            "empty",
            "entry",
            binary,
            function,
        ];
        let finished = stage.bpftime(&arguments);
        assert!(!finished.status.success(), "{finished:?}");
        assert!(!finished.stdout.contains("attached"), "{finished:?}");
    }
}

/// A victim without the probed library runs on, and status says that nothing is attached there.
#[test]
fn a_victim_without_the_probed_function() {
    let stage = Stage::new();
    let source = paths::workspace().join("examples/malloc/victim.c");
    let status = Command::new("gcc")
        .args(["-O2", "-static", "-pthread", "-o"])
        .arg(stage.path().join("static-victim"))
        .arg(source)
        .status()
        .expect("gcc runs");
    assert!(status.success());
    let tool = stage.start("bpftime", &["load", "./malloc", "3"]);
    let linked = eventually(SOON, || {
        let status = stage.status();
        status["links"]
            .as_array()
            .is_some_and(|links| !links.is_empty())
            .then_some(())
    });
    assert!(linked.is_some(), "the tool attaches");
    let victim = Running::start(stage.command("static-victim").args(["1", "2", "1000"]));
    let attach = stage.bpftime(&["attach", &victim.pid().to_string()]);
    let (lines, status) = victim.finish(SOON);
    assert!(status.success(), "{attach:?}");
    assert!(
        lines.last().is_some_and(|line| line.ends_with(" 0 wrong")),
        "{lines:?}"
    );
    drop(tool);
}

/// The kernel takes privileges from a set-user-id program that an ordinary user traces from its start.
#[test]
fn a_set_user_id_command_is_not_started() {
    use std::os::unix::fs::PermissionsExt;
    let stage = Stage::new();
    let victim = stage.path().join("victim");
    std::fs::set_permissions(&victim, PermissionsExt::from_mode(0o4755)).expect("a mode");
    let mut start = stage.command("bpftime");
    let refused = Finished::of(start.args(["start", "./victim", "1", "1", "1"]));
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("set-user-id"), "{refused:?}");
    assert_eq!(refused.stdout, "");
}
