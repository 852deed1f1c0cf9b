//! Processes that fork, exec, exit or are killed, on either side.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use bpftime_tests::process::{Running, Stage, eventually};

use crate::lab::{Lab, SOON, Way, finished, number};

/// A file mapped into a process: where, from which offset, and its path.
struct Mapped {
    start: u64,
    len: u64,
    offset: u64,
    path: String,
}

fn executable_files(pid: u32) -> Vec<Mapped> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process runs");
    let hex = |text: &str| u64::from_str_radix(text, 16).expect("hex");
    maps.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (range, permissions) = (words.next()?, words.next()?);
            let (offset, path) = (words.next()?, words.nth(2)?);
            let (start, end) = range.split_once('-')?;
            (permissions.contains('x') && path.starts_with('/') && !path.starts_with("/memfd:"))
                .then(|| Mapped {
                    start: hex(start),
                    len: hex(end) - hex(start),
                    offset: hex(offset),
                    path: path.to_owned(),
                })
        })
        .collect()
}

/// The path of the C library that this test is linked with.
pub(crate) fn libc_path() -> String {
    executable_files(std::process::id())
        .into_iter()
        .map(|file| file.path)
        .find(|path| path.contains("libc.so") || path.contains("libc-"))
        .expect("a C library")
}

/// How many bytes of a process's code are not what its files hold.
fn changed_bytes(pid: u32) -> usize {
    let mut memory = File::open(format!("/proc/{pid}/mem")).expect("may read memory");
    let mut changed = 0;
    for mapped in executable_files(pid) {
        let mut file = File::open(&mapped.path).expect("the file is there");
        file.seek(SeekFrom::Start(mapped.offset))
            .expect("an offset");
        let mut original = Vec::new();
        file.take(mapped.len)
            .read_to_end(&mut original)
            .expect("readable");
        let mut code = vec![0; original.len()];
        memory
            .seek(SeekFrom::Start(mapped.start))
            .expect("an address");
        memory.read_exact(&mut code).expect("mapped");
        changed += original.iter().zip(&code).filter(|(a, b)| a != b).count();
    }
    changed
}

/// Whether anything of ours is left in the process: changed code or a mapping.
fn assert_clean(pid: u32, when: &str) {
    let clean = eventually(SOON, || (changed_bytes(pid) == 0).then_some(()));
    assert!(
        clean.is_some(),
        "{} bytes changed {when}",
        changed_bytes(pid)
    );
}

fn map_names(stage: &Stage) -> Vec<String> {
    let listed = stage.bpftime(&["map", "list", "--json"]);
    assert!(listed.status.success(), "{listed:?}");
    let maps: serde_json::Value = serde_json::from_str(&listed.stdout).expect("valid JSON");
    let maps = maps["maps"].as_array().or_else(|| maps.as_array());
    maps.expect("a list")
        .iter()
        .filter_map(|map| Some(map["name"].as_str()?.to_owned()))
        .collect()
}

/// Processes of this stage that run the program with the arguments.
fn pids_of(stage: &Stage, program: &str, argument: Option<&str>) -> Vec<i32> {
    let folder = stage.path().to_string_lossy().into_owned();
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let mut found = Vec::new();
    for entry in processes {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let mut words = line.split('\0');
        let runs = words.next().unwrap_or("").ends_with(program)
            && argument.is_none_or(|wanted| words.next() == Some(wanted));
        if runs && String::from_utf8_lossy(&environment).contains(&folder) {
            found.push(pid);
        }
    }
    found
}

fn signal(pids: &[i32], number: i32) {
    for pid in pids {
        // SAFETY: kill reads no memory; the processes are ones that this stage started.
        unsafe { libc::kill(*pid, number) };
    }
}

/// A victim that runs for some four seconds, attached while it runs.
fn attached_victim(lab: &Lab) -> Running {
    let victim = lab
        .stage
        .start("subject", &["3", "5500", "/dev/null", "600"]);
    let attached = lab.stage.bpftime(&["attach", &victim.pid().to_string()]);
    assert!(attached.status.success(), "{attached:?}");
    assert_ne!(changed_bytes(victim.pid()), 0, "nothing is patched");
    victim
}

fn assert_correct(victim: Running) {
    let lines = finished(victim);
    let right = lines.last().is_some_and(|line| line.ends_with(" 0 wrong"));
    assert!(right, "{lines:?}");
}

#[test]
fn a_tool_that_ends_leaves_nothing() {
    let lab = Lab::new(&["counts", "subject"]);
    let tool = lab.tool(Way::Ours, &["./counts", "count", "end"]);
    let victim = attached_victim(&lab);
    assert!(map_names(&lab.stage).contains(&"cpu_array".to_owned()));
    lab.end();
    let lines = finished(tool);
    assert!(number(&lines, "calls") > 0, "{lines:?}");
    assert_clean(victim.pid(), "after the tool's end");
    assert_eq!(map_names(&lab.stage), Vec::<String>::new());
    assert_correct(victim);
}

#[test]
fn a_tool_that_is_killed_leaves_nothing() {
    let lab = Lab::new(&["counts", "subject"]);
    let tool = lab.tool(Way::Ours, &["./counts", "results", "end"]);
    let victim = attached_victim(&lab);
    let tools = pids_of(&lab.stage, "/counts", Some("results"));
    assert_eq!(tools.len(), 1, "{tools:?}");
    signal(&tools, libc::SIGKILL);
    assert_clean(victim.pid(), "after the tool was killed");
    let gone = eventually(SOON, || map_names(&lab.stage).is_empty().then_some(()));
    assert!(gone.is_some(), "{:?} are left", map_names(&lab.stage));
    let (_, status) = tool.finish(SOON);
    assert!(!status.success(), "the tool was killed");
    assert_correct(victim);
}

