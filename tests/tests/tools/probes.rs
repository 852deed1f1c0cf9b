//! Where programs are attached, what they are told there, and what comes back.

use crate::lab::{Lab, Report, Way, finished, number};

/// The address that the tool was told for a cookie is the one that the victim printed.
fn assert_address(report: &Report, cookie: &str, function: &str) {
    let words: Vec<&str> = report.victim[0].split(' ').collect();
    let place = words.iter().position(|word| *word == function);
    let address = words[place.expect("the victim names its functions") + 1];
    let wanted = format!("address {cookie} {address}");
    assert!(report.tool.contains(&wanted), "{wanted}: {report:?}");
}

#[test]
fn cookies_and_addresses_tell_the_functions_apart() {
    let lab = Lab::new(&["counts", "subject"]);
    let report = lab.compare(&["./counts", "count", "end"], &["./subject", "3", "500"]);
    assert!(report.tool.contains(&"cookie 1: 1500".to_owned()));
    assert!(report.tool.contains(&"cookie 2: 150".to_owned()));
    assert_address(&report, "1", "work");
    assert_address(&report, "2", "climb");
}

/// The symbol table names it, the dynamic one does not.
#[test]
fn a_static_function() {
    let lab = Lab::new(&["counts", "subject"]);
    let report = lab.compare(
        &["./counts", "function", "end", "./subject", "-1", "hidden"],
        &["./subject", "2", "700"],
    );
    assert_eq!(report.number("calls"), 1400, "{report:?}");
}

#[test]
fn a_function_of_a_library() {
    let libc = crate::lives::libc_path();
    let lab = Lab::new(&["counts", "subject"]);
    // Not compared: the kernel counts everybody's calls, those of this machine's daemons too.
    let report = lab.observe(
        Way::Ours,
        &["./counts", "function", "end", &libc, "-1", "nanosleep"],
        &["./subject", "2", "3000"],
    );
    assert_eq!(report.number("calls"), 2 * 30, "{report:?}");
}

/// Two links of one program and a second program, all at one function.
#[test]
fn several_programs_at_one_function() {
    let lab = Lab::new(&["counts", "subject"]);
    let report = lab.compare(&["./counts", "twice", "end"], &["./subject", "3", "400"]);
    assert_eq!(report.number("calls"), 2 * 1200, "{report:?}");
    assert_eq!(report.number("entries"), 1200, "{report:?}");
    assert!(report.tool.contains(&"cookie 1: 1200".to_owned()));
    assert!(report.tool.contains(&"cookie 3: 1200".to_owned()));
}

#[test]
fn two_tools_at_one_function() {
    let lab = Lab::new(&["counts", "events", "subject"]);
    let first = lab.tool(Way::Ours, &["./counts", "count", "end"]);
    let second = lab.tool(Way::Ours, &["./events", "ring", "2000"]);
    let third = lab.tool(Way::Ours, &["./counts", "results", "end"]);
    let victim = finished(lab.victim(Way::Ours, &["./subject", "2", "1000"]));
    lab.end();
    let (first, second, third) = (finished(first), finished(second), finished(third));
    assert_eq!(number(&victim, "subject"), number(&second, "pid"));
    assert_eq!(number(&first, "calls"), 2000 + 200, "{first:?}");
    assert_eq!(number(&second, "received"), 2000, "{second:?}");
    assert_eq!(number(&third, "returns"), 200, "{third:?}");
    assert_eq!(number(&third, "results"), 20 * 165, "{third:?}");
}

/// Entry and return meet by thread; no call is shorter than its sleep.
#[test]
fn durations_of_calls() {
    let lab = Lab::new(&["counts", "subject"]);
    let report = lab.compare(&["./counts", "times", "end"], &["./subject", "4", "2000"]);
    assert_eq!(report.number("entries"), 80, "{report:?}");
    assert_eq!(report.number("returns"), 80, "{report:?}");
    assert_eq!(report.number("results"), 80 * 300, "{report:?}");
    assert_eq!(report.number("unmatched"), 0, "{report:?}");
    assert_eq!(report.number("deepest"), 1, "{report:?}");
    assert!(report.number("shortest-us") >= 300, "{report:?}");
}

