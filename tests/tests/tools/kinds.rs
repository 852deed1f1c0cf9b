//! Tools and victims of other kinds: static ones, ones linked with musl, ones not in C.

use std::path::Path;

use crate::lab::{Lab, Way, finished};

/// Nothing has to be preloaded into a victim or linked to it.
fn counts_in(victim: &str) {
    let lab = Lab::new(&["counts", "subject-static", "subject-musl"]);
    let path = format!("./{victim}");
    for (mode, word, wanted) in [
        ("count", "calls", 3 * 500 + 150),
        ("results", "results", 15 * 165),
        ("times", "returns", 15),
    ] {
        let report = lab.compare(&["./counts", mode, "end", &path], &[&path, "3", "500"]);
        assert_eq!(report.number(word), wanted, "{report:?}");
        assert_eq!(report.number("unmatched"), 0, "{report:?}");
    }
}

#[test]
fn a_static_victim() {
    counts_in("subject-static");
}

#[test]
fn a_victim_with_musl() {
    counts_in("subject-musl");
}

/// Its system calls are its own, so nothing that is preloaded could stand between.
#[test]
fn a_static_tool() {
    let lab = Lab::new(&["counts-static", "subject"]);
    let report = lab.compare(
        &["./counts-static", "count", "end"],
        &["./subject", "2", "500"],
    );
    assert_eq!(report.number("calls"), 1100, "{report:?}");
}

/// Finds a program of this machine, or says that the test is skipped.
fn installed(name: &str) -> Option<String> {
    let found = ["/usr/sbin", "/usr/bin", "/usr/local/bin"]
        .iter()
        .map(|folder| format!("{folder}/{name}"))
        .find(|path| Path::new(path).exists());
    if found.is_none() {
        eprintln!("skipped: no {name} on this machine");
    }
    found
}

/// bpftool finds the maps and programs of another session, with their names.
#[test]
fn bpftool_lists_what_is_loaded() {
    let Some(bpftool) = installed("bpftool") else {
        return;
    };
    let lab = Lab::new(&["counts", "subject"]);
    let tool = lab.tool(Way::Ours, &["./counts", "count", "end"]);
    finished(lab.victim(Way::Ours, &["./subject", "2", "500"]));
    for (words, wanted) in [
        (["map", "list"].as_slice(), "name cpu_array"),
        (&["prog", "list"], "name count "),
        (&["link", "list"], "perf_event"),
        (&["map", "dump", "name", "by_cookie"], "\"value\": 1000"),
    ] {
        let mut all = vec!["load", bpftool.as_str()];
        all.extend(words);
        let listed = lab.stage.bpftime(&all);
        assert!(listed.status.success(), "{words:?}: {listed:?}");
        assert!(listed.stdout.contains(wanted), "{words:?}: {listed:?}");
    }
    lab.end();
    finished(tool);
}

/// bpftrace compiles for itself, loads without libbpf's skeletons and reads maps at its end. Its
/// `BEGIN` and `END` are uprobes on itself, which is under the filter that answers for the kernel,
/// so they are not tried here.
#[test]
fn bpftrace_counts() {
    let Some(bpftrace) = installed("bpftrace") else {
        return;
    };
    let lab = Lab::new(&["subject"]);
    let program = format!(
        "uprobe:{0}/subject:work {{ @calls[arg0] = count(); }} \
         uretprobe:{0}/subject:climb {{ @results = sum(retval); }}",
        lab.stage.path().display()
    );
    let mut tool = lab
        .stage
        .start("bpftime", &["load", &bpftrace, "-e", &program]);
    let linked = bpftime_tests::process::eventually(crate::lab::SOON, || {
        let links = lab.stage.status()["links"].as_array()?.len();
        (links >= 2).then_some(())
    });
    assert!(linked.is_some(), "bpftrace does not attach");
    finished(lab.victim(Way::Ours, &["./subject", "2", "500"]));
    // More than once: bpftrace overlooks a signal that comes just before it waits for events.
    let ended = bpftime_tests::process::eventually(crate::lab::SOON, || {
        tool.signal(libc::SIGINT);
        std::thread::sleep(std::time::Duration::from_millis(200));
        (!tool.runs()).then_some(())
    });
    assert!(ended.is_some(), "bpftrace does not end");
    let (lines, status) = tool.finish(crate::lab::SOON);
    assert!(status.success(), "{lines:?}");
    for wanted in ["@calls[0]: 500", "@calls[1]: 500", "@results: 1650"] {
        assert!(
            lines.iter().any(|line| line == wanted),
            "{wanted}: {lines:?}"
        );
    }
}