/// With tool, guardian and broker killed, `detach` has only the process itself to go by.
#[test]
fn detach_needs_nobody_else() {
    let lab = Lab::new(&["counts", "subject"]);
    let tool = lab.tool(Way::Ours, &["./counts", "count", "end"]);
    let second = lab.tool(Way::Ours, &["./counts", "results", "end"]);
    let victim = attached_victim(&lab);
    // A broker replaces a guardian that is gone, a guardian without a broker gives its target
    // back: so the one is stopped before the other is killed.
    for (argument, number) in [
        ("guardian", libc::SIGSTOP),
        ("broker", libc::SIGKILL),
        ("guardian", libc::SIGKILL),
        ("load", libc::SIGKILL),
    ] {
        signal(&pids_of(&lab.stage, "exe", Some(argument)), number);
        signal(&pids_of(&lab.stage, "bpftime", Some(argument)), number);
    }
    signal(&pids_of(&lab.stage, "/counts", None), libc::SIGKILL);
    for argument in ["broker", "guardian", "load"] {
        let left = eventually(SOON, || {
            let left = pids_of(&lab.stage, "exe", Some(argument)).len()
                + pids_of(&lab.stage, "bpftime", Some(argument)).len();
            (left == 0).then_some(())
        });
        assert!(left.is_some(), "{argument} is left");
    }
    assert_ne!(changed_bytes(victim.pid()), 0, "nothing is left to detach");
    let detached = lab.stage.bpftime(&["detach", &victim.pid().to_string()]);
    assert!(detached.status.success(), "{detached:?}");
    assert_eq!(changed_bytes(victim.pid()), 0, "code is not the file's");
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", victim.pid())).expect("runs");
    assert!(!maps.contains("memfd:bpftime"), "{maps}");
    assert_correct(victim);
    drop((tool, second));
}

#[test]
fn calls_of_forked_children_count() {
    let lab = Lab::new(&["counts", "family"]);
    let tool = ["./counts", "work", "end", "./family"];
    let report = lab.compare(&tool, &["./family", "500", "fork"]);
    assert_eq!(report.number("calls"), 1500, "{report:?}");
}

#[test]
fn a_victim_that_spawns_another_program() {
    let lab = Lab::new(&["counts", "family"]);
    let tool = ["./counts", "work", "end", "./family"];
    let report = lab.compare(&tool, &["./family", "500", "spawn"]);
    assert_eq!(report.number("calls"), 1000, "{report:?}");
}

/// A program that the victim becomes runs as if nothing had been.
#[test]
fn a_victim_that_becomes_another_program() {
    let lab = Lab::new(&["counts", "family"]);
    let tool = lab.tool(Way::Ours, &["./counts", "work", "end", "./family"]);
    let report = lab.report(tool, lab.victim(Way::Ours, &["./family", "500", "exec"]));
    assert!(
        report.victim.contains(&"done 0 wrong 0 child".to_owned()),
        "{report:?}"
    );
    // The kernel counts 1000: an exec is noticed here, but not before the program's first calls.
    assert!((500..=1000).contains(&report.number("calls")), "{report:?}");
}

/// Victims come and go, some killed; the tool's sums are of all of them.
#[test]
fn victims_that_exit_while_attached() {
    let lab = Lab::new(&["counts", "subject"]);
    let tool = lab.tool(Way::Ours, &["./counts", "work", "end"]);
    for _ in 0..3 {
        finished(lab.victim(Way::Ours, &["./subject", "2", "100"]));
    }
    let killed = attached_victim(&lab);
    let pid = killed.pid();
    drop(killed);
    let gone = eventually(SOON, || {
        let status = lab.stage.status();
        let targets = status["targets"].as_array()?.clone();
        targets
            .iter()
            .all(|target| target["pid"].as_u64() != Some(u64::from(pid)))
            .then_some(())
    });
    assert!(gone.is_some(), "{}", lab.stage.status());
    let last = lab.victim(Way::Ours, &["./subject", "2", "100"]);
    let report = lab.report(tool, last);
    assert!(report.number("calls") >= 800, "{report:?}");
    let seen = number(&report.tool, "numbers");
    assert!(seen >= 8 * (99 * 100 / 2), "{report:?}");
}

/// Calls are in flight, most of them asleep, whenever the probes come and go.
#[test]
fn probes_that_come_and_go_under_running_calls() {
    let lab = Lab::new(&["counts", "subject"]);
    let tool = lab.tool(Way::Ours, &["./counts", "times", "end"]);
    let second = lab.tool(Way::Ours, &["./counts", "results", "end"]);
    let victim = lab
        .stage
        .start("subject", &["8", "12000", "/dev/null", "600"]);
    let pid = victim.pid().to_string();
    for round in 0..10 {
        let attached = lab.stage.bpftime(&["attach", &pid]);
        assert!(attached.status.success(), "round {round}: {attached:?}");
        let detached = lab.stage.bpftime(&["detach", &pid]);
        assert!(detached.status.success(), "round {round}: {detached:?}");
        assert_eq!(changed_bytes(victim.pid()), 0, "round {round}");
    }
    assert_correct(victim);
    lab.end();
    let times = finished(tool);
    // A call that began before the probe came returns unseen, and one that was under way when the
    // probe went does not count; what returned did so with its own result.
    let (entries, returns) = (number(&times, "entries"), number(&times, "returns"));
    assert!(0 < returns && returns <= entries, "{times:?}");
    finished(second);
}