/// Each level of a recursion returns with its own result.
#[test]
fn results_of_a_recursive_function() {
    let lab = Lab::new(&["counts", "subject"]);
    let report = lab.compare(&["./counts", "results", "end"], &["./subject", "4", "1000"]);
    // 0 + 1 + 3 + 6 + ... + 45, ten levels, ten times in each of four threads.
    assert_eq!(report.number("returns"), 400, "{report:?}");
    assert_eq!(report.number("results"), 40 * 165, "{report:?}");
    assert_eq!(report.number("unmatched"), 0, "{report:?}");
    assert_eq!(report.number("deepest"), 10, "{report:?}");
}

/// Exceptions pass through it. The kernel's return probes would end the victim.
#[test]
fn returns_of_a_function_that_throws() {
    let compiler = std::process::Command::new("g++").arg("--version").output();
    if compiler.is_err() {
        println!("skipped: no g++");
        return;
    }
    let lab = Lab::new(&["counts", "thrower"]);
    let report = lab.observe(
        Way::Ours,
        &["./counts", "results", "end", "./thrower"],
        &["./thrower", "100"],
    );
    assert_eq!(report.victim, ["caught 100 wrong 0"]);
    assert_eq!(report.number("entries"), 3 * 1000, "{report:?}");
    assert_eq!(report.number("returns"), 2 * 1000, "{report:?}");
    assert_eq!(report.number("results"), 2 * 16500, "{report:?}");
}

/// A return probe that is refused holds up no other probe, of a file that is loaded later neither.
#[test]
fn a_refused_return_holds_up_no_other_probe() {
    let compiler = std::process::Command::new("g++").arg("--version").output();
    if compiler.is_err() {
        println!("skipped: no g++");
        return;
    }
    let lab = Lab::new(&["counts", "walker"]);
    let refused = lab.tool(Way::Ours, &["./counts", "results", "end", "./walker"]);
    let libc = crate::lives::libc_path();
    let words = ["./counts", "function", "end", &libc, "-1", "getppid"];
    let other = lab.tool(Way::Ours, &words);
    let victim = lab.victim(Way::Ours, &["./walker", "100"]);
    let report = lab.report(refused, victim);
    let calls = crate::lab::number(&finished(other), "calls");
    assert_eq!(report.victim, ["caught 100 wrong 0"]);
    assert_eq!(report.number("entries"), 3 * 1000, "{report:?}");
    assert_eq!(report.number("returns"), 0, "{report:?}");
    assert_eq!(calls, 3 * 100);
}

/// A tool that names a process by its id hears of that one only, which nobody had to attach.
#[test]
fn one_process_of_two() {
    let lab = Lab::new(&["counts", "subject"]);
    let run = |way| {
        let go = lab.stage.path().join("go");
        let victims = [
            lab.stage.start("subject", &["2", "500", "go"]),
            lab.stage.start("subject", &["2", "500", "go"]),
        ];
        let pid = victims[0].pid().to_string();
        let tool = lab.tool(way, &["./counts", "count", "end", "./subject", &pid]);
        std::fs::write(&go, "").expect("a file");
        let [named, other] = victims;
        let report = lab.report(tool, named);
        finished(other);
        std::fs::remove_file(&go).expect("it was made");
        report
    };
    let ours = run(Way::Ours);
    assert_eq!(ours.number("calls"), 1000 + 100, "{ours:?}");
    assert_address(&ours, "1", "work");
    if crate::lab::kernel_allows() {
        let kernel = run(Way::Kernel);
        assert_eq!(kernel.number("calls"), ours.number("calls"), "{kernel:?}");
    }
}

/// `bpf_printk` runs, and its text disturbs nobody.
#[test]
fn a_program_that_prints() {
    let lab = Lab::new(&["counts", "subject"]);
    let report = lab.compare(&["./counts", "print", "end"], &["./subject", "4", "500"]);
    assert_eq!(report.number("entries"), 2000, "{report:?}");
}
